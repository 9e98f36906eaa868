package exec

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
)

// isListCommand tells the commands of list from all others in the model.
func isListCommand(name string) bool {
	return strings.HasPrefix(name, "L") || strings.HasPrefix(name, "R")
}

// listLine is a random command of a list. Some of them leave a list of hundreds, in which ranges and changes in the
// middle take other ways than near an end.
func listLine(r *rand.Rand, k, v func() string) string {
	end := func() string { return []string{"L", "R"}[r.IntN(2)] }
	index := func() int { return r.IntN(400) - 200 }
	switch r.IntN(16) {
	case 0, 1, 2:
		return end() + "PUSH " + k() + " " + v()
	case 3:
		line := end() + "PUSH " + k()
		for i := range 1 + r.IntN(120) {
			line += fmt.Sprint(" ", v(), i)
		}
		return line
	case 4:
		return end() + "PUSHX " + k() + " " + v()
	case 5, 6:
		return end() + "POP " + k()
	case 7:
		return fmt.Sprint(end(), "POP ", k(), " ", r.IntN(100))
	case 8:
		return "LLEN " + k()
	case 9:
		return fmt.Sprint("LINDEX ", k(), " ", index())
	case 10:
		return fmt.Sprint("LSET ", k(), " ", index(), " ", v())
	case 11, 12:
		return fmt.Sprint("LRANGE ", k(), " ", index(), " ", index())
	case 13:
		return fmt.Sprint("LTRIM ", k(), " ", r.IntN(50), " ", -1-r.IntN(50))
	case 14:
		return fmt.Sprint("LINSERT ", k(), []string{" BEFORE ", " AFTER "}[r.IntN(2)], v(), r.IntN(100), " x")
	default:
		return fmt.Sprint("LREM ", k(), " ", r.IntN(5)-2, " ", v(), r.IntN(100))
	}
}

// list are the commands of lists.
func (m *model) list(w []string) string {
	keys := m.dbs[m.db]
	v := keys[w[1]]
	if v != nil && v.list == nil {
		return wrongType
	}
	var elements []string
	if v != nil {
		elements = v.list
	}
	reply, now := listCommand(w, elements)
	switch {
	case len(now) == 0:
		delete(keys, w[1])
	case v == nil:
		keys[w[1]] = &modelValue{list: now}
	default:
		v.list = now
	}
	return reply
}

// listCommand executes one on the elements of a list, which are never changed in place.
func listCommand(w, old []string) (reply string, now []string) {
	n := len(old)
	number := func(i int) int {
		at, _ := strconv.Atoi(w[i])
		return at
	}
	index := func(i int) (at int, ok bool) {
		if at = number(i); at < 0 {
			at += n
		}
		return at, at >= 0 && at < n
	}
	bounds := func() (from, to int) {
		from, _ = index(2)
		to, _ = index(3)
		from, to = max(0, from), min(n, to+1)
		return from, max(from, to)
	}
	switch name := w[0]; name {
	case "LPUSHX", "RPUSHX", "LPUSH", "RPUSH":
		if strings.HasSuffix(name, "X") && n == 0 {
			return "0", old
		}
		more := slices.Clone(w[2:])
		if name[0] == 'R' {
			now = slices.Concat(old, more)
		} else {
			slices.Reverse(more)
			now = slices.Concat(more, old)
		}
		return strconv.Itoa(len(now)), now
	case "LPOP", "RPOP":
		return listPop(w, old)
	case "LLEN":
		return strconv.Itoa(n), old
	case "LINDEX":
		if at, ok := index(2); ok {
			return old[at], old
		}
		return "nil", old
	case "LSET":
		at, ok := index(2)
		switch {
		case n == 0:
			return "-ERR no such key", old
		case !ok:
			return "-ERR index out of range", old
		}
		now = slices.Clone(old)
		now[at] = w[3]
		return "OK", now
	case "LRANGE":
		from, to := bounds()
		if from >= n {
			return "[]", old
		}
		return "[" + strings.Join(old[from:to], " ") + "]", old
	case "LTRIM":
		from, to := bounds()
		if from >= n {
			return "OK", nil
		}
		return "OK", slices.Clone(old[from:to])
	case "LINSERT":
		at := slices.Index(old, w[3])
		switch {
		case n == 0:
			return "0", old
		case at < 0:
			return "-1", old
		case w[2] == "AFTER":
			at++
		}
		now = slices.Insert(slices.Clone(old), at, w[4])
		return strconv.Itoa(len(now)), now
	case "LREM":
		return listRemove(number(2), w[3], old)
	}
	panic("no model of " + w[0])
}

func listPop(w, old []string) (reply string, now []string) {
	counted, k := len(w) > 2, 1
	if counted {
		k, _ = strconv.Atoi(w[2])
	}
	if len(old) == 0 {
		return "nil", old
	}
	k = min(k, len(old))
	var popped []string
	if w[0] == "LPOP" {
		popped, now = old[:k], slices.Clone(old[k:])
	} else {
		popped, now = slices.Clone(old[len(old)-k:]), slices.Clone(old[:len(old)-k])
		slices.Reverse(popped)
	}
	if counted {
		return "[" + strings.Join(popped, " ") + "]", now
	}
	return popped[0], now
}

func listRemove(count int, element string, old []string) (reply string, now []string) {
	now = slices.Clone(old)
	most := max(count, -count)
	if count < 0 {
		slices.Reverse(now)
	}
	removed := 0
	now = slices.DeleteFunc(now, func(e string) bool {
		if e != element || most > 0 && removed == most {
			return false
		}
		removed++
		return true
	})
	if count < 0 {
		slices.Reverse(now)
	}
	return strconv.Itoa(removed), now
}
