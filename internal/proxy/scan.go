package proxy

import (
	"strconv"

	"haypile/internal/command"
	"haypile/internal/resp"
	"haypile/internal/slot"
)

// A node's cursor holds the slot above the hash of the key (48 bits), so that a cursor says by itself which
// shard goes on, also when the client comes back to another proxy or slots have moved since.
const cursorSlotShift = 48

// scan sends SCAN to the shard that the cursor points into. When that is through with the contiguous slots
// it has there, the cursor for the client is set to the next slot that somebody owns.
func (s *session) scan(rt *routes, spec *command.Spec, args [][]byte) error {
	cursor, err := strconv.ParseUint(string(args[1]), 10, 64)
	at := cursor >> cursorSlotShift
	if err != nil || at >= slot.Count {
		s.addOne(spec, rt.shards[0], args) // the node says what is wrong
		return nil
	}
	first := rt.nextOwned(int(at))
	if first == none {
		return errUnowned
	}
	if first != int(at) {
		cursor = uint64(first) << cursorSlotShift
	}
	owner := rt.owner[first]
	last := first
	for last+1 < slot.Count && rt.owner[last+1] == owner {
		last++
	}
	after := uint64(0)
	if n := rt.nextOwned(last + 1); n != none {
		after = uint64(n) << cursorSlotShift
	}
	call := append([][]byte(nil), args...)
	call[1] = strconv.AppendUint(nil, cursor, 10)
	r := s.newRequest(spec)
	s.route(r, rt.shards[owner], call)
	r.size = len(r.raw)
	r.fix = func(reply []byte) []byte { return fixCursor(reply, uint64(last), after) }
	s.add(r)
	return nil
}

// nextOwned is the first slot from at on that somebody owns.
func (rt *routes) nextOwned(at int) int {
	for ; at < slot.Count; at++ {
		if rt.owner[at] != none {
			return at
		}
	}
	return none
}

// fixCursor replaces the cursor of a reply if it is the end, or points past slot last, by after.
func fixCursor(reply []byte, last, after uint64) []byte {
	list, ok := elements(reply)
	if !ok || len(list) != 2 {
		return reply
	}
	next, err := strconv.ParseUint(string(bulkText(list[0])), 10, 64)
	if err != nil || next != 0 && next>>cursorSlotShift <= last {
		return reply
	}
	out := resp.AppendArray(make([]byte, 0, len(reply)+32), 2)
	out = resp.AppendBulkString(out, strconv.FormatUint(after, 10))
	return append(out, list[1]...)
}

// bulkText is the content of a bulk string reply.
func bulkText(raw []byte) []byte {
	for i, c := range raw {
		if c == '\n' && len(raw) >= i+3 {
			return raw[i+1 : len(raw)-2]
		}
	}
	return nil
}
