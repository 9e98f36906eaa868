package commands

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"io/fs"
	"slices"
	"strings"
	"syscall"
	"time"

	"haypile/internal/acl"
	"haypile/internal/command"
	"haypile/internal/option"
	"haypile/internal/resp"
)

const (
	errNoACLFile = Error("ERR This Redis instance is not configured to use an ACL file. You may want to specify users " +
		"via the ACL SETUSER command and then issue a CONFIG REWRITE (assuming you have a Redis configuration file set) " +
		"in order to store users in the Redis configuration.")
	errACLSave = Error("ERR There was an error trying to save the ACLs. Please check the server logs for more information")

	aclProxy = "the users of a proxy are its own"
)

// aclCommands are ACL.
var aclCommands = []*Command{{
	Spec: containerSpec("ACL", "6.0.0", "Shows users and what they may do."),
	Sub: []*Command{
		aclWhoAmI(),
		aclOpen(aclSub("CAT", -2, "CAT [category]", "The categories, or the commands of one.", aclCat)),
		aclOpen(aclSub("GENPASS", -2, "GENPASS [bits]", "Makes a random password.", aclGenPass)),
		aclSub("USERS", 2, "USERS", "The names of the users.", func(c *Call) error {
			c.Out.BulkStringArray(c.Node.Users().Names()...)
			return nil
		}),
		aclSub("LIST", 2, "LIST", "The users in the form of the ACL file.", func(c *Call) error {
			var lines []string
			for _, u := range c.Node.Users().List() {
				lines = append(lines, u.Describe())
			}
			c.Out.BulkStringArray(lines...)
			return nil
		}),
		aclSub("GETUSER", 3, "GETUSER username", "Describes a user.", aclGetUser),
		differs(aclSub("SETUSER", -3, "SETUSER username [rule [rule ...]]", "Makes or changes a user: all rules or none.",
			aclSetUser), "Words in selectors must have matching quotes, and the argument of +command|argument no spaces."),
		aclSub("DELUSER", -3, "DELUSER username [username ...]", "Removes users and closes their connections.", aclDelUser),
		aclSub("DRYRUN", -4, "DRYRUN username command [arg [arg ...]]", "Whether a user may run a command.",
			aclDryRun),
		aclSub("LOG", -2, "LOG [count | RESET]", "What users were refused.", aclLog),
		aclSub("LOAD", 2, "LOAD", "Reads the ACL file: all of it or nothing.", aclLoad),
		differs(aclSub("SAVE", 2, "SAVE", "Writes the ACL file.", aclSave), "The file is forced to disk."),
		helpSub("ACL", "server",
			"CAT [<category>]", "    List all commands that belong to <category>, or all command categories",
			"    when no category is specified.",
			"DELUSER <username> [<username> ...]", "    Delete a list of users.",
			"DRYRUN <username> <command> [<arg> ...]",
			"    Returns whether the user can execute the given command without executing the "+
				"command.",
			"GETUSER <username>", "    Get the user's details.",
			"GENPASS [<bits>]", "    Generate a secure 256-bit user password. The optional `bits` argument can",
			"    be used to specify a different size.",
			"LIST", "    Show users details in config file format.",
			"LOAD", "    Reload users from the ACL file.",
			"LOG [<count> | RESET]", "    Show the ACL log entries.",
			"SAVE", "    Save the current config to the ACL file.",
			"SETUSER <username> <attribute> [<attribute> ...]",
			"    Create or modify a user with the specified attributes.",
			"USERS", "    List all the registered usernames.",
			"WHOAMI", "    Return the current connection username."),
	},
}}

func aclSub(name string, arity int, syntax, summary string, run func(*Call) error) *Command {
	c := &Command{Spec: serverSpec(name, "6.0.0", arity, "ACL "+syntax, summary, adminAnytime), Run: run}
	c.DeniedReason = aclProxy
	return c
}

// aclOpen is for what concerns no user but the caller, so that everybody may ask.
func aclOpen(c *Command) *Command {
	c.Flags &^= command.Admin
	return routed(c, command.RouteAny, command.MergeNone)
}

func aclWhoAmI() *Command {
	c := aclOpen(aclSub("WHOAMI", 2, "WHOAMI", "The connection's user.", func(c *Call) error {
		c.Out.BulkString(c.Client.UserName())
		return nil
	}))
	return routed(c, command.RouteLocal, command.MergeNone)
}

// aclWords are arguments as text.
func aclWords(args [][]byte) []string {
	words := make([]string, len(args))
	for i, a := range args {
		words[i] = string(a)
	}
	return words
}

func aclSetUser(c *Call) error {
	name := string(c.Args[2])
	if strings.ContainsAny(name, " \t\n\v\f\r\x00") {
		return Error("ERR Usernames can't contain spaces or null characters")
	}
	all := c.Node.Config().Enum(option.ACLPubSubDefault) == option.ACLPubSubAll
	a, before, err := c.Node.Users().Set(name, all, aclWords(c.Args[3:])...)
	if err != nil {
		return Error("ERR " + err.Error())
	}
	c.disconnectSubscribers(a, before)
	c.Out.OK()
	return nil
}

func aclDelUser(c *Call) error {
	names := aclWords(c.Args[2:])
	if slices.Contains(names, acl.DefaultName) {
		return Error("ERR The 'default' user cannot be removed")
	}
	gone := c.Node.Users().Delete(names...)
	c.disconnectUsers(gone)
	c.Out.Int(int64(len(gone)))
	return nil
}

func aclGetUser(c *Call) error {
	a := c.Node.Users().Find(string(c.Args[2]))
	if a == nil {
		c.Out.Null()
		return nil
	}
	u := a.User()
	selectors := u.Selectors()
	c.Out.Map(6)
	c.Out.BulkString("flags")
	c.Out.Set(len(u.Flags()))
	for _, f := range u.Flags() {
		c.Out.BulkString(f)
	}
	c.Out.BulkString("passwords")
	c.Out.BulkStringArray(u.Passwords()...)
	writeSelector(c.Out, selectors[0])
	c.Out.BulkString("selectors")
	c.Out.Array(len(selectors) - 1)
	for _, s := range selectors[1:] {
		c.Out.Map(3)
		writeSelector(c.Out, s)
	}
	return nil
}

func writeSelector(out *resp.Writer, s acl.Selector) {
	for _, field := range [][2]string{{"commands", s.Commands}, {"keys", s.Keys}, {"channels", s.Channels}} {
		out.BulkString(field[0])
		out.BulkString(field[1])
	}
}

func aclCat(c *Call) error {
	switch len(c.Args) {
	case 2:
		c.Out.BulkStringArray(command.ACLCategories()...)
		return nil
	case 3:
	default:
		return Error(resp.SubcommandSyntax(c.Args[1], "ACL"))
	}
	want := strings.ToLower(string(c.Args[2]))
	if !slices.Contains(command.ACLCategories(), want) {
		return Error("ERR Unknown category '" + string(c.Args[2]) + "'")
	}
	var names []string
	for _, s := range c.Node.Table().All() {
		for _, s := range append([]*command.Spec{s}, s.Sub...) {
			if slices.Contains(s.Categories(), want) {
				names = append(names, s.FullName())
			}
		}
	}
	c.Out.BulkStringArray(names...)
	return nil
}

func aclGenPass(c *Call) error {
	bits := int64(256)
	switch len(c.Args) {
	case 2:
	case 3:
		var ok bool
		if bits, ok = resp.ParseInt(c.Args[2]); !ok {
			return Error(resp.ErrNotInteger)
		}
		if bits <= 0 || bits > 4096 {
			return Error("ERR ACL GENPASS argument must be the number of bits for the output password, a " +
				"positive number up to 4096")
		}
	default:
		return Error(resp.SubcommandSyntax(c.Args[1], "ACL"))
	}
	digits := (bits + 3) / 4
	random := make([]byte, (digits+1)/2)
	_, _ = rand.Read(random) // never fails
	c.Out.BulkString(hex.EncodeToString(random)[:digits])
	return nil
}

func aclDryRun(c *Call) error {
	a := c.Node.Users().Find(string(c.Args[2]))
	if a == nil {
		return Error("ERR User '" + string(c.Args[2]) + "' not found")
	}
	args := c.Args[3:]
	s, ok := c.Node.Table().Find(args)
	switch {
	case s == nil || !ok:
		return Error("ERR Command '" + string(args[0]) + "' not found")
	case !s.ArityOK(len(args)):
		return Error(resp.WrongArity(s.FullName()))
	}
	u := a.User()
	v := u.Allowed(s, args)
	if v.OK() {
		c.Out.OK()
		return nil
	}
	text := "User " + u.Name() + " has no permissions to "
	switch v.Denied {
	case acl.DeniedKey:
		text += "access the '" + string(args[v.Pos]) + "' key"
	case acl.DeniedChannel:
		text += "access the '" + string(args[v.Pos]) + "' channel"
	default:
		text += "run the '" + s.FullName() + "' command"
	}
	c.Out.BulkString(text)
	return nil
}

// aclLogEntries is how many entries ACL LOG shows if it is not told.
const aclLogEntries = 10

func aclLog(c *Call) error {
	if len(c.Args) > 3 {
		return Error(resp.SubcommandSyntax(c.Args[1], "ACL"))
	}
	n := int64(aclLogEntries)
	if len(c.Args) == 3 {
		if c.Is(2, "RESET") {
			c.Node.ACLLog().Reset()
			c.Out.OK()
			return nil
		}
		var ok bool
		if n, ok = resp.ParseInt(c.Args[2]); !ok {
			return Error(resp.ErrNotInteger)
		}
	}
	entries := c.Node.ACLLog().Newest(int(max(0, n)))
	c.Out.Array(len(entries))
	for _, e := range entries {
		c.Out.Map(10)
		c.Out.BulkString("count")
		c.Out.Int(e.Count)
		for _, f := range [][2]string{{"reason", e.Reason.String()}, {"context", e.Context}, {"object", e.Object},
			{"username", e.User}} {
			c.Out.BulkString(f[0])
			c.Out.BulkString(f[1])
		}
		c.Out.BulkString("age-seconds")
		c.Out.Double(float64(time.Since(e.Updated).Milliseconds()) / 1000)
		c.Out.BulkString("client-info")
		c.Out.BulkString(e.Client)
		for _, f := range []struct {
			name string
			n    int64
		}{{"entry-id", e.ID}, {"timestamp-created", e.Created.UnixMilli()},
			{"timestamp-last-updated", e.Updated.UnixMilli()}} {
			c.Out.BulkString(f.name)
			c.Out.Int(f.n)
		}
	}
	return nil
}

// ReadACLFile makes users of the ACL file of the option aclfile.
func ReadACLFile(n Node, path string) ([]*acl.User, error) {
	text, err := n.ReadFile(path)
	if err != nil {
		return nil, errors.New("Error loading ACLs, opening file '" + path + "': " + osError(err))
	}
	all := n.Config().Enum(option.ACLPubSubDefault) == option.ACLPubSubAll
	return acl.Rules{Table: n.Table(), AllChannels: all}.ParseFile(path, string(text))
}

// osError words a system error as C does.
func osError(err error) string {
	var errno syscall.Errno
	switch {
	case errors.As(err, &errno):
		text := errno.Error()
		return strings.ToUpper(text[:1]) + text[1:]
	case errors.Is(err, fs.ErrNotExist):
		return "No such file or directory"
	}
	return err.Error()
}

// aclLoad replaces all users. As in Redis 7.2 those of the file are new ones, so that every connection is closed
// but those of the default user.
func aclLoad(c *Call) error {
	path := c.Node.Config().String(option.ACLFile)
	if path == "" {
		return errNoACLFile
	}
	list, err := ReadACLFile(c.Node, path)
	if err != nil {
		return Error("ERR " + err.Error())
	}
	gone, before := c.Node.Users().Replace(list)
	c.disconnectUsers(gone)
	c.disconnectSubscribers(c.Node.Users().Default(), before)
	c.Out.OK()
	return nil
}

func aclSave(c *Call) error {
	path := c.Node.Config().String(option.ACLFile)
	if path == "" {
		return errNoACLFile
	}
	if err := c.Node.ReplaceFile(path, []byte(acl.FormatFile(c.Node.Users().List()))); err != nil {
		return errACLSave
	}
	c.Out.OK()
	return nil
}
