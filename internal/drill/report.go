package drill

import (
	"fmt"
	"io"
	"slices"
	"strings"
)

// Report is a finished drill.
type Report struct {
	Event  Event   `json:"event"`
	Passed bool    `json:"passed"`
	Rounds []Round `json:"rounds"`
	// Final is what reading everything back after the last round found; nil if it was not done.
	Final   *Verdict `json:"final,omitempty"`
	Summary Summary  `json:"summary"`
	// Faults are those that belong to no single round.
	Faults []string `json:"faults,omitempty"`
}

// Spread describes a time over all rounds.
type Spread struct {
	Min    Span `json:"min_ms"`
	Median Span `json:"median_ms"`
	P95    Span `json:"p95_ms"`
	Max    Span `json:"max_ms"`
	// Never counts the rounds in which it did not happen; they are not among the others.
	Never int `json:"never"`
}

// Summary sums a drill up.
type Summary struct {
	Rounds        int    `json:"rounds"`
	Failed        int    `json:"failed"`
	FirstAccepted Spread `json:"first_accepted"`
	Gap           Spread `json:"gap"`
	WorstClient   Spread `json:"worst_client_gap"`
	Call          Spread `json:"call"`
	Returned      Spread `json:"returned"`
	FullSyncs     int64  `json:"full_syncs"` // of old primaries
	ClientErrors  int    `json:"client_errors"`
	Acked         int64  `json:"acked"`
	Lost          int64  `json:"lost"`
	Wrong         int64  `json:"wrong"`
	Duplicated    int64  `json:"duplicated"`
	Phantom       int64  `json:"phantom"`
	Surplus       int64  `json:"surplus"`
	Unequal       int    `json:"unequal"` // rounds that ended with different data
}

// NewReport sums rounds up. A loss that only the final reading found fails the drill too.
func NewReport(ev Event, rounds []Round, final *Verdict, rules Rules) Report {
	r := Report{Event: ev, Rounds: rounds, Final: final, Summary: summarise(rounds)}
	if final != nil {
		v := *final
		if rules.AllowLoss && !slices.ContainsFunc(rounds, func(r Round) bool { return r.SyncReplicas > 0 }) {
			v.Lost = 0
		}
		for _, f := range v.Faults() {
			r.Faults = append(r.Faults, "after the last round: "+f)
		}
	}
	r.Passed = len(rounds) > 0 && r.Summary.Failed == 0 && len(r.Faults) == 0
	return r
}

func summarise(rounds []Round) Summary {
	s := Summary{Rounds: len(rounds)}
	spread := func(get func(*Round) Span) Spread {
		var spans []Span
		for i := range rounds {
			spans = append(spans, get(&rounds[i]))
		}
		return NewSpread(spans)
	}
	s.FirstAccepted = spread(func(r *Round) Span { return r.FirstAccepted })
	s.Gap = spread(func(r *Round) Span { return r.Gap })
	s.WorstClient = spread(func(r *Round) Span { return r.WorstClient })
	s.Call = spread(func(r *Round) Span { return r.Call })
	s.Returned = spread(func(r *Round) Span { return r.Returned })
	for i := range rounds {
		r := &rounds[i]
		if len(r.Faults) > 0 {
			s.Failed++
		}
		if !r.Equal {
			s.Unequal++
		}
		s.FullSyncs += r.OldSync.Full
		s.ClientErrors += r.failures()
		s.Acked += r.Verdict.Acked
		s.Lost += r.Verdict.Lost
		s.Wrong += r.Verdict.Wrong
		s.Duplicated += r.Verdict.Duplicated
		s.Phantom += r.Verdict.Phantom
		s.Surplus += r.Verdict.Surplus
	}
	return s
}

// NewSpread sorts and picks, by nearest rank.
func NewSpread(spans []Span) Spread {
	var s Spread
	spans = slices.DeleteFunc(slices.Clone(spans), func(x Span) bool {
		if x < 0 {
			s.Never++
		}
		return x < 0
	})
	slices.Sort(spans)
	rank := func(percent int) Span {
		if len(spans) == 0 {
			return Span(Never)
		}
		return spans[max(0, (len(spans)*percent+99)/100-1)]
	}
	s.Min, s.Median, s.P95, s.Max = rank(0), rank(50), rank(95), rank(100)
	return s
}

// header and row are the table that grows with each round.
var columns = []string{"round", "primary", "first write", "gap", "worst client", "returned", "sync", "acked", "lost",
	"surplus", "errors", "data"}

const rowFormat = "%-5s  %-16s  %11s  %7s  %12s  %8s  %-7s  %8s  %5s  %7s  %6s  %s\n"

// WriteHeader begins the table of rounds.
func WriteHeader(w io.Writer) error {
	cells := make([]any, len(columns))
	for i, c := range columns {
		cells[i] = c
	}
	_, err := fmt.Fprintf(w, rowFormat, cells...)
	return err
}

// WriteRound adds a round to the table, and below it what is wrong with it.
func WriteRound(w io.Writer, r Round) error {
	data := "equal"
	if !r.Equal {
		data = "DIFFER"
	}
	to := string(r.To)
	if to == "" {
		to = "?"
	}
	v := r.Verdict
	_, err := fmt.Fprintf(w, rowFormat, fmt.Sprint(r.Number), fmt.Sprintf("%s -> %s", r.From, to), r.FirstAccepted,
		r.Gap, r.WorstClient, r.Returned, r.OldSync, fmt.Sprint(v.Acked), fmt.Sprint(v.Lost), fmt.Sprint(v.Surplus),
		fmt.Sprint(r.failures()), data)
	for _, f := range r.Faults {
		if err == nil {
			_, err = fmt.Fprintf(w, "       FAILED: %s\n", f)
		}
	}
	for _, e := range v.Examples {
		if err == nil {
			_, err = fmt.Fprintf(w, "         %s\n", e)
		}
	}
	return err
}

// String names how a replica attached.
func (s Resync) String() string {
	switch {
	case s.Full > 0:
		return "full"
	case s.Partial > 0:
		return "partial"
	}
	return "-"
}

// WriteSummary ends the output.
func WriteSummary(w io.Writer, r Report) error {
	s := r.Summary
	var b strings.Builder
	fmt.Fprintf(&b, "\n%-28s %8s %8s %8s %8s\n", "", "min", "median", "p95", "max")
	line := func(name string, x Spread) {
		if x.Max < 0 && x.Never == s.Rounds && name == "order to switch over" {
			return
		}
		fmt.Fprintf(&b, "%-28s %8s %8s %8s %8s", name, x.Min, x.Median, x.P95, x.Max)
		if x.Never > 0 {
			fmt.Fprintf(&b, "  (never in %d rounds)", x.Never)
		}
		b.WriteByte('\n')
	}
	line("order to switch over", s.Call)
	line("first accepted write", s.FirstAccepted)
	line("gap, all clients", s.Gap)
	line("gap, worst client", s.WorstClient)
	line("old primary is a replica", s.Returned)
	fmt.Fprintf(&b, "\n%d writes acknowledged, %d of them lost; "+
		"%d wrong values, %d executed twice, %d refused but there\n",
		s.Acked, s.Lost, s.Wrong, s.Duplicated, s.Phantom)
	fmt.Fprintf(&b, "%d writes without an acknowledgement exist (allowed); clients saw %d errors\n", s.Surplus,
		s.ClientErrors)
	for _, line := range errorLines(r.Rounds) {
		fmt.Fprintf(&b, "  %s\n", line)
	}
	fmt.Fprintf(&b, "old primaries that needed a full sync: %d of %d; rounds that ended with different data: %d\n",
		s.FullSyncs, s.Rounds, s.Unequal)
	if r.Final != nil {
		fmt.Fprintf(&b, "everything read back once more at the end: %d acknowledged, %d lost\n", r.Final.Acked,
			r.Final.Lost)
		for _, e := range r.Final.Examples {
			fmt.Fprintf(&b, "  %s\n", e)
		}
	}
	for _, f := range r.Faults {
		fmt.Fprintf(&b, "FAILED: %s\n", f)
	}
	if r.Passed {
		fmt.Fprintf(&b, "passed: %d of %d rounds\n", s.Rounds, s.Rounds)
	} else {
		fmt.Fprintf(&b, "FAILED: %d of %d rounds passed\n", s.Rounds-s.Failed, s.Rounds)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// errorLines are the errors that clients saw, the most frequent first.
func errorLines(rounds []Round) []string {
	sum := map[string]int{}
	for i := range rounds {
		for text, n := range rounds[i].Errors {
			sum[text] += n
		}
	}
	var texts []string
	for text := range sum {
		texts = append(texts, text)
	}
	slices.SortFunc(texts, func(a, b string) int {
		if sum[a] != sum[b] {
			return sum[b] - sum[a]
		}
		return strings.Compare(a, b)
	})
	for i, text := range texts {
		texts[i] = fmt.Sprintf("%6d  %s", sum[text], text)
	}
	return texts
}
