package lua

import (
	"math"
	"unsafe"
)

// Table is an array part for the keys 1..n, and a hash part that keeps its entries in the order in which they were
// added: walking over a table is deterministic. A deleted entry stays, without a value, until the hash part is
// made anew, so that deleting while walking is safe.
type Table struct {
	head
	readonly bool
	arr      []Value
	ents     []entry
	// index finds entries: position+1, 0 where there is none. It has at least twice as many places as entries, a
	// power of two; without one the entries are searched one by one.
	index []int32
	meta  *Table
}

type entry struct{ key, val Value }

const linear = 8 // up to here a hash part has no index

// Sizes for the account of memory.
const (
	tableBytes = 128
	valueBytes = 16
	entryBytes = 32 + 2*4
)

// Value wraps the table.
func (t *Table) Value() Value { return Value{p: &t.head} }

// SetReadOnly makes every attempt to change the table an error.
func (t *Table) SetReadOnly(on bool) { t.readonly = on }

// SetMeta sets the metatable.
func (t *Table) SetMeta(m *Table) { t.meta = m }

// Len is a border: an n with t[n] not nil and t[n+1] nil.
func (t *Table) Len() int {
	n := len(t.arr)
	if n > 0 || len(t.ents) == 0 {
		return n
	}
	for !t.Get(Num(float64(n + 1))).IsNil() {
		n++
	}
	return n
}

// Index is the element at i.
func (t *Table) Index(i int) Value {
	if i >= 1 && i <= len(t.arr) {
		return t.arr[i-1]
	}
	if len(t.ents) == 0 {
		return Value{}
	}
	return t.Get(Num(float64(i)))
}

// Field is the element with a string key.
func (t *Table) Field(name string) Value {
	if i := t.find(constant(name)); i >= 0 {
		return t.ents[i].val
	}
	return Value{}
}

// Get reads without metamethods.
func (t *Table) Get(k Value) Value {
	if k.p == numHead {
		if i := int(k.n); i >= 1 && i <= len(t.arr) && float64(i) == k.n {
			return t.arr[i-1]
		}
	}
	if len(t.ents) == 0 {
		return Value{}
	}
	if i := t.find(k); i >= 0 {
		return t.ents[i].val
	}
	return Value{}
}

func hash(k Value) uint32 {
	switch k.Kind() {
	case StringKind:
		return k.str().sum()
	case Number, Bool:
		b := math.Float64bits(k.n + 0) // -0 is 0
		if k.n == 0 {
			b = 0
		}
		b *= 0x9e3779b97f4a7c15
		return uint32(b>>32) ^ uint32(b)
	default:
		return pointerHash(k.p)
	}
}

// find is the position of a key's entry, -1 if there is none.
func (t *Table) find(k Value) int {
	if k.p == nil {
		return -1
	}
	if t.index == nil {
		if k.p.kind == StringKind {
			s := k.str()
			for i := range t.ents {
				e := t.ents[i].key
				if e.p == k.p || e.p.kind == StringKind && e.str().s == s.s {
					return i
				}
			}
			return -1
		}
		for i := range t.ents {
			if e := t.ents[i].key; e.p == k.p && e.n == k.n {
				return i
			}
		}
		return -1
	}
	mask := uint32(len(t.index) - 1)
	for h := hash(k) & mask; t.index[h] != 0; h = (h + 1) & mask {
		if i := int(t.index[h] - 1); t.ents[i].key.Equal(k) {
			return i
		}
	}
	return -1
}

// Set stores without metamethods; k is neither nil nor NaN. It returns the bytes by which the table has grown.
func (t *Table) Set(k, v Value) (grown int) {
	if k.p == numHead {
		if i := int(k.n); i >= 1 && i <= len(t.arr)+1 && float64(i) == k.n {
			return t.setArray(i, v)
		}
	}
	if i := t.find(k); i >= 0 {
		t.ents[i].val = v
		return 0
	}
	if v.IsNil() {
		return 0
	}
	return t.add(k, v)
}

// SetIndex stores at a number.
func (t *Table) SetIndex(i int, v Value) int { return t.Set(Num(float64(i)), v) }

// SetField stores under a name that belongs to no state.
func (t *Table) SetField(name string, v Value) int { return t.Set(constant(name), v) }

func (t *Table) setArray(i int, v Value) int {
	n := len(t.arr)
	if i <= n {
		t.arr[i-1] = v
		if i == n && v.IsNil() {
			for n--; n > 0 && t.arr[n-1].IsNil(); n-- {
			}
			t.arr = t.arr[:n]
		}
		return 0
	}
	if len(t.ents) > 0 {
		if e := t.find(Num(float64(i))); e >= 0 {
			// It was stored before its neighbours: the entry gives way to the element.
			t.ents[e].val = Value{}
		}
	}
	if v.IsNil() {
		return 0
	}
	before := cap(t.arr)
	t.arr = append(t.arr, v)
	if len(t.ents) > 0 {
		for {
			e := t.find(Num(float64(len(t.arr) + 1)))
			if e < 0 || t.ents[e].val.IsNil() {
				break
			}
			t.arr = append(t.arr, t.ents[e].val)
			t.ents[e].val = Value{}
		}
	}
	return (cap(t.arr) - before) * valueBytes
}

func (t *Table) add(k, v Value) int {
	grown := 0
	if t.index == nil && len(t.ents) >= linear || t.index != nil && len(t.ents)*2 >= len(t.index) {
		grown = t.rehash()
	}
	before := cap(t.ents)
	t.ents = append(t.ents, entry{k, v})
	if t.index != nil {
		t.link(len(t.ents) - 1)
		return grown
	}
	return grown + (cap(t.ents)-before)*entryBytes
}

func (t *Table) link(i int) {
	mask := uint32(len(t.index) - 1)
	h := hash(t.ents[i].key) & mask
	for t.index[h] != 0 {
		h = (h + 1) & mask
	}
	t.index[h] = int32(i + 1)
}

// rehash drops deleted entries and makes room for as many again as are left.
func (t *Table) rehash() int {
	live := 0
	for i := range t.ents {
		if !t.ents[i].val.IsNil() {
			live++
		}
	}
	size := 4 * linear
	for size < 4*(live+1) {
		size *= 2
	}
	before := cap(t.ents)
	ents := make([]entry, 0, size/2)
	for i := range t.ents {
		if !t.ents[i].val.IsNil() {
			ents = append(ents, t.ents[i])
		}
	}
	t.ents, t.index = ents, make([]int32, size)
	for i := range t.ents {
		t.link(i)
	}
	return max(0, size/2-before) * entryBytes
}

// Next is the entry behind key k, nil beginning the walk. ok is false if k is no key of the table.
func (t *Table) Next(k Value) (key, val Value, ok bool) {
	from := 0
	switch i := int(k.n); {
	case k.IsNil():
	case k.p == numHead && i >= 1 && float64(i) == k.n && (i <= len(t.arr) || t.find(k) < 0):
		// An element, perhaps of an end that was cut off during the walk.
		from = i
	default:
		e := t.find(k)
		if e < 0 {
			return Value{}, Value{}, false
		}
		return t.nextEntry(e + 1)
	}
	for ; from < len(t.arr); from++ {
		if v := t.arr[from]; !v.IsNil() {
			return Num(float64(from + 1)), v, true
		}
	}
	return t.nextEntry(0)
}

// Each calls f for each element and entry, in order. f must not add to the table.
func (t *Table) Each(f func(k, v Value)) {
	for i, v := range t.arr {
		if !v.IsNil() {
			f(Num(float64(i+1)), v)
		}
	}
	for i := range t.ents {
		if e := &t.ents[i]; !e.val.IsNil() {
			f(e.key, e.val)
		}
	}
}

func (t *Table) nextEntry(e int) (key, val Value, ok bool) {
	for ; e < len(t.ents); e++ {
		if v := t.ents[e].val; !v.IsNil() {
			return t.ents[e].key, v, true
		}
	}
	return Value{}, Value{}, true
}

// bytes is what the table takes, its values not counted.
func (t *Table) bytes() int { return tableBytes + cap(t.arr)*valueBytes + cap(t.ents)*entryBytes }

// pointerHash is by address: the collector of the host does not move objects.
func pointerHash(p *head) uint32 {
	h := uint64(uintptr(unsafe.Pointer(p))) * 0x9e3779b97f4a7c15
	return uint32(h >> 32)
}
