// Package script runs scripts: the language (package lua) with the library "redis" and those that come with it, the
// conversion between replies and values, the cache of EVAL's scripts. It knows neither the gate nor the commands:
// what a script calls, logs or asks comes through Host.
//
// An Engine is shared by all connections. A run borrows one of its worlds (vm), whose tables a script cannot change,
// so that nothing of one run is seen by the next.
package script

import (
	"container/list"
	"crypto/sha1"
	"encoding/hex"
	"errors"
	"strings"
	"sync"
	"sync/atomic"

	"haypile/internal/script/lua"
)

// Flags are what a script's first line, or the registration of a function, says about it.
type Flags uint8

// The flags.
const (
	NoWrites Flags = 1 << iota
	AllowOOM
	AllowStale
	NoCluster
	CrossSlot
	// Compat: an EVAL script without a first line that says more; only single commands are checked.
	Compat
)

var flagNames = []struct {
	name string
	flag Flags
}{
	{"no-writes", NoWrites}, {"allow-oom", AllowOOM}, {"allow-stale", AllowStale}, {"no-cluster", NoCluster},
	{"allow-cross-slot-keys", CrossSlot},
}

func flagOf(name string) (Flags, bool) {
	for _, f := range flagNames {
		if f.name == name {
			return f.flag, true
		}
	}
	return 0, false
}

// Names spells the flags.
func (f Flags) Names() []string {
	var names []string
	for _, n := range flagNames {
		if f&n.flag != 0 {
			names = append(names, n.name)
		}
	}
	return names
}

// Error is a reply error: its text begins with the code word.
type Error string

func (e Error) Error() string { return string(e) }

// SHA is the name of a script: the hexadecimal SHA-1 of its source.
type SHA [2 * sha1.Size]byte

// SHAOf names a source.
func SHAOf(src []byte) (s SHA) {
	sum := sha1.Sum(src)
	hex.Encode(s[:], sum[:])
	return s
}

// ParseSHA reads the name of a script, in either case; ok is false for what is none.
func ParseSHA(b []byte) (s SHA, ok bool) {
	if len(b) != len(s) {
		return s, false
	}
	copy(s[:], strings.ToLower(string(b)))
	return s, true
}

// Script is a compiled script of EVAL.
type Script struct {
	SHA     SHA
	Flags   Flags
	Away    Away
	program *lua.Program
	// kept scripts were loaded by SCRIPT LOAD: only SCRIPT FLUSH forgets them.
	kept bool
	at   *list.Element
}

// MaxEvalScripts is how many scripts of EVAL are remembered; the one that was used least recently gives way.
const MaxEvalScripts = 500

// Engine holds compiled scripts and worlds to run them in.
type Engine struct {
	mu struct {
		sync.Mutex
		scripts map[SHA]*Script
		recent  list.List // of those that EVAL brought, the last used first
	}
	pool      sync.Pool // of worlds for EVAL
	functions sync.Pool // and for functions
	libraries atomic.Pointer[Libraries]
}

// NewEngine makes one without scripts.
func NewEngine() *Engine {
	e := &Engine{}
	e.mu.scripts = map[SHA]*Script{}
	return e
}

// Find returns the script of a name, nil if it is unknown.
func (e *Engine) Find(sha SHA) *Script {
	e.mu.Lock()
	defer e.mu.Unlock()
	s := e.mu.scripts[sha]
	if s != nil && s.at != nil {
		e.mu.recent.MoveToFront(s.at)
	}
	return s
}

// Load returns the script of a source, compiled if it is new. keep says that it stays until Flush.
func (e *Engine) Load(src []byte, keep bool) (*Script, error) {
	sha := SHAOf(src)
	s := e.Find(sha)
	if s == nil {
		var err error
		if s, err = compile(string(src), sha); err != nil {
			return nil, err
		}
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if other := e.mu.scripts[sha]; other != nil {
		s = other
	}
	e.mu.scripts[sha] = s
	switch {
	case keep:
		s.kept = true
		if s.at != nil {
			e.mu.recent.Remove(s.at)
			s.at = nil
		}
	case !s.kept && s.at == nil:
		s.at = e.mu.recent.PushFront(s)
		if e.mu.recent.Len() > MaxEvalScripts {
			old := e.mu.recent.Remove(e.mu.recent.Back()).(*Script)
			old.at = nil
			delete(e.mu.scripts, old.SHA)
		}
	}
	return s, nil
}

// Flush forgets all scripts of EVAL.
func (e *Engine) Flush() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.mu.scripts = map[SHA]*Script{}
	e.mu.recent.Init()
}

// Count is the number of scripts known.
func (e *Engine) Count() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return len(e.mu.scripts)
}

const evalChunk = "@user_script"

func compile(src string, sha SHA) (*Script, error) {
	s := &Script{SHA: sha, Flags: Compat}
	if strings.HasPrefix(src, "#!") {
		var err error
		if s.Flags, src, err = evalShebang(src); err != nil {
			return nil, err
		}
	}
	p, err := lua.Compile(src, evalChunk)
	if err != nil {
		return nil, Error("ERR Error compiling script (new function): " + err.Error())
	}
	s.program = p
	return s, nil
}

// evalShebang reads the first line of a script and takes it off, its end of line not, so that lines keep their
// numbers.
func evalShebang(src string) (f Flags, rest string, err error) {
	line, _, found := strings.Cut(src, "\n")
	if !found {
		return 0, "", Error("ERR Invalid script shebang")
	}
	words := strings.Fields(line)
	if words[0] != "#!lua" {
		return 0, "", Error("ERR Unexpected engine in script shebang: " + words[0])
	}
	for _, w := range words[1:] {
		list, ok := strings.CutPrefix(w, "flags=")
		if !ok {
			return 0, "", Error("ERR Unknown lua shebang option: " + w)
		}
		for _, name := range strings.Split(list, ",") {
			if name == "" {
				continue
			}
			flag, ok := flagOf(name)
			if !ok {
				return 0, "", Error("ERR Unexpected flag in script shebang: " + name)
			}
			f |= flag
		}
	}
	return f, src[len(line):], nil
}

// Host is what a script may do to the world. All methods are called by the goroutine that runs the script.
type Host interface {
	// Call runs a command and returns its reply, in the given version of the protocol; the bytes are valid until
	// the next call. An error ends the run, whatever the script does.
	Call(args [][]byte, proto int) (reply []byte, err error)
	// Permitted tells whether the user may run the command; known is false if there is no such command.
	Permitted(args [][]byte) (ok, known bool)
	// Log takes a message at a level of 0, debug, to 3, warning.
	Log(level int, msg string)
	// Tick is asked at intervals whether the run may go on; its error ends it.
	Tick() error
}

// ErrStopped is a reason to end a run that the script cannot catch, and that is no fault of the script's.
var ErrStopped = errors.New("script: stopped")

// Run runs a script of EVAL and appends its reply in the protocol of the client.
func (e *Engine) Run(s *Script, keys, args [][]byte, host Host, proto int, dst []byte) ([]byte, error) {
	v := e.take()
	defer e.give(v)
	v.begin(host)
	g := v.rt.Globals
	g.SetReadOnly(false)
	g.Set(nameKeys, v.list(keys))
	g.Set(nameArgv, v.list(args))
	g.SetReadOnly(true)
	return v.run(v.rt.Load(s.program), nil, string(s.SHA[:]), proto, dst)
}

var nameKeys, nameArgv = lua.Constant("KEYS"), lua.Constant("ARGV")

func (e *Engine) take() *vm {
	if v, ok := e.pool.Get().(*vm); ok {
		return v
	}
	return newVM()
}

func (e *Engine) give(v *vm) {
	v.end()
	e.pool.Put(v)
}
