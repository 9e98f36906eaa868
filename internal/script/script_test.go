package script

import (
	"fmt"
	"testing"
)

// Scripts of EVAL give way to newer ones, those of SCRIPT LOAD stay until they are flushed.
func TestCache(t *testing.T) {
	e := NewEngine()
	load := func(src string, keep bool) *Script {
		t.Helper()
		s, err := e.Load([]byte(src), keep)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	kept, first := load("return 'kept'", true), load("return 'first'", false)
	later := load("return 'later'", false)
	for i := range MaxEvalScripts - 2 {
		load(fmt.Sprintf("return %d", i), false)
	}
	if e.Find(first.SHA) == nil { // and so it is used
		t.Error("forgotten too early")
	}
	load("return 'one more'", false)
	if e.Find(later.SHA) != nil || e.Find(first.SHA) == nil || e.Find(kept.SHA) == nil {
		t.Error("the wrong script gave way")
	}
	if load("return 'first'", true) != first || e.Count() != MaxEvalScripts+1 {
		t.Errorf("%d scripts", e.Count())
	}
	e.Flush()
	if e.Count() != 0 || e.Find(kept.SHA) != nil {
		t.Error("scripts are left")
	}
}

// A run that would hold too much ends with an error that the script may catch, and leaves nothing behind.
func TestMemory(t *testing.T) {
	e := NewEngine()
	for _, src := range []string{
		"local t = {} for i = 1, 1e9 do t[i] = {} end",
		"local s = 'x' while true do s = s .. s end",
		"local f for i = 1, 1e9 do local g = f f = function() return g end end",
		"local t = {} for i = 1, 600 do t[i] = coroutine.wrap(function() coroutine.yield() end) t[i]() end",
	} {
		s, err := e.Load([]byte("local ok, e = pcall(function() "+src+" end) return {ok and 1 or 0, tostring(e)}"), false)
		if err != nil {
			t.Fatal(err)
		}
		out, err := e.Run(s, nil, nil, &patientHost{}, 2, nil)
		if err != nil || len(out) < 5 || string(out[:8]) != "*2\r\n:0\r\n" {
			t.Errorf("%s: %.80q, %v", src, out, err)
		}
	}
}

// patientHost lets a script run.
type patientHost struct{ fuzzHost }

func (patientHost) Tick() error { return nil }
