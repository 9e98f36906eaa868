package proxy

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"haypile/internal/topology"
)

// TopologySource tells a proxy what the cluster looks like.
type TopologySource interface {
	// Run calls publish with every topology that it learns of, in any order and from any goroutine, until
	// ctx ends. publish does not keep the caller waiting for a network.
	Run(ctx context.Context, publish func(*topology.Cluster))
}

// Static is a source for tests: it publishes what Set is called with.
type Static struct {
	mu struct {
		sync.Mutex
		cluster *topology.Cluster
		publish func(*topology.Cluster)
	}
}

// NewStatic returns a source that knows c, which may be nil.
func NewStatic(c *topology.Cluster) *Static {
	s := &Static{}
	s.mu.cluster = c
	return s
}

// Set publishes a topology.
func (s *Static) Set(c *topology.Cluster) {
	s.mu.Lock()
	s.mu.cluster = c
	publish := s.mu.publish
	s.mu.Unlock()
	if publish != nil {
		publish(c)
	}
}

// Run implements TopologySource.
func (s *Static) Run(ctx context.Context, publish func(*topology.Cluster)) {
	s.mu.Lock()
	s.mu.publish = publish
	c := s.mu.cluster
	s.mu.Unlock()
	if c != nil {
		publish(c)
	}
	<-ctx.Done()
	s.mu.Lock()
	s.mu.publish = nil
	s.mu.Unlock()
}

// Dashboards follows the event streams of all dashboards at once, so that one that hangs or is cut off
// delays nothing; the proxy takes the newest of what they say.
type Dashboards struct {
	URLs   []string // "http://host:port"
	Token  string   // sent as a bearer token, if set
	Logger *slog.Logger
}

const (
	watchPath     = "/api/v1/cluster/watch"
	followMin     = 50 * time.Millisecond
	followMax     = 2 * time.Second
	followHeaders = 5 * time.Second // to connect and to answer
	maxEvent      = 64 << 20        // bytes of one topology
)

// Run implements TopologySource.
func (d *Dashboards) Run(ctx context.Context, publish func(*topology.Cluster)) {
	log := d.Logger
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	client := &http.Client{Transport: &http.Transport{
		DialContext: (&net.Dialer{Timeout: followHeaders, KeepAliveConfig: net.KeepAliveConfig{
			Enable: true, Idle: 2 * time.Second, Interval: time.Second, Count: 3,
		}}).DialContext,
		ResponseHeaderTimeout: followHeaders,
	}}
	defer client.CloseIdleConnections()
	var wg sync.WaitGroup
	for _, url := range d.URLs {
		wg.Add(1)
		go func() {
			defer wg.Done()
			d.follow(ctx, client, strings.TrimRight(url, "/"), log, publish)
		}()
	}
	wg.Wait()
}

// follow keeps one stream open.
func (d *Dashboards) follow(ctx context.Context, client *http.Client, url string, log *slog.Logger,
	publish func(*topology.Cluster)) {
	wait, told := followMin, false
	for ctx.Err() == nil {
		err := d.stream(ctx, client, url, func(name string, data []byte) {
			wait, told = followMin, false
			if name != "topology" {
				return
			}
			// One that makes no sense would come again with the next stream: it is passed over.
			c, err := decodeTopology(data)
			if err != nil {
				log.Error("topology from dashboard ignored", "url", url, "error", err)
				return
			}
			publish(c)
		})
		if ctx.Err() != nil {
			return
		}
		if !told {
			log.Warn("no topology from dashboard", "url", url, "error", err)
			told = true
		}
		select {
		case <-ctx.Done():
		case <-time.After(wait/2 + rand.N(wait)):
			wait = min(2*wait, followMax)
		}
	}
}

// stream reads one event stream to its end.
func (d *Dashboards) stream(ctx context.Context, client *http.Client, url string,
	event func(name string, data []byte)) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url+watchPath, nil)
	if err != nil {
		return fmt.Errorf("make request: %w", err)
	}
	req.Header.Set("Accept", "text/event-stream")
	if d.Token != "" {
		req.Header.Set("Authorization", "Bearer "+d.Token)
	}
	res, err := client.Do(req)
	if err != nil {
		return fmt.Errorf("open stream: %w", err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("open stream: dashboard answered %s", res.Status)
	}
	return readEvents(res.Body, event)
}

// readEvents parses a stream of server-sent events and calls fn for each.
func readEvents(r io.Reader, fn func(name string, data []byte)) error {
	scan := bufio.NewScanner(r)
	scan.Buffer(make([]byte, 0, 64<<10), maxEvent)
	name, data, has := "", []byte(nil), false
	for scan.Scan() {
		line := bytes.TrimSuffix(scan.Bytes(), []byte("\r"))
		if len(line) == 0 {
			if has {
				fn(name, data)
			}
			name, data, has = "", nil, false
			continue
		}
		field, value, _ := bytes.Cut(line, []byte(":"))
		value = bytes.TrimPrefix(value, []byte(" "))
		switch string(field) {
		case "event":
			name = string(value)
		case "data":
			if has {
				data = append(data, '\n')
			}
			if data = append(data, value...); len(data) > maxEvent {
				return errors.New("event too large")
			}
			has = true
		}
	}
	if err := scan.Err(); err != nil {
		return fmt.Errorf("read stream: %w", err)
	}
	return io.ErrUnexpectedEOF
}

func decodeTopology(data []byte) (*topology.Cluster, error) {
	c := new(topology.Cluster)
	if err := json.Unmarshal(data, c); err != nil {
		return nil, fmt.Errorf("decode topology: %w", err)
	}
	if err := c.Validate(); err != nil {
		return nil, fmt.Errorf("topology revision %d: %w", c.Revision, err)
	}
	return c, nil
}

// loadTopology reads the kept topology; nil without an error if there is none.
func loadTopology(file string) (*topology.Cluster, error) {
	data, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read topology file: %w", err)
	}
	c, err := decodeTopology(data)
	if err != nil {
		return nil, fmt.Errorf("topology file %s: %w", file, err)
	}
	return c, nil
}

// saveTopology replaces the kept topology: a crash leaves the old one or the new one.
func saveTopology(file string, c *topology.Cluster) error {
	data, err := json.MarshalIndent(c, "", "  ")
	if err != nil {
		return fmt.Errorf("encode topology: %w", err)
	}
	tmp, err := os.CreateTemp(filepath.Dir(file), "."+filepath.Base(file)+".*")
	if err != nil {
		return fmt.Errorf("save topology: %w", err)
	}
	defer os.Remove(tmp.Name())
	_, err = tmp.Write(append(data, '\n'))
	if err == nil {
		err = tmp.Sync()
	}
	if e := tmp.Close(); err == nil {
		err = e
	}
	if err == nil {
		err = os.Rename(tmp.Name(), file)
	}
	if err != nil {
		return fmt.Errorf("save topology: %w", err)
	}
	dir, err := os.Open(filepath.Dir(file))
	if err != nil {
		return fmt.Errorf("save topology: %w", err)
	}
	defer dir.Close()
	if err := dir.Sync(); err != nil {
		return fmt.Errorf("save topology: %w", err)
	}
	return nil
}
