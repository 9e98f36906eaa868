package agent

import (
	"bytes"
	"net"
	"testing"

	"haypile/internal/topology"
)

// FuzzLines feeds bytes to the reading side of a connection: it must end with an error, never with a frame
// longer than the bound or a panic.
func FuzzLines(f *testing.F) {
	f.Add([]byte(`{"hello":{"protocol":1,"kind":"dashboard","id":"d"}}` + "\n"))
	f.Add([]byte(`{"request":{"id":1,"op":"fence","epoch":2}}` + "\n" + `{"grant":{"seq":1,"epoch":2}}` + "\n"))
	f.Add([]byte("\n\n[]\n"))
	f.Add(bytes.Repeat([]byte("x"), 9000))
	f.Fuzz(func(t *testing.T, in []byte) {
		a, b := net.Pipe()
		defer b.Close()
		go func() {
			a.Write(in)
			a.Close()
		}()
		c := newLineConn(b)
		for n := 0; ; n++ {
			var frame topology.PeerFrame
			if c.read(&frame) != nil {
				return
			}
			if n > len(in) {
				t.Fatal("more frames than bytes")
			}
		}
	})
}
