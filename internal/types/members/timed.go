package members

import (
	"bytes"
	"fmt"

	"haypile/internal/encoding"
)

// Members of a hash may have deadlines. A deadline stands in the member's element; each has an ordered row, so that
// what is due is found without a search, and the metadata counts them and knows a time before which none is due:
// encoding.Timed. A member past its deadline does not exist for those who read; who may write and meets one removes
// it first, which the log has as HDEL.

// GetTimed reads the value of a member and its deadline, 0 for none.
func (m *Members) GetTimed(member []byte) (value []byte, deadline int64, found bool, err error) {
	if m.meta.Count == 0 {
		return nil, 0, false, nil
	}
	value, deadline, found, err = m.tx.GetTimed(&m.key, &m.meta, member)
	if deadline == 0 || !m.tx.Expired(deadline) {
		return value, deadline, found, err
	}
	if m.tx.Writable() {
		err = m.expire(member, deadline)
	}
	return nil, 0, false, err
}

// Meet removes those of the members (every step-th of the list) that are past their deadline. A command that changes several does
// so first, so that the log has their end before what the command does: replicas do the same in that order.
func (m *Members) Meet(members [][]byte, step int) error {
	if !m.mayBeDue() {
		return nil
	}
	for i := 0; i < len(members); i += step {
		if _, _, _, err := m.GetTimed(members[i]); err != nil {
			return err
		}
	}
	return nil
}

// SetTimed stores a member with a deadline, 0 for none; old is the one that it has, and added says that it is new.
func (m *Members) SetTimed(member, value []byte, added bool, old, deadline int64) {
	m.put(member, value, added, old, deadline)
}

// AddTimed is Add with a deadline, 0 for none.
func (m *Members) AddTimed(member, value []byte, deadline int64) {
	m.put(member, value, true, 0, deadline)
}

// Timed is the number of members with a deadline, past ones included.
func (m *Members) Timed() uint64 { return m.timed.Count }

// mayBeDue reports whether members may be past their deadline; if not, none is.
func (m *Members) mayBeDue() bool { return m.timed.Count > 0 && m.tx.Expired(m.timed.Next) }

// Live is the number of members that are not past their deadline. It walks over those that are.
func (m *Members) Live() (uint64, error) {
	if !m.mayBeDue() {
		return m.meta.Count, nil
	}
	due := uint64(0)
	err := m.scanTimed(0, func(deadline int64, _ []byte) bool {
		if !m.tx.Expired(deadline) {
			return false
		}
		due++
		return true
	})
	return m.meta.Count - due, err
}

// FirstDeadline is the earliest deadline later than a time, 0 if there is none.
func (m *Members) FirstDeadline(after int64) (first int64, err error) {
	if m.timed.Count == 0 {
		return 0, nil
	}
	err = m.scanTimed(after+1, func(deadline int64, _ []byte) bool {
		first = deadline
		return false
	})
	return first, err
}

// scanTimed visits the members with deadlines of from and later, the earliest first, until f says stop. Where the
// metadata knows that there is nothing it does not look.
func (m *Members) scanTimed(from int64, f func(deadline int64, member []byte) (more bool)) error {
	first := encoding.AppendTimedKey(nil, m.timed.Next, m.timed.After)
	if from > m.timed.Next {
		first = encoding.AppendTimedKey(nil, from, nil)
	}
	var bad error
	err := m.tx.ScanOrdered(&m.key, &m.meta, first, nil, func(sortKey, _ []byte) bool {
		deadline, member, ok := encoding.ParseTimedKey(sortKey)
		if !ok {
			bad = fmt.Errorf("deadline of a field %x: %w", sortKey, encoding.ErrCorrupt)
			return false
		}
		return f(deadline, member)
	})
	if err == nil {
		err = bad
	}
	return err
}

// retime moves the ordered row of a member from one deadline to another, 0 for none.
func (m *Members) retime(member []byte, old, deadline int64) {
	if old != 0 {
		m.tx.RemoveIndex(&m.key, &m.meta, encoding.AppendTimedKey(nil, old, member))
		m.timed.Count--
	}
	if deadline != 0 {
		m.tx.PutIndex(&m.key, &m.meta, encoding.AppendTimedKey(nil, deadline, member), nil)
		t := &m.timed
		if t.Count++; t.Count == 1 || deadline < t.Next || deadline == t.Next && bytes.Compare(member, t.After) < 0 {
			t.Next, t.After = deadline, nil
		}
	}
}

// encodeTimed puts what is known of deadlines into the metadata of a hash.
func (m *Members) encodeTimed() {
	switch {
	case m.timed.Count > 0:
		m.meta.Extra = encoding.AppendTimed(nil, m.timed)
	case m.typ == encoding.Hash:
		m.meta.Extra = nil
	}
}

// expire removes a member that is past its deadline.
func (m *Members) expire(member []byte, deadline int64) error {
	// What the command has done before is its own doing; see Meet.
	if err := m.Save(); err != nil {
		return err
	}
	m.remove(member, deadline)
	return m.tx.ExpireFields(&m.key, [][]byte{member}, m.Save)
}

// maxAfter bounds what the metadata holds of a member's name.
const maxAfter = 64

// ExpireDue removes members that are past their deadline, the earliest first: up to limit of them, and no more than
// one behind the first maxBytes bytes. It returns how many it removed.
func (m *Members) ExpireDue(limit, maxBytes int) (removed int, err error) {
	if !m.mayBeDue() {
		return 0, nil
	}
	var due [][]byte
	var deadlines []int64
	size := 0
	var next encoding.Timed
	err = m.scanTimed(0, func(deadline int64, member []byte) bool {
		if !m.tx.Expired(deadline) || len(due) == limit || size >= maxBytes {
			next.Next, next.After = deadline, bytes.Clone(member[:min(len(member), maxAfter)])
			return false
		}
		due, deadlines = append(due, bytes.Clone(member)), append(deadlines, deadline)
		size += len(member)
		return true
	})
	if err != nil {
		return 0, err
	}
	for i, member := range due {
		m.remove(member, deadlines[i])
	}
	if m.timed.Count > 0 && next.Next == 0 {
		return 0, fmt.Errorf("%d deadlines of fields are missing: %w", m.timed.Count, encoding.ErrCorrupt)
	}
	m.timed.Next, m.timed.After = next.Next, next.After
	if len(due) == 0 {
		m.encodeTimed()
		return 0, m.tx.PutUnseen(&m.key, m.meta)
	}
	return len(due), m.tx.ExpireFields(&m.key, due, m.Save)
}
