// Package list is the list type. Each element is a row of its own under an ordinal; the metadata of the key says
// which ordinals the list has, in which order. Normally that is one run of ordinals, an extent, and what is at a
// position is found by adding. Pushes and pops write the element's row and the metadata, whatever the size of the
// list. Changes in the middle divide extents, as a piece table does; a few extents stand in the metadata, more of
// them in a tree of rows (package extent), so that a position is always found in logarithmic time.
//
// A List belongs to the goroutine of its transaction; the package keeps no state. Byte slices that it returns live
// until the transaction's Reset, those handed to callbacks only during the call.
package list

import (
	"bytes"
	"errors"
	"sync"

	"haypile/internal/encoding"
	"haypile/internal/keyspace"
	"haypile/internal/types/list/extent"
	"haypile/internal/types/members"
)

// ErrExhausted is returned when a list was divided so often that there is no ordinal left for what is added: after
// a thousand million pushes that each found an end of a divided list used up, or 2^57 insertions.
var ErrExhausted = errors.New("the list was divided too often")

// List is the list at a key, perhaps empty. It stays right while the key is changed through it alone. Changes
// reach the transaction's metadata with Save.
type List struct {
	tx   *keyspace.Txn
	key  keyspace.Entry
	meta encoding.Meta
	layout
	// changed is set by anything that Save must tell of.
	changed bool
	// formed: the list has a form, or may have one. It was long when it was opened.
	formed bool
	buf    []byte
}

// spare are lists that Release gave back.
var spare = sync.Pool{New: func() any { return new(List) }}

// Release says that neither the list nor anything that it returned will be used any more.
func (l *List) Release() {
	*l = List{buf: l.buf[:0]}
	spare.Put(l)
}

// Open reads the list at key; a missing key is an empty list.
func Open(tx *keyspace.Txn, key []byte) (*List, error) {
	e, err := tx.Lookup(key)
	if err != nil {
		return nil, err
	}
	return At(tx, e)
}

// At is the list at a key that was looked up.
func At(tx *keyspace.Txn, e keyspace.Entry) (*List, error) {
	l := spare.Get().(*List)
	l.tx, l.key = tx, e
	if !e.Found {
		return l, nil
	}
	if e.Meta.Type != encoding.List {
		return l, members.ErrWrongType
	}
	l.meta = e.Meta
	var err error
	if l.layout, err = parseLayout(e.Meta.Extra, e.Meta.Count); err != nil {
		return l, err
	}
	l.tree.Store = nodes{l}
	l.formed = l.meta.Count >= formLeast
	return l, nil
}

// Begin makes a new, empty list that will replace whatever is at the key, with a deadline (0 = none). Until Save
// elements are added at its end only.
func Begin(tx *keyspace.Txn, e keyspace.Entry, deadline int64) *List {
	l := &List{tx: tx, key: e}
	l.begin()
	l.meta.Deadline = deadline
	tx.Fill(&l.key, &l.meta)
	return l
}

func (l *List) begin() {
	l.meta = l.tx.NewCollection(&l.key, encoding.List)
	l.layout = newLayout()
	l.tree.Store = nodes{l}
}

// ready prepares a list for what is pushed: one that is empty begins anew.
func (l *List) ready() {
	if l.meta.ID == 0 {
		l.begin()
	} else if l.meta.Count == 0 {
		l.layout = newLayout()
		l.tree.Store = nodes{l}
	}
}

// Key is the key as it was found or last saved.
func (l *List) Key() *keyspace.Entry { return &l.key }

// Len is the number of elements.
func (l *List) Len() uint64 { return l.meta.Count }

// nodes are those of a list that may be changed.
type nodes struct{ l *List }

func (n nodes) Load(id uint64) ([]extent.Entry, error) {
	k := sortKeyOf(tableNode, id)
	row, ok, err := n.l.tx.GetOrdered(&n.l.key, &n.l.meta, k[:])
	if err != nil {
		return nil, err
	}
	if !ok {
		return nil, missing(tableNode, id)
	}
	return parseNode(row)
}

func (n nodes) Save(id uint64, es []extent.Entry) {
	k := sortKeyOf(tableNode, id)
	n.l.tx.PutOrdered(&n.l.key, &n.l.meta, k[:], extent.AppendEntries([]byte{0}, es))
}

func (n nodes) Drop(id uint64) {
	k := sortKeyOf(tableNode, id)
	n.l.tx.RemoveOrdered(&n.l.key, &n.l.meta, k[:])
}

func (l *List) get(ordinal uint64) ([]byte, error) {
	f := l.form()
	if f == nil {
		return l.read(ordinal)
	}
	if v, ok := f.get(ordinal); ok {
		return v, nil
	}
	return l.learn(f, ordinal)
}

// learn reads an element that the form does not know, and adds it.
func (l *List) learn(f *form, ordinal uint64) ([]byte, error) {
	v, err := l.read(ordinal)
	if err == nil {
		f.put(ordinal, v, l.room())
	}
	return v, err
}

func (l *List) read(ordinal uint64) ([]byte, error) {
	k := sortKeyOf(tableElement, ordinal)
	row, ok, err := l.tx.GetDense(&l.key, &l.meta, k[:])
	if err != nil {
		return nil, err
	}
	if !ok {
		return nil, missing(tableElement, ordinal)
	}
	return parseElement(row)
}

func (l *List) put(ordinal uint64, value []byte) {
	k := sortKeyOf(tableElement, ordinal)
	f := l.ownForm()
	kept := f != nil && f.put(ordinal, value, l.room())
	l.tx.PutDense(&l.key, &l.meta, k[:], formatElement, value, kept)
	l.changed = true
}

func (l *List) remove(e extent.Entry) {
	f := l.ownForm()
	l.meta.Count -= e.N
	l.changed = true
	if l.tx.Many(e.N) {
		from, to := sortKeyOf(tableElement, e.Ref), sortKeyOf(tableElement, e.End())
		l.tx.CutOrdered(&l.key, &l.meta, from[:], to[:])
		l.tx.DropForm(l.meta.ID)
		return
	}
	for o := e.Ref; o < e.End(); o++ {
		k := sortKeyOf(tableElement, o)
		if f != nil {
			f.remove(o)
		}
		l.tx.RemoveDense(&l.key, &l.meta, k[:])
	}
}

// Save stores the metadata if something has changed; a list without elements is no key.
func (l *List) Save() error {
	if err := l.tx.Filled(&l.meta); err != nil {
		return err
	}
	if !l.changed {
		return nil
	}
	l.changed = false
	if l.formed && l.meta.Count < formLeast {
		l.formed = false
		l.tx.DropForm(l.meta.ID)
	}
	same := l.key.Found && l.key.Meta.ID == l.meta.ID
	if l.meta.Count == 0 {
		if same {
			l.tx.RemoveEmpty(&l.key)
		}
		l.meta = encoding.Meta{}
		return nil
	}
	l.buf = l.append(l.buf[:0])
	extra := l.buf
	if same && l.key.Meta.Count == l.meta.Count && bytes.Equal(l.key.Meta.Extra, extra) {
		// The metadata is what it was: watchers need to know, the engine does not.
		l.tx.Touch(&l.key)
		return nil
	}
	l.meta.Extra = extra
	return l.tx.Put(&l.key, l.meta)
}

// PushLeft adds an element at the beginning.
func (l *List) PushLeft(value []byte) error {
	l.ready()
	if l.head.Ref == l.floor {
		if l.nextPush >= pushEnd {
			return ErrExhausted
		}
		if l.tail.N == 0 {
			l.tail = l.head
		} else if err := l.tree.Insert(0, l.head); err != nil {
			return err
		}
		l.floor = l.nextPush
		l.nextPush += pushBlock
		l.head = extent.Entry{Ref: l.nextPush}
	}
	l.head.Ref--
	l.head.N++
	l.meta.Count++
	l.put(l.head.Ref, value)
	return nil
}

// PushRight adds an element at the end.
func (l *List) PushRight(value []byte) error {
	l.ready()
	last := l.last()
	if last.End() == l.ceil {
		if l.nextPush >= pushEnd {
			return ErrExhausted
		}
		if l.tail.N > 0 {
			if err := l.tree.Insert(l.tree.Len(), l.tail); err != nil {
				return err
			}
		}
		l.tail = extent.Entry{Ref: l.nextPush}
		l.nextPush += pushBlock
		l.ceil = l.nextPush
		last = &l.tail
	}
	last.N++
	l.meta.Count++
	l.put(last.End()-1, value)
	return nil
}

// DropLeft removes n elements, of those that there are, at the beginning.
func (l *List) DropLeft(n uint64) error {
	for n > 0 {
		cut := min(n, l.head.N)
		n -= cut
		l.remove(extent.Entry{Ref: l.head.Ref, N: cut})
		l.head.Ref += cut
		if l.head.N -= cut; l.head.N > 0 {
			return nil
		}
		if l.tail.N == 0 {
			return nil // nothing is left
		}
		if err := l.refillHead(); err != nil {
			return err
		}
	}
	return nil
}

// refillHead moves the extent behind head into it.
func (l *List) refillHead() error {
	if l.tree.Len() == 0 {
		l.head, l.tail = l.tail, extent.Entry{}
	} else {
		first := func(e extent.Entry) bool {
			l.head = e
			return false
		}
		if err := l.tree.Walk(0, first); err != nil {
			return err
		}
		if err := l.tree.Remove(0, l.head.N, func(extent.Entry) {}); err != nil {
			return err
		}
	}
	l.floor = l.head.Ref
	return nil
}

// DropRight removes n elements, of those that there are, at the end.
func (l *List) DropRight(n uint64) error {
	for n > 0 {
		last := l.last()
		cut := min(n, last.N)
		n -= cut
		last.N -= cut
		l.remove(extent.Entry{Ref: last.End(), N: cut})
		if last.N > 0 || last == &l.head {
			return nil
		}
		if err := l.refillTail(); err != nil {
			return err
		}
	}
	return nil
}

// refillTail moves the extent before tail, which is empty, into it; the last one stays in head.
func (l *List) refillTail() error {
	l.tail = extent.Entry{}
	if n := l.tree.Len(); n > 0 {
		last := func(e extent.Entry) bool {
			l.tail = e
			return false
		}
		if err := l.tree.WalkBack(n, last); err != nil {
			return err
		}
		if err := l.tree.Remove(n-l.tail.N, n, func(extent.Entry) {}); err != nil {
			return err
		}
	}
	l.ceil = l.last().End()
	return nil
}
