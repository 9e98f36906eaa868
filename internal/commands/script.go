package commands

import (
	"time"

	"haypile/internal/command"
	"haypile/internal/resp"
	"haypile/internal/script"
)

// ScriptRun is what the gate must know of a script that a command runs.
type ScriptRun struct {
	Name string // of the script or function, for the log and FUNCTION STATS
	// Function: FCALL runs it, and FUNCTION KILL ends it.
	Function bool
	// ReadOnly: one of the commands for reading runs it.
	ReadOnly bool
	Flags    script.Flags
	Away     *script.Away
	Run      func(h script.Host) error
}

// ScriptStats describes a function that runs.
type ScriptStats struct {
	Name     string
	Command  []string
	Duration time.Duration
}

const (
	runsScript = command.NoScript | command.Stale | command.SkipMonitor | command.NoMandatoryKeys | command.Script

	scriptDiffers = "The script runs with the keys locked that it names; one that touches others runs while " +
		"nothing else does. A Lua of our own runs it: it may hold 256 MB. set_repl changes nothing."
)

var scriptCommands = []*Command{
	evalCommand("EVAL", "2.6.0", "script", "Runs a Lua script.", evalSource),
	evalCommand("EVALSHA", "2.6.0", "sha1", "Runs a Lua script that the node knows.", evalSHA),
	evalCommand("EVAL_RO", "7.0.0", "script", "Runs a Lua script that only reads.", evalSource),
	evalCommand("EVALSHA_RO", "7.0.0", "sha1", "Runs a Lua script that the node knows and that only reads.", evalSHA),
	scriptCommand,
}

func evalCommand(name, since, what, summary string, find func(c *Call) (*script.Script, error)) *Command {
	keys := command.Counted(2, command.AccessRW|command.AccessRead|command.AccessUpdate)
	f, readOnly := command.Flags(runsScript), name[len(name)-3:] == "_RO"
	if readOnly {
		keys = command.Counted(2, command.AccessRO|command.AccessRead)
		f |= command.ReadOnly
	}
	return &Command{Spec: command.Spec{
		Name: name, Group: "scripting", Since: since, Arity: -3,
		Syntax:     name + " " + what + " numkeys [key [key ...]] [arg [arg ...]]",
		Complexity: "Depends on the script.", Summary: summary, Flags: f, ACL: []string{"scripting"},
		Keys: []command.KeySpec{keys}, Differs: scriptDiffers,
	}, Run: func(c *Call) error {
		keys, args, err := scriptArguments(c)
		if err != nil {
			return err
		}
		s, err := find(c)
		if err != nil {
			return scriptError(err)
		}
		return c.Client.Gate.RunScript(c, ScriptRun{Name: string(s.SHA[:]), ReadOnly: readOnly, Flags: s.Flags, Away: &s.Away,
			Run: func(h script.Host) (err error) {
				c.Out.Buf, err = c.Client.Gate.Scripts().Run(s, keys, args, h, c.Out.Proto, c.Out.Buf)
				return err
			}})
	}}
}

// scriptArguments cuts the arguments of EVAL and FCALL behind the first into keys and others.
func scriptArguments(c *Call) (keys, args [][]byte, err error) {
	n, ok := resp.ParseInt(c.Args[2])
	switch {
	case !ok:
		return nil, nil, Error(resp.ErrNotInteger)
	case n > int64(len(c.Args)-3):
		return nil, nil, Error(resp.ErrTooManyKeys)
	case n < 0:
		return nil, nil, Error(resp.ErrKeysNegative)
	}
	return c.Args[3 : 3+n], c.Args[3+n:], nil
}

// scriptError makes a reply error of one of the engine.
func scriptError(err error) error {
	if e, ok := err.(script.Error); ok {
		return Error(e)
	}
	return err
}

func evalSource(c *Call) (*script.Script, error) {
	return c.Client.Gate.Scripts().Load(c.Args[1], false)
}

func evalSHA(c *Call) (*script.Script, error) {
	if sha, ok := script.ParseSHA(c.Args[1]); ok {
		if s := c.Client.Gate.Scripts().Find(sha); s != nil {
			return s, nil
		}
	}
	return nil, Error(resp.ErrNoScript)
}

func scriptSub(name string, arity int, syntax, summary string, f command.Flags, r command.Route, m command.Merge,
	run func(*Call) error) *Command {
	return &Command{Spec: command.Spec{
		Name: name, Group: "scripting", Since: "2.6.0", Arity: arity, Syntax: "SCRIPT " + syntax, Summary: summary,
		Complexity: "O(1)", Flags: command.NoScript | f, ACL: []string{"scripting"}, Route: r, Merge: m,
	}, Run: run}
}

var scriptCommand = &Command{
	Spec: scriptSpec("SCRIPT", "2.6.0", "About the scripts that the node knows."),
	Sub: []*Command{
		scriptSub("LOAD", 3, "LOAD script", "Makes a script known, and answers with its name.", command.Stale,
			command.RouteAllShards, command.MergeFirstNonNull, func(c *Call) error {
				s, err := c.Client.Gate.Scripts().Load(c.Args[2], true)
				if err != nil {
					return scriptError(err)
				}
				c.Out.Bulk(s.SHA[:])
				return nil
			}),
		scriptSub("EXISTS", -3, "EXISTS sha1 [sha1 ...]", "Whether scripts are known.", 0,
			command.RouteAllShards, command.MergeLogicalAnd, func(c *Call) error {
				c.Out.Array(len(c.Args) - 2)
				for _, a := range c.Args[2:] {
					sha, ok := script.ParseSHA(a)
					if ok && c.Client.Gate.Scripts().Find(sha) != nil {
						c.Out.Int(1)
					} else {
						c.Out.Int(0)
					}
				}
				return nil
			}),
		scriptSub("FLUSH", -2, "FLUSH [ASYNC | SYNC]", "Forgets all scripts.", 0,
			command.RouteAllNodes, command.MergeAllSucceeded, func(c *Call) error {
				if len(c.Args) > 3 || len(c.Args) == 3 && !c.Is(2, "ASYNC") && !c.Is(2, "SYNC") {
					return Error("ERR SCRIPT FLUSH only support SYNC|ASYNC option")
				}
				c.Client.Gate.Scripts().Flush()
				c.Out.OK()
				return nil
			}),
		scriptSub("KILL", 2, "KILL", "Ends the script that keeps others from working.", command.AllowBusy,
			command.RouteAllShards, command.MergeOneSucceeded,
			func(c *Call) error { return c.Client.Gate.KillScript(false) }),
		scriptDebug(),
		helpSub("SCRIPT", "scripting",
			"DEBUG (YES|SYNC|NO)", "    Set the debug mode for subsequent scripts executed.",
			"EXISTS <sha1> [<sha1> ...]",
			"    Return information about the existence of the scripts in the script cache.",
			"FLUSH [ASYNC|SYNC]", "    Flush the Lua scripts cache. Very dangerous on replicas.",
			"    When called without the optional mode argument, the behavior is determined by the",
			"    lazyfree-lazy-user-flush configuration directive. Valid modes are:",
			"    * ASYNC: Asynchronously flush the scripts cache.",
			"    * SYNC: Synchronously flush the scripts cache.",
			"KILL", "    Kill the currently executing Lua script.",
			"LOAD <script>", "    Load a script into the scripts cache without executing it."),
	},
}

func scriptSpec(name, since, summary string) command.Spec {
	s := containerSpec(name, since, summary)
	s.Group = "scripting"
	return s
}

func scriptDebug() *Command {
	c := scriptSub("DEBUG", 3, "DEBUG <YES | SYNC | NO>", "Refused: there is no debugger.", 0,
		command.RouteDenied, command.MergeNone, func(c *Call) error {
			switch {
			case c.Is(2, "NO"):
				c.Out.OK()
				return nil
			case c.Is(2, "YES"), c.Is(2, "SYNC"):
				return Error("ERR there is no debugger for scripts")
			}
			return Error("ERR Use SCRIPT DEBUG YES/SYNC/NO")
		})
	c.DeniedReason = "there is no debugger for scripts"
	return differs(c, "There is no debugger.")
}
