package keyspace

import (
	"fmt"
	"slices"
	"testing"

	"haypile/internal/encoding"
)

// parted is a form that knows what it was told to forget.
type parted struct{ gone []uint64 }

func (p *parted) Size() int64        { return 100 }
func (p *parted) Forget(part uint64) { p.gone = append(p.gone, part) }

// TestChangeForm: a form that was changed comes back to the store, without what was taken back; one that was made
// after a change that is taken back does not.
func TestChangeForm(t *testing.T) {
	_, _, s := newStore(t, 1<<20)
	tx := s.NewTxn()
	tx.Begin(ModeWrite, 0, 1000)
	set := func() { // an entry of the undo log
		e, err := tx.Lookup(fmt.Append(nil, len(tx.rows.undo)))
		if err == nil {
			err = tx.PutString(&e, []byte("v"), 0)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	fresh := func() Form { return &parted{} }

	if f := tx.ChangeForm(1, 10); f != nil {
		t.Errorf("a form of nothing: %v", f)
	}
	shared := tx.Form(2, fresh).(*parted)
	if tx.ChangeForm(2, 10) != Form(shared) || s.forms.get(2) != nil {
		t.Error("the form was not taken")
	}
	set()
	mark := tx.Mark()
	tx.ChangeForm(2, 11)
	set()
	tx.ChangeForm(2, 12)
	set()
	tx.Rollback(&mark)
	if !slices.Equal(shared.gone, []uint64{12, 11}) || tx.Form(2, fresh) != Form(shared) {
		t.Errorf("forgot %d", shared.gone)
	}
	// The first change of collection 1 was before its form was there: that cannot survive it.
	late := tx.Form(1, fresh).(*parted)
	tx.ChangeForm(1, 13)
	set()
	tx.Rollback(&mark)
	if tx.Form(1, fresh) == Form(late) || s.forms.get(1) != nil || len(late.gone) != 0 {
		t.Error("a form survived a rollback that it cannot")
	}
	settle := func() {
		if err := s.Apply([]*Txn{tx}, s.Applied()+1, 0); err != nil {
			t.Fatal(err)
		}
		s.Settle(tx)
		tx.Done()
		tx = s.NewTxn()
		tx.Begin(ModeWrite, 0, 1000)
	}
	settle()
	if s.forms.get(2) != Form(shared) || s.forms.get(1) == nil {
		t.Error("the forms did not come back")
	}

	// Of too many changes, none is remembered by itself.
	mark = tx.Mark()
	for i := range uint64(maxParts + 1) {
		tx.ChangeForm(2, i)
		set()
	}
	shared.gone = nil
	tx.Rollback(&mark)
	if tx.Form(2, fresh) == Form(shared) || len(shared.gone) != 0 {
		t.Error("a form survived more changes than it is told of")
	}
	// A transaction with many forms finds each, also after a rollback.
	const many = 3 * formsSmall
	for id := range encoding.Collection(many) {
		if id == many/2 {
			mark = tx.Mark()
		}
		tx.OwnForm(100+id, fresh)
		set()
	}
	if n := len(tx.forms); tx.OwnForm(100+many-1, fresh) == nil || len(tx.forms) != n {
		t.Errorf("%d forms instead of %d", len(tx.forms), n)
	}
	tx.Rollback(&mark)
	for id := range encoding.Collection(many) {
		if owned := tx.formOf(100+id) != nil; owned != (id < many/2) {
			t.Errorf("form %d is owned: %v", id, owned)
		}
	}
	tx.Done()
}

// TestFormsPresent: the count of forms by ids is that of the forms.
func TestFormsPresent(t *testing.T) {
	var f forms
	f.budget.Store(1000)
	for id := range encoding.Collection(3 * presentLen) {
		f.put(id, &parted{})
	}
	if n := len(f.mu.all); n != 10 {
		t.Errorf("%d forms within the budget", n)
	}
	for id := range f.mu.all {
		if n := f.present[id%presentLen].Load(); n != 1 {
			t.Errorf("%d forms like %d", n, id)
		}
		if f.take(id) == nil {
			t.Error("a form was not found")
		}
	}
	for i := range f.present {
		if n := f.present[i].Load(); n != 0 {
			t.Errorf("%d forms like %d", n, i)
		}
	}
}
