package script

import (
	"errors"
	"testing"
	"time"

	"haypile/internal/resp"
)

// fuzzHost answers every command with some reply, and ends a run after so many questions.
type fuzzHost struct{ ticks int }

var errFuzzEnd = errors.New("enough")

func (h *fuzzHost) Call(args [][]byte, proto int) ([]byte, error) {
	w := resp.Writer{Proto: proto}
	switch len(args) % 6 {
	case 0:
		w.Error("ERR no")
	case 1:
		w.Map(1)
		w.Bulk(args[0])
		w.Double(1.5)
	case 2:
		w.Null()
	case 3:
		w.Set(2)
		w.Int(1)
		w.Bool(true)
	case 4:
		w.Verbatim("txt", "text")
	default:
		w.BulkArray(args...)
	}
	return w.Buf, nil
}

func (h *fuzzHost) Permitted([][]byte) (ok, known bool) { return true, true }
func (h *fuzzHost) Log(int, string)                     {}
func (h *fuzzHost) Tick() error {
	if h.ticks++; h.ticks > 200 {
		return errFuzzEnd
	}
	return nil
}

// FuzzScript runs anything as a script: it may fail, but neither the process nor its time or memory may suffer, and
// a run leaves nothing to the next one.
func FuzzScript(f *testing.F) {
	for _, s := range []string{
		"return redis.call('a', 1, {})", "local t = {} while true do t[#t+1] = {} end",
		"local s = 'x' while true do s = s .. s end", "return string.rep('x', 1e9)",
		"local function f() return f() + 1 end return f()", "return ('x'):rep(100):gsub('.', '%0%0')",
		"return string.format('%99.99f', 1e308)", "return cjson.decode(('['):rep(5000))",
		"return cmsgpack.unpack(('\\145'):rep(5000))", "return struct.unpack('i4s', 'abcdefg')",
		"local t = {} t.t = t return t", "local t = {} t.t = t return cjson.encode(t)",
		"return ('a'):rep(50):find(('a?'):rep(50) .. ('a'):rep(50))", "for i = 1, 1e9 do end",
		"local c = coroutine.wrap(function() while true do coroutine.yield(1) end end) for i = 1, 9 do c() end",
		"return loadstring('return ' .. ('('):rep(300) .. '1' .. (')'):rep(300))",
		"table.sort({3,1,2,5,4,9,8}, function(a, b) return true end)", "return {unpack({1,2,3}, -5, 5)}",
		"redis.setresp(3) return redis.pcall('x')", "local a <close> = 1", "return setmetatable({}, {__index = _G}).x",
		"return bit.tohex(1/0, -1/0), bit.lshift(1, 99)", "error({err = 'X'})", "return {map = {a = 1}}, {set = 1}",
		"return pcall(pcall, pcall, error, {})", "return xpcall(error, error)", "return tostring(print), #_G, next({})",
		"goto a ::a::", "return --[==[ ]] ]==] 1", "return 0x1p4, .5e3, 'a\\065\\n'", "return select('#', select(-1, 1, 2))",
	} {
		f.Add(s)
	}
	e := NewEngine()
	f.Fuzz(func(t *testing.T, src string) {
		s, err := e.Load([]byte(src), false)
		if err != nil {
			return
		}
		begin := time.Now()
		_, _ = e.Run(s, [][]byte{[]byte("k")}, [][]byte{[]byte("a")}, &fuzzHost{}, 2, nil)
		if d := time.Since(begin); d > 10*time.Second {
			t.Errorf("took %v", d)
		}
		probe, err := e.Load([]byte("return {#KEYS, #ARGV, type(string.rep), type(redis.call)}"), false)
		if err != nil {
			t.Fatal(err)
		}
		if out, _ := e.Run(probe, nil, nil, &fuzzHost{}, 2, nil); string(out) != "*4\r\n:0\r\n:0\r\n$8\r\nfunction\r\n$8\r\nfunction\r\n" {
			t.Errorf("the next run gave %q", out)
		}
	})
}
