package commands

import (
	"fmt"

	"haypile/internal/resp"
	"haypile/internal/tracking"
)

// clientTracking turns client-side caching on or off.
func clientTracking(c *Call) error {
	var prefixes []string
	m := tracking.Mode{On: true}
	for i := 3; i < len(c.Args); i++ {
		more := i+1 < len(c.Args)
		switch {
		case c.Is(i, "REDIRECT") && more:
			i++
			if m.Redirect != 0 {
				return Error("ERR A client can only redirect to a single other client")
			}
			var err error
			if m.Redirect, err = c.int64At(i); err != nil {
				return err
			}
			if c.Node.Clients().Get(m.Redirect) == nil {
				return Error("ERR The client ID you want redirect to does not exist")
			}
		case c.Is(i, "BCAST"):
			m.BCast = true
		case c.Is(i, "OPTIN"):
			m.OptIn = true
		case c.Is(i, "OPTOUT"):
			m.OptOut = true
		case c.Is(i, "NOLOOP"):
			m.NoLoop = true
		case c.Is(i, "PREFIX") && more:
			i++
			prefixes = append(prefixes, string(c.Args[i]))
		default:
			return Error(resp.ErrSyntax)
		}
	}
	switch {
	case c.Is(2, "ON"):
		if err := c.startTracking(m, prefixes); err != nil {
			return err
		}
	case c.Is(2, "OFF"):
		c.stopTracking()
	default:
		return Error(resp.ErrSyntax)
	}
	c.Out.OK()
	return nil
}

func (c *Call) startTracking(m tracking.Mode, prefixes []string) error {
	cl, old := c.Client, c.Client.Tracking
	switch {
	case !m.BCast && len(prefixes) > 0:
		return Error("ERR PREFIX option requires BCAST mode to be enabled")
	case old.On && old.BCast != m.BCast:
		return Error("ERR You can't switch BCAST mode on/off before disabling tracking for this client, and then " +
			"re-enabling it with a different mode.")
	case m.BCast && (m.OptIn || m.OptOut):
		return Error("ERR OPTIN and OPTOUT are not compatible with BCAST")
	case m.OptIn && m.OptOut:
		return Error("ERR You can't specify both OPTIN mode and OPTOUT mode")
	case m.OptIn && old.OptOut, m.OptOut && old.OptIn:
		return Error("ERR You can't switch OPTIN/OPTOUT mode before disabling tracking for this client, and then " +
			"re-enabling it with a different mode.")
	}
	table := c.Node.Tracking()
	if p, other, among, found := table.Overlap(cl.ID, prefixes); found {
		which := "an existing prefix"
		if among {
			which = "another provided prefix"
		}
		return Error(fmt.Sprintf("ERR Prefix '%s' overlaps with %s '%s'. Prefixes for a single client must not overlap.",
			p, which, other))
	}
	if m.Redirect == 0 && cl.Proto >= 3 {
		cl.Conn.StartPushing()
	}
	cl.Tracking = m
	table.Enable(cl.ID, m, prefixes, &invalidations{cl, c.Node.Clients(), m.Redirect})
	return nil
}

func (c *Call) stopTracking() {
	if c.Client.Tracking.On {
		c.Client.Tracking, c.Client.Caching = tracking.Mode{}, false
		c.Node.Tracking().Disable(c.Client.ID)
	}
}

// invalidations sends what became invalid to a client, or to the one that it named: tracking.Sink.
type invalidations struct {
	client   *Client
	clients  Clients
	redirect int64
}

// Invalidate implements tracking.Sink.
func (v *invalidations) Invalidate(keys [][]byte) (delivered bool) {
	if v.redirect == 0 {
		v.client.Conn.Invalidate(keys, false)
		return true
	}
	if to := v.clients.Get(v.redirect); to != nil && !to.Leaving.Load() {
		to.Conn.Invalidate(keys, true)
		return true
	}
	v.client.Conn.RedirectionBroken(v.redirect)
	return false
}

// clientCaching says for the next command whether its keys are to be remembered.
func clientCaching(c *Call) error {
	m := c.Client.Tracking
	if !m.On {
		return Error("ERR CLIENT CACHING can be called only when the client is in tracking mode with OPTIN or OPTOUT " +
			"mode enabled")
	}
	switch {
	case c.Is(2, "YES"):
		if !m.OptIn {
			return Error("ERR CLIENT CACHING YES is only valid when tracking is enabled in OPTIN mode.")
		}
	case c.Is(2, "NO"):
		if !m.OptOut {
			return Error("ERR CLIENT CACHING NO is only valid when tracking is enabled in OPTOUT mode.")
		}
	default:
		return Error(resp.ErrSyntax)
	}
	c.Client.Caching = true
	c.Out.OK()
	return nil
}

// redirection is where invalidations go: a client, 0 for this one, -1 for nowhere.
func redirection(m tracking.Mode) int64 {
	if !m.On {
		return -1
	}
	return m.Redirect
}

func clientTrackingInfo(c *Call) error {
	m, broken, prefixes := c.Node.Tracking().State(c.Client.ID)
	flags := []string{"off"}
	if m.On {
		flags[0] = "on"
	}
	for _, f := range []struct {
		set  bool
		word string
	}{
		{m.BCast, "bcast"},
		{m.OptIn, "optin"}, {m.OptIn && c.Client.Caching, "caching-yes"},
		{m.OptOut, "optout"}, {m.OptOut && c.Client.Caching, "caching-no"},
		{m.NoLoop, "noloop"}, {broken, "broken_redirect"},
	} {
		if f.set {
			flags = append(flags, f.word)
		}
	}
	c.Out.Map(3)
	c.Out.BulkString("flags")
	c.Out.Set(len(flags))
	for _, f := range flags {
		c.Out.BulkString(f)
	}
	c.Out.BulkString("redirect")
	c.Out.Int(redirection(m))
	c.Out.BulkString("prefixes")
	c.Out.BulkStringArray(prefixes...)
	return nil
}
