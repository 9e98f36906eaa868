package drill

import (
	"encoding/json"
	"strings"
	"testing"
	"time"
)

// acks makes acknowledgements of pairs of milliseconds: sent, came.
func acks(ms ...int) []Ack {
	var out []Ack
	for i := 0; i < len(ms); i += 2 {
		out = append(out, Ack{time.Duration(ms[i]) * time.Millisecond, time.Duration(ms[i+1]) * time.Millisecond})
	}
	return out
}

func TestMeasure(t *testing.T) {
	tests := []struct {
		name                     string
		clients                  [][]Ack
		event, safe, end         int
		first, gap, worst, acked int // milliseconds; -1: never
	}{
		{"nothing", nil, 100, 101, 200, -1, 0, 0, 0},
		{"no write after the event", [][]Ack{acks(0, 1, 98, 99)}, 100, 101, 500, -1, 401, 401, 2},
		{"a late reply of the dead primary is no recovery", [][]Ack{acks(98, 99, 100, 104, 105, 150)}, 100, 101, 160, 50, 46, 46, 3},
		{"two clients", [][]Ack{acks(0, 1, 90, 99, 102, 300), acks(0, 1, 80, 90, 110, 310)}, 100, 101, 320, 200, 201, 220, 6},
		{"a gap before the event does not count", [][]Ack{acks(0, 1, 80, 90, 99, 110)}, 100, 101, 120, -1, 20, 20, 3},
		{"one that reaches over it does", [][]Ack{acks(0, 1, 98, 150)}, 100, 101, 160, -1, 149, 149, 2},
		{"the end of the load is an end", [][]Ack{acks(0, 99, 101, 102)}, 100, 101, 900, 2, 798, 798, 2},
		{"a client that never got anything", [][]Ack{acks(0, 99, 101, 102), nil}, 100, 101, 110, 2, 8, 110, 2},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			ms := func(n int) time.Duration { return time.Duration(n) * time.Millisecond }
			got := Measure(tt.clients, ms(tt.event), ms(tt.safe), ms(tt.end))
			want := Times{FirstAccepted: ms(tt.first), Gap: ms(tt.gap), WorstClient: ms(tt.worst), Acked: tt.acked}
			if tt.first < 0 {
				want.FirstAccepted = Never
			}
			if tt.clients == nil {
				want.Gap = ms(tt.end)
			}
			if got != want {
				t.Errorf("got %+v, want %+v", got, want)
			}
		})
	}
}

func TestSpread(t *testing.T) {
	var spans []Span
	for i := 20; i > 0; i-- {
		spans = append(spans, Span(i))
	}
	got := NewSpread(append(spans, Span(Never)))
	if got != (Spread{Min: 1, Median: 10, P95: 19, Max: 20, Never: 1}) {
		t.Errorf("%+v", got)
	}
	if got := NewSpread(nil); got != (Spread{Min: -1, Median: -1, P95: -1, Max: -1}) {
		t.Errorf("of nothing: %+v", got)
	}
	if got := NewSpread([]Span{7}); got != (Spread{Min: 7, Median: 7, P95: 7, Max: 7}) {
		t.Errorf("of one: %+v", got)
	}
}

func TestSpan(t *testing.T) {
	for span, want := range map[Span][2]string{
		Span(Never):                     {"null", "never"},
		Span(1234567):                   {"1.2", "1.2ms"},
		Span(345678 * time.Microsecond): {"345.7", "346ms"},
		Span(12345 * time.Millisecond):  {"12345.0", "12.35s"},
		Span(0):                         {"0.0", "0s"},
	} {
		b, err := json.Marshal(span)
		if err != nil || string(b) != want[0] || span.String() != want[1] {
			t.Errorf("%d: %s, %v, %v", span, b, err, span)
		}
		var back Span
		if err := json.Unmarshal(b, &back); err != nil || (back < 0) != (span < 0) {
			t.Errorf("%s read back: %d, %v", b, back, err)
		}
	}
}

func TestReport(t *testing.T) {
	good := Round{Number: 1, Event: KillPrimary, From: "s1-1", To: "s1-2", FirstAccepted: Span(52 * time.Millisecond),
		Gap: Span(50 * time.Millisecond), WorstClient: Span(51 * time.Millisecond), Call: Span(Never),
		Returned: Span(1380 * time.Millisecond), OldSync: Resync{Partial: 1}, Errors: map[string]int{"UNKNOWNOUTCOME x": 12},
		Verdict: Verdict{Acked: 100, Surplus: 3, Unknown: 12}, Equal: true}
	bad := good
	bad.Number, bad.To, bad.Equal, bad.FirstAccepted, bad.Returned = 2, "", false, Span(Never), Span(Never)
	bad.Verdict = Verdict{Acked: 10, Lost: 2, Examples: []string{"k was acknowledged and is missing"}}
	bad.judge(Rules{Limit: time.Second})
	if r := NewReport(KillPrimary, []Round{good}, nil, Rules{}); !r.Passed {
		t.Errorf("a good round fails: %+v", r)
	}
	if r := NewReport(KillPrimary, nil, nil, Rules{}); r.Passed {
		t.Error("no round at all passes")
	}
	r := NewReport(KillPrimary, []Round{good, bad}, &Verdict{Acked: 110, Lost: 5}, Rules{})
	if r.Passed || r.Summary.Failed != 1 || r.Summary.Lost != 2 || r.Summary.Unequal != 1 || r.Summary.ClientErrors != 24 {
		t.Errorf("%+v", r.Summary)
	}
	var b strings.Builder
	for _, err := range []error{WriteHeader(&b), WriteRound(&b, good), WriteRound(&b, bad), WriteSummary(&b, r)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, want := range []string{
		"1      s1-1 -> s1-2             52ms     50ms          51ms     1.38s  partial       100      0        3      12  equal\n",
		"2      s1-1 -> ?               never     50ms", "DIFFER\n",
		"FAILED: 2 acknowledged writes are lost", "FAILED: the nodes do not hold equal data",
		"FAILED: no write was accepted after the event", "FAILED: the old primary did not become a replica",
		"k was acknowledged and is missing", "(never in 1 rounds)", "    24  UNKNOWNOUTCOME x",
		"FAILED: after the last round: 5 acknowledged writes are lost", "FAILED: 1 of 2 rounds passed",
	} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("no %q in\n%s", want, b.String())
		}
	}
	if strings.Contains(b.String(), "order to switch over") {
		t.Errorf("a line about switching over:\n%s", b.String())
	}
}
