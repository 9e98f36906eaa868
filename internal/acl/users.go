package acl

import (
	"maps"
	"slices"
	"sync"
	"sync/atomic"
)

// Account is a user by identity: what connections hold on to while the user's rights change.
type Account struct {
	cur  atomic.Pointer[User]
	gone atomic.Bool
}

// User is the present state. Of an account that was deleted it is one without rights.
func (a *Account) User() *User { return a.cur.Load() }

// Gone reports whether the account was deleted: its connections are about to be closed.
func (a *Account) Gone() bool { return a.gone.Load() }

// Users are the accounts of a node. Safe for concurrent use.
type Users struct {
	rules Rules
	// def is the account of connections that do not log in; it is there for ever.
	def *Account
	mu  struct {
		sync.Mutex
		byName map[string]*Account
	}
}

// NewUsers returns the accounts of a node without configuration.
func NewUsers(r Rules) *Users {
	us := &Users{rules: Rules{Table: r.Table}, def: &Account{}}
	us.def.cur.Store(r.Default())
	us.mu.byName = map[string]*Account{DefaultName: us.def}
	return us
}

// Default is the account of connections that do not log in.
func (us *Users) Default() *Account { return us.def }

// Open reports whether a connection need not log in.
func (us *Users) Open() bool {
	u := us.def.User()
	return u.noPass && u.enabled
}

// Find returns the account of a name, nil if there is none.
func (us *Users) Find(name string) *Account {
	us.mu.Lock()
	defer us.mu.Unlock()
	return us.mu.byName[name]
}

// Names are the users' names in order.
func (us *Users) Names() []string {
	us.mu.Lock()
	defer us.mu.Unlock()
	return slices.Sorted(maps.Keys(us.mu.byName))
}

// List are the users in the order of their names.
func (us *Users) List() []*User {
	us.mu.Lock()
	defer us.mu.Unlock()
	var list []*User
	for _, name := range slices.Sorted(maps.Keys(us.mu.byName)) {
		list = append(list, us.mu.byName[name].User())
	}
	return list
}

// Login returns the account that a name and password open, nil if none.
func (us *Users) Login(name string, password []byte) *Account {
	a := us.Find(name)
	if a == nil || !a.User().Login(password) {
		return nil
	}
	return a
}

// Set applies rules to a user, which is made if there is none. It returns the account and what it was before,
// nil if it is new. allChannels is the option acl-pubsub-default.
func (us *Users) Set(name string, allChannels bool, words ...string) (a *Account, before *User, err error) {
	r := Rules{Table: us.rules.Table, AllChannels: allChannels}
	us.mu.Lock()
	defer us.mu.Unlock()
	a = us.mu.byName[name]
	from := r.New(name)
	if a != nil {
		before = a.User()
		from = before
	}
	next, err := r.Apply(from, words...)
	if err != nil {
		return nil, nil, err
	}
	if a == nil {
		a = &Account{}
		us.mu.byName[name] = a
	}
	a.cur.Store(next)
	return a, before, nil
}

// SetDefaultPassword gives the default user one password, or none: the option requirepass.
func (us *Users) SetDefaultPassword(password string) {
	words := []string{"resetpass", "nopass"}
	if password != "" {
		words[1] = ">" + password
	}
	_, _, _ = us.Set(DefaultName, false, words...) // these rules are right
}

// Delete removes users and returns the accounts of those that were there. The default user stays.
func (us *Users) Delete(names ...string) []*Account {
	us.mu.Lock()
	defer us.mu.Unlock()
	var deleted []*Account
	for _, name := range names {
		if a := us.mu.byName[name]; a != nil && a != us.def {
			us.dropLocked(a, name)
			deleted = append(deleted, a)
		}
	}
	return deleted
}

func (us *Users) dropLocked(a *Account, name string) {
	a.gone.Store(true)
	a.cur.Store(us.rules.New(name))
	delete(us.mu.byName, name)
}

// Replace makes the given users all that there are, and returns the accounts that there were; the default user's,
// which lives on, is not among them. A default user that is not given becomes the one of a node without
// configuration.
func (us *Users) Replace(list []*User) (before []*Account, oldDefault *User) {
	us.mu.Lock()
	defer us.mu.Unlock()
	for name, a := range us.mu.byName {
		if a != us.def {
			us.dropLocked(a, name)
			before = append(before, a)
		}
	}
	oldDefault = us.def.User()
	def := us.rules.Default()
	for _, u := range list {
		if u.name == DefaultName {
			def = u
			continue
		}
		a := &Account{}
		a.cur.Store(u)
		us.mu.byName[u.name] = a
	}
	us.def.cur.Store(def)
	return before, oldDefault
}
