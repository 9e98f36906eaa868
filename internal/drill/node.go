package drill

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	"haypile/internal/resp"
	"haypile/internal/topology"
)

const (
	// lookEvery is the pace of looking at a node while waiting for a change there: the resolution of the times
	// that are not measured by the load.
	lookEvery = 20 * time.Millisecond
	// nodeTimeout bounds one question to a node, digests apart.
	nodeTimeout = 2 * time.Second
)

// Info is what INFO says, by field.
type Info map[string]string

// ParseInfo reads the text of INFO.
func ParseInfo(text string) Info {
	info := Info{}
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\r\n")
		if name, value, ok := strings.Cut(line, ":"); ok && !strings.HasPrefix(line, "#") {
			info[name] = value
		}
	}
	return info
}

// Int is a number of INFO; -1 if it is not there.
func (i Info) Int(name string) int64 {
	n, err := strconv.ParseInt(i[name], 10, 64)
	if err != nil {
		return -1
	}
	return n
}

// PID is the node's process.
func (i Info) PID() int { return int(i.Int("process_id")) }

// Primary reports whether the node is one.
func (i Info) Primary() bool { return i["role"] == "master" }

// Linked reports whether the node is a replica that streams from addr (any, if empty).
func (i Info) Linked(addr string) bool {
	from := net.JoinHostPort(i["master_host"], i["master_port"])
	return i["role"] == "slave" && i["master_link_status"] == "up" && (addr == "" || from == addr)
}

// Offset is how far the node's data are.
func (i Info) Offset() int64 {
	if n := i.Int("slave_repl_offset"); n >= 0 && !i.Primary() {
		return n
	}
	return i.Int("master_repl_offset")
}

// node is a short-lived connection to a data node.
type node struct {
	topology.Node
	opt resp.DialOptions
}

func (n node) do(ctx context.Context, timeout time.Duration, args ...any) (resp.Value, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	c, err := resp.Dial(ctx, n.Addr, n.opt)
	if err != nil {
		return resp.Value{}, err
	}
	defer c.Close()
	v, err := c.Do(ctx, args...)
	if err != nil {
		return v, fmt.Errorf("node %s: %v: %w", n.ID, args[0], err)
	}
	return v, nil
}

// info is what INFO says, of the sections or of the default ones.
func (n node) info(ctx context.Context, sections ...any) (Info, error) {
	v, err := n.do(ctx, nodeTimeout, append([]any{"INFO"}, sections...)...)
	if err != nil {
		return nil, err
	}
	return ParseInfo(v.String()), nil
}

// syncReplicas is the node's sync-replicas; 0 for a server without it.
func (n node) syncReplicas(ctx context.Context) (int, error) {
	v, err := n.do(ctx, nodeTimeout, "CONFIG", "GET", "sync-replicas")
	if err != nil {
		return 0, err
	}
	set, ok := v.Lookup("sync-replicas")
	if !ok {
		return 0, nil
	}
	k, err := set.Int64()
	return int(k), err
}

// pause waits, or returns ctx's error.
func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

// until looks again and again whether something has become true. When the time is over it returns what look
// said last.
func until(ctx context.Context, limit time.Duration, look func(ctx context.Context) error) error {
	wait, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for {
		err := look(wait)
		if err == nil {
			return nil
		}
		if pause(wait, lookEvery) != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			return fmt.Errorf("after %v: %w", limit, err)
		}
	}
}

// Digest is a fingerprint of a node's data.
type Digest struct {
	Node   topology.NodeID `json:"node"`
	Digest string          `json:"digest"`
	Offset int64           `json:"offset"` // at which it was taken
	Keys   int64           `json:"keys"`
}

// errOffsets: the nodes are not at one offset, so that their digests say nothing yet.
var errOffsets = errors.New("the nodes are not at the same offset")

// compare fingerprints all nodes at one offset. It waits until they are at one; equal digests are equal data
// in any case.
func compare(ctx context.Context, opt Options, nodes []node) (digests []Digest, equal bool, err error) {
	err = until(ctx, opt.ReturnLimit, func(ctx context.Context) error {
		if err := sameOffset(ctx, nodes); err != nil {
			return err
		}
		digests, err = takeDigests(ctx, nodes)
		if err != nil {
			return err
		}
		if equal = allEqual(digests); equal {
			return nil
		}
		for _, d := range digests {
			if d.Offset != digests[0].Offset {
				return errOffsets // something was written meanwhile: once more
			}
		}
		// They differ, unless the bytes changed between INFO and the digest of a server that tells no offset.
		return sameOffset(ctx, nodes)
	})
	return digests, equal, err
}

// allEqual compares fingerprints, and the number of keys as a check on them.
func allEqual(digests []Digest) bool {
	for _, d := range digests {
		if d.Digest != digests[0].Digest || d.Keys != digests[0].Keys {
			return false
		}
	}
	return true
}

func sameOffset(ctx context.Context, nodes []node) error {
	var offsets []string
	same := true
	first := int64(-1)
	for _, n := range nodes {
		info, err := n.info(ctx, "replication")
		if err != nil {
			return err
		}
		if first == -1 {
			first = info.Offset()
		}
		same = same && info.Offset() == first
		offsets = append(offsets, fmt.Sprintf("%s at %d", n.ID, info.Offset()))
	}
	if !same {
		return fmt.Errorf("%w: %s", errOffsets, strings.Join(offsets, ", "))
	}
	return nil
}

// digestTimeout bounds a digest: it reads all data of the node.
const digestTimeout = 5 * time.Minute

func takeDigests(ctx context.Context, nodes []node) ([]Digest, error) {
	out, errs := make([]Digest, len(nodes)), make([]error, len(nodes))
	share(len(nodes), len(nodes), func(i int, _ []int) { out[i], errs[i] = nodes[i].digest(ctx) })
	return out, errors.Join(errs...)
}

// digest asks for a digest with its offset, or from a server that cannot tell it (a real Redis) for one of the
// data at rest.
func (n node) digest(ctx context.Context) (Digest, error) {
	d := Digest{Node: n.ID}
	info, err := n.info(ctx)
	if err != nil {
		return d, err
	}
	v, err := n.do(ctx, digestTimeout, "DEBUG", "DIGEST-OFFSET")
	switch {
	case err == nil && len(v.Elems) == 2:
		d.Digest, d.Offset = v.Elems[0].String(), v.Elems[1].Int
	case v.Kind == resp.KindError:
		if v, err = n.do(ctx, digestTimeout, "DEBUG", "DIGEST"); err != nil {
			return d, err
		}
		d.Digest, d.Offset = v.String(), info.Offset()
	case err == nil:
		err = fmt.Errorf("node %s: DEBUG DIGEST-OFFSET answers %s", n.ID, v)
	}
	if err != nil {
		return d, err
	}
	for name, value := range info {
		var keys int64
		if _, err := fmt.Sscanf(value, "keys=%d,", &keys); err == nil && strings.HasPrefix(name, "db") {
			d.Keys += keys
		}
	}
	return d, nil
}
