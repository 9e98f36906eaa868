package drill

import (
	"slices"
	"time"
)

// Ack is an acknowledged write: when it was sent and when its reply came, since the begin of the load.
type Ack struct{ Sent, Came time.Duration }

// Never stands for a time at which something did not happen.
const Never time.Duration = -1

// Times is what clients saw of an event.
type Times struct {
	// FirstAccepted is the time from the event to the first acknowledgement of a write that was sent at safe or
	// later; Never if there was none.
	FirstAccepted time.Duration
	// Gap is the longest time without any acknowledgement that ends after the event; WorstClient the longest that
	// a single client had.
	Gap, WorstClient time.Duration
	Acked            int
}

// Measure computes the times of an event from the acknowledgements of each client, in the order in which they
// came. A write sent at safe or later cannot have been accepted by the old primary. The load ended at end.
func Measure(clients [][]Ack, event, safe, end time.Duration) Times {
	t := Times{FirstAccepted: Never}
	var all []time.Duration
	for _, acks := range clients {
		came := make([]time.Duration, len(acks))
		for i, a := range acks {
			came[i] = a.Came
			if a.Sent >= safe && (t.FirstAccepted == Never || a.Came-event < t.FirstAccepted) {
				t.FirstAccepted = a.Came - event
			}
		}
		t.WorstClient = max(t.WorstClient, longestGap(came, event, end))
		all = append(all, came...)
	}
	slices.Sort(all)
	t.Gap, t.Acked = longestGap(all, event, end), len(all)
	return t
}

// longestGap is the longest stretch between neighbours, the begin of the load (0) and its end included, of
// those that end after the event.
func longestGap(came []time.Duration, event, end time.Duration) time.Duration {
	var longest, last time.Duration
	for _, at := range came {
		if at > event {
			longest = max(longest, at-last)
		}
		last = at
	}
	return max(longest, end-last)
}
