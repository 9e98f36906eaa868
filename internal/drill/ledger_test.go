package drill

import (
	"errors"
	"strings"
	"testing"

	"haypile/internal/resp"
)

// reply executes a command on a store and decodes the answer.
func reply(s store, cmd []any) resp.Value {
	w := &resp.Writer{Proto: 2}
	args := make([]string, len(cmd))
	for i, a := range cmd {
		args[i] = a.(string)
	}
	s.do(w, args)
	v, err := resp.NewReplyReader(strings.NewReader(string(w.Buf))).ReadValue()
	if err != nil {
		panic(err)
	}
	return v
}

// write does n writes, all acknowledged.
func write(l *Ledger, s store, n int) {
	for range n {
		cmd := l.Command()
		l.Reply(reply(s, cmd), nil)
	}
}

// read judges a store.
func read(l *Ledger, s store) Verdict {
	var v Verdict
	for next := 0; ; {
		readings := l.Readings(&next, 3)
		if len(readings) == 0 {
			return v
		}
		for _, r := range readings {
			r.judge(&v, reply(s, r.Command))
		}
	}
}

var errBroken = errors.New("connection reset")

func refusal(text string) resp.Value { return resp.Value{Kind: resp.KindError, Str: []byte(text)} }

func TestLedger(t *testing.T) {
	// each does one write of each kind, of which clients hear v or err.
	each := func(l *Ledger, s store, execute bool, v resp.Value, err error) {
		for range int(kinds) {
			cmd := l.Command()
			if execute {
				reply(s, cmd)
			}
			l.Reply(v, err)
		}
	}
	tests := []struct {
		name string
		do   func(l *Ledger, s store)
		want Verdict
	}{
		{"all is well", func(l *Ledger, s store) { write(l, s, 21) }, Verdict{Acked: 21}},
		{"nothing written", func(*Ledger, store) {}, Verdict{}},
		{"unknown and not executed", func(l *Ledger, s store) {
			write(l, s, 8)
			each(l, s, false, resp.Value{}, errBroken)
			write(l, s, 8)
		}, Verdict{Acked: 16, Unknown: 4}},
		{"unknown and executed", func(l *Ledger, s store) {
			write(l, s, 8)
			each(l, s, true, resp.Value{}, errBroken)
		}, Verdict{Acked: 8, Unknown: 4, Surplus: 4}},
		{"unknown by an error reply", func(l *Ledger, s store) {
			each(l, s, true, refusal(resp.NotConfirmed(0, 1)), nil)
			each(l, s, true, refusal(resp.ErrOutcomeUnknown), nil)
		}, Verdict{Unknown: 8, Surplus: 7}}, // of two values of the register one is there
		{"refused", func(l *Ledger, s store) {
			write(l, s, 4)
			each(l, s, false, refusal(resp.ErrReadOnly), nil)
			each(l, s, false, refusal(resp.ErrSwitching), nil)
			each(l, s, false, refusal(resp.ErrNoReplicas), nil)
			write(l, s, 4)
		}, Verdict{Acked: 8, Refused: 12}},
		{"refused and executed", func(l *Ledger, s store) {
			each(l, s, true, refusal(resp.ErrReadOnly), nil)
		}, Verdict{Refused: 4, Phantom: 3, Duplicated: 1}},
		{"a key is lost", func(l *Ledger, s store) {
			write(l, s, 12)
			delete(s, l.key(4))
		}, Verdict{Acked: 12, Lost: 1}},
		{"a field is lost", func(l *Ledger, s store) {
			write(l, s, 12)
			delete(s, l.hash()+"\x00"+"5")
		}, Verdict{Acked: 12, Lost: 1}},
		{"increments are lost", func(l *Ledger, s store) {
			write(l, s, 40)
			s[l.counterKey()] = "7"
		}, Verdict{Acked: 40, Lost: 3}},
		{"the counter is lost", func(l *Ledger, s store) {
			write(l, s, 40)
			delete(s, l.counterKey())
		}, Verdict{Acked: 40, Lost: 10}},
		{"increments were lost in between, and the number is right again by others", func(l *Ledger, s store) {
			write(l, s, 8) // two increments
			s[l.counterKey()] = "0"
			write(l, s, 8)                            // two more: 1, 2
			each(l, s, true, resp.Value{}, errBroken) // 3
			each(l, s, true, resp.Value{}, errBroken) // 4: as many as were acknowledged
		}, Verdict{Acked: 16, Unknown: 8, Surplus: 5, Lost: 2}},
		{"an increment was executed twice", func(l *Ledger, s store) {
			write(l, s, 8)
			reply(s, []any{"INCR", l.counterKey()})
			write(l, s, 8)
		}, Verdict{Acked: 16, Duplicated: 1}},
		{"an increment was executed twice at the end", func(l *Ledger, s store) {
			write(l, s, 8)
			reply(s, []any{"INCR", l.counterKey()})
		}, Verdict{Acked: 8, Duplicated: 1}},
		{"executed twice, and lost again", func(l *Ledger, s store) {
			write(l, s, 7) // one increment; the next is the eighth write's predecessor
			reply(s, []any{"INCR", l.counterKey()})
			write(l, s, 4) // replies 3 where 2 is possible
			s[l.counterKey()] = "3"
		}, Verdict{Acked: 11, Duplicated: 1}},
		{"a field was written twice", func(l *Ledger, s store) {
			write(l, s, 5)
			reply(s, l.Command()) // somebody sends it again
			write(l, s, 3)
		}, Verdict{Acked: 8, Duplicated: 1}},
		{"an overwrite was undone", func(l *Ledger, s store) {
			write(l, s, 16) // the register was 3, 7, 11, 15
			s[l.register()] = "7"
		}, Verdict{Acked: 16, Lost: 2}},
		{"the register is lost", func(l *Ledger, s store) {
			write(l, s, 16)
			delete(s, l.register())
		}, Verdict{Acked: 16, Lost: 1}},
		{"an overwrite with unknown outcome came late", func(l *Ledger, s store) {
			each(l, s, false, resp.Value{}, errBroken)
			write(l, s, 8)
			s[l.register()] = "3"
		}, Verdict{Acked: 8, Unknown: 4, Surplus: 1}},
		{"the register holds what was refused", func(l *Ledger, s store) {
			each(l, s, false, refusal(resp.ErrLoading), nil)
			write(l, s, 8)
			s[l.register()] = "3"
		}, Verdict{Acked: 8, Refused: 4, Phantom: 1}},
		{"values are mixed up", func(l *Ledger, s store) {
			write(l, s, 12)
			s[l.key(0)], s[l.hash()+"\x005"] = s[l.key(4)], "x"
			s[l.counterKey()], s[l.register()] = "many", "4"
		}, Verdict{Acked: 12, Wrong: 4}},
		{"a strange reply acknowledges nothing", func(l *Ledger, s store) {
			each(l, s, false, resp.Value{Kind: resp.KindBulk, Str: []byte("OK")}, nil)
			each(l, s, false, resp.Value{}, nil)
		}, Verdict{Unknown: 8}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			l, s := &Ledger{Prefix: "p:1"}, store{}
			tt.do(l, s)
			got := read(l, s)
			faults := got.Lost + got.Wrong + got.Duplicated + got.Phantom
			if (faults > 0) != (len(got.Faults()) > 0) || (faults > 0) != (len(got.Examples) > 0) {
				t.Errorf("faults %q, examples %q", got.Faults(), got.Examples)
			}
			examples := got.Examples
			got.Examples = nil
			if got.Acked != tt.want.Acked || !equalVerdicts(got, tt.want) {
				t.Errorf("verdict %+v\n   want %+v\n%s", got, tt.want, strings.Join(examples, "\n"))
			}
		})
	}
}

func equalVerdicts(a, b Verdict) bool {
	a.Examples, b.Examples = nil, nil
	type plain struct{ a, u, r, l, w, d, p, s int64 }
	of := func(v Verdict) plain {
		return plain{v.Acked, v.Unknown, v.Refused, v.Lost, v.Wrong, v.Duplicated, v.Phantom, v.Surplus}
	}
	return of(a) == of(b)
}

// TestLedgerFindsEachLoss removes each acknowledged key and field in turn.
func TestLedgerFindsEachLoss(t *testing.T) {
	l, s := &Ledger{Prefix: "p:1"}, store{}
	write(l, s, 40)
	if v := read(l, s); len(v.Faults()) > 0 {
		t.Fatalf("faults before anything was removed: %v", v.Faults())
	}
	for key, value := range s {
		delete(s, key)
		if v := read(l, s); v.Lost == 0 {
			t.Errorf("without %q: %+v", key, v)
		}
		s[key] = value
	}
}

func TestKeysNameEverything(t *testing.T) {
	l, s := &Ledger{Prefix: "p:1"}, store{}
	write(l, s, 41)
	for next := 0; ; {
		keys := l.Keys(&next, 4)
		if len(keys) == 0 {
			break
		}
		for _, k := range keys {
			reply(s, []any{"UNLINK", k})
		}
	}
	if len(s) > 0 {
		t.Errorf("left over: %v", s)
	}
}

func TestVerdictAdd(t *testing.T) {
	a := Verdict{1, 2, 3, 4, 5, 6, 7, 8, []string{"x"}}
	a.Add(Verdict{10, 20, 30, 40, 50, 60, 70, 80, make([]string, maxExamples)})
	if !equalVerdicts(a, Verdict{Acked: 11, Unknown: 22, Refused: 33, Lost: 44, Wrong: 55, Duplicated: 66, Phantom: 77,
		Surplus: 88}) || len(a.Examples) != maxExamples || a.Examples[0] != "x" {
		t.Errorf("%+v", a)
	}
}
