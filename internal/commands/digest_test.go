package commands_test

import (
	"context"

	"haypile/internal/types/digest"
)

// digest is DEBUG DIGEST.
func (g *gate) digest() string {
	g.tb.Helper()
	snap, err := g.store.Snapshot()
	if err != nil {
		g.tb.Fatal(err)
	}
	defer snap.Close()
	d, err := digest.All(context.Background(), snap)
	if err != nil {
		g.tb.Fatal(err)
	}
	return d
}

func (p *pair) sameDigest() {
	p.tb.Helper()
	want := flat(p.real.do("DEBUG", "DIGEST"))
	if got := "+" + p.gate.digest(); got != want {
		p.tb.Fatalf("digest %s, want %s", got, want)
	}
}
