package commands

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"strings"

	"haypile/internal/command"
	"haypile/internal/option"
	"haypile/internal/resp"
)

const (
	errOneUser = Error("ERR only the default user exists; its password is the option requirepass")
	errACLFile = Error("ERR there is no ACL file: only the default user exists")

	aclDiffers = "There is one user, default, who may do everything; its password is the option requirepass."
	aclProxy   = "the users of a proxy are its own"
)

// aclCommands is ACL for the one user that exists.
var aclCommands = []*Command{{
	Spec: containerSpec("ACL", "6.0.0", "Shows users and what they may do."),
	Sub: []*Command{
		aclOpen(aclSub("WHOAMI", 2, "WHOAMI", "The connection's user.", func(c *Call) error {
			user := c.Client.User
			if user == "" {
				user = DefaultUser
			}
			c.Out.BulkString(user)
			return nil
		})),
		aclOpen(aclSub("CAT", -2, "CAT [category]", "The categories, or the commands of one.", aclCat)),
		aclOpen(aclSub("GENPASS", -2, "GENPASS [bits]", "Makes a random password.", aclGenPass)),
		aclSub("USERS", 2, "USERS", "The names of the users.", func(c *Call) error {
			c.Out.BulkStringArray(DefaultUser)
			return nil
		}),
		aclSub("LIST", 2, "LIST", "The users in the form of the configuration file.", func(c *Call) error {
			c.Out.BulkStringArray("user " + DefaultUser + " on " + passwordRule(c) + " ~* &* +@all")
			return nil
		}),
		aclSub("GETUSER", 3, "GETUSER username", "Describes a user.", aclGetUser),
		aclSub("DRYRUN", -4, "DRYRUN username command [arg [arg ...]]", "Whether a user may run a command.",
			aclDryRun),
		aclSub("LOG", -2, "LOG [count | RESET]", "What users were refused: nothing, since the user may do all.",
			aclLog),
		aclSub("SETUSER", -3, "SETUSER username [rule [rule ...]]", "Refused.", refuseUser),
		aclSub("DELUSER", -3, "DELUSER username [username ...]", "Refused.", refuseUser),
		aclSub("LOAD", 2, "LOAD", "Refused.", func(*Call) error { return errACLFile }),
		aclSub("SAVE", 2, "SAVE", "Refused.", func(*Call) error { return errACLFile }),
		helpSub("ACL", "server",
			"CAT [<category>]", "    List all commands that belong to <category>, or all command categories",
			"    when no category is specified.",
			"DRYRUN <username> <command> [<arg> ...]",
			"    Returns whether the user can execute the given command without executing the "+
				"command.",
			"GETUSER <username>", "    Get the user's details.",
			"GENPASS [<bits>]", "    Generate a secure 256-bit user password. The optional `bits` argument can",
			"    be used to specify a different size.",
			"LIST", "    Show users details in config file format.",
			"LOG [<count> | RESET]", "    Show the ACL log entries.",
			"USERS", "    List all the registered usernames.",
			"WHOAMI", "    Return the current connection username."),
	},
}}

func aclSub(name string, arity int, syntax, summary string, run func(*Call) error) *Command {
	c := &Command{Spec: serverSpec(name, "6.0.0", arity, "ACL "+syntax, summary, adminAnytime), Run: run}
	c.DeniedReason = aclProxy
	return differs(c, aclDiffers)
}

// aclOpen is for what concerns no user but the caller, so that everybody may ask.
func aclOpen(c *Command) *Command {
	c.Flags &^= command.Admin
	return routed(c, command.RouteAny, command.MergeNone)
}

func refuseUser(*Call) error { return errOneUser }

// passwordHash is what stands for the password of the default user; "" if it has none.
func passwordHash(c *Call) string {
	password := c.Node.Config().String(option.RequirePass)
	if password == "" {
		return ""
	}
	sum := sha256.Sum256([]byte(password))
	return hex.EncodeToString(sum[:])
}

func passwordRule(c *Call) string {
	if h := passwordHash(c); h != "" {
		return "#" + h
	}
	return "nopass"
}

func aclGetUser(c *Call) error {
	if string(c.Args[2]) != DefaultUser {
		c.Out.Null()
		return nil
	}
	flags, passwords := []string{"on"}, []string(nil)
	if h := passwordHash(c); h != "" {
		passwords = []string{h}
	} else {
		flags = append(flags, "nopass")
	}
	c.Out.Map(6)
	c.Out.BulkString("flags")
	c.Out.Set(len(flags))
	for _, f := range flags {
		c.Out.BulkString(f)
	}
	c.Out.BulkString("passwords")
	c.Out.BulkStringArray(passwords...)
	for _, rule := range [][2]string{{"commands", "+@all"}, {"keys", "~*"}, {"channels", "&*"}} {
		c.Out.BulkString(rule[0])
		c.Out.BulkString(rule[1])
	}
	c.Out.BulkString("selectors")
	c.Out.Array(0)
	return nil
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
	if string(c.Args[2]) != DefaultUser {
		return Error("ERR User '" + string(c.Args[2]) + "' not found")
	}
	s, ok := c.Node.Table().Find(c.Args[3:])
	switch {
	case s == nil || !ok:
		return Error("ERR Command '" + string(c.Args[3]) + "' not found")
	case !s.ArityOK(len(c.Args) - 3):
		return Error(resp.WrongArity(s.FullName()))
	}
	c.Out.OK()
	return nil
}

func aclLog(c *Call) error {
	if len(c.Args) > 3 {
		return Error(resp.SubcommandSyntax(c.Args[1], "ACL"))
	}
	if len(c.Args) == 3 {
		if c.Is(2, "RESET") {
			c.Out.OK()
			return nil
		}
		if _, ok := resp.ParseInt(c.Args[2]); !ok {
			return Error(resp.ErrNotInteger)
		}
	}
	c.Out.Array(0)
	return nil
}
