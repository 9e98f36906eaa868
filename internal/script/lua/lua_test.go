package lua

import (
	"strings"
	"testing"
)

func run(t testing.TB, src string) string {
	t.Helper()
	rt := NewRuntime(64 << 20)
	p, err := Compile(src, "@t")
	if err != nil {
		return "syntax: " + err.Error()
	}
	rt.Begin()
	defer rt.End()
	ret, err := rt.Run(rt.Load(p))
	if err != nil {
		return "error: " + err.Error()
	}
	var out []string
	for _, v := range append([]Value(nil), ret...) {
		out = append(out, rt.Main().ToText(v))
	}
	return strings.Join(out, " ")
}

func TestPrograms(t *testing.T) {
	for _, c := range []struct{ src, want string }{
		{"return 1+2*3, 2^10, 7%3, -7%3, 10/4", "7 1024 1 2 2.5"},
		{"return 'a'..1 ..'b', 1 ..2, 0.1+0.2, 1e15, 1e14, 1e100, -0", "a1b 12 0.3 1e+15 1e+14 1e+100 -0"},
		{"return 1/0, -1/0, 0/0", "inf -inf -nan"},
		{"local a,b,c = (function() return 1,2,3 end)() return c,b,a", "3 2 1"},
		{"local t = {} for i=1,10 do t[i]=i*i end return #t, t[10]", "10 100"},
		{"local t = {10,20,30,nil} return #t", "3"},
		{"local t = {nil,nil,3} return #t", "3"},
		{"local s=0 for k,v in pairs({a=1,b=2,3}) do s=s+v end return s", "6"},
		{"local s='' for i,v in ipairs({'x','y'}) do s=s..i..v end return s", "1x2y"},
		{"local function f(n) if n==0 then return 'done' end return f(n-1) end return f(100000)", "done"},
		{"local function f(n) return 1+f(n+1) end return pcall(f,1)", "false t:1: stack overflow"},
		{"return pcall(error,{1})", ""},
		{"return pcall(function() error('x') end)", "false t:1: x"},
		{"return pcall(function() local x; return x.y end)", "false t:1: attempt to index local 'x' (a nil value)"},
		{"return pcall(function() return undefinedvar.y end)", "false t:1: attempt to index global 'undefinedvar' (a nil value)"},
		{"local t={} return pcall(function() return t.x.y end)", "false t:1: attempt to index field 'x' (a nil value)"},
		{"local t={} return pcall(function() t.x() end)", "false t:1: attempt to call field 'x' (a nil value)"},
		{"local t={} return pcall(function() t:foo() end)", "false t:1: attempt to call method 'foo' (a nil value)"},
		{"return pcall(function() return 1 < 'x' end)", "false t:1: attempt to compare number with string"},
		{"return pcall(function() return {} < {} end)", "false t:1: attempt to compare two table values"},
		{"return pcall(function() return 1 + {} end)", "false t:1: attempt to perform arithmetic on a table value"},
		{"return pcall(function() local a return 'x'..a end)", "false t:1: attempt to concatenate local 'a' (a nil value)"},
		{"return ('x'):rep(3), ('hello'):sub(2,-2), #'abc'", "xxx ell 3"},
		{"return ('hello world'):find('o w'), ('hello'):match('(h)(.)'), ('abc'):gsub('%w','%0%0')", "5 h aabbcc 3"},
		{"return string.format('%5.2f|%d|%s|%q|%x|%g', 3.14159, 42, 'hi', 'a\\nb', 255, 1e20)", " 3.14|42|hi|\"a\\\nb\"|ff|1e+20"},
		{"local co = coroutine.wrap(function(a) local b = coroutine.yield(a+1) return b*2 end) return co(1), co(10)", "2 20"},
		{"local co = coroutine.create(function() error('x') end) return coroutine.resume(co)", "false t:1: x"},
		{"local t = setmetatable({}, {__index=function(t,k) return k..'!' end}) return t.foo", "foo!"},
		{"local t = {5,2,8,1} table.sort(t) return table.concat(t, ',')", "1,2,5,8"},
		{"local t = {5,2,8,1} table.sort(t, function(a,b) return a>b end) return table.concat(t, ',')", "8,5,2,1"},
		{"local t={1,2,3} table.insert(t,2,9) table.remove(t,1) return table.concat(t,',')", "9,2,3"},
		{"local a = {} for i=1,3 do a[i] = function() i = i + 1 return i end end return a[1](), a[1](), a[2]()", "2 3 3"},
		{"return select('#', 1, nil, nil), select(2, 'a', 'b', 'c')", "3 b c"},
		{"return tonumber('0x10'), tonumber('  12  '), tonumber('1e2'), tonumber('z',36), tonumber('abc'), tonumber('')", "16 12 100 35 nil nil"},
		{"return unpack({1,2,3})", "1 2 3"},
		{"local s = 0 for i = 10, 1, -3 do s = s + i end return s", "22"},
		{"local i = 0 repeat local j = i; i = i + 1 until j >= 3 return i", "4"},
		{"while true do break end return 'ok'", "ok"},
		{"return (function(...) return select('#', ...) end)(1, nil)", "2"},
		{"local function f(...) return arg.n end return f(1,2,3)", "3"},
		{"local t = {f(), g = 1}", "error: t:1: attempt to call global 'f' (a nil value)"},
		{"x =", "syntax: t:1: unexpected symbol near '<eof>'"},
		{"for i=1 do end", "syntax: t:1: ',' expected near 'do'"},
		{"local x = 'abc", "syntax: t:1: unfinished string near '<eof>'"},
		{"goto x", "syntax: t:1: '=' expected near 'x'"},
		{"return 3 .. 4", "34"},
		{"return not nil, not 0, nil == false, 'a' < 'b', 2 <= 2", "true false false true true"},
		{"return pcall(string.rep)", "false bad argument #1 to 'rep' (string expected, got no value)"},
		{"local ok, e = pcall(function() string.rep() end) return e", "t:1: bad argument #1 to 'rep' (string expected, got no value)"},
		{"local t = {} t[1]=1 t[2]=2 t[4]=4 t[3]=3 return #t", "4"},
		{"local t = {a=1,b=2,c=3} for k in pairs(t) do t[k]=nil end return next(t)", "nil"},
		{"return xpcall(function() error('a') end, function(e) return 'h:'..e end)", "false h:t:1: a"},
		{"local n = 0 for w in string.gmatch('a bb ccc', '%a+') do n = n + #w end return n", "6"},
		{"return loadstring('return 1+1')()", "2"},
		{"return math.max(1,5,3), math.floor(3.7), math.huge", "5 3 inf"},
		{"return type(nil), type({}), type(print), type('')", "nil table nil string"},
		{"local a <const> = 1", "syntax: t:1: unexpected symbol near '<'"},
		{"return ('x'):rep(1e9)", ""},
	} {
		got := run(t, c.src)
		if c.want == "" {
			t.Logf("%s -> %.80s", c.src, got)
			continue
		}
		if got != c.want {
			t.Errorf("%s\n got %q\nwant %q", c.src, got, c.want)
		}
	}
}

func BenchmarkFib(b *testing.B) {
	for b.Loop() {
		run(b, "local function fib(n) if n < 2 then return n end return fib(n-1)+fib(n-2) end return fib(27)")
	}
}

func BenchmarkLoop(b *testing.B) {
	for b.Loop() {
		run(b, "local s = 0 for i=1,5000000 do s = s + i % 7 end return s")
	}
}
