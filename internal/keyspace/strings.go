package keyspace

import (
	"bytes"
	"errors"

	"haypile/internal/encoding"
	"haypile/internal/storage"
)

// A short string stands whole in the metadata of its key. A longer one stands in pieces, rows of a collection of the
// key, so that a part of it can be read and changed alone. What a piece has less than its size is zero, and so is one
// that has no row: a string that grew from far behind its end takes no room for the gap. Which way a string is stored
// is nobody's business but this file's: everybody else reads, writes and grows strings here.
//
// A transaction that has changed a row of a string owns its memory and makes further changes in place, so that many
// changes of one value cost a row between them.

const (
	// maxWhole is the length up to which a string is whole. Measured: a longer one costs APPEND and SETBIT more
	// than its pieces cost GET and SET. A dense HyperLogLog, 12304 bytes, is whole, as is every sparse one.
	maxWhole = 32 << 10
	// pieceBits is the binary logarithm of the size of pieces: a change of one bit in a large string writes one.
	pieceBits = 12
	// largeRow is from where on a row is remembered for the rest of a transaction that has read it.
	largeRow = 512
	// maxCached is how much of a string one command puts into the hot cache; a command that reads or writes more
	// passes it by.
	maxCached = 256 << 10
	// maxHotPart is how much of a string in pieces is read where nothing may take long; see HotOnly.
	maxHotPart = 256 << 10
)

// seenRow is a row that was read.
type seenRow struct {
	hash     uint64
	key, val []byte
}

func (r *seenRow) is(hash uint64, key []byte) bool {
	return r.key != nil && r.hash == hash && string(r.key) == string(key)
}

// within is the part [from, to) of v, as far as v has it.
func within(v []byte, from, to int) []byte {
	return v[min(from, len(v)):min(to, len(v))]
}

// PutString stores a string in place of whatever the key has.
func (t *Txn) PutString(e *Entry, value []byte, deadline int64) error {
	if len(value) <= maxWhole {
		return t.Put(e, encoding.WholeString(value, deadline))
	}
	w := t.NewString(e, int64(len(value)))
	if err := w.Append(value); err != nil {
		return err
	}
	return w.Save(deadline)
}

// StringWriter builds a string from its beginning on; see NewString.
type StringWriter struct {
	t      *Txn
	e      *Entry
	length int64
	whole  []byte
	meta   encoding.Meta
	// at is how far the string has come; piece are the bytes of the piece there.
	at    int64
	piece []byte
}

// NewString begins a string of a length that is going to take the place of what the key has; until Save that
// can still be read.
func (t *Txn) NewString(e *Entry, length int64) *StringWriter {
	w := &StringWriter{t: t, e: e, length: length}
	if length > maxWhole {
		w.meta = t.newPieced(e, length)
		t.Fill(e, &w.meta)
	} else {
		w.whole = make([]byte, 0, length)
	}
	return w
}

func (t *Txn) newPieced(e *Entry, length int64) encoding.Meta {
	return encoding.PiecedString(e.slot, t.store.newCollection(), pieceBits, length)
}

// Append adds bytes, which are copied, but no more than the length has room for.
func (w *StringWriter) Append(part []byte) error {
	if w.length <= maxWhole {
		w.whole = append(w.whole, part...)
		return nil
	}
	size := int(w.meta.PieceSize())
	for len(part) > 0 {
		n := min(len(part), size-len(w.piece))
		w.piece = append(w.piece, part[:n]...)
		w.at, part = w.at+int64(n), part[n:]
		if len(w.piece) == size {
			w.put()
		}
	}
	return w.t.filling.err
}

// put stores the piece that is complete, or the last one. Zeros at its end need not be stored.
func (w *StringWriter) put() {
	value := bytes.TrimRight(w.piece, "\x00")
	w.piece = w.piece[:0]
	if len(value) == 0 {
		return
	}
	f := w.t.filling
	mem := f.memory()
	k := mem.keep(encoding.AppendPiece(mem.take(keyRowMax), w.e.space, w.meta.Birth, w.meta.ID,
		uint32((w.at-1)/w.meta.PieceSize())))
	f.add(row{hash: rowHash(k), key: k, val: mem.copyOf(value), point: true, bulk: w.length > maxCached})
}

// Save stores the string. What Append has not given is zero.
func (w *StringWriter) Save(deadline int64) error {
	if w.length <= maxWhole {
		return w.t.Put(w.e, encoding.WholeString(w.whole[:w.length], deadline))
	}
	w.put()
	if err := w.t.Filled(&w.meta); err != nil {
		return err
	}
	w.meta.Deadline = deadline
	return w.t.Put(w.e, w.meta)
}

// String is the whole value of a string, empty if there is none: for values of which it is known that they are
// short, or that they are needed in one piece.
func (t *Txn) String(e *Entry) ([]byte, error) {
	if v, whole := e.Meta.Whole(); whole || !e.Found {
		return v, nil
	}
	return t.StringPart(e, 0, e.Meta.Length())
}

// StringPart is the part of a string that begins at from and has n bytes, or as many as there are.
func (t *Txn) StringPart(e *Entry, from, n int64) ([]byte, error) {
	length := e.Meta.Length()
	from = min(from, length)
	to := from + min(n, length-from)
	if v, whole := e.Meta.Whole(); whole {
		return v[from:to], nil
	}
	dst := t.mem.take(int(to - from))
	if to-from > largeRow {
		dst = make([]byte, 0, to-from) // t.mem is used below
	} else {
		dst = t.mem.keep(dst[:to-from])[:0]
	}
	err := t.EachPart(e, from, to, func(part []byte) error {
		dst = append(dst, part...)
		return nil
	})
	return dst, err
}

// EachPart hands out the bytes [from, to) of a string, which must have them, part by part in order. The views are
// valid during the call of f only; an error of f ends it.
func (t *Txn) EachPart(e *Entry, from, to int64, f func(part []byte) error) error {
	if t.hot && e.Meta.InRows() && to-from > maxHotPart {
		return ErrCold
	}
	return t.eachPart(e, from, to, to-from <= maxCached, f)
}

// eachPart is EachPart; with fill the pieces stay in the hot cache.
func (t *Txn) eachPart(e *Entry, from, to int64, fill bool, f func(part []byte) error) error {
	if from >= to {
		return nil
	}
	if v, whole := e.Meta.Whole(); whole {
		return f(v[from:to])
	}
	size := e.Meta.PieceSize()
	if to-from > maxCached {
		// Many rows that follow one another are found faster by going from one to the next.
		first := encoding.AppendPieceKey(nil, uint32(from/size))
		behind := encoding.AppendPieceKey(nil, uint32((to-1)/size+1))
		return eachPiece(&e.Meta, from, to, func(g func(k, v []byte) bool) error {
			return t.ScanOrdered(e, &e.Meta, first, behind, g)
		}, f)
	}
	for from < to {
		n, at := from/size, from%size
		end := min(size, at+to-from)
		part, err := t.readPiece(e.space, &e.Meta, n, int(at), int(end), fill)
		if err != nil {
			return err
		}
		if err := f(part); err != nil {
			return err
		}
		from += end - at
	}
	return nil
}

// pieceKey is the key of a piece's row; it lives until the arena is used again.
func (t *Txn) pieceKey(sp encoding.Space, m *encoding.Meta, n int64) ([]byte, uint64) {
	k := encoding.AppendPiece(t.mem.take(keyRowMax), sp, m.Birth, m.ID, uint32(n))
	return k, rowHash(k)
}

// readPiece reads the bytes [from, to) of a piece. The view lives until the next call.
func (t *Txn) readPiece(sp encoding.Space, m *encoding.Meta, n int64, from, to int, fill bool) ([]byte, error) {
	k, h := t.pieceKey(sp, m, n)
	v, _, err := t.findPiece(h, k, from, to, fill)
	if err != nil || len(v) == to-from {
		return v, err
	}
	// What a row does not have is zero.
	t.piece = append(t.piece[:0], v...)
	t.piece = append(t.piece, make([]byte, to-from-len(v))...)
	return t.piece, nil
}

// findPiece reads the bytes [from, to) of a row, as far as it has them; with fill it stays in the hot cache. The view
// lives until the next call.
func (t *Txn) findPiece(hash uint64, key []byte, from, to int, fill bool) (v []byte, present bool, err error) {
	if i := t.rows.find(hash, key); i >= 0 {
		r := &t.rows.rows[i]
		return within(r.val, from, to), !r.del, nil
	}
	if t.stop != nil && *t.stop != nil {
		return nil, false, *t.stop
	}
	if t.pin != nil {
		t.piece, present, err = t.pin.get(t.piece[:0], key)
		return within(t.piece, from, to), present, err
	}
	c := t.store.cache
	var known bool
	if t.piece, present, known = c.getPart(t.piece[:0], hash, key, from, to); known {
		return t.piece, present, nil
	}
	if t.store.filter.absent(hash) {
		return nil, false, nil
	}
	if t.piece, present, known = t.store.pending.find(t.piece[:0], hash, key); !known {
		if t.hot {
			return nil, false, ErrCold
		}
		if t.piece, present, err = t.store.engineGet(t.piece[:0], key); err != nil {
			return nil, false, err
		}
	}
	if fill {
		c.put(hash, key, t.piece, !present)
	}
	return within(t.piece, from, to), present, nil
}

// WriteString overwrites a string from a place on with part. The string begins empty if there is none, and grows, with
// zeros, as far as is needed. The deadline stays.
func (t *Txn) WriteString(e *Entry, at int64, part []byte) error {
	length := e.Meta.Length()
	size := max(length, at+int64(len(part)))
	_, whole := e.Meta.Whole()
	switch {
	case !e.Found:
		w := t.NewString(e, size)
		w.skip(at)
		if err := w.Append(part); err != nil {
			return err
		}
		return w.Save(0)
	case whole && size <= maxWhole:
		t.patchWhole(e, int(at), part)
		return nil
	case whole:
		return t.intoPieces(e, at, part, size)
	}
	if err := t.writePieces(e.space, &e.Meta, at, part, false); err != nil {
		return err
	}
	if size == length {
		t.touch(e)
		return nil
	}
	m := e.Meta
	m.Count = uint64(size)
	return t.Put(e, m)
}

// GrowString makes a string at least n bytes long, with zeros.
func (t *Txn) GrowString(e *Entry, n int64) error {
	if e.Meta.Length() >= n {
		return nil
	}
	return t.WriteString(e, n, nil)
}

// skip leaves n bytes zero.
func (w *StringWriter) skip(n int64) {
	if w.length <= maxWhole {
		w.whole = append(w.whole, make([]byte, n)...)
		return
	}
	size, next := w.meta.PieceSize(), w.at+n
	if next/size > w.at/size {
		w.put()
		n = next % size
	}
	w.piece = append(w.piece, noPiece[:n]...)
	w.at = next
}

// intoPieces is WriteString for a string that is whole and becomes too long for that.
func (t *Txn) intoPieces(e *Entry, at int64, part []byte, size int64) error {
	m := t.newPieced(e, size)
	m.Deadline = e.Meta.Deadline
	v, _ := e.Meta.Whole()
	if err := t.writePieces(e.space, &m, 0, v, true); err != nil {
		return err
	}
	if err := t.writePieces(e.space, &m, at, part, false); err != nil {
		return err
	}
	return t.Put(e, m)
}

// patchWhole changes a string that is whole and stays so.
func (t *Txn) patchWhole(e *Entry, at int, part []byte) {
	head := e.Meta.WholeAt()
	v, _ := e.Meta.Whole()
	i := t.rows.find(e.rowHash, e.row)
	need := head + max(len(v), at+len(part))
	if i < 0 || !t.rows.rows[i].own || cap(t.rows.rows[i].val) < need {
		buf := t.ownMemory(need, len(v) < at+len(part))
		m := e.Meta
		buf = encoding.AppendMeta(buf[:0], &m)
		t.write(row{hash: e.rowHash, key: e.row, val: buf, point: true, known: true, own: true})
		i = t.rows.find(e.rowHash, e.row)
	}
	t.patch(i, head+at, part)
	e.Meta = encoding.WholeString(t.rows.rows[i].val[head:], e.Meta.Deadline)
	t.touch(e)
}

// ownMemory is memory for a row that is changed in place: of n bytes and, for one that grows, room for more.
func (t *Txn) ownMemory(n int, grows bool) []byte {
	if grows {
		n += min(n, 1<<pieceBits) / 2
	}
	t.large += n
	b := t.mem.take(n)
	return t.mem.keep(b[:n])
}

// patch changes bytes of one of the transaction's own rows.
func (t *Txn) patch(i, at int, part []byte) {
	t.rows.patch(i, at, part, t.mem.copyOf(within(t.rows.rows[i].val, at, at+len(part))))
}

// writePieces overwrites bytes of a string in pieces, the metadata of which is the caller's to store. fresh: no rows
// are there yet.
func (t *Txn) writePieces(sp encoding.Space, m *encoding.Meta, at int64, part []byte, fresh bool) error {
	size := m.PieceSize()
	bulk := int64(len(part)) > maxCached
	for len(part) > 0 {
		n, from := at/size, at%size
		chunk := part[:min(int(size-from), len(part))]
		if err := t.writePiece(sp, m, n, int(from), chunk, fresh, bulk); err != nil {
			return err
		}
		at, part = at+int64(len(chunk)), part[len(chunk):]
	}
	return nil
}

// writePiece overwrites bytes of one piece.
func (t *Txn) writePiece(sp encoding.Space, m *encoding.Meta, n int64, from int, chunk []byte, fresh, bulk bool) error {
	k, h := t.pieceKey(sp, m, n)
	i := t.rows.find(h, k)
	if i >= 0 && t.rows.rows[i].own && cap(t.rows.rows[i].val) >= from+len(chunk) {
		t.patch(i, from, chunk)
		return nil
	}
	var old []byte
	present := false
	// A piece that is overwritten from its first byte to its last need not be read.
	if !fresh && (from > 0 || len(chunk) < int(m.PieceSize())) || i >= 0 {
		var err error
		if old, present, err = t.findPiece(h, k, 0, int(m.PieceSize()), false); err != nil {
			return err
		}
	} else if !fresh {
		present = true // perhaps
	}
	if !present {
		if chunk = bytes.TrimRight(chunk, "\x00"); len(chunk) == 0 {
			return nil
		}
	}
	k = t.mem.keep(k)
	need := max(len(old), from+len(chunk))
	buf := t.ownMemory(need, need > len(old) && need < int(m.PieceSize()) && !fresh)
	copied := copy(buf, old)
	clear(buf[copied:need])
	copy(buf[from:need], chunk)
	t.write(row{hash: h, key: k, val: buf[:need], point: true, bulk: bulk, own: true})
	return nil
}

// dropPieces deletes the rows of a string in pieces, of which there may be few.
func (t *Txn) dropPieces(sp encoding.Space, m *encoding.Meta) {
	for n := range m.Pieces() {
		k, h := t.pieceKey(sp, m, n)
		t.write(row{hash: h, key: t.mem.keep(k), del: true, point: true, bulk: true})
	}
}

// stringIn is a whole string as a view of the engine has it, but for the transaction's own changes.
func (t *Txn) stringIn(from storage.Reader, sp encoding.Space, m *encoding.Meta) ([]byte, error) {
	if v, whole := m.Whole(); whole {
		return v, nil
	}
	value := make([]byte, m.Length())
	for n := range m.Pieces() {
		k, h := t.pieceKey(sp, m, n)
		var v []byte
		if i := t.rows.find(h, k); i >= 0 {
			v = t.rows.rows[i].val
		} else {
			var err error
			if t.piece, _, err = from.Get(t.piece[:0], k); err != nil {
				return nil, err
			}
			v = t.piece
		}
		copy(value[n*m.PieceSize():], v)
	}
	return value, nil
}

// errPiece is what eachPiece meets in a damaged engine.
var errPiece = errors.New("a piece of a string that is none")

// noPiece stands for the pieces that have no row.
var noPiece [1 << pieceBits]byte

// AllZero reports that a part, handed out by EachPart, has no row and so nothing but zeros: a walk over a string that is
// nearly all zeros need not look at them. false says nothing.
func AllZero(part []byte) bool { return len(part) > 0 && &part[0] == &noPiece[0] }

// eachPiece hands out the bytes [from, to) of a string whose rows can be walked over, part by part in order; what has
// no row is zero.
func eachPiece(m *encoding.Meta, from, to int64, scan func(f func(sortKey, value []byte) (more bool)) error,
	f func(part []byte) error) error {
	size, at := m.PieceSize(), from
	zeros := noPiece[:min(size, to-from, int64(len(noPiece)))]
	fillTo := func(end int64) error {
		for at < end {
			n := min(end-at, int64(len(zeros)))
			if err := f(zeros[:n]); err != nil {
				return err
			}
			at += n
		}
		return nil
	}
	var bad error
	err := scan(func(sortKey, value []byte) bool {
		n, ok := encoding.ParsePiece(sortKey)
		begin := int64(n) * size
		end := begin + int64(len(value))
		if !ok || begin+size <= from || int64(len(value)) > size || end > m.Length() || begin < at && begin >= from {
			bad = errors.Join(errPiece, encoding.ErrCorrupt)
			return false
		}
		if bad = fillTo(min(begin, to)); bad == nil && at < min(end, to) {
			part := value[at-begin : min(end, to)-begin]
			at += int64(len(part))
			bad = f(part)
		}
		return bad == nil && at < to
	})
	if err = errors.Join(err, bad); err != nil {
		return err
	}
	return fillTo(to)
}

// ReadString fills dst with the bytes of a string from a place on; behind its end they are zero. It is for walks over
// the whole string: a long one passes the hot cache by.
func (t *Txn) ReadString(e *Entry, at int64, dst []byte) error {
	length := e.Meta.Length()
	to := min(at+int64(len(dst)), length)
	n := 0
	take := func(part []byte) error {
		n += copy(dst[n:], part)
		return nil
	}
	err := t.eachPart(e, at, to, length <= maxCached, take)
	clear(dst[n:])
	return err
}

// StringRows estimates the bytes of the rows of a string's pieces from a sample of them; it is 0 for one that is whole.
func (t *Txn) StringRows(e *Entry, samples int) (int64, error) {
	if _, whole := e.Meta.Whole(); whole || e.Meta.Pieces() == 0 {
		return 0, nil
	}
	pieces := e.Meta.Pieces()
	seen, size := min(pieces, int64(max(samples, 1))), int64(0)
	for i := range seen {
		k, h := t.pieceKey(e.space, &e.Meta, i*pieces/seen)
		head := len(k)
		v, present, err := t.findPiece(h, k, 0, int(e.Meta.PieceSize()), false)
		if err != nil {
			return 0, err
		}
		if present {
			size += int64(head + len(v))
		}
	}
	return size * pieces / seen, nil
}
