package script

import (
	"errors"
	"strings"
	"time"

	"haypile/internal/script/lua"
)

// Function is one function of a library, as it registered itself.
type Function struct {
	Name        string
	Description string
	Flags       Flags
	Away        *Away

	callback lua.Value // in the world that ran the library
}

// Library is a compiled library of functions.
type Library struct {
	Name      string
	Code      string
	Functions []Function
	program   *lua.Program
}

// loadTime bounds how long a library may take to register its functions.
const loadTime = 500 * time.Millisecond

const functionChunk = "@user_function"

const errBadName = "Library names can only contain letters, numbers, or underscores(_) and must be at least one " +
	"character long"

func goodName(name string) bool {
	for i := range len(name) {
		c := name[i]
		if c != '_' && (c < '0' || c > '9') && (c|0x20 < 'a' || c|0x20 > 'z') {
			return false
		}
	}
	return name != ""
}

// LibraryName reads the first line of a library.
func LibraryName(code string) (name, rest string, err error) {
	line, _, found := strings.Cut(code, "\n")
	if !strings.HasPrefix(code, "#!") {
		return "", "", Error("ERR Missing library metadata")
	}
	words := strings.Fields(line)
	if !found || len(words) == 0 {
		return "", "", Error("ERR Invalid library metadata")
	}
	if engine := words[0][len("#!"):]; !strings.EqualFold(engine, "lua") {
		return "", "", Error("ERR Engine '" + engine + "' not found")
	}
	for _, w := range words[1:] {
		n, ok := strings.CutPrefix(w, "name=")
		switch {
		case !ok:
			return "", "", Error("ERR Invalid metadata value given: " + w)
		case name != "":
			return "", "", Error("ERR Invalid metadata value, name argument was given multiple times")
		}
		name = n
	}
	switch {
	case name == "" && len(words) == 1:
		return "", "", Error("ERR Library name was not given")
	case !goodName(name):
		return "", "", Error("ERR " + errBadName)
	}
	return name, code[len(line):], nil
}

// LoadLibrary compiles a library and lets it register its functions, to see which they are.
func LoadLibrary(code string) (*Library, error) {
	name, rest, err := LibraryName(code)
	if err != nil {
		return nil, err
	}
	l := &Library{Name: name, Code: code}
	if l.program, err = lua.Compile(rest, functionChunk); err != nil {
		return nil, Error("ERR Error compiling function: " + err.Error())
	}
	if l.Functions, err = newVM().register(l); err != nil {
		return nil, err
	}
	if len(l.Functions) == 0 {
		return nil, Error("ERR No functions registered")
	}
	return l, nil
}

// loadHost is what a library may do while it registers its functions: take time, a little.
type loadHost struct{ until time.Time }

func (loadHost) Call([][]byte, int) ([]byte, error)  { return nil, ErrStopped }
func (loadHost) Permitted([][]byte) (ok, known bool) { return false, false }
func (loadHost) Log(int, string)                     {}
func (h loadHost) Tick() error {
	if time.Now().After(h.until) {
		return Error("ERR FUNCTION LOAD timeout")
	}
	return nil
}

// register runs a library in the world and returns the functions that it registers, with their callbacks.
func (v *vm) register(l *Library) ([]Function, error) {
	v.begin(loadHost{time.Now().Add(loadTime)})
	defer v.end()
	var found []Function
	lib := lua.NewLibrary(map[string]func(*lua.State, []lua.Value) []lua.Value{
		"register_function": func(st *lua.State, a []lua.Value) []lua.Value {
			f := registration(st, a)
			for i := range found {
				if found[i].Name == f.Name {
					raise(st, "ERR Function already exists in the library")
				}
			}
			v.rt.Registry.Set(st.String(f.Name), f.callback)
			found = append(found, f)
			return nil
		},
		"error_reply":  func(st *lua.State, a []lua.Value) []lua.Value { return v.fieldReply(st, a, "err") },
		"status_reply": func(st *lua.State, a []lua.Value) []lua.Value { return v.fieldReply(st, a, "ok") },
		"sha1hex":      v.sha1hex,
		"log":          v.log,
	})
	for name, n := range redisNumbers {
		lib.SetField(name, lua.Num(n))
	}
	lib.SetField("REDIS_VERSION", lua.Constant(redisVersion))
	lib.SetReadOnly(true)
	defer v.library(v.library(lib))
	_, err := v.rt.Run(v.rt.Load(l.program))
	var e *lua.Error
	switch {
	case errors.As(err, &e):
		text := "ERR " + plain(e.Value)
		if t := e.Value.Table(); t != nil {
			text = t.Field("err").Text()
		}
		return nil, Error("ERR Error registering functions: " + text)
	case err != nil:
		return nil, err
	}
	return found, nil
}

// library makes a table the library redis, and returns the one before.
func (v *vm) library(lib *lua.Table) *lua.Table {
	g := v.rt.Globals
	old := g.Field("redis").Table()
	g.SetReadOnly(false)
	g.SetField("redis", lib.Value())
	g.SetField("server", lib.Value())
	g.SetReadOnly(true)
	return old
}

// registration reads the arguments of redis.register_function.
func registration(st *lua.State, a []lua.Value) (f Function) {
	switch len(a) {
	case 1:
		t := a[0].Table()
		if t == nil {
			raise(st, "ERR calling redis.register_function with a single argument is only applicable to Lua table "+
				"(representing named arguments).")
		}
		f = namedRegistration(st, t)
	case 2:
		if !a[0].IsString() && !a[0].IsNumber() {
			raise(st, "ERR first argument to redis.register_function must be a string")
		}
		if a[1].Function() == nil {
			raise(st, "ERR second argument to redis.register_function must be a function")
		}
		f = Function{Name: plain(a[0]), callback: a[1]}
	default:
		raise(st, "ERR wrong number of arguments to redis.register_function")
	}
	if !goodName(f.Name) {
		raise(st, "ERR "+errBadName)
	}
	f.Away = new(Away)
	return f
}

func namedRegistration(st *lua.State, t *lua.Table) (f Function) {
	t.Each(func(k, v lua.Value) {
		switch k.Text() {
		case "function_name":
			if !v.IsString() {
				raise(st, "ERR function_name argument given to redis.register_function must be a string")
			}
			f.Name = v.Text()
		case "description":
			if !v.IsString() {
				raise(st, "ERR description argument given to redis.register_function must be a string")
			}
			f.Description = v.Text()
		case "callback":
			if v.Function() == nil {
				raise(st, "ERR callback argument given to redis.register_function must be a function")
			}
			f.callback = v
		case "flags":
			flags := v.Table()
			if flags == nil {
				raise(st, "ERR flags argument to redis.register_function must be a table representing function flags")
			}
			for i := 1; !flags.Index(i).IsNil(); i++ {
				flag, ok := flagOf(flags.Index(i).Text())
				if !ok {
					raise(st, "ERR unknown flag given")
				}
				f.Flags |= flag
			}
		default:
			raise(st, "ERR unknown argument given to redis.register_function")
		}
	})
	if f.Name == "" {
		raise(st, "ERR redis.register_function must get a function name argument")
	}
	if f.callback.IsNil() {
		raise(st, "ERR redis.register_function must get a callback argument")
	}
	return f
}

// Version names a state of all libraries: where they are kept, and how often they have changed there.
type Version struct {
	Store any
	N     uint64
}

// Libraries are all libraries in one state.
type Libraries struct {
	Version Version
	ByName  map[string]*Library
	owner   map[string]*Library // of each function
}

// NewLibraries collects libraries; it fails if two of them have a function of the same name.
func NewLibraries(v Version, all []*Library) (*Libraries, error) {
	l := &Libraries{Version: v, ByName: map[string]*Library{}, owner: map[string]*Library{}}
	for _, lib := range all {
		l.ByName[lib.Name] = lib
		for _, f := range lib.Functions {
			if l.owner[f.Name] != nil {
				return nil, Error("ERR Function " + f.Name + " already exists")
			}
			l.owner[f.Name] = lib
		}
	}
	return l, nil
}

// Find returns a function, nil if there is none of the name.
func (l *Libraries) Find(name string) *Function {
	lib := l.owner[name]
	if lib == nil {
		return nil
	}
	for i := range lib.Functions {
		if lib.Functions[i].Name == name {
			return &lib.Functions[i]
		}
	}
	return nil
}

// Functions is how many functions there are.
func (l *Libraries) Functions() int { return len(l.owner) }

// Libraries returns what SetLibraries stored last, nil in the beginning.
func (e *Engine) Libraries() *Libraries { return e.libraries.Load() }

// SetLibraries keeps the libraries for those who come next.
func (e *Engine) SetLibraries(l *Libraries) { e.libraries.Store(l) }

// RunFunction runs a function of l and appends its reply in the protocol of the client.
func (e *Engine) RunFunction(l *Libraries, name string, keys, args [][]byte, host Host, proto int, dst []byte) ([]byte, error) {
	v, ok := e.functions.Get().(*vm)
	if !ok || v.version != l.Version {
		// A world knows the libraries of one state only.
		v = newVM()
		v.version = l.Version
	}
	defer func() {
		v.end()
		e.functions.Put(v)
	}()
	lib := l.owner[name]
	if v.registered[lib] == nil {
		found, err := v.register(lib)
		if err != nil {
			return dst, err
		}
		if v.registered == nil {
			v.registered = map[*Library]map[string]lua.Value{}
		}
		v.registered[lib] = map[string]lua.Value{}
		for _, f := range found {
			v.registered[lib][f.Name] = f.callback
		}
	}
	v.begin(host)
	return v.run(v.registered[lib][name], []lua.Value{v.list(keys), v.list(args)}, name, proto, dst)
}
