package proxy

import (
	"bytes"
	"strconv"

	"haypile/internal/command"
	"haypile/internal/resp"
	"haypile/internal/slot"
)

// part is what one shard gets of a command that was split.
type part struct {
	shard int
	args  [][]byte
	// order holds, for each key of the part, its index among the keys of the whole command.
	order []int
}

// split divides a call by the shards of its keys. Each key takes the arguments up to the next one with it
// (MSET: its value). It reports false if the call need not or cannot be split: all keys on one shard, or
// arguments that do not fit the description, which a node then refuses in its own words.
func (rt *routes) split(spec *command.Spec, args [][]byte) ([]part, bool, error) {
	if len(spec.Keys) != 1 || spec.KeysFunc != nil {
		return nil, false, nil
	}
	k := spec.Keys[0]
	first, last, step := k.First, k.Last, max(k.Step, 1)
	switch k.Find {
	case command.FindRange:
		if last >= 0 { // a fixed number of keys cannot be fewer
			return nil, false, nil
		}
		last += len(args)
	case command.FindCounted:
		if k.First >= len(args) {
			return nil, false, nil
		}
		n, err := strconv.Atoi(string(args[k.First]))
		if err != nil || n < 1 || n > len(args)-k.First-1 {
			return nil, false, nil
		}
		first, last, step = k.First+1, k.First+n, 1
	default:
		return nil, false, nil
	}
	if last < first || (last+1-first)%step != 0 {
		return nil, false, nil
	}
	var parts []part
	at := map[int]int{} // shard -> index into parts
	n := 0
	for p := first; p <= last; p += step {
		owner := int(rt.owner[slot.Of(args[p])])
		if owner == none {
			return nil, false, errUnowned
		}
		i, ok := at[owner]
		if !ok {
			i = len(parts)
			at[owner] = i
			parts = append(parts, part{shard: owner, args: append([][]byte(nil), args[:first]...)})
		}
		parts[i].args = append(parts[i].args, args[p:p+step]...)
		parts[i].order = append(parts[i].order, n)
		n++
	}
	if len(parts) < 2 {
		return nil, false, nil
	}
	for i := range parts {
		if k.Find == command.FindCounted {
			parts[i].args[k.First] = strconv.AppendInt(nil, int64(len(parts[i].order)), 10)
		}
		parts[i].args = append(parts[i].args, args[last+1:]...)
	}
	return parts, true, nil
}

// merge makes one reply of those of the parts, all in the same protocol version. total is the number of
// keys of the whole command, orders the key order of each part (nil if the command was not split by key).
func merge(policy command.Merge, replies [][]byte, orders [][]int, total int) []byte {
	if policy != command.MergeOneSucceeded {
		for _, r := range replies {
			if isError(r) {
				return r
			}
		}
	}
	switch policy {
	case command.MergeKeyOrder:
		return mergeKeyOrder(replies, orders, total)
	case command.MergeSum:
		var sum int64
		return mergeInts(replies, func(n int64) { sum += n }, &sum)
	case command.MergeMin:
		if replies[0][0] == '*' {
			return mergeMinEach(replies)
		}
		first, least := true, int64(0)
		return mergeInts(replies, func(n int64) {
			if first || n < least {
				first, least = false, n
			}
		}, &least)
	case command.MergeLogicalAnd:
		return mergeAnd(replies)
	case command.MergeConcat:
		return mergeConcat(replies)
	case command.MergeOneSucceeded:
		for _, r := range replies {
			if !isError(r) {
				return r
			}
		}
	case command.MergeFirstNonNull:
		for _, r := range replies {
			if !isNull(r) {
				return r
			}
		}
	}
	return replies[0]
}

const unmergeable = "-ERR the shards' replies do not fit together\r\n"

func mergeInts(replies [][]byte, add func(int64), result *int64) []byte {
	for _, r := range replies {
		n, ok := intReply(r)
		if !ok {
			return []byte(unmergeable)
		}
		add(n)
	}
	return append(strconv.AppendInt([]byte{':'}, *result, 10), '\r', '\n')
}

// mergeMinEach makes one array of several, of the smallest integer at each place.
func mergeMinEach(replies [][]byte) []byte {
	var least []int64
	for i, r := range replies {
		list, ok := elements(r)
		if !ok || i > 0 && len(list) != len(least) {
			return []byte(unmergeable)
		}
		for j, e := range list {
			n, ok := intReply(e)
			switch {
			case !ok:
				return []byte(unmergeable)
			case i == 0:
				least = append(least, n)
			default:
				least[j] = min(least[j], n)
			}
		}
	}
	w := resp.Writer{}
	w.Array(len(least))
	for _, n := range least {
		w.Int(n)
	}
	return w.Buf
}

func mergeKeyOrder(replies [][]byte, orders [][]int, total int) []byte {
	elems := make([][]byte, total)
	size := 0
	for i, r := range replies {
		list, ok := elements(r)
		if !ok || i >= len(orders) || len(list) != len(orders[i]) {
			return []byte(unmergeable)
		}
		for j, e := range list {
			elems[orders[i][j]] = e
			size += len(e)
		}
	}
	out := resp.AppendArray(make([]byte, 0, size+16), total)
	for _, e := range elems {
		out = append(out, e...)
	}
	return out
}

func mergeConcat(replies [][]byte) []byte {
	count := 0
	var bodies [][]byte
	for _, r := range replies {
		n, at, ok := header(r)
		if !ok || r[0] != replies[0][0] {
			return []byte(unmergeable)
		}
		count += n
		bodies = append(bodies, r[at:])
	}
	out := append(strconv.AppendInt([]byte{replies[0][0]}, int64(count), 10), '\r', '\n')
	for _, b := range bodies {
		out = append(out, b...)
	}
	return out
}

func mergeAnd(replies [][]byte) []byte {
	var all []bool
	for i, r := range replies {
		list, ok := elements(r)
		if !ok || i > 0 && len(list) != len(all) {
			return []byte(unmergeable)
		}
		if i == 0 {
			all = make([]bool, len(list))
			for j := range all {
				all[j] = true
			}
		}
		for j, e := range list {
			n, ok := intReply(e)
			if !ok {
				return []byte(unmergeable)
			}
			all[j] = all[j] && n != 0
		}
	}
	out := resp.AppendArray(nil, len(all))
	for _, v := range all {
		if v {
			out = append(out, ":1\r\n"...)
		} else {
			out = append(out, ":0\r\n"...)
		}
	}
	return out
}

func isError(r []byte) bool { return len(r) > 0 && (r[0] == '-' || r[0] == '!') }

func isNull(r []byte) bool {
	return len(r) > 0 && r[0] == '_' || string(r) == "$-1\r\n" || string(r) == "*-1\r\n"
}

func intReply(r []byte) (int64, bool) {
	if len(r) < 4 || r[0] != ':' {
		return 0, false
	}
	return resp.ParseInt(r[1 : len(r)-2])
}

// header reads the first line of an aggregate: its length and where its elements begin.
func header(r []byte) (n, at int, ok bool) {
	if len(r) == 0 || r[0] != '*' && r[0] != '~' && r[0] != '>' && r[0] != '%' {
		return 0, 0, false
	}
	eol := bytes.IndexByte(r, '\n')
	if eol < 2 {
		return 0, 0, false
	}
	v, ok := resp.ParseInt(r[1 : eol-1])
	if !ok || v < 0 {
		return 0, 0, false
	}
	return int(v), eol + 1, true
}

// elements cuts an array or set reply into its elements, as raw replies.
func elements(r []byte) ([][]byte, bool) {
	n, at, ok := header(r)
	if !ok || n > len(r) { // an element takes more than one byte
		return nil, false
	}
	list := make([][]byte, 0, n)
	for range n {
		size := replySize(r[at:])
		if size <= 0 {
			return nil, false
		}
		list = append(list, r[at:at+size])
		at += size
	}
	return list, at == len(r)
}

// replySize is the length of the reply that b begins with, 0 if b does not hold a whole one.
func replySize(b []byte) int {
	at := 0
	for open := int64(1); open > 0; open-- {
		eol := bytes.IndexByte(b[at:], '\n')
		if eol < 2 {
			return 0
		}
		line := b[at : at+eol-1]
		at += eol + 1
		switch line[0] {
		case '$', '!', '=', '*', '~', '>', '%', '|':
		default:
			continue
		}
		n, ok := resp.ParseInt(line[1:])
		if !ok || n < 0 || n > int64(len(b)) {
			if n == -1 {
				continue
			}
			return 0
		}
		switch line[0] {
		case '$', '!', '=':
			if at += int(n) + 2; at > len(b) {
				return 0
			}
		case '%':
			open += 2 * n
		case '|':
			open += 2*n + 1
		default:
			open += n
		}
	}
	return at
}
