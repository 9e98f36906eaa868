package drill

import (
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"haypile/internal/topology"
)

// Event is what a drill does to a shard.
type Event string

// The events.
const (
	KillPrimary Event = "kill-primary"
	Switchover  Event = "switchover"
)

// Span is a duration that prints in JSON as milliseconds, and as null for Never.
type Span time.Duration

// MarshalJSON implements json.Marshaler.
func (s Span) MarshalJSON() ([]byte, error) {
	if s < 0 {
		return []byte("null"), nil
	}
	return strconv.AppendFloat(nil, float64(s)/float64(time.Millisecond), 'f', 1, 64), nil
}

// UnmarshalJSON implements json.Unmarshaler.
func (s *Span) UnmarshalJSON(b []byte) error {
	var ms *float64
	if err := json.Unmarshal(b, &ms); err != nil {
		return err
	}
	*s = Span(Never)
	if ms != nil {
		*s = Span(*ms * float64(time.Millisecond))
	}
	return nil
}

// String is the span for people.
func (s Span) String() string {
	d := time.Duration(s)
	switch {
	case d < 0:
		return "never"
	case d < 10*time.Millisecond:
		return d.Round(100 * time.Microsecond).String()
	case d < time.Second:
		return d.Round(time.Millisecond).String()
	}
	return fmt.Sprintf("%.2fs", d.Seconds())
}

// Resync counts how replicas have attached to a primary.
type Resync struct {
	Full    int64 `json:"full"`
	Partial int64 `json:"partial"`
}

// Round is one event and everything that was seen of it. Times count from the event.
type Round struct {
	Number  int              `json:"round"`
	Event   Event            `json:"event"`
	Started time.Time        `json:"started"`
	Shard   topology.ShardID `json:"shard"`
	From    topology.NodeID  `json:"from"`
	To      topology.NodeID  `json:"to,omitempty"`
	Epoch   topology.Epoch   `json:"epoch"` // after it
	// SyncReplicas is that of the old primary: 0 means that acknowledged writes may be lost.
	SyncReplicas int `json:"sync_replicas"`

	// FirstAccepted is the first acknowledged write that only the new primary can have accepted.
	FirstAccepted Span `json:"first_accepted_ms"`
	// Gap is the longest time without an acknowledgement, WorstClient the longest of a single client.
	Gap         Span `json:"gap_ms"`
	WorstClient Span `json:"worst_client_gap_ms"`
	// Call is how long the order to switch over took.
	Call Span `json:"call_ms"`
	// Restarted is when the killed process answered again, Returned when it was a replica whose link is up.
	Restarted Span `json:"restarted_ms"`
	Returned  Span `json:"returned_ms"`
	// OldSync is how the old primary attached, OthersSync how the other replicas did.
	OldSync    Resync `json:"old_sync"`
	OthersSync Resync `json:"others_sync"`

	// Load is how long the load ran, and Errors what clients were told, by text.
	Load    Span           `json:"load_ms"`
	Errors  map[string]int `json:"errors"`
	Verdict Verdict        `json:"verdict"`
	Digests []Digest       `json:"digests"`
	Equal   bool           `json:"equal"`

	// Faults say why the round has failed; none means that it has passed.
	Faults []string `json:"faults"`
}

func (r *Round) fault(format string, a ...any) {
	r.Faults = append(r.Faults, fmt.Sprintf(format, a...))
}

// errors is how many requests of clients failed.
func (r *Round) failures() int {
	sum := 0
	for _, n := range r.Errors {
		sum += n
	}
	return sum
}

// Rules are what a round must keep.
type Rules struct {
	Limit     time.Duration // for the first accepted write, and the gap
	AllowLoss bool          // where replication is asynchronous
}

// judge adds the faults that follow from what was measured and read.
func (r *Round) judge(rules Rules) {
	v := r.Verdict
	if rules.AllowLoss && r.SyncReplicas == 0 {
		v.Lost = 0
	}
	r.Faults = append(r.Faults, v.Faults()...)
	if !r.Equal {
		r.fault("the nodes do not hold equal data")
	}
	limit := Span(rules.Limit)
	switch {
	case r.FirstAccepted < 0:
		r.fault("no write was accepted after the event")
	case r.FirstAccepted > limit:
		r.fault("the first write was accepted after %s, the limit is %s", r.FirstAccepted, limit)
	case r.Gap > limit:
		r.fault("no write was accepted for %s, the limit is %s", r.Gap, limit)
	}
	if r.Returned < 0 {
		r.fault("the old primary did not become a replica")
	}
	if n := r.failures(); r.Event == Switchover && n > 0 {
		r.fault("clients saw %d errors in a planned change", n)
	}
}
