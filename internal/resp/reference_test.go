package resp

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// startRedis starts the reference server on a socket of its own, or skips the test if there is none on this
// machine.
func startRedis(t *testing.T, args ...string) (socket string) {
	t.Helper()
	path, err := exec.LookPath("redis-server")
	if err != nil {
		t.Skip("redis-server is not installed")
	}
	dir, err := os.MkdirTemp("", "resp") // t.TempDir is too long a path for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	socket = filepath.Join(dir, "redis.sock")
	cmd := exec.Command(path, append([]string{"--port", "0", "--unixsocket", socket, "--dir", dir, "--save",
		"",
		"--daemonize", "no"}, args...)...)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	for tick := time.NewTicker(5 * time.Millisecond); ; {
		conn, err := net.Dial("unix", socket)
		if err == nil {
			conn.Close()
			return socket
		}
		select {
		case <-ctx.Done():
			t.Fatalf("redis-server does not listen: %v", err)
		case <-tick.C:
		}
	}
}

// askRedis sends raw bytes and returns n replies, fewer if the server closes the connection.
func askRedis(t *testing.T, socket, raw string, n int) []string {
	t.Helper()
	conn, err := net.Dial("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := conn.Write([]byte(raw)); err != nil {
		t.Fatal(err)
	}
	var replies []string
	for r := NewReplyReader(conn); len(replies) < n; {
		v, err := r.ReadValue()
		if err != nil {
			break
		}
		replies = append(replies, v.String())
	}
	return replies
}

// What Redis answers to malformed requests is what Reader reports.
func TestProtocolErrorsAgainstRedis(t *testing.T) {
	open := startRedis(t)
	closed := startRedis(t, "--requirepass", "secret")
	long := strings.Repeat("a", 70000)
	for _, in := range []string{
		"*a\r\n", "*\r\n", "*+1\r\n", "*01\r\n", "* 1\r\n", "*-0\r\n", "*1 \r\n", "*2147483648\r\n",
		"*99999999999999999999\r\n", "*" + long,
		"*1\r\n$x\r\n", "*1\r\n$\r\n", "*1\r\n$-1\r\n", "*1\r\n$-5\r\n", "*1\r\n$536870913\r\n", "*1\r\n$" + long,
		"*1\r\nfoo\r\n", "*1\r\n\r\n", "*1\r\n\n\r\n", "*2\r\n$4\r\nPING\r\n*1\r\n", "*1\r\n" + long,
		long, "SET \"a\n", "SET 'a\n", "SET \"a\"b\n", "SET 'a'b\r\n", "SET \"a\\\"\n", "SET 'a\\'\n",
		"SET a\"\n",
		"*11\r\n", "*1\r\n$16385\r\n", "*0\r\nPING x y z\r\n*1\r\n$-1\r\n",
	} {
		for _, server := range []struct {
			socket string
			lim    Limits
		}{{open, DefaultLimits()}, {closed, UnauthLimits()}} {
			o := feed(server.lim, []byte(in), whole)
			if len(o.cmds) == 0 && o.err == "" {
				continue // a server that waits too says nothing
			}
			replies := askRedis(t, server.socket, in, 100)
			got := "none"
			if len(replies) > 0 {
				got = replies[len(replies)-1]
			}
			if want := "ERR " + o.err; got != want {
				t.Errorf("%.60q: Redis %q, Reader %q", in, got, want)
			}
			if len(replies) != len(o.cmds)+1 {
				t.Errorf("%.60q: Redis gives %d replies, Reader %d commands", in, len(replies), len(o.cmds))
			}
		}
	}
}

// Words of inline requests are what Redis makes of them. RPUSH and LRANGE show them.
func TestInlineAgainstRedis(t *testing.T) {
	socket := startRedis(t)
	for _, line := range []string{
		`a b  c`, "a\tb", "a\vb", "a\fb", "\va", "a \v b", `"a b"`, `'a b'`, `"a" "b"`, `a"b c"`, `a"b"c`,
		`"\x41\x4g\x"`, `"\n\r\t\b\a\\\"\q"`,
		`'\n\''`, `'\\'`, `'a"b' "c'd"`, `""`, `''`, `"\`, `"\x4`, `a\nb`, `a\ b`, `a'b'"c"`, `"a""b"`,
		"\"a\"\tb", "\"a\"\vb",
		"\"a\rb\"", "a\rb", "é ü", "\"\\xff\\x00\"", `$3`, `a*3`,
	} {
		in := "RPUSH k " + line + "\n"
		o := feed(DefaultLimits(), []byte(in), single)
		replies := askRedis(t, socket, "DEL k\r\n"+in+"LRANGE k 0 -1\r\n", 3)
		want := "ERR Protocol error: unbalanced quotes in request"
		if len(replies) == 3 {
			want = replies[2]
		} else if len(replies) == 2 {
			want = replies[1]
		}
		got := "ERR " + o.err
		if o.err == "" {
			got = "[" + strings.Join(o.cmds[0][2:], " ") + "]"
		}
		if got != want {
			t.Errorf("%q: Redis %q, Reader %q", line, want, got)
		}
		if o.err == "" && len(replies) > 1 && replies[1] != fmt.Sprint(len(o.cmds[0])-2) {
			t.Errorf("%q: Redis has %s words, Reader %q", line, replies[1], o.cmds[0])
		}
	}
}

// Redis accepts as integers and doubles exactly what ParseInt and ParseFloat accept.
func TestNumbersAgainstRedis(t *testing.T) {
	c, err := Dial(context.Background(), startRedis(t), DialOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	ctx := context.Background()
	for _, s := range numberSamples {
		c.Do(ctx, "DEL", "n", "z")
		v, err := c.Do(ctx, "INCRBY", "n", s)
		n, ok := ParseInt([]byte(s))
		if ok != (err == nil) || ok && n != v.Int {
			t.Errorf("ParseInt(%q) = %d, %v; Redis %v, %v", s, n, ok, v, err)
		}
		_, err = c.Do(ctx, "ZADD", "z", s, "m")
		f, ok := ParseFloat([]byte(s))
		if ok != (err == nil) {
			t.Errorf("ParseFloat(%q) = %v, %v; Redis %v", s, f, ok, err)
			continue
		}
		if !ok {
			continue
		}
		v, err = c.Do(ctx, "ZSCORE", "z", "m")
		if err != nil {
			t.Fatal(err)
		}
		if score, ok := ParseFloat(v.Str); !ok || score != f {
			t.Errorf("ParseFloat(%q) = %v; Redis %s", s, f, v)
		}
	}
}
