package drill

import (
	"fmt"
	"strconv"
	"strings"

	"haypile/internal/resp"
)

// Kind is what a write of the load does. They take turns.
type Kind uint8

// The kinds.
const (
	KindSet       Kind = iota // SET of a key of its own: finds each single loss
	KindField                 // HSET of a field of its own in the client's hash
	KindIncr                  // INCR of the client's counter: finds what was executed twice
	KindOverwrite             // SET of the client's register to a rising number: finds what was undone
	kinds
)

// Outcome is what a client knows about a write.
type Outcome uint8

// The outcomes.
const (
	Unknown Outcome = iota // executed or not
	Acked
	Refused // the reply says that it was not executed
)

// Ledger is everything that one client of the load has written, in order. The zero Ledger with a Prefix is
// empty.
type Ledger struct {
	// Prefix begins the client's keys.
	Prefix string

	outcomes []Outcome // of write n; its kind is n modulo kinds
	counter  counter
	// repeated are the fields whose HSET answered that the field was there already: somebody sent it twice.
	repeated []int
}

// counter follows the replies to INCR.
type counter struct {
	acked, unknown, refused int64
	highest                 int64 // reply
	// undone and repeated are the worst that replies have shown: increments that are missing, and ones too many.
	undone, repeated int64
}

// Len is the number of writes.
func (l *Ledger) Len() int { return len(l.outcomes) }

func kindOf(n int) Kind { return Kind(n % int(kinds)) }

func (l *Ledger) hash() string       { return l.Prefix + ":hash" }
func (l *Ledger) counterKey() string { return l.Prefix + ":counter" }
func (l *Ledger) register() string   { return l.Prefix + ":register" }
func (l *Ledger) key(n int) string   { return l.Prefix + ":" + strconv.Itoa(n) }

// value is that of write n, different for every key and field.
func (l *Ledger) value(n int) string { return l.Prefix + "=" + strconv.Itoa(n) }

// Command is the write that comes next.
func (l *Ledger) Command() []any {
	n := len(l.outcomes)
	switch kindOf(n) {
	case KindField:
		return []any{"HSET", l.hash(), strconv.Itoa(n), l.value(n)}
	case KindIncr:
		return []any{"INCR", l.counterKey()}
	case KindOverwrite:
		return []any{"SET", l.register(), strconv.Itoa(n)}
	}
	return []any{"SET", l.key(n), l.value(n)}
}

// Reply enters what came back for the write that Command gave, and returns what it means. err is that of the
// connection; v is the reply if there is none.
func (l *Ledger) Reply(v resp.Value, err error) Outcome {
	n := len(l.outcomes)
	o := outcomeOf(v, err)
	if o == Acked && !expected(kindOf(n), v) {
		o = Unknown // the server answers something else than this command's reply
	}
	l.outcomes = append(l.outcomes, o)
	switch {
	case kindOf(n) == KindIncr:
		l.counter.enter(o, v.Int)
	case kindOf(n) == KindField && o == Acked && v.Int == 0:
		l.repeated = append(l.repeated, n)
	}
	return o
}

func expected(k Kind, v resp.Value) bool {
	switch k {
	case KindField, KindIncr:
		return v.Kind == resp.KindInt
	}
	return v.Kind == resp.KindSimpleString && string(v.Str) == "OK"
}

func (c *counter) enter(o Outcome, reply int64) {
	switch o {
	case Unknown:
		c.unknown++
	case Refused:
		c.refused++
	case Acked:
		c.acked++
		c.undone = max(c.undone, c.highest+1-reply)
		c.repeated = max(c.repeated, reply-c.acked-c.unknown)
		c.highest = max(c.highest, reply)
	}
}

// refusals are the codes of replies that promise that nothing was executed.
var refusals = map[string]bool{
	"READONLY": true, "LOADING": true, "MASTERDOWN": true, "CLUSTERDOWN": true, "TRYAGAIN": true,
	"NOREPLICAS": true, "MISCONF": true, "NOAUTH": true, "NOPERM": true, "OOM": true,
}

func outcomeOf(v resp.Value, err error) Outcome {
	if err != nil || v.Kind == resp.KindNull {
		return Unknown
	}
	if v.Kind != resp.KindError {
		return Acked
	}
	code, _, _ := strings.Cut(string(v.Str), " ")
	if refusals[code] {
		return Refused
	}
	return Unknown
}

// Verdict is the comparison of ledgers with what was read back.
type Verdict struct {
	Acked      int64 `json:"acked"`
	Unknown    int64 `json:"unknown"`
	Refused    int64 `json:"refused"`
	Lost       int64 `json:"lost"`
	Wrong      int64 `json:"wrong"`
	Duplicated int64 `json:"duplicated"`
	Phantom    int64 `json:"phantom"`
	Surplus    int64 `json:"surplus"`
	// Examples describe the first findings other than surplus.
	Examples []string `json:"examples,omitempty"`
}

const maxExamples = 20

func (v *Verdict) find(count *int64, n int64, format string, a ...any) {
	*count += n
	if len(v.Examples) < maxExamples {
		v.Examples = append(v.Examples, fmt.Sprintf(format, a...))
	}
}

// Add sums two verdicts.
func (v *Verdict) Add(w Verdict) {
	v.Acked += w.Acked
	v.Unknown += w.Unknown
	v.Refused += w.Refused
	v.Lost += w.Lost
	v.Wrong += w.Wrong
	v.Duplicated += w.Duplicated
	v.Phantom += w.Phantom
	v.Surplus += w.Surplus
	v.Examples = append(v.Examples, w.Examples...)
	v.Examples = v.Examples[:min(len(v.Examples), maxExamples)]
}

// Faults names what must not be, empty if there is nothing.
func (v *Verdict) Faults() []string {
	var out []string
	for _, f := range []struct {
		n    int64
		text string
	}{
		{v.Lost, "acknowledged writes are lost"}, {v.Wrong, "values are not what was written"},
		{v.Duplicated, "increments were executed twice"}, {v.Phantom, "writes were refused and are there"},
	} {
		if f.n > 0 {
			out = append(out, fmt.Sprintf("%d %s", f.n, f.text))
		}
	}
	return out
}

// Reading is one command of the read-back and how its reply is judged.
type Reading struct {
	Command []any
	judge   func(v *Verdict, got resp.Value)
}

// Readings are the commands that read everything in the ledger back, in any order, starting at write *next;
// at most most of them. *next moves on; at its end the counter and the register follow.
func (l *Ledger) Readings(next *int, most int) []Reading {
	var out []Reading
	for ; *next < len(l.outcomes) && len(out) < most; *next++ {
		n := *next
		switch kindOf(n) {
		case KindSet:
			out = append(out, Reading{[]any{"GET", l.key(n)}, func(v *Verdict, got resp.Value) { l.judgeOwn(v, n, got) }})
		case KindField:
			out = append(out, Reading{[]any{"HGET", l.hash(), strconv.Itoa(n)},
				func(v *Verdict, got resp.Value) { l.judgeOwn(v, n, got) }})
		}
	}
	if *next == len(l.outcomes) && len(out) < most {
		*next++
		out = append(out, Reading{[]any{"GET", l.counterKey()}, l.judgeCounter},
			Reading{[]any{"GET", l.register()}, l.judgeRegister})
	}
	return out
}

// Keys are the keys that the ledger may have created, in pieces: as Readings.
func (l *Ledger) Keys(next *int, most int) []string {
	var keys []string
	for ; *next < len(l.outcomes) && len(keys) < most; *next++ {
		if kindOf(*next) == KindSet {
			keys = append(keys, l.key(*next))
		}
	}
	if *next == len(l.outcomes) && len(keys) < most {
		*next++
		keys = append(keys, l.hash(), l.counterKey(), l.register())
	}
	return keys
}

// judgeOwn judges a write that has a key or field of its own.
func (l *Ledger) judgeOwn(v *Verdict, n int, got resp.Value) {
	there, o := !got.IsNull(), l.outcomes[n]
	v.count(o)
	what := l.key(n)
	if kindOf(n) == KindField {
		what = l.hash() + " field " + strconv.Itoa(n)
	}
	switch {
	case there && got.String() != l.value(n):
		v.find(&v.Wrong, 1, "%s is %.80q instead of %q", what, got.String(), l.value(n))
	case o == Acked && !there:
		v.find(&v.Lost, 1, "%s was acknowledged and is missing", what)
	case o == Refused && there:
		v.find(&v.Phantom, 1, "%s was refused and is there", what)
	case o == Unknown && there:
		v.Surplus++
	}
}

func (v *Verdict) count(o Outcome) {
	switch o {
	case Acked:
		v.Acked++
	case Refused:
		v.Refused++
	default:
		v.Unknown++
	}
}

// judgeCounter: what was acknowledged must be in the counter, what is unknown may be, nothing else. A refused
// increment that was executed shows as a duplicate: a counter cannot tell the two apart.
func (l *Ledger) judgeCounter(v *Verdict, got resp.Value) {
	c := &l.counter
	v.Acked += c.acked
	v.Unknown += c.unknown
	v.Refused += c.refused
	for _, n := range l.repeated {
		v.find(&v.Duplicated, 1, "%s field %d existed before its only HSET was answered", l.hash(), n)
	}
	final := int64(0)
	if !got.IsNull() {
		var err error
		if final, err = strconv.ParseInt(got.String(), 10, 64); err != nil {
			v.find(&v.Wrong, 1, "%s is %.80q, which is no number", l.counterKey(), got.String())
			return
		}
	}
	if lost := max(c.acked-final, c.undone); lost > 0 {
		v.find(&v.Lost, lost, "%s is %d after %d acknowledged increments, and %d were undone in between",
			l.counterKey(), final, c.acked, c.undone)
	}
	if twice := max(final-c.acked-c.unknown, c.repeated); twice > 0 {
		v.find(&v.Duplicated, twice, "%s is %d after %d acknowledged and %d unknown increments, highest reply %d",
			l.counterKey(), final, c.acked, c.unknown, c.highest)
	}
	v.Surplus += max(0, min(final-c.acked, c.unknown))
}

// judgeRegister: the last acknowledged value stands, or one whose outcome is unknown: such a write may take
// effect at any time after it was sent.
func (l *Ledger) judgeRegister(v *Verdict, got resp.Value) {
	last := -1 // the last acknowledged one
	for n, o := range l.outcomes {
		if kindOf(n) == KindOverwrite {
			v.count(o)
			if o == Acked {
				last = n
			}
		}
	}
	if got.IsNull() {
		if last >= 0 {
			v.find(&v.Lost, 1, "%s was set to %d, which was acknowledged, and is missing", l.register(), last)
		}
		return
	}
	n, err := strconv.Atoi(got.String())
	switch {
	case err != nil || n < 0 || n >= len(l.outcomes) || kindOf(n) != KindOverwrite:
		v.find(&v.Wrong, 1, "%s is %.80q, which nobody wrote", l.register(), got.String())
	case n == last:
	case l.outcomes[n] == Unknown:
		v.Surplus++
	case l.outcomes[n] == Refused:
		v.find(&v.Phantom, 1, "%s is %d, which was refused", l.register(), n)
	default:
		v.find(&v.Lost, int64(l.ackedOverwrites(n, last)), "%s is %d, but %d was acknowledged after it", l.register(),
			n, last)
	}
}

// ackedOverwrites counts the acknowledged ones in (from, to].
func (l *Ledger) ackedOverwrites(from, to int) int {
	count := 0
	for n := from + 1; n <= to; n++ {
		if kindOf(n) == KindOverwrite && l.outcomes[n] == Acked {
			count++
		}
	}
	return count
}
