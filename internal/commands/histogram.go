package commands

import (
	"math/bits"
	"sync/atomic"
)

// Histogram counts durations in buckets of powers of two microseconds, lock-free: for LATENCY HISTOGRAM and
// the percentiles of INFO latencystats. The zero value is empty.
type Histogram struct{ buckets [32]atomic.Int64 }

// Add counts a duration in nanoseconds.
func (h *Histogram) Add(nanos int64) {
	h.buckets[min(31, bits.Len64(uint64(max(0, nanos)/1000)))].Add(1)
}

// Each calls f with the upper bound in microseconds and the count of each bucket that is not empty.
func (h *Histogram) Each(f func(micros, count int64)) {
	for i := range h.buckets {
		if n := h.buckets[i].Load(); n > 0 {
			f(1<<i, n)
		}
	}
}

// Percentile is the upper bound in microseconds of the bucket in which the percentile p (0-100) falls.
func (h *Histogram) Percentile(p float64) float64 {
	var total int64
	for i := range h.buckets {
		total += h.buckets[i].Load()
	}
	want := int64(float64(total)*p/100 + 0.5)
	for i := range h.buckets {
		if want -= h.buckets[i].Load(); want <= 0 {
			return float64(int64(1) << i)
		}
	}
	return 0
}

// Reset empties it.
func (h *Histogram) Reset() {
	for i := range h.buckets {
		h.buckets[i].Store(0)
	}
}
