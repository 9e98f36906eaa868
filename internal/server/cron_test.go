package server

import "testing"

func TestRate(t *testing.T) {
	for _, x := range []struct {
		was, is int64
		want    float64
	}{{0, 0, 0}, {10, 30, 10}, {1000, 4, 2}} { // the last: reset in between
		if got := rate(x.was, x.is, 2); got != x.want {
			t.Errorf("from %d to %d: %v, want %v", x.was, x.is, got, x.want)
		}
	}
}
