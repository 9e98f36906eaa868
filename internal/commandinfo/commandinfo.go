// Package commandinfo answers the COMMAND family from a command table. Server and proxy share it, so that a
// client sees the same commands through both. No state, no goroutines.
package commandinfo

import (
	"strings"

	"haypile/internal/command"
	"haypile/internal/glob"
	"haypile/internal/resp"
)

// Append answers a call of COMMAND or one of its sub-commands; args includes the command name. An error
// reply is appended like any other.
func Append(w *resp.Writer, t *command.Table, args [][]byte) {
	if len(args) == 1 {
		w.Array(t.Len())
		for _, s := range t.All() {
			appendSpec(w, s)
		}
		return
	}
	switch strings.ToUpper(string(args[1])) {
	case "COUNT":
		w.Int(int64(t.Len()))
	case "INFO":
		info(w, t, args[2:])
	case "DOCS":
		docs(w, t, args[2:])
	case "LIST":
		list(w, t, args[2:])
	case "GETKEYS":
		getKeys(w, t, args[2:], false)
	case "GETKEYSANDFLAGS":
		getKeys(w, t, args[2:], true)
	case "HELP":
		w.Array(len(help))
		for _, line := range help {
			w.SimpleString(line)
		}
	default:
		w.Error(resp.UnknownSubcommand(args[1], "COMMAND"))
	}
}

var help = []string{
	"COMMAND <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
	"(no subcommand)",
	"    Return details about all Redis commands.",
	"COUNT",
	"    Return the total number of commands in this Redis server.",
	"LIST",
	"    Return a list of all commands in this Redis server.",
	"INFO [<command-name> ...]",
	"    Return details about multiple Redis commands.",
	"    If no command names are given, documentation details for all",
	"    commands are returned.",
	"DOCS [<command-name> ...]",
	"    Return documentation details about multiple Redis commands.",
	"    If no command names are given, documentation details for all",
	"    commands are returned.",
	"GETKEYS <full-command>",
	"    Return the keys from a full Redis command.",
	"GETKEYSANDFLAGS <full-command>",
	"    Return the keys and the access flags from a full Redis command.",
	"HELP",
	"    Prints this help.",
}

// find looks a command up by the name that COMMAND prints: "get", "client|kill".
func find(t *command.Table, name []byte) *command.Spec {
	parent, sub, isSub := strings.Cut(string(name), "|")
	s := t.Lookup([]byte(parent))
	if s == nil || !isSub {
		return s
	}
	return s.FindSub([]byte(sub))
}

func info(w *resp.Writer, t *command.Table, names [][]byte) {
	if len(names) == 0 {
		w.Array(t.Len())
		for _, s := range t.All() {
			appendSpec(w, s)
		}
		return
	}
	w.Array(len(names))
	for _, n := range names {
		if s := find(t, n); s != nil {
			appendSpec(w, s)
		} else {
			w.Null()
		}
	}
}

// appendSpec appends the ten fields of COMMAND INFO.
func appendSpec(w *resp.Writer, s *command.Spec) {
	w.Array(10)
	w.BulkString(s.FullName())
	w.Int(int64(s.Arity))
	names := s.Flags.Names()
	w.Set(len(names))
	for _, n := range names {
		w.SimpleString(n)
	}
	first, last, step := s.Positions()
	w.Int(int64(first))
	w.Int(int64(last))
	w.Int(int64(step))
	cats := s.Categories()
	w.Set(len(cats))
	for _, c := range cats {
		w.SimpleString("@" + c)
	}
	tips := s.Tips()
	w.Set(len(tips))
	for _, tip := range tips {
		w.BulkString(tip)
	}
	w.Set(len(s.Keys))
	for _, k := range s.Keys {
		appendKeySpec(w, k)
	}
	if len(s.Sub) == 0 {
		w.Set(0)
		return
	}
	w.Array(len(s.Sub))
	for _, sub := range s.Sub {
		appendSpec(w, sub)
	}
}

// appendKeySpec writes a key specification.
func appendKeySpec(w *resp.Writer, k command.KeySpec) {
	w.Map(3)
	w.BulkString("flags")
	flags := k.Access.Names()
	w.Set(len(flags))
	for _, f := range flags {
		w.SimpleString(f)
	}
	if k.Find == command.FindUnknown {
		for _, part := range []string{"begin_search", "find_keys"} {
			w.BulkString(part)
			w.Map(2)
			w.BulkString("type")
			w.BulkString("unknown")
			w.BulkString("spec")
			w.Map(0)
		}
		return
	}
	w.BulkString("begin_search")
	w.Map(2)
	w.BulkString("type")
	if k.Find == command.FindWord {
		w.BulkString("keyword")
		w.BulkString("spec")
		w.Map(2)
		w.BulkString("keyword")
		w.BulkString(k.Word)
		w.BulkString("startfrom")
		w.Int(int64(k.First))
	} else {
		w.BulkString("index")
		w.BulkString("spec")
		w.Map(1)
		w.BulkString("index")
		w.Int(int64(k.First))
	}
	w.BulkString("find_keys")
	w.Map(2)
	w.BulkString("type")
	if k.Find == command.FindCounted {
		w.BulkString("keynum")
		w.BulkString("spec")
		w.Map(3)
		w.BulkString("keynumidx")
		w.Int(0)
		w.BulkString("firstkey")
		w.Int(1)
		w.BulkString("keystep")
		w.Int(int64(max(k.Step, 1)))
		return
	}
	last := k.Last
	if k.Find == command.FindRange && last >= 0 {
		last -= k.First // relative to where the search begins
	}
	w.BulkString("range")
	w.BulkString("spec")
	w.Map(3)
	w.BulkString("lastkey")
	w.Int(int64(last))
	w.BulkString("keystep")
	w.Int(int64(max(k.Step, 1)))
	w.BulkString("limit")
	w.Int(int64(k.Limit))
}

func docs(w *resp.Writer, t *command.Table, names [][]byte) {
	specs := t.All()
	if len(names) > 0 {
		specs = nil
		for _, n := range names {
			if s := find(t, n); s != nil {
				specs = append(specs, s)
			}
		}
	}
	w.Map(len(specs))
	for _, s := range specs {
		w.BulkString(s.FullName())
		appendDocs(w, s)
	}
}

func appendDocs(w *resp.Writer, s *command.Spec) {
	n := 4
	if len(s.Arguments()) > 0 {
		n++
	}
	if len(s.Sub) > 0 {
		n++
	}
	w.Map(n)
	w.BulkString("summary")
	w.BulkString(s.Summary)
	w.BulkString("since")
	w.BulkString(s.Since)
	w.BulkString("group")
	w.BulkString(s.Group)
	w.BulkString("complexity")
	w.BulkString(s.Complexity)
	if args := s.Arguments(); len(args) > 0 {
		w.BulkString("arguments")
		appendArguments(w, args)
	}
	if len(s.Sub) > 0 {
		w.BulkString("subcommands")
		w.Map(len(s.Sub))
		for _, sub := range s.Sub {
			w.BulkString(sub.FullName())
			appendDocs(w, sub)
		}
	}
}

// appendArguments writes descriptions in the order of fields of Redis' addReplyCommandArgList.
func appendArguments(w *resp.Writer, args []command.Argument) {
	w.Array(len(args))
	for _, a := range args {
		flags := argumentFlags(a)
		n := 2
		for _, present := range []bool{!a.Type.IsGroup(), a.KeySpec >= 0, a.Token != "", len(flags) > 0, a.Type.IsGroup()} {
			if present {
				n++
			}
		}
		w.Map(n)
		w.BulkString("name")
		w.BulkString(a.Name)
		w.BulkString("type")
		w.BulkString(string(a.Type))
		if !a.Type.IsGroup() {
			w.BulkString("display_text")
			w.BulkString(a.Display)
		}
		if a.KeySpec >= 0 {
			w.BulkString("key_spec_index")
			w.Int(int64(a.KeySpec))
		}
		if a.Token != "" {
			w.BulkString("token")
			w.BulkString(a.Token)
		}
		if len(flags) > 0 {
			w.BulkString("flags")
			w.Set(len(flags))
			for _, f := range flags {
				w.SimpleString(f)
			}
		}
		if a.Type.IsGroup() {
			w.BulkString("arguments")
			appendArguments(w, a.Arguments)
		}
	}
}

func argumentFlags(a command.Argument) []string {
	var flags []string
	for _, f := range []struct {
		set  bool
		name string
	}{{a.Optional, "optional"}, {a.Multiple, "multiple"}, {a.MultipleToken, "multiple_token"}} {
		if f.set {
			flags = append(flags, f.name)
		}
	}
	return flags
}

func list(w *resp.Writer, t *command.Table, args [][]byte) {
	match := func(*command.Spec) bool { return true }
	switch {
	case len(args) == 0:
	case len(args) != 3 || !strings.EqualFold(string(args[0]), "FILTERBY"):
		w.Error(resp.ErrSyntax)
		return
	case strings.EqualFold(string(args[1]), "MODULE"):
		match = func(*command.Spec) bool { return false }
	case strings.EqualFold(string(args[1]), "ACLCAT"):
		want := strings.ToLower(string(args[2]))
		match = func(s *command.Spec) bool {
			for _, c := range s.Categories() {
				if c == want {
					return true
				}
			}
			return false
		}
	case strings.EqualFold(string(args[1]), "PATTERN"):
		match = func(s *command.Spec) bool { return glob.Match(args[2], []byte(s.FullName()), true) }
	default:
		w.Error(resp.ErrSyntax)
		return
	}
	var names []string
	for _, s := range t.All() {
		if match(s) {
			names = append(names, s.FullName())
		}
		for _, sub := range s.Sub {
			if match(sub) && len(args) > 0 {
				names = append(names, sub.FullName())
			}
		}
	}
	w.Array(len(names))
	for _, n := range names {
		w.BulkString(n)
	}
}

func getKeys(w *resp.Writer, t *command.Table, args [][]byte, flags bool) {
	if len(args) == 0 {
		name := "command|getkeys"
		if flags {
			name = "command|getkeysandflags"
		}
		w.Error(resp.WrongArity(name))
		return
	}
	s, known := t.Find(args)
	switch {
	case s == nil || !known:
		w.Error("ERR Invalid command specified")
		return
	case len(s.Keys) == 0 && s.KeysFunc == nil:
		w.Error("ERR " + command.ErrNoKeys.Error())
		return
	case !s.ArityOK(len(args)):
		w.Error("ERR Invalid number of arguments specified for command")
		return
	}
	keys, err := s.AppendAccess(nil, args)
	switch {
	case err != nil:
		w.Error("ERR " + command.ErrBadKeys.Error())
		return
	case len(keys) == 0:
		w.Error("ERR " + command.ErrNoKeys.Error())
		return
	}
	w.Array(len(keys))
	for _, k := range keys {
		if !flags {
			w.Bulk(args[k.Pos])
			continue
		}
		w.Array(2)
		w.Bulk(args[k.Pos])
		names := k.Access.Names()
		w.Set(len(names))
		for _, n := range names {
			w.SimpleString(n)
		}
	}
}
