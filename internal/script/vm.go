package script

import (
	"crypto/sha1"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"

	"haypile/internal/resp"
	"haypile/internal/script/lua"
)

// MemoryLimit bounds what a run may hold.
const MemoryLimit = 256 << 20

// vm is a world of values for one run at a time.
type vm struct {
	rt    *lua.Runtime
	host  Host
	proto int      // of the replies to the script
	argv  [][]byte // of the call under way
	buf   []byte   // behind argv
	depth int
	json  jsonConfig

	// A world for functions knows the libraries of one state.
	version    Version
	registered map[*Library]map[string]lua.Value
}

// The versions that a script sees.
const (
	redisVersion    = "7.2.0"
	redisVersionNum = 0x00070200
)

// Levels of redis.log, and the flags of redis.set_repl.
var redisNumbers = map[string]float64{
	"LOG_DEBUG": 0, "LOG_VERBOSE": 1, "LOG_NOTICE": 2, "LOG_WARNING": 3,
	"REPL_NONE": 0, "REPL_AOF": 1, "REPL_SLAVE": 2, "REPL_REPLICA": 2, "REPL_ALL": 3,
	"REDIS_VERSION_NUM": redisVersionNum,
}

func newVM() *vm {
	v := &vm{rt: lua.NewRuntime(MemoryLimit)}
	v.rt.Tick = func(int64) error { return v.host.Tick() }
	g := v.rt.Globals
	lib := lua.NewLibrary(map[string]func(*lua.State, []lua.Value) []lua.Value{
		"call":               func(st *lua.State, a []lua.Value) []lua.Value { return v.call(st, a, true) },
		"pcall":              func(st *lua.State, a []lua.Value) []lua.Value { return v.call(st, a, false) },
		"error_reply":        func(st *lua.State, a []lua.Value) []lua.Value { return v.fieldReply(st, a, "err") },
		"status_reply":       func(st *lua.State, a []lua.Value) []lua.Value { return v.fieldReply(st, a, "ok") },
		"sha1hex":            v.sha1hex,
		"log":                v.log,
		"setresp":            v.setresp,
		"set_repl":           v.setRepl,
		"replicate_commands": func(st *lua.State, _ []lua.Value) []lua.Value { return st.Return(lua.True) },
		"breakpoint":         func(st *lua.State, _ []lua.Value) []lua.Value { return st.Return(lua.False) },
		"debug":              func(*lua.State, []lua.Value) []lua.Value { return nil },
		"acl_check_cmd":      v.aclCheck,
	})
	for name, n := range redisNumbers {
		lib.SetField(name, lua.Num(n))
	}
	lib.SetField("REDIS_VERSION", lua.Constant(redisVersion))
	g.SetField("redis", lib.Value())
	g.SetField("server", lib.Value())
	g.SetField("cjson", v.jsonLibrary().Value())
	pack := lua.NewLibrary(msgpackLibrary)
	for name, text := range msgpackTexts {
		pack.SetField(name, lua.Constant(text))
	}
	g.SetField("cmsgpack", pack.Value())
	g.SetField("struct", lua.NewLibrary(structLibrary).Value())
	g.SetField("bit", lua.NewLibrary(bitLibrary).Value())
	g.SetField("pcall", lua.NewFunction("pcall", pcall).Value())
	g.SetMeta(lua.NewLibrary(map[string]func(*lua.State, []lua.Value) []lua.Value{"__index": missingGlobal}))
	v.rt.Seal()
	return v
}

// missingGlobal makes reading a global that does not exist an error.
func missingGlobal(st *lua.State, a []lua.Value) []lua.Value {
	if len(a) < 2 {
		st.Fail("wrong number of arguments to luaReadOnlyGlobalTableIndex")
	}
	st.Fail("Script attempted to access nonexistent global variable '%s'", st.ToText(a[1]))
	return nil
}

// pcall is the language's, but an error reply comes out as its text.
func pcall(st *lua.State, a []lua.Value) []lua.Value {
	if len(a) == 0 {
		st.Check("pcall", a).Any(1)
	}
	out, err := st.Protected(a[0], a[1:])
	if err == nil {
		return out
	}
	e := err.Value
	if t := e.Table(); t != nil {
		if text := t.Field("err"); text.IsString() {
			e = text
		}
	}
	return st.Return(lua.False, e)
}

func (v *vm) begin(host Host) {
	v.host, v.proto, v.depth, v.json = host, 2, 0, jsonDefaults
	v.rt.Begin()
}

func (v *vm) end() {
	v.rt.End()
	v.host = nil
	clear(v.argv[:cap(v.argv)])
	if cap(v.buf) > 1<<20 {
		v.buf = nil
	}
}

func (v *vm) list(items [][]byte) lua.Value {
	st := v.rt.Main()
	t := st.NewTable(len(items), 0)
	for i, b := range items {
		t.SetIndex(i+1, st.String(string(b)))
	}
	return t.Value()
}

// run calls fn and appends its reply. name is what an error says about where it happened.
func (v *vm) run(fn lua.Value, args []lua.Value, name string, proto int, dst []byte) ([]byte, error) {
	from := len(dst)
	ret, err := v.rt.Run(fn, args...)
	if err == nil {
		var first lua.Value
		if len(ret) > 0 {
			first = ret[0]
		}
		w := resp.Writer{Buf: dst, Proto: proto}
		if err = v.rt.Do(func() { v.reply(&w, first) }); err == nil {
			return w.Buf, nil
		}
		dst = w.Buf[:from]
	}
	var e *lua.Error
	if killed, ok := err.(Error); ok {
		e = &lua.Error{Value: v.field("err", string(killed))}
		e.Source, e.Line = v.rt.Main().Position()
	} else if !errors.As(err, &e) {
		return dst, err
	}
	return dst, Error(errorText(v.rt.Main(), e, name))
}

// field is a table with one entry.
func (v *vm) field(name, text string) lua.Value {
	t := v.rt.Main().NewTable(0, 1)
	t.SetField(name, lua.Constant(text))
	return t.Value()
}

// errorText is the reply for an error that the script did not catch.
func errorText(st *lua.State, e *lua.Error, name string) string {
	text := ""
	if t := e.Value.Table(); t != nil {
		if f := t.Field("err"); f.IsString() {
			text = f.Text()
		} else {
			text = "ERR unknown error"
		}
	} else {
		text = "ERR " + plain(e.Value)
	}
	if e.Source == "" {
		return text
	}
	return fmt.Sprintf("%s script: %s, on %s:%d.", text, name, e.Source, e.Line)
}

// plain is a value as text, without metamethods.
func plain(v lua.Value) string {
	switch v.Kind() {
	case lua.StringKind:
		return v.Text()
	case lua.Number:
		return lua.FormatNumber(v.Number())
	case lua.Bool:
		return strconv.FormatBool(v.Truth())
	}
	return v.Kind().String()
}

// raise raises an error reply from a function of the library.
func raise(st *lua.State, text string) {
	st.Raise(errorTable(st, text))
}

// errorTable is an error reply as a value.
func errorTable(st *lua.State, text string) lua.Value {
	t := st.NewTable(0, 2)
	t.SetField("err", st.String(text))
	t.Set(nameIgnore, lua.True)
	return t.Value()
}

var nameIgnore = lua.Constant("ignore_error_stats_update")

// failCall refuses a call: by an error, or for pcall by its value.
func failCall(st *lua.State, text string, raises bool) []lua.Value {
	if raises {
		raise(st, text)
	}
	return st.Return(errorTable(st, text))
}

// call is redis.call and redis.pcall.
func (v *vm) call(st *lua.State, a []lua.Value, raises bool) []lua.Value {
	if len(a) == 0 {
		return failCall(st, "ERR Please specify at least one argument for this redis lib call", raises)
	}
	if !v.arguments(a) {
		return failCall(st, "ERR Lua redis lib command arguments must be strings or integers", raises)
	}
	reply, err := v.host.Call(v.argv, v.proto)
	if err != nil {
		lua.Stop(err)
	}
	if reply[0] == '-' {
		return failCall(st, strings.TrimSuffix(string(reply[1:]), "\r\n"), raises)
	}
	d := decoder{st: st, buf: reply, proto: v.proto}
	return st.Return(d.value())
}

// arguments makes the arguments of a command of values. Numbers are written as the replies of commands write them.
func (v *vm) arguments(a []lua.Value) bool {
	v.argv, v.buf = v.argv[:0], v.buf[:0]
	size := 0
	for _, x := range a {
		switch {
		case x.IsString():
			size += len(x.Text())
		case x.IsNumber():
			size += 32
		default:
			return false
		}
	}
	if size > cap(v.buf) {
		v.buf = make([]byte, 0, size)
	}
	for _, x := range a {
		at := len(v.buf)
		if x.IsNumber() {
			v.buf = resp.AppendFloat(v.buf, x.Number())
		} else {
			v.buf = append(v.buf, x.Text()...)
		}
		v.argv = append(v.argv, v.buf[at:len(v.buf):len(v.buf)])
	}
	return true
}

// fieldReply makes the table of redis.error_reply and redis.status_reply.
func (v *vm) fieldReply(st *lua.State, a []lua.Value, field string) []lua.Value {
	if len(a) != 1 || !a[0].IsString() {
		return st.Return(errorTable(st, "ERR wrong number or type of arguments"))
	}
	text := a[0].Text()
	if field == "err" {
		if rest, ok := strings.CutPrefix(text, "-"); ok {
			text = rest
		} else if !strings.Contains(text, " ") {
			text = "ERR " + text
		}
	}
	t := st.NewTable(0, 1)
	t.SetField(field, st.String(text))
	return st.Return(t.Value())
}

func (v *vm) sha1hex(st *lua.State, a []lua.Value) []lua.Value {
	if len(a) != 1 {
		raise(st, "ERR wrong number of arguments")
	}
	s := ""
	if a[0].IsString() || a[0].IsNumber() {
		s = plain(a[0])
	}
	sum := sha1.Sum([]byte(s))
	return st.Return(st.String(hex.EncodeToString(sum[:])))
}

func (v *vm) log(st *lua.State, a []lua.Value) []lua.Value {
	switch {
	case len(a) < 2:
		raise(st, "ERR redis.log() requires two arguments or more.")
	case !a[0].IsNumber():
		raise(st, "ERR First argument must be a number (log level).")
	case a[0].Number() < 0 || a[0].Number() > 3:
		raise(st, "ERR Invalid debug level.")
	}
	var words []string
	for _, x := range a[1:] {
		if x.IsString() || x.IsNumber() {
			words = append(words, plain(x))
		}
	}
	v.host.Log(int(a[0].Number()), strings.Join(words, " "))
	return nil
}

func (v *vm) setresp(st *lua.State, a []lua.Value) []lua.Value {
	if len(a) != 1 {
		raise(st, "ERR redis.setresp() requires one argument.")
	}
	n := a[0].Number()
	if n != 2 && n != 3 {
		raise(st, "ERR RESP version must be 2 or 3.")
	}
	v.proto = int(n)
	return nil
}

// setRepl checks its argument. What a script has done is always in the log, on the disk and on replicas: a part of
// a node's data that its replicas do not have cannot be.
func (v *vm) setRepl(st *lua.State, a []lua.Value) []lua.Value {
	if len(a) != 1 {
		raise(st, "ERR redis.set_repl() requires two arguments.")
	}
	if n := a[0].Number(); n != math.Trunc(n) || n < 0 || n > 3 {
		raise(st, "ERR Invalid replication flags. Use REPL_AOF, REPL_REPLICA, REPL_ALL or REPL_NONE.")
	}
	return nil
}

func (v *vm) aclCheck(st *lua.State, a []lua.Value) []lua.Value {
	if len(a) == 0 {
		raise(st, "ERR Please specify at least one argument for this redis lib call")
	}
	if !v.arguments(a) {
		raise(st, "ERR Lua redis lib command arguments must be strings or integers")
	}
	ok, known := v.host.Permitted(v.argv)
	if !known {
		raise(st, "ERR Invalid command passed to redis.acl_check_cmd()")
	}
	return st.Return(lua.Boolean(ok))
}
