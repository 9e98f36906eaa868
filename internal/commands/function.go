package commands

import (
	"errors"

	"haypile/internal/command"
	"haypile/internal/glob"
	"haypile/internal/rdb"
	"haypile/internal/resp"
	"haypile/internal/script"
)

const functionDiffers = "Variables of a library are the world's that runs it: of several calls at the same time each " +
	"has its own. While it registers functions a library may use the whole standard library."

var functionCommands = []*Command{
	fcallCommand("FCALL", "Calls a function."),
	fcallCommand("FCALL_RO", "Calls a function that only reads."),
	{
		Spec: scriptSpec("FUNCTION", "7.0.0", "About the libraries of functions."),
		Sub: []*Command{
			functionSub("LOAD", -3, "LOAD [REPLACE] function-code", "Stores a library.", changesLibraries|command.DenyOOM,
				functionLoad),
			functionSub("DELETE", 3, "DELETE library-name", "Deletes a library.", changesLibraries, functionDelete),
			functionSub("FLUSH", -2, "FLUSH [ASYNC | SYNC]", "Deletes all libraries.", changesLibraries, functionFlush),
			functionSub("RESTORE", -3, "RESTORE serialized-value [FLUSH | APPEND | REPLACE]",
				"Stores libraries that DUMP gave.", changesLibraries|command.DenyOOM, functionRestore),
			functionAny("LIST", -2, "LIST [LIBRARYNAME library-name-pattern] [WITHCODE]", "Describes libraries.",
				command.ReadOnly, functionList),
			functionAny("DUMP", 2, "DUMP", "All libraries in a form that RESTORE takes.", command.ReadOnly, functionDump),
			functionAny("STATS", 2, "STATS", "The function that runs, and how many there are.",
				command.ReadOnly|command.AllowBusy, functionStats),
			functionKill(),
			helpSub("FUNCTION", "scripting",
				"LOAD [REPLACE] <FUNCTION CODE>", "    Create a new library with the given library name and code.",
				"DELETE <LIBRARY NAME>", "    Delete the given library.",
				"LIST [LIBRARYNAME PATTERN] [WITHCODE]", "    Return general information on all the libraries.",
				"STATS", "    Return information about the current function running.",
				"KILL", "    Kill the current running function.",
				"FLUSH [ASYNC|SYNC]", "    Delete all the libraries.",
				"DUMP", "    Return a serialized payload representing the current libraries.",
				"RESTORE <PAYLOAD> [FLUSH|APPEND|REPLACE]", "    Restore the libraries of a payload."),
		},
	},
}

const changesLibraries = command.Write | command.Exclusive

func functionSub(name string, arity int, syntax, summary string, f command.Flags, run func(*Call) error) *Command {
	c := scriptSub(name, arity, "", summary, f, command.RouteAllShards, command.MergeAllSucceeded, run)
	c.Since, c.Syntax = "7.0.0", "FUNCTION "+syntax
	return c
}

func functionAny(name string, arity int, syntax, summary string, f command.Flags, run func(*Call) error) *Command {
	c := functionSub(name, arity, syntax, summary, f, run)
	c.Route, c.Merge = command.RouteAny, command.MergeNone
	return c
}

func functionKill() *Command {
	c := functionSub("KILL", 2, "KILL", "Ends the function that keeps others from working.", command.AllowBusy,
		func(c *Call) error { return c.Client.Gate.KillScript(true) })
	c.Merge = command.MergeOneSucceeded
	return c
}

func fcallCommand(name, summary string) *Command {
	c := evalCommand(name, "7.0.0", "function", summary, nil)
	readOnly := c.Flags.Has(command.ReadOnly)
	c.Differs = functionDiffers
	c.Run = func(c *Call) error {
		libs, err := libraries(c)
		if err != nil {
			return err
		}
		f := libs.Find(string(c.Args[1]))
		if f == nil {
			return Error("ERR Function not found")
		}
		if _, ok := resp.ParseInt(c.Args[2]); !ok {
			return Error("ERR Bad number of keys provided")
		}
		keys, args, err := scriptArguments(c)
		if err != nil {
			return err
		}
		return c.Client.Gate.RunScript(c, ScriptRun{Name: f.Name, Function: true, ReadOnly: readOnly, Flags: f.Flags, Away: f.Away,
			Run: func(h script.Host) (err error) {
				c.Out.Buf, err = c.Client.Gate.Scripts().RunFunction(libs, f.Name, keys, args, h, c.Out.Proto, c.Out.Buf)
				return err
			}})
	}
	return c
}

// libraries are all libraries as the transaction sees them, compiled.
func libraries(c *Call) (*script.Libraries, error) {
	store, n, err := c.Tx.LibrariesVersion()
	if err != nil {
		return nil, err
	}
	v := script.Version{Store: store, N: n}
	engine := c.Client.Gate.Scripts()
	if l := engine.Libraries(); l != nil && l.Version == v {
		return l, nil
	}
	var all []*script.Library
	var bad error
	err = c.Tx.Libraries(func(_, code []byte) {
		lib, err := script.LoadLibrary(string(code))
		bad = errors.Join(bad, err)
		all = append(all, lib)
	})
	if err = errors.Join(err, bad); err != nil {
		return nil, err
	}
	l, err := script.NewLibraries(v, all)
	if err != nil {
		return nil, err
	}
	engine.SetLibraries(l)
	return l, nil
}

// store puts libraries into the transaction, after checking that they go together with those that stay. In the
// stream they were checked by the primary.
func store(c *Call, add []*script.Library, replace, flush bool) error {
	if !c.Tx.Applying() {
		old, err := libraries(c)
		if err != nil {
			return err
		}
		keep := map[string]*script.Library{}
		if !flush {
			for name, l := range old.ByName {
				keep[name] = l
			}
		}
		for _, l := range add {
			if keep[l.Name] != nil && !replace {
				return Error("ERR Library '" + l.Name + "' already exists")
			}
			keep[l.Name] = l
		}
		var all []*script.Library
		for _, l := range keep {
			all = append(all, l)
		}
		if _, err := script.NewLibraries(script.Version{}, all); err != nil {
			return scriptError(err)
		}
	}
	if flush {
		if err := dropAll(c); err != nil {
			return err
		}
	}
	for _, l := range add {
		if err := c.Tx.PutLibrary([]byte(l.Name), []byte(l.Code)); err != nil {
			return err
		}
	}
	return nil
}

func dropAll(c *Call) error {
	var names [][]byte
	if err := c.Tx.Libraries(func(name, _ []byte) { names = append(names, append([]byte(nil), name...)) }); err != nil {
		return err
	}
	for _, n := range names {
		if err := c.Tx.DropLibrary(n); err != nil {
			return err
		}
	}
	return nil
}

// loaded compiles a library; from the stream it is taken as it is.
func loaded(c *Call, code []byte) (*script.Library, error) {
	if c.Tx.Applying() {
		name, _, err := script.LibraryName(string(code))
		return &script.Library{Name: name, Code: string(code)}, scriptError(err)
	}
	l, err := script.LoadLibrary(string(code))
	return l, scriptError(err)
}

func functionLoad(c *Call) error {
	replace := false
	last := len(c.Args) - 1
	for i := 2; i < last; i++ {
		if !c.Is(i, "REPLACE") {
			return Error("ERR Unknown option given: " + string(c.Args[i]))
		}
		replace = true
	}
	l, err := loaded(c, c.Args[last])
	if err != nil {
		return err
	}
	if err := store(c, []*script.Library{l}, replace, false); err != nil {
		return err
	}
	c.Out.BulkString(l.Name)
	return nil
}

func functionDelete(c *Call) error {
	_, ok, err := c.Tx.Library(c.Args[2])
	if err != nil {
		return err
	}
	if !ok {
		return Error("ERR Library not found")
	}
	if err := c.Tx.DropLibrary(c.Args[2]); err != nil {
		return err
	}
	c.Out.OK()
	return nil
}

func functionFlush(c *Call) error {
	if len(c.Args) > 3 || len(c.Args) == 3 && !c.Is(2, "ASYNC") && !c.Is(2, "SYNC") {
		return Error("ERR FUNCTION FLUSH only supports SYNC|ASYNC option")
	}
	if err := dropAll(c); err != nil {
		return err
	}
	c.Out.OK()
	return nil
}

// opFunction is the byte before each library in a dump.
const opFunction = 245

func functionDump(c *Call) error {
	var b []byte
	if err := c.Tx.Libraries(func(_, code []byte) { b = rdb.AppendString(append(b, opFunction), code) }); err != nil {
		return err
	}
	c.Out.Bulk(rdb.Seal(b))
	return nil
}

func functionRestore(c *Call) error {
	replace, flush := false, false
	if len(c.Args) > 4 {
		return Error(resp.ErrSyntax)
	}
	if len(c.Args) == 4 {
		switch c.Arg(3) {
		case "APPEND":
		case "REPLACE":
			replace = true
		case "FLUSH":
			flush = true
		default:
			return Error("ERR Wrong restore policy given, value should be either FLUSH, APPEND or REPLACE.")
		}
	}
	body, ok := rdb.Open(c.Args[2])
	if !ok {
		return Error(resp.ErrDumpPayload)
	}
	var add []*script.Library
	for len(body) > 0 {
		if body[0] != opFunction {
			return Error("ERR given type is not a function")
		}
		r := rdb.NewReader(body[1:])
		code, err := r.String()
		if err != nil {
			return Error("ERR failed loading functions payload")
		}
		body = body[len(body)-r.Left():]
		l, err := loaded(c, code)
		if err != nil {
			return err
		}
		add = append(add, l)
	}
	if err := store(c, add, replace, flush); err != nil {
		return err
	}
	c.Out.OK()
	return nil
}

func functionList(c *Call) error {
	var pattern []byte
	code := false
	for i := 2; i < len(c.Args); i++ {
		switch {
		case c.Is(i, "WITHCODE") && !code:
			code = true
		case c.Is(i, "LIBRARYNAME") && pattern == nil:
			if i++; i == len(c.Args) {
				return Error("ERR library name argument was not given")
			}
			pattern = c.Args[i]
		default:
			return Error("ERR Unknown argument " + string(c.Args[i]))
		}
	}
	libs, err := libraries(c)
	if err != nil {
		return err
	}
	a, n := c.Out.Defer(), 0
	err = c.Tx.Libraries(func(name, _ []byte) {
		l := libs.ByName[string(name)]
		if pattern != nil && !glob.Match(pattern, name, false) {
			return
		}
		n++
		fields := 3
		if code {
			fields++
		}
		c.Out.Map(fields)
		c.Out.BulkString("library_name")
		c.Out.BulkString(l.Name)
		c.Out.BulkString("engine")
		c.Out.BulkString("LUA")
		c.Out.BulkString("functions")
		c.Out.Array(len(l.Functions))
		for _, f := range l.Functions {
			c.Out.Map(3)
			c.Out.BulkString("name")
			c.Out.BulkString(f.Name)
			c.Out.BulkString("description")
			if f.Description == "" {
				c.Out.Null()
			} else {
				c.Out.BulkString(f.Description)
			}
			c.Out.BulkString("flags")
			flags := f.Flags.Names()
			c.Out.Set(len(flags))
			for _, name := range flags {
				c.Out.SimpleString(name)
			}
		}
		if code {
			c.Out.BulkString("library_code")
			c.Out.BulkString(l.Code)
		}
	})
	c.Out.EndArray(a, n)
	return err
}

func functionStats(c *Call) error {
	libs, err := libraries(c)
	if err != nil {
		return err
	}
	c.Out.Map(2)
	c.Out.BulkString("running_script")
	if st, ok := c.Client.Gate.ScriptStats(); ok {
		c.Out.Map(3)
		c.Out.BulkString("name")
		c.Out.BulkString(st.Name)
		c.Out.BulkString("command")
		c.Out.BulkStringArray(st.Command...)
		c.Out.BulkString("duration_ms")
		c.Out.Int(st.Duration.Milliseconds())
	} else {
		c.Out.Null()
	}
	c.Out.BulkString("engines")
	c.Out.Map(1)
	c.Out.BulkString("LUA")
	c.Out.Map(2)
	c.Out.BulkString("libraries_count")
	c.Out.Int(int64(len(libs.ByName)))
	c.Out.BulkString("functions_count")
	c.Out.Int(int64(libs.Functions()))
	return nil
}
