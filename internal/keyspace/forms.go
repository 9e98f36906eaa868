package keyspace

import (
	"container/list"
	"sync"
	"sync/atomic"

	"haypile/internal/encoding"
)

// Form is what a type keeps in memory of a collection beside its rows: a tree of ordered rows, say, in which a
// position is found without asking the engine. It can always be made again from the rows.
//
// Who holds a key's lock shared may read the form that the store has, and complete it as long as others may do so
// at the same time. Who holds it exclusively takes the form out of the store before the first change; it comes
// back when the transaction has been settled, and is gone if the transaction failed or rolled the change back.
type Form interface {
	// Size is the memory that the form takes, in bytes, about.
	Size() int64
}

// Shrinker is a form that can do with less: parts of it are read again when they are needed. A form as large as the
// whole budget would otherwise be lost each time that it grows.
type Shrinker interface {
	// Shrink gives up parts until the form takes about target bytes, if it can. Readers may use it meanwhile.
	Shrink(target int64)
}

// Forgetter is a form that survives a rollback: see ChangeForm.
type Forgetter interface {
	// Forget gives up the part whose change was taken back. The caller owns the form.
	Forget(part uint64)
}

// forms are the forms of the collections used last, within a budget.
type forms struct {
	budget atomic.Int64
	// present counts the forms by their ids modulo presentLen, so that who changes a collection without one need
	// not take the lock to see that.
	present [presentLen]atomic.Int32
	mu      struct {
		sync.Mutex
		all   map[encoding.Collection]*list.Element // of *heldForm
		order list.List                             // most recent first
		bytes int64
	}
}

const presentLen = 1 << 12

type heldForm struct {
	id   encoding.Collection
	form Form
	size int64 // as counted last
}

// ownForm is the form of a collection that a transaction has changed: taken from the store, or made after the change,
// which others do not see yet. It is nil while nobody has asked for one to read.
type ownForm struct {
	id   encoding.Collection
	form Form
	// first and undo are the entries of the undo log before the first change and before the last.
	first, undo int
	// parts are what ChangeForm was told; without them, the whole form is gone with a change.
	parts []formPart
	whole bool
}

type formPart struct {
	undo int
	part uint64
}

// maxParts bounds what is remembered of the parts of a form.
const maxParts = 4096

func (f *forms) get(id encoding.Collection) Form {
	f.mu.Lock()
	defer f.mu.Unlock()
	el := f.mu.all[id]
	if el == nil {
		return nil
	}
	f.mu.order.MoveToFront(el)
	h := el.Value.(*heldForm)
	if size := h.form.Size(); size != h.size {
		f.mu.bytes += size - h.size
		h.size = size
		f.evictLocked()
	}
	return h.form
}

// put stores a form, unless there is one already, and returns the one that is stored.
func (f *forms) put(id encoding.Collection, form Form) Form {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.mu.all == nil {
		f.mu.all = map[encoding.Collection]*list.Element{}
	}
	if el := f.mu.all[id]; el != nil {
		return el.Value.(*heldForm).form
	}
	h := &heldForm{id, form, form.Size()}
	f.mu.all[id] = f.mu.order.PushFront(h)
	f.present[id%presentLen].Add(1)
	f.mu.bytes += h.size
	f.evictLocked()
	return form
}

func (f *forms) take(id encoding.Collection) Form {
	if f.present[id%presentLen].Load() == 0 {
		return nil
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	el := f.mu.all[id]
	if el == nil {
		return nil
	}
	f.removeLocked(el)
	return el.Value.(*heldForm).form
}

func (f *forms) removeLocked(el *list.Element) {
	h := f.mu.order.Remove(el).(*heldForm)
	delete(f.mu.all, h.id)
	f.present[h.id%presentLen].Add(-1)
	f.mu.bytes -= h.size
}

// shrinkShare: a form gives up one byte in so many at once. Somebody waits for that, so it is not half of the form.
const shrinkShare = 8

// evictLocked makes the form that was not used for longest smaller, again and again; one that does not get so goes.
func (f *forms) evictLocked() {
	for f.mu.bytes > f.budget.Load() && f.mu.order.Len() > 0 {
		el := f.mu.order.Back()
		h := el.Value.(*heldForm)
		if s, ok := h.form.(Shrinker); ok {
			s.Shrink(h.size - h.size/shrinkShare)
			if size := h.form.Size(); size < h.size && size <= h.size-h.size/(2*shrinkShare) {
				f.mu.bytes += size - h.size
				h.size = size
				continue
			}
		}
		f.removeLocked(el)
	}
}

func (f *forms) bytes() int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.mu.bytes
}

// formOf is what the transaction has of the form of a collection; nil: it has not changed that.
func (t *Txn) formOf(id encoding.Collection) *ownForm {
	if n := len(t.forms); n <= formsSmall {
		for i := range t.forms {
			if t.forms[i].id == id {
				return &t.forms[i]
			}
		}
		return nil
	}
	if t.formAt == nil {
		t.formAt = map[encoding.Collection]int{}
	}
	if len(t.formAt) != len(t.forms) {
		for i := len(t.formAt); i < len(t.forms); i++ {
			t.formAt[t.forms[i].id] = i
		}
	}
	if i, ok := t.formAt[id]; ok {
		return &t.forms[i]
	}
	return nil
}

// formsSmall is up to how many forms are searched one by one.
const formsSmall = 16

// resetForms forgets the forms from number n on.
func (t *Txn) resetForms(n int) {
	clear(t.forms[n:])
	t.forms = t.forms[:n]
	t.formAt = nil
}

// Form is the form of a collection to read, made by make if there is none.
func (t *Txn) Form(id encoding.Collection, make func() Form) Form {
	if o := t.formOf(id); o != nil {
		if o.form == nil {
			o.form, o.whole = make(), true // it will have what was changed before it was there
		}
		return o.form
	}
	if t.pin != nil {
		return t.pinnedForm(id, make)
	}
	if f := t.store.forms.get(id); f != nil {
		return f
	}
	return t.store.forms.put(id, make())
}

// FormBudget is how many bytes the forms of all collections may take: none in a pinned transaction, which reads each
// collection once.
func (t *Txn) FormBudget() int64 {
	if t.pin != nil {
		return 0
	}
	return t.store.forms.budget.Load()
}

// OwnForm is the form of a collection to change, made by make if there is none; ask before each change. The key
// must be locked exclusively.
func (t *Txn) OwnForm(id encoding.Collection, make func() Form) Form {
	o := t.change(id)
	o.whole = true
	if o.form == nil {
		o.form = make()
	}
	return o.form
}

// ChangeForm is OwnForm for those who can do without: nil if there is no form yet. What is about to change is a part
// of it. A form that is a Forgetter forgets these parts, and no more, if the change is taken back.
func (t *Txn) ChangeForm(id encoding.Collection, part uint64) Form {
	o := t.change(id)
	switch {
	case o.form == nil || o.whole:
	case len(o.parts) == maxParts:
		o.whole, o.parts = true, nil
	default:
		o.parts = append(o.parts, formPart{o.undo, part})
	}
	return o.form
}

// change notes that a collection is about to be changed, and takes its form.
func (t *Txn) change(id encoding.Collection) *ownForm {
	undo := len(t.rows.undo)
	if o := t.formOf(id); o != nil {
		o.undo = undo
		return o
	}
	t.forms = append(t.forms, ownForm{id: id, form: t.store.forms.take(id), first: undo, undo: undo})
	return &t.forms[len(t.forms)-1]
}

// DropForm forgets the form of a collection, which the transaction has taken.
func (t *Txn) DropForm(id encoding.Collection) {
	if o := t.formOf(id); o != nil {
		o.form, o.parts, o.whole = nil, nil, false
	}
}

// rollbackForms forgets the forms that were changed since the undo log had n entries, or the parts that were.
func (t *Txn) rollbackForms(n int) {
	kept := 0
	for _, o := range t.forms {
		before := o.first < n // the collection was changed before, too
		// A form that was asked for at n was changed after that.
		if o.undo >= n {
			o.rollback(n)
		}
		if o.form != nil || before {
			t.forms[kept] = o
			kept++
		}
	}
	if kept < len(t.forms) {
		t.resetForms(kept)
	}
}

// rollback takes back what was changed since the undo log had n entries.
func (o *ownForm) rollback(n int) {
	f, ok := o.form.(Forgetter)
	if !ok || o.whole {
		o.form, o.parts, o.whole = nil, nil, false
	} else {
		kept := len(o.parts)
		for kept > 0 && o.parts[kept-1].undo >= n {
			kept--
			f.Forget(o.parts[kept].part)
		}
		o.parts = o.parts[:kept]
	}
	o.first, o.undo = min(o.first, n-1), n-1
}

// settleForms gives the forms to the store.
func (s *Store) settleForms(t *Txn) {
	for i := range t.forms {
		if o := &t.forms[i]; o.form != nil {
			s.forms.put(o.id, o.form)
		}
	}
	t.resetForms(0)
}
