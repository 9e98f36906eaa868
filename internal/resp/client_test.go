package resp

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"
)

// serve answers each command of each connection with what handle writes, until the test ends.
func serve(t *testing.T, handle func(w *Writer, args []string)) (addr string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go serveConn(conn, handle)
		}
	}()
	return l.Addr().String()
}

func serveConn(conn net.Conn, handle func(w *Writer, args []string)) {
	defer conn.Close()
	r, w := NewReader(DefaultLimits()), Writer{Proto: 2}
	for {
		n, err := conn.Read(r.Space(1))
		if err != nil {
			return
		}
		r.Advance(n)
		for {
			cmd, ok, err := r.Next()
			if err != nil {
				return
			}
			if !ok {
				break
			}
			args := make([]string, len(cmd.Args))
			for i, a := range cmd.Args {
				args[i] = string(a)
			}
			if args[0] == "close" {
				return
			}
			handle(&w, args)
		}
		if _, err := conn.Write(w.Buf); err != nil {
			return
		}
		w.Buf = w.Buf[:0]
	}
}

func echo(w *Writer, args []string) {
	switch args[0] {
	case "silent":
	case "fail":
		w.Error(ErrSyntax)
	case "push":
		w.Proto = 3
		w.Push(1)
		w.BulkString("news")
		w.OK()
	default:
		w.BulkStringArray(args...)
	}
}

func dialTest(t *testing.T, addr string, opt DialOptions) *Client {
	t.Helper()
	c, err := Dial(t.Context(), addr, opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func TestClientDo(t *testing.T) {
	c := dialTest(t, serve(t, echo), DialOptions{})
	v, err := c.Do(t.Context(), "a", []byte("b"), 1, int64(-2), uint64(3), 1.5, true, false, 2*time.Second,
		time.March)
	if want := "[a b 1 -2 3 1.5 1 0 2000 March]"; err != nil || v.String() != want {
		t.Fatalf("%s, %v; want %s", v, err, want)
	}
	// An error reply is an error of the call and leaves the connection as it was.
	var reply Error
	v, err = c.Do(t.Context(), "fail")
	if !errors.As(err, &reply) || string(reply) != ErrSyntax || v.Kind != KindError {
		t.Fatalf("%s, %v", v, err)
	}
	if _, err := c.Do(t.Context(), "x"); err != nil {
		t.Fatal(err)
	}
}

func TestClientPipeline(t *testing.T) {
	c := dialTest(t, serve(t, echo), DialOptions{})
	values, err := c.Pipeline(t.Context(), [][]any{{"a"}, {"fail"}, {"b", 2}})
	if err != nil || len(values) != 3 {
		t.Fatal(values, err)
	}
	if values[0].String() != "[a]" || values[1].Err() == nil || values[2].String() != "[b 2]" {
		t.Fatal(values)
	}
}

// A pipeline that is larger than all socket buffers, to a server that does not read on before its replies
// are gone.
func TestClientLargePipeline(t *testing.T) {
	c := dialTest(t, serve(t, echo), DialOptions{})
	payload := strings.Repeat("x", 100<<10)
	cmds := make([][]any, 200)
	for i := range cmds {
		cmds[i] = []any{i, payload}
	}
	values, err := c.Pipeline(t.Context(), cmds)
	if err != nil {
		t.Fatal(err)
	}
	for i, v := range values {
		if v.Elems[0].String() != fmt.Sprint(i) || len(v.Elems[1].Str) != len(payload) {
			t.Fatalf("reply %d is to command %s", i, v.Elems[0])
		}
	}
	// The server goes away in the middle of the next.
	cmds[5] = []any{"close"}
	if _, err := c.Pipeline(t.Context(), cmds); err == nil {
		t.Fatal("no error")
	}
}

func TestClientDeadlines(t *testing.T) {
	addr := serve(t, echo)
	t.Run("context", func(t *testing.T) {
		c := dialTest(t, addr, DialOptions{})
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		defer cancel()
		_, err := c.Do(ctx, "silent")
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("%v", err)
		}
		// The late reply must not be taken for that of the next command.
		if _, again := c.Do(t.Context(), "x"); again == nil || again.Error() != err.Error() {
			t.Fatalf("the next call: %v", again)
		}
	})
	t.Run("cancel", func(t *testing.T) {
		c := dialTest(t, addr, DialOptions{Timeout: -1})
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(20*time.Millisecond, cancel)
		if _, err := c.Do(ctx, "silent"); !errors.Is(err, context.Canceled) {
			t.Fatalf("%v", err)
		}
	})
	t.Run("cancelled before", func(t *testing.T) {
		c := dialTest(t, addr, DialOptions{})
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := c.Do(ctx, "x"); !errors.Is(err, context.Canceled) {
			t.Fatalf("%v", err)
		}
		if _, err := c.Do(t.Context(), "x"); err != nil {
			t.Fatalf("nothing was sent, but the connection is gone: %v", err)
		}
	})
	t.Run("timeout", func(t *testing.T) {
		c := dialTest(t, addr, DialOptions{Timeout: 20 * time.Millisecond})
		var nerr net.Error
		if _, err := c.Do(t.Context(), "silent"); !errors.As(err, &nerr) || !nerr.Timeout() {
			t.Fatalf("%v", err)
		}
	})
	t.Run("close", func(t *testing.T) {
		c := dialTest(t, addr, DialOptions{})
		time.AfterFunc(20*time.Millisecond, func() { c.Close() })
		if _, err := c.Do(t.Context(), "silent"); !errors.Is(err, net.ErrClosed) {
			t.Fatalf("%v", err)
		}
	})
}

func TestClientPush(t *testing.T) {
	var news []string
	c := dialTest(t, serve(t, echo), DialOptions{OnPush: func(v Value) { news = append(news, v.String()) }})
	if v, err := c.Do(t.Context(), "push"); err != nil || v.String() != "OK" || len(news) != 1 {
		t.Fatal(v, err, news)
	}
	if err := c.Send(t.Context(), "push"); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"[news]", "OK"} {
		if v, err := c.Receive(t.Context()); err != nil || v.String() != want {
			t.Fatal(v, err)
		}
	}
}

func TestClientGreeting(t *testing.T) {
	for _, tc := range []struct {
		opt  DialOptions
		want string
	}{
		{DialOptions{}, ""},
		{DialOptions{Password: "p"}, "[AUTH p]"},
		{DialOptions{User: "u", Password: "p", DB: 3}, "[AUTH u p] [SELECT 3]"},
		{DialOptions{Proto: 3}, "[HELLO 3]"},
		{DialOptions{Proto: 3, Password: "p", ClientName: "n"}, "[HELLO 3 AUTH default p] [CLIENT SETNAME n]"},
	} {
		var got []string
		addr := serve(t, func(w *Writer, args []string) {
			if args[0] == "report" {
				w.BulkStringArray(got...)
				return
			}
			got = append(got, fmt.Sprint(args))
			w.OK()
		})
		c := dialTest(t, addr, tc.opt)
		if v, err := c.Do(t.Context(), "report"); err != nil || v.String() != "["+tc.want+"]" {
			t.Errorf("%+v: %s, %v", tc.opt, v, err)
		}
	}
	refused := serve(t, func(w *Writer, args []string) { w.Error(ErrWrongPass) })
	if _, err := Dial(t.Context(), refused, DialOptions{Password: "p"}); !errors.Is(err, Error(ErrWrongPass)) {
		t.Errorf("refused: %v", err)
	}
}

func TestClientAgainstRedis(t *testing.T) {
	socket := startRedis(t, "--requirepass", "secret")
	_, err := Dial(t.Context(), socket, DialOptions{Password: "wrong"})
	if !errors.Is(err, Error(ErrWrongPass)) {
		t.Fatalf("wrong password: %v", err)
	}
	c := dialTest(t, socket, DialOptions{Password: "secret", Proto: 3, DB: 2})
	c.Do(t.Context(), "HSET", "h", "f", "v")
	if v, err := c.Do(t.Context(), "HGETALL", "h"); err != nil || v.Kind != KindMap || v.String() != "[f v]" {
		t.Fatal(show(v), err)
	}
	if _, err := c.Do(t.Context(), "INCR", "h"); !errors.Is(err, Error(ErrWrongType)) {
		t.Fatal(err)
	}
	if v, err := c.Do(t.Context(), "GET", "none"); err != nil || !v.IsNull() {
		t.Fatal(show(v), err)
	}
}
