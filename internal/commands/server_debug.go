package commands

import (
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	"haypile/internal/command"
	"haypile/internal/keyspace"
	"haypile/internal/option"
	"haypile/internal/resp"
)

const errDebugDenied = Error("ERR DEBUG command not allowed. If the enable-debug-command option is set to " +
	"\"local\", you can run it from a local connection, otherwise you need to set this option in the " +
	"configuration file, and then restart the server.")

// debugCommands is DEBUG. It is one command, as in Redis: its sub-commands have no descriptions of their own.
var debugCommands = []*Command{{
	Spec: debugSpec(),
	Run: func(c *Call) error {
		if !debugAllowed(c) {
			return errDebugDenied
		}
		for _, d := range debugSubs() {
			n := len(c.Args) - 2
			if !c.Is(1, d.name) || n < d.min || d.max >= 0 && n > d.max {
				continue
			}
			if c.InMulti && d.alone {
				return Error("ERR DEBUG " + d.name + " is not allowed inside a transaction")
			}
			return d.run(c)
		}
		return refuseDebug(c)
	},
}}

func debugSpec() command.Spec {
	s := serverSpec("DEBUG", "1.0.0", -2, "DEBUG subcommand [arg [arg ...]]",
		"Tests and inspects the node; needs the option enable-debug-command.", adminAnytime)
	s.Complexity = "O(N) bytes for DIGEST, else O(1)."
	s.Differs = "The sub-commands are those of DEBUG HELP; the others of Redis are refused, " +
		"each with its reason. DIGEST and DIGEST-VALUE read a snapshot without " +
		"locks, DIGEST-OFFSET adds the offset of the log that the digest belongs to; none of them is allowed " +
		"inside MULTI. SLEEP holds up its own connection only. RELOAD flushes the engine and drops the caches."
	return s
}

// debugAllowed applies enable-debug-command.
func debugAllowed(c *Call) bool {
	switch c.Node.Config().Enum(option.EnableDebugCommand) {
	case option.DebugYes:
		return true
	case option.DebugLocal:
		return isLocal(c.Client.Addr)
	}
	return false
}

// isLocal reports whether the address of a peer is on this machine: loopback, or a Unix socket's path.
func isLocal(addr string) bool {
	if strings.HasPrefix(addr, "/") {
		return true
	}
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return false
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}

// debugSub is a sub-command of DEBUG: min and max arguments behind its name (-1: any number). alone is set
// for those that must not run inside EXEC, which holds locks.
type debugSub struct {
	name     string
	min, max int
	alone    bool
	run      func(*Call) error
	help     []string
}

func debugSubs() []debugSub {
	return []debugSub{
		{"CHANGE-REPL-ID", 0, 0, true, func(c *Call) error {
			return done(c, c.Node.Replication().ChangeID())
		},
			[]string{"CHANGE-REPL-ID", "    Change the replication IDs of the instance.",
				"    Dangerous: should be used only for testing the replication subsystem."}},
		{"DIGEST", 0, 0, true, debugDigest,
			[]string{"DIGEST", "    Output a hex signature representing the current DB content."}},
		{"DIGEST-OFFSET", 0, 0, true, debugDigestOffset, []string{"DIGEST-OFFSET",
			"    Output DIGEST, and the replication offset whose content it represents."}},
		{"DIGEST-VALUE", 1, -1, true, debugDigestValue, []string{"DIGEST-VALUE <key> [<key> ...]",
			"    Output a hex signature of the values of all the specified keys."}},
		{"ERROR", 1, 1, false, func(c *Call) error {
			c.Out.Error(string(c.Args[2]))
			return nil
		}, []string{"ERROR <string>", "    Return a Redis protocol error with <string> as message. Useful for clients",
			"    unit tests to simulate Redis errors."}},
		{"OBJECT", 1, 1, true, debugObject,
			[]string{"OBJECT <key>", "    Show low level info about `key` and associated value."}},
		{"PROTOCOL", 1, 1, false, debugProtocol,
			[]string{"PROTOCOL <type>", "    Reply with a test value of the specified type. <type> can be: string,",
				"    integer, double, bignum, null, array, set, map, attrib, push, verbatim,", "    true, false."}},
		{"RELOAD", 0, 0, true, func(c *Call) error { return done(c, c.Node.Reload()) },
			[]string{"RELOAD", "    Flush the engine and drop all caches."}},
		{"SET-ACTIVE-EXPIRE", 1, 1, false, func(c *Call) error {
			n, _ := strconv.Atoi(string(c.Args[2])) // anything else is 0, as in Redis
			c.Node.SetActiveExpire(n != 0)
			return done(c, nil)
		}, []string{"SET-ACTIVE-EXPIRE <0|1>",
			"    Setting it to 0 disables expiring keys in background when they are not",
			"    accessed (otherwise the Redis behavior). Setting it to 1 reenables back the",
			"    default."}},
		{"SLEEP", 1, 1, false, debugSleep,
			[]string{"SLEEP <seconds>", "    Hold up this connection for <seconds>. Decimals allowed."}},
		{"HELP", 0, 0, false, debugHelp, nil},
	}
}

// done answers OK, or the error.
func done(c *Call, err error) error {
	if err != nil {
		return refusal(err)
	}
	c.Out.OK()
	return nil
}

func debugHelp(c *Call) error {
	var lines []string
	for _, d := range debugSubs() {
		lines = append(lines, d.help...)
	}
	return helpSub("DEBUG", "server", lines...).Run(c)
}

func debugDigest(c *Call) error {
	digest, _, err := c.Node.Digest(c.Ctx)
	if err != nil {
		return refusal(err)
	}
	c.Out.SimpleString(digest)
	return nil
}

func debugDigestOffset(c *Call) error {
	digest, offset, err := c.Node.Digest(c.Ctx)
	if err != nil {
		return refusal(err)
	}
	c.Out.Array(2)
	c.Out.SimpleString(digest)
	c.Out.Int(offset)
	return nil
}

func debugDigestValue(c *Call) error {
	c.Out.Array(len(c.Args) - 2)
	for _, key := range c.Args[2:] {
		digest, err := c.Node.DigestValue(c.Client.DB, key)
		if err != nil {
			return refusal(err)
		}
		c.Out.SimpleString(digest)
	}
	return nil
}

func debugObject(c *Call) error {
	line, err := c.Node.DescribeKey(c.Client.DB, c.Args[2])
	if err != nil {
		return refusal(err)
	}
	if line == "" {
		return Error(resp.ErrNoSuchKey)
	}
	c.Out.SimpleString(line)
	return nil
}

// DescribeEntry is what DEBUG OBJECT shows of a key that was found: its rows, from a few samples.
// The fields before them are those that Redis shows, which clients look for.
func DescribeEntry(t *keyspace.Txn, cfg *option.Config, e *keyspace.Entry) (string, error) {
	n, err := rowBytes(t, e, defaultSamples)
	if err != nil {
		return "", err
	}
	name, err := encodingName(t, cfg, e)
	if err != nil {
		return "", err
	}
	m := &e.Meta
	return fmt.Sprintf("Value at:0x0 refcount:1 encoding:%s serializedlength:%d lru:0 "+
		"lru_seconds_idle:0 type:%s slot:%d collection:%d birth_slot:%d elements:%d deadline:%d "+
		"row_bytes:%d", name, n, m.Type, e.Slot(), m.ID, m.Birth, m.Count, m.Deadline, n), nil
}

func debugSleep(c *Call) error {
	seconds, _ := strconv.ParseFloat(string(c.Args[2]), 64) // anything else is 0, as in Redis
	const longest = 24 * time.Hour
	d := longest
	if seconds < longest.Seconds() {
		d = time.Duration(seconds * float64(time.Second))
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-c.Ctx.Done():
	}
	return done(c, nil)
}
