package dashboard

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"time"
)

const (
	keepAlive     = 5 * time.Second // of an idle stream; a follower takes one that is silent for longer for dead
	streamTimeout = 5 * time.Second // for a client to take what was sent
)

// streamed is one event of a stream.
type streamed struct {
	id   uint64
	data any
}

// stream sends server-sent events until the client goes. next waits for events until its context ends, and
// then returns false; the request's context ends with the server.
func stream(w http.ResponseWriter, r *http.Request, name string,
	next func(context.Context) ([]streamed, bool)) {
	h := w.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Accel-Buffering", "no")
	w.WriteHeader(http.StatusOK)
	rc := http.NewResponseController(w)
	rc.SetReadDeadline(time.Time{})
	send := func(f func() error) bool {
		rc.SetWriteDeadline(time.Now().Add(streamTimeout))
		return f() == nil && rc.Flush() == nil
	}
	if !send(func() error { return nil }) {
		return
	}
	for {
		ctx, cancel := context.WithTimeout(r.Context(), keepAlive)
		es, ok := next(ctx)
		timedOut := ctx.Err() != nil
		cancel()
		if r.Context().Err() != nil || !ok && !timedOut {
			return
		}
		if !ok {
			if !send(func() error { _, err := fmt.Fprint(w, ": keep-alive\n\n"); return err }) {
				return
			}
			continue
		}
		for _, e := range es {
			b, err := json.Marshal(e.data)
			if err != nil {
				return
			}
			if !send(func() error {
				_, err := fmt.Fprintf(w, "id: %d\nevent: %s\ndata: %s\n\n", e.id, name, b)
				return err
			}) {
				return
			}
		}
	}
}
