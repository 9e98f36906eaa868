package lua

import (
	"strings"
	"testing"
)

// What nests deeply takes the host's stack, which must not overflow: that would end the process.
func TestDepth(t *testing.T) {
	levels := func(n, chain int, op string) string {
		return "local a = 1 return " + strings.Repeat("(", n) + "a" + strings.Repeat(strings.Repeat(op, chain)+")", n)
	}
	for name, src := range map[string]string{
		"sums in brackets":     levels(180, 1900, "+a"),
		"calls of calls":       "local a return " + strings.Repeat("(", 180) + "a" + strings.Repeat(strings.Repeat("()", 1900)+")", 180),
		"fields of fields":     "local a return a" + strings.Repeat(".x", 100000),
		"a long sum":           "local a = 1 return a" + strings.Repeat("+a", 1900),
		"brackets":             "return " + strings.Repeat("(", 100000),
		"functions":            strings.Repeat("return function() ", 100000),
		"a chain of .. ":       "local a = '' return a" + strings.Repeat("..a", 100000),
		"minus":                "return " + strings.Repeat("- ", 100000) + "1",
		"recursion":            "local function f(x) return 1 + f(x) end return f(1)",
		"recursion with depth": "local function f(x) return (((((1 + (1 + (1 + f(x)))))))) end return f(1)",
		"recursion of pcall":   "local function f() return pcall(f) end return f()",
		"recursion of sort":    "local function f() table.sort({1,2,3}, f) end f()",
		"recursion of gsub":    "local function f() return (('x'):gsub('x', f)) end return f()",
		"recursion of meta":    "local t = setmetatable({}, {}) getmetatable(t).__index = function(t, k) return t[k] end return t.x",
		"recursion of threads": "local function f() return coroutine.wrap(f)() end return f()",
		"loops":                strings.Repeat("while true do ", 1000),
	} {
		got := run(t, src)
		fine := name == "a long sum" || name == "recursion of pcall"
		if failed := strings.HasPrefix(got, "error: ") || strings.HasPrefix(got, "syntax: "); failed == fine {
			t.Errorf("%s: %.100s", name, got)
		}
	}
}
