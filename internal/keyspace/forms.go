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

// forms are the forms of the collections used last, within a budget.
type forms struct {
	budget atomic.Int64
	mu     struct {
		sync.Mutex
		all   map[encoding.Collection]*list.Element // of *heldForm
		order list.List                             // most recent first
		bytes int64
	}
}

type heldForm struct {
	id   encoding.Collection
	form Form
	size int64 // as counted last
}

// ownForm is a form that a transaction has taken.
type ownForm struct {
	id   encoding.Collection
	form Form
	undo int // entries of the undo log when it was last asked for
}

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
	f.mu.bytes += h.size
	f.evictLocked()
	return form
}

func (f *forms) take(id encoding.Collection) Form {
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
	f.mu.bytes -= h.size
}

// evictLocked halves the form that was not used for longest, again and again; one that does not get smaller goes.
func (f *forms) evictLocked() {
	for f.mu.bytes > f.budget.Load() && f.mu.order.Len() > 0 {
		el := f.mu.order.Back()
		h := el.Value.(*heldForm)
		if s, ok := h.form.(Shrinker); ok {
			s.Shrink(h.size / 2)
			if size := h.form.Size(); size < h.size && size <= h.size-h.size/4 {
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

// Form is the form of a collection to read, made by make if there is none.
func (t *Txn) Form(id encoding.Collection, make func() Form) Form {
	for i := range t.forms {
		if t.forms[i].id == id {
			return t.forms[i].form
		}
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
	for i := range t.forms {
		if o := &t.forms[i]; o.id == id {
			o.undo = len(t.rows.undo)
			return o.form
		}
	}
	f := t.store.forms.take(id)
	if f == nil {
		f = make()
	}
	t.forms = append(t.forms, ownForm{id, f, len(t.rows.undo)})
	return f
}

// DropForm forgets the form of a collection, which the transaction has taken.
func (t *Txn) DropForm(id encoding.Collection) {
	for i := range t.forms {
		if t.forms[i].id == id {
			t.forms = append(t.forms[:i], t.forms[i+1:]...)
			return
		}
	}
}

// rollbackForms forgets the forms that were changed since the undo log had n entries.
func (t *Txn) rollbackForms(n int) {
	kept := t.forms[:0]
	for _, o := range t.forms {
		// A form that was asked for at n was changed after that.
		if o.undo < n {
			kept = append(kept, o)
		}
	}
	clear(t.forms[len(kept):])
	t.forms = kept
}

// settleForms gives the forms to the store.
func (s *Store) settleForms(t *Txn) {
	for _, o := range t.forms {
		s.forms.put(o.id, o.form)
	}
	clear(t.forms)
	t.forms = t.forms[:0]
}
