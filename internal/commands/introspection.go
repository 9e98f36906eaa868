package commands

import (
	"strings"

	"haypile/internal/command"
	"haypile/internal/commandinfo"
	"haypile/internal/glob"
	"haypile/internal/resp"
)

func commandSub(name string, arity int, syntax string, run func(*Call) error) *Command {
	return &Command{Spec: command.Spec{
		Name: name, Group: "server", Since: "2.8.13", Arity: arity, Syntax: "COMMAND " + syntax, Complexity: "O(N)",
		Summary: "Tells about commands.", Flags: command.Loading | command.Stale, ACL: []string{"connection"},
		Route: command.RouteAny,
	}, Run: run}
}

var commandCommand = &Command{
	Spec: command.Spec{
		Name: "COMMAND", Group: "server", Since: "2.8.13", Arity: -1, Syntax: "COMMAND", Complexity: "O(N)",
		Summary: "Describes all commands.", Flags: command.Loading | command.Stale, ACL: []string{"connection"},
		Route: command.RouteAny,
	},
	Run: func(c *Call) error {
		all := c.Node.Table().All()
		c.Out.Array(len(all))
		for _, s := range all {
			writeSpec(c.Out, s)
		}
		return nil
	},
	Sub: []*Command{
		commandSub("COUNT", 2, "COUNT", func(c *Call) error {
			c.Out.Int(int64(c.Node.Table().Len()))
			return nil
		}),
		commandSub("INFO", -2, "INFO [command-name [command-name ...]]", commandInfo),
		commandSub("DOCS", -2, "DOCS [command-name [command-name ...]]", commandDocs),
		commandSub("LIST", -2, "LIST [FILTERBY <MODULE module-name | ACLCAT category | PATTERN pattern>]", commandList),
		commandSub("GETKEYS", -3, "GETKEYS command [arg [arg ...]]", func(c *Call) error { return commandKeys(c, false) }),
		commandSub("GETKEYSANDFLAGS", -3, "GETKEYSANDFLAGS command [arg [arg ...]]",
			func(c *Call) error { return commandKeys(c, true) }),
		helpSub("COMMAND", "server",
			"(no subcommand)", "    Return details about all Redis commands.",
			"COUNT", "    Return the total number of commands in this Redis server.",
			"LIST", "    Return a list of all commands in this Redis server.",
			"INFO [<command-name> ...]", "    Return details about multiple Redis commands.",
			"    If no command names are given, documentation details for all",
			"    commands are returned.",
			"DOCS [<command-name> ...]", "    Return documentation details about multiple Redis commands.",
			"    If no command names are given, documentation details for all",
			"    commands are returned.",
			"GETKEYS <full-command>", "    Return the keys from a full Redis command.",
			"GETKEYSANDFLAGS <full-command>", "    Return the keys and the access flags from a full Redis command."),
	},
}

// resolve finds a description by name, or by "container|sub".
func resolve(t *command.Table, name []byte) *command.Spec {
	head, sub, isSub := strings.Cut(string(name), "|")
	s := t.Lookup([]byte(head))
	if s != nil && isSub {
		s = s.FindSub([]byte(sub))
	}
	return s
}

func commandInfo(c *Call) error {
	if len(c.Args) == 2 {
		return commandCommand0(c)
	}
	c.Out.Array(len(c.Args) - 2)
	for _, name := range c.Args[2:] {
		if s := resolve(c.Node.Table(), name); s != nil {
			writeSpec(c.Out, s)
		} else {
			c.Out.Null()
		}
	}
	return nil
}

func commandCommand0(c *Call) error {
	all := c.Node.Table().All()
	c.Out.Array(len(all))
	for _, s := range all {
		writeSpec(c.Out, s)
	}
	return nil
}

// writeSpec writes one entry of COMMAND: ten elements.
func writeSpec(w *resp.Writer, s *command.Spec) {
	w.Array(10)
	w.BulkString(s.FullName())
	w.Int(int64(s.Arity))
	statuses(w, s.Flags.Names())
	first, last, step := s.Positions()
	w.Int(int64(first))
	w.Int(int64(last))
	w.Int(int64(step))
	cats := s.Categories()
	for i := range cats {
		cats[i] = "@" + cats[i]
	}
	statuses(w, cats)
	tips := s.Tips()
	w.Array(len(tips))
	for _, t := range tips {
		w.BulkString(t)
	}
	w.Array(len(s.Keys))
	for i := range s.Keys {
		commandinfo.AppendKeySpec(w, s.Keys[i])
	}
	w.Array(len(s.Sub))
	for _, sub := range s.Sub {
		writeSpec(w, sub)
	}
}

func statuses(w *resp.Writer, words []string) {
	w.Set(len(words))
	for _, s := range words {
		w.SimpleString(s)
	}
}

func commandDocs(c *Call) error {
	var list []*command.Spec
	if len(c.Args) == 2 {
		list = c.Node.Table().All()
	}
	for _, name := range c.Args[2:] {
		if s := resolve(c.Node.Table(), name); s != nil {
			list = append(list, s)
		}
	}
	c.Out.Map(len(list))
	for _, s := range list {
		writeDocs(c.Out, s)
	}
	return nil
}

func writeDocs(w *resp.Writer, s *command.Spec) {
	w.BulkString(s.FullName())
	n := 4
	if len(s.Sub) > 0 {
		n++
	}
	w.Map(n)
	for _, p := range [][2]string{{"summary", s.Summary}, {"since", s.Since}, {"group", s.Group},
		{"complexity", s.Complexity}} {
		w.BulkString(p[0])
		w.BulkString(p[1])
	}
	if len(s.Sub) > 0 {
		w.BulkString("subcommands")
		w.Map(len(s.Sub))
		for _, sub := range s.Sub {
			writeDocs(w, sub)
		}
	}
}

func commandList(c *Call) error {
	keep := func(*command.Spec) bool { return true }
	switch {
	case len(c.Args) == 2:
	case len(c.Args) == 5 && c.Is(2, "FILTERBY") && c.Is(3, "MODULE"):
		keep = func(*command.Spec) bool { return false }
	case len(c.Args) == 5 && c.Is(2, "FILTERBY") && c.Is(3, "ACLCAT"):
		want := strings.ToLower(string(c.Args[4]))
		keep = func(s *command.Spec) bool {
			for _, cat := range s.Categories() {
				if cat == want {
					return true
				}
			}
			return false
		}
	case len(c.Args) == 5 && c.Is(2, "FILTERBY") && c.Is(3, "PATTERN"):
		pattern := c.Args[4]
		keep = func(s *command.Spec) bool { return glob.Match(pattern, []byte(s.FullName()), true) }
	default:
		return Error(resp.ErrSyntax)
	}
	var names []string
	for _, s := range c.Node.Table().All() {
		if keep(s) {
			names = append(names, s.FullName())
		}
		for _, sub := range s.Sub {
			if len(c.Args) > 2 && keep(sub) {
				names = append(names, sub.FullName())
			}
		}
	}
	c.Out.BulkStringArray(names...)
	return nil
}

func commandKeys(c *Call, withFlags bool) error {
	args := c.Args[2:]
	s, ok := c.Node.Table().Find(args)
	if s == nil || !ok {
		return Error("ERR Invalid command specified")
	}
	if len(s.Keys) == 0 && s.KeysFunc == nil {
		return Error("ERR The command has no key arguments")
	}
	if !s.ArityOK(len(args)) {
		return Error("ERR Invalid number of arguments specified for command")
	}
	refs, err := s.AppendKeys(nil, args)
	if err != nil {
		return Error("ERR Invalid arguments specified for command")
	}
	if len(refs) == 0 {
		return Error("ERR The command has no key arguments")
	}
	c.Out.Array(len(refs))
	for _, r := range refs {
		if withFlags {
			c.Out.Array(2)
		}
		c.Out.Bulk(args[r.Pos])
		if withFlags {
			statuses(c.Out, accessOf(s, args, r.Access).Names())
		}
	}
	return nil
}

// accessOf settles flags that depend on arguments: of SET, which reads the old value only with GET.
func accessOf(s *command.Spec, args [][]byte, a command.Access) command.Access {
	if s.Name != "SET" {
		return a
	}
	for _, w := range args[3:] {
		if EqualWord(w, "GET") {
			return command.AccessRW | command.AccessRead | command.AccessUpdate
		}
	}
	return command.AccessOW | command.AccessUpdate
}
