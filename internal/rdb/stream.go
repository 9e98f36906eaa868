package rdb

import (
	"encoding/binary"
	"errors"
	"iter"
	"math"
	"strconv"
)

// A stream's value: the number of nodes, each an ID and a listpack of up to some hundred entries; what Redis counts;
// the groups, each with all that is pending, then with its consumers and which of that is theirs.
const (
	TypeStream  = 15 // Redis 5
	TypeStream2 = 19 // Redis 7.0: what is counted, and how far groups have read. This is written.
	TypeStream3 = 21 // Redis 7.2: when consumers were active
)

// StreamID is an entry's ID.
type StreamID struct{ MS, Seq uint64 }

// StreamHead is what stands behind the entries. A payload of Redis 5 has the length and the last ID only.
type StreamHead struct {
	Length                  uint64
	Last, First, MaxDeleted StreamID
	Added                   uint64
}

// StreamGroup is a group; Read is -1 if it is not known.
type StreamGroup struct {
	Name []byte
	Last StreamID
	Read int64
}

// StreamConsumer is a consumer with the times at which it was seen and active, Unix milliseconds.
type StreamConsumer struct {
	Name         []byte
	Seen, Active int64
}

// StreamDelivery is a pending entry.
type StreamDelivery struct {
	ID    StreamID
	Time  int64
	Count uint64
}

// StreamVisitor takes a stream as it is read: entries, head, groups; behind a group its consumers, and behind each
// those pending entries that are its.
type StreamVisitor interface {
	Entry(id StreamID, fields [][]byte) error
	Head(h StreamHead) error
	Group(g StreamGroup) error
	Consumer(c StreamConsumer) error
	Delivery(d StreamDelivery) error
}

// Stream reads the value of a stream in one of its encodings. The views are valid as long as the input is, and during
// the call.
func (r *Reader) Stream(typ byte, v StreamVisitor) error {
	nodes, err := r.Length()
	if err != nil {
		return err
	}
	for ; nodes > 0; nodes-- {
		master, err := r.String()
		if err != nil {
			return err
		}
		packed, err := r.String()
		if err != nil {
			return err
		}
		if len(master) != streamIDLen {
			return ErrFormat
		}
		if err := readStreamNode(streamID(master), packed, v.Entry); err != nil {
			return err
		}
	}
	var h StreamHead
	if err := r.lengths(&h.Length, &h.Last.MS, &h.Last.Seq); err != nil {
		return err
	}
	if typ != TypeStream {
		err := r.lengths(&h.First.MS, &h.First.Seq, &h.MaxDeleted.MS, &h.MaxDeleted.Seq, &h.Added)
		if err != nil {
			return err
		}
	}
	if err := v.Head(h); err != nil {
		return err
	}
	groups, err := r.Length()
	for ; err == nil && groups > 0; groups-- {
		err = r.streamGroup(typ, v)
	}
	return err
}

const streamIDLen = 16

func streamID(b []byte) StreamID {
	return StreamID{binary.BigEndian.Uint64(b), binary.BigEndian.Uint64(b[8:])}
}

func appendStreamID(dst []byte, id StreamID) []byte {
	return binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(dst, id.MS), id.Seq)
}

func (r *Reader) lengths(values ...*uint64) (err error) {
	for _, v := range values {
		if *v, err = r.Length(); err != nil {
			return err
		}
	}
	return nil
}

func (r *Reader) rawStreamID() (StreamID, error) {
	b, err := r.take(streamIDLen)
	if err != nil {
		return StreamID{}, err
	}
	return streamID(b), nil
}

// millis reads a time.
func (r *Reader) millis() (int64, error) {
	b, err := r.take(8)
	if err != nil {
		return 0, err
	}
	return int64(binary.LittleEndian.Uint64(b)), nil
}

func (r *Reader) streamGroup(typ byte, v StreamVisitor) error {
	var g StreamGroup
	var err error
	if g.Name, err = r.String(); err != nil {
		return err
	}
	if err := r.lengths(&g.Last.MS, &g.Last.Seq); err != nil {
		return err
	}
	if typ != TypeStream {
		n, err := r.Length()
		if err != nil {
			return err
		}
		g.Read = int64(n)
	}
	pending, err := r.streamPending()
	if err != nil {
		return err
	}
	if err := v.Group(g); err != nil {
		return err
	}
	consumers, err := r.Length()
	if err != nil {
		return err
	}
	for ; consumers > 0; consumers-- {
		if err := r.streamConsumer(typ, pending, v); err != nil {
			return err
		}
	}
	if len(pending) > 0 { // pending, and nobody's
		return ErrFormat
	}
	return nil
}

func (r *Reader) streamPending() (map[StreamID]StreamDelivery, error) {
	n, err := r.Length()
	if err != nil {
		return nil, err
	}
	pending := map[StreamID]StreamDelivery{}
	for ; n > 0; n-- {
		var d StreamDelivery
		if d.ID, err = r.rawStreamID(); err != nil {
			return nil, err
		}
		if d.Time, err = r.millis(); err != nil {
			return nil, err
		}
		if d.Count, err = r.Length(); err != nil {
			return nil, err
		}
		if _, twice := pending[d.ID]; twice {
			return nil, ErrFormat
		}
		pending[d.ID] = d
	}
	return pending, nil
}

// streamConsumer reads a consumer and takes what is its from pending.
func (r *Reader) streamConsumer(typ byte, pending map[StreamID]StreamDelivery, v StreamVisitor) error {
	var c StreamConsumer
	var err error
	if c.Name, err = r.String(); err != nil {
		return err
	}
	if c.Seen, err = r.millis(); err != nil {
		return err
	}
	if c.Active = c.Seen; typ == TypeStream3 {
		if c.Active, err = r.millis(); err != nil {
			return err
		}
	}
	if err := v.Consumer(c); err != nil {
		return err
	}
	n, err := r.Length()
	if err != nil {
		return err
	}
	for ; n > 0; n-- {
		id, err := r.rawStreamID()
		if err != nil {
			return err
		}
		d, ok := pending[id]
		if !ok {
			return ErrFormat
		}
		delete(pending, id)
		if err := v.Delivery(d); err != nil {
			return err
		}
	}
	return nil
}

// Flags of an entry in a node.
const (
	streamDeleted    = 1
	streamSameFields = 2 // its fields are those of the node, and not repeated
)

var errStopped = errors.New("stopped")

// readStreamNode visits the entries of a node: how many there are, how many were deleted, the fields of the first
// entry with their number before and 0 behind them; then for each entry its flags, the difference of its ID to the
// node's, its fields and values or only these, and how many elements that were.
func readStreamNode(master StreamID, packed []byte, visit func(StreamID, [][]byte) error) error {
	var failed error
	next, stop := iter.Pull(func(yield func([]byte) bool) {
		failed = readListpack(packed, func(v []byte) error {
			if !yield(v) {
				return errStopped
			}
			return nil
		})
	})
	defer stop()
	n := streamNode{next: next, most: int64(len(packed)), ok: true}
	count, deleted := n.number(), n.number()
	fields := n.elements(n.number())
	if n.number() != 0 || !n.ok || count < 0 || deleted < 0 {
		return ErrFormat
	}
	for count > 0 || deleted > 0 {
		flags, id, values, ok := n.entry(master, fields)
		switch {
		case !ok:
			return ErrFormat
		case flags&streamDeleted != 0:
			deleted--
		default:
			if count--; count >= 0 {
				if err := visit(id, values); err != nil {
					return err
				}
			}
		}
		if count < 0 || deleted < 0 {
			return ErrFormat
		}
	}
	if _, more := next(); more || failed != nil {
		return ErrFormat
	}
	return nil
}

// streamNode reads elements of a node. Once ok is false, it stays so.
type streamNode struct {
	next func() ([]byte, bool)
	most int64 // more than the number of elements
	ok   bool
}

func (n *streamNode) element() []byte {
	b, ok := n.next()
	n.ok = n.ok && ok
	return b
}

func (n *streamNode) number() int64 {
	i, err := strconv.ParseInt(string(n.element()), 10, 64)
	n.ok = n.ok && err == nil
	return i
}

func (n *streamNode) elements(count int64) [][]byte {
	if !n.ok || count < 0 || count > n.most {
		n.ok = false
		return nil
	}
	var all [][]byte
	for ; count > 0 && n.ok; count-- {
		all = append(all, n.element())
	}
	return all
}

func (n *streamNode) entry(master StreamID, fields [][]byte) (flags int64, id StreamID, values [][]byte, ok bool) {
	flags = n.number()
	id = StreamID{master.MS + uint64(n.number()), master.Seq + uint64(n.number())}
	elements := int64(3)
	if flags&streamSameFields != 0 {
		for _, f := range fields {
			values = append(values, f, n.element())
		}
		elements += int64(len(fields))
	} else {
		count := n.number()
		if count > n.most {
			return 0, id, nil, false
		}
		values = n.elements(2 * count)
		elements += 1 + 2*count
	}
	return flags, id, values, n.number() == elements && n.ok && len(values) > 0
}

// StreamWriter makes the payload of a stream: entries in the order of their IDs, the head, then the groups.
type StreamWriter struct {
	nodes []byte
	n     uint64
	// The node that is being filled.
	master StreamID
	fields [][]byte
	packed []byte // its entries
	count  int64
	size   int // elements in packed
	out    []byte
}

// Bounds of a node, as Redis has them.
const (
	streamNodeEntries = 100
	streamNodeBytes   = 4096
)

// Entry adds an entry: fields and values in turn.
func (w *StreamWriter) Entry(id StreamID, fields [][]byte) {
	if w.count == streamNodeEntries || w.count > 0 && len(w.packed) > streamNodeBytes {
		w.flush()
	}
	if w.count == 0 {
		w.master, w.fields = id, w.fields[:0]
		for i := 0; i < len(fields); i += 2 {
			w.fields = append(w.fields, append([]byte(nil), fields[i]...))
		}
	}
	same := len(fields) == 2*len(w.fields)
	for i := 0; same && i < len(w.fields); i++ {
		same = string(fields[2*i]) == string(w.fields[i])
	}
	before := w.size
	if same {
		w.number(streamSameFields)
	} else {
		w.number(0)
	}
	w.number(int64(id.MS - w.master.MS))
	w.number(int64(id.Seq - w.master.Seq))
	if !same {
		w.number(int64(len(fields) / 2))
	}
	for i, f := range fields {
		if !same || i%2 == 1 {
			w.packed = appendListpackText(w.packed, f)
			w.size++
		}
	}
	w.number(int64(w.size - before))
	w.count++
}

func (w *StreamWriter) number(n int64) {
	w.packed = appendListpackNumber(w.packed, n)
	w.size++
}

// flush ends the node.
func (w *StreamWriter) flush() {
	if w.count == 0 {
		return
	}
	head := appendListpackNumber(nil, w.count)
	head = appendListpackNumber(head, 0)
	head = appendListpackNumber(head, int64(len(w.fields)))
	for _, f := range w.fields {
		head = appendListpackText(head, f)
	}
	head = appendListpackNumber(head, 0)
	w.nodes = AppendString(w.nodes, appendStreamID(nil, w.master))
	w.nodes = AppendString(w.nodes, sealListpack(w.size+4+len(w.fields), head, w.packed))
	w.n++
	w.count, w.size, w.packed = 0, 0, w.packed[:0]
}

// Head ends the entries.
func (w *StreamWriter) Head(h StreamHead, groups uint64) {
	w.flush()
	w.out = AppendLength([]byte{TypeStream2}, w.n)
	w.out = append(w.out, w.nodes...)
	w.nodes = nil
	w.lengths(h.Length, h.Last.MS, h.Last.Seq, h.First.MS, h.First.Seq, h.MaxDeleted.MS, h.MaxDeleted.Seq, h.Added,
		groups)
}

func (w *StreamWriter) lengths(values ...uint64) {
	for _, v := range values {
		w.out = AppendLength(w.out, v)
	}
}

// Group adds a group with so many pending entries, which must follow.
func (w *StreamWriter) Group(g StreamGroup, pending uint64) {
	w.out = AppendString(w.out, g.Name)
	w.lengths(g.Last.MS, g.Last.Seq, uint64(g.Read), pending)
}

// Pending adds an entry to the group's.
func (w *StreamWriter) Pending(d StreamDelivery) {
	w.out = binary.LittleEndian.AppendUint64(appendStreamID(w.out, d.ID), uint64(d.Time))
	w.lengths(d.Count)
}

// Consumers ends what the group has pending: so many consumers follow.
func (w *StreamWriter) Consumers(n uint64) { w.lengths(n) }

// Consumer adds a consumer with so many pending entries, whose IDs must follow.
func (w *StreamWriter) Consumer(c StreamConsumer, pending uint64) {
	w.out = binary.LittleEndian.AppendUint64(AppendString(w.out, c.Name), uint64(c.Seen))
	w.lengths(pending)
}

// Owned adds a pending entry to the consumer's.
func (w *StreamWriter) Owned(id StreamID) { w.out = appendStreamID(w.out, id) }

// Payload is type and value.
func (w *StreamWriter) Payload() []byte { return w.out }

// sealListpack makes a listpack of n encoded entries.
func sealListpack(n int, parts ...[]byte) []byte {
	size := 4 + 2 + 1
	for _, p := range parts {
		size += len(p)
	}
	b := binary.LittleEndian.AppendUint32(make([]byte, 0, size), uint32(size))
	b = binary.LittleEndian.AppendUint16(b, uint16(min(n, math.MaxUint16)))
	for _, p := range parts {
		b = append(b, p...)
	}
	return append(b, 0xff)
}

// appendListpackNumber appends a number in the shortest form.
func appendListpackNumber(dst []byte, n int64) []byte {
	at := len(dst)
	raw := binary.LittleEndian.AppendUint64(nil, uint64(n))
	switch {
	case n >= 0 && n < 1<<7:
		dst = append(dst, byte(n))
	case n >= -1<<12 && n < 1<<12:
		dst = append(dst, 0xc0|byte(n>>8)&0x1f, byte(n))
	case n >= math.MinInt16 && n <= math.MaxInt16:
		dst = append(append(dst, 0xf1), raw[:2]...)
	case n >= -1<<23 && n < 1<<23:
		dst = append(append(dst, 0xf2), raw[:3]...)
	case n >= math.MinInt32 && n <= math.MaxInt32:
		dst = append(append(dst, 0xf3), raw[:4]...)
	default:
		dst = append(append(dst, 0xf4), raw...)
	}
	return appendBackLength(dst, len(dst)-at)
}

// appendListpackText appends a string as it is.
func appendListpackText(dst, s []byte) []byte {
	at := len(dst)
	switch n := len(s); {
	case n < 1<<6:
		dst = append(dst, 0x80|byte(n))
	case n < 1<<12:
		dst = append(dst, 0xe0|byte(n>>8), byte(n))
	default:
		dst = binary.LittleEndian.AppendUint32(append(dst, 0xf0), uint32(n))
	}
	dst = append(dst, s...)
	return appendBackLength(dst, len(dst)-at)
}

// appendBackLength appends the size of an entry for walking back: 7 bits a byte, the highest first, and all but that
// one marked.
func appendBackLength(dst []byte, size int) []byte {
	n := backLength(size)
	for i := n - 1; i >= 0; i-- {
		b := byte(size>>(7*i)) & 0x7f
		if i < n-1 {
			b |= 0x80
		}
		dst = append(dst, b)
	}
	return dst
}
