package keyspace

import (
	"strings"
	"testing"
)

// FrameFrom frames what came since the mark, and nothing before it; not a single command, not deletions of keys past
// their deadline, and not what is too large.
func TestFrameFrom(t *testing.T) {
	_, _, s := newStore(t, 1<<20)
	commit(t, s, func(tx *Txn) error {
		e, err := tx.Lookup([]byte("old"))
		if err != nil {
			return err
		}
		return tx.PutString(&e, []byte("v"), 1)
	})
	defer func(n int) { maxFramed = n }(maxFramed)
	frame := func(most int, before, since []string, expire bool) string {
		maxFramed = most
		tx := s.NewTxn()
		defer tx.Done()
		tx.Begin(ModeWrite, 0, 1000)
		for _, w := range before {
			tx.EffectStrings(w)
		}
		m := tx.Mark()
		if expire {
			if _, err := tx.Lookup([]byte("old")); err != nil {
				t.Fatal(err)
			}
		}
		for _, w := range since {
			tx.EffectStrings(w)
		}
		tx.FrameFrom(&m)
		var words []string
		tx.Effects(func(_ int, stream []byte) {
			for _, line := range strings.Split(string(stream), "\r\n") {
				if line != "" && line[0] != '*' && line[0] != '$' {
					words = append(words, line)
				}
			}
		})
		return strings.Join(words, " ")
	}
	for _, c := range []struct {
		most          int
		before, since []string
		expire        bool
		want          string
	}{
		{1 << 20, []string{"A"}, []string{"B"}, false, "A B"},
		{1 << 20, []string{"A"}, []string{"B", "C"}, false, "A MULTI B C EXEC"},
		{1 << 20, nil, []string{"B", "C"}, false, "MULTI B C EXEC"},
		{1 << 20, []string{"A"}, nil, false, "A"},
		{1 << 20, nil, []string{"B"}, true, "DEL old B"},
		{1 << 20, nil, []string{"B", "C"}, true, "MULTI DEL old B C EXEC"},
		{10, nil, []string{"B", "C"}, false, "B C"},
	} {
		if got := frame(c.most, c.before, c.since, c.expire); got != c.want {
			t.Errorf("%v and %v: %q, want %q", c.before, c.since, got, c.want)
		}
	}
}
