package commands

import (
	"context"

	"haypile/internal/command"
	"haypile/internal/resp"
)

const saveDiffers = "Every write is in the log when it is acknowledged, so that nothing depends on saving. " +
	"A checkpoint of the engine is written: a directory of hard links to files that never change."

// persistenceCommands are about data on disk and the end of the process.
var persistenceCommands = []*Command{
	differs(complexity(&Command{
		Spec: serverSpec("SAVE", "1.0.0", 1, "SAVE", "Writes a checkpoint and waits for it.",
			adminSettled|command.NoMulti),
		Run: func(c *Call) error { return checkpoint(c, false, "OK") },
	}, "O(N) bytes not yet in the engine's files."), saveDiffers),
	differs(complexity(&Command{
		Spec: serverSpec("BGSAVE", "1.0.0", -1, "BGSAVE [SCHEDULE]", "Writes a checkpoint in the background.",
			adminSettled),
		Run: func(c *Call) error {
			if len(c.Args) > 2 || len(c.Args) == 2 && !c.Is(1, "SCHEDULE") {
				return Error(resp.ErrSyntax)
			}
			return checkpoint(c, true, "Background saving started")
		},
	}, "O(N) bytes not yet in the engine's files."), saveDiffers),
	differs(&Command{
		Spec: serverSpec("BGREWRITEAOF", "1.0.0", 1, "BGREWRITEAOF",
			"Writes what only the log holds to the engine's files, in the background.", adminSettled),
		Run: func(c *Call) error {
			if !c.Node.Background("flush", c.Node.FlushEngine) {
				return Error("ERR Background append only file rewriting already in progress")
			}
			c.Out.SimpleString("Background append only file rewriting started")
			return nil
		},
	}, "The log is never rewritten: it is also the replication backlog, and its old end is trimmed by "+
		"log-retention-size. What a rewrite gains in Redis, a short restart, a flush of the engine gains "+
		"here."),
	categories(&Command{
		Spec: serverSpec("LASTSAVE", "1.0.0", 1, "LASTSAVE", "Unix time of the last good checkpoint.",
			anyRole|command.Fast),
		Run: func(c *Call) error {
			c.Out.Int(c.Node.LastSave().Unix())
			return nil
		},
	}, "admin", "dangerous"),
	differs(&Command{
		Spec: serverSpec("SHUTDOWN", "1.0.0", -1, "SHUTDOWN [NOSAVE | SAVE] [NOW] [FORCE] [ABORT]",
			"Ends the process: waits for replicas, flushes, closes.",
			adminAnytime|command.NoMulti|command.AllowBusy),
		Run: shutdown,
	}, "SAVE and NOSAVE decide only whether the engine is flushed, which shortens the next start; no write "+
		"is lost either way."),
	differs(complexity(&Command{
		Spec: serverSpec("COMPACT", "Pika 2.0", -1, "COMPACT [ALL | STRING | HASH | LIST | SET | ZSET]",
			"Compacts the engine's files in the background.", adminSettled|command.Stale),
		Run: compact,
	}, "O(N) bytes on disk, in the background."), "Not in Redis; known from Pika. All types share one "+
		"engine, so that a type makes no difference."),
	differs(complexity(&Command{
		Spec: serverSpec("COMPACTRANGE", "Pika 3.5", -4, "COMPACTRANGE [database] <ALL | STRING | HASH | LIST | SET | ZSET> start end",
			"Compacts the engine's files in the background.", adminSettled|command.Stale),
		Run: compactRange,
	}, "O(N) bytes on disk, in the background."), "Not in Redis; known from Pika. Keys do not stand in the order of "+
		"their names, so that a range of them is everywhere: it does what COMPACT does."),
}

func checkpoint(c *Call, background bool, reply string) error {
	if err := c.Node.Checkpoint(background); err != nil {
		return refusal(err)
	}
	c.Out.SimpleString(reply)
	return nil
}

func shutdown(c *Call) error {
	var opt ShutdownOptions
	abort := false
	for i := 1; i < len(c.Args); i++ {
		switch c.Arg(i) {
		case "SAVE":
			opt.Save = true
		case "NOSAVE":
			opt.NoSave = true
		case "NOW":
			opt.Now = true
		case "FORCE":
			opt.Force = true
		case "ABORT":
			abort = true
		default:
			return Error(resp.ErrSyntax)
		}
	}
	if opt.Save && opt.NoSave || abort && opt != (ShutdownOptions{}) {
		return Error(resp.ErrSyntax)
	}
	if abort {
		if c.Node.AbortShutdown() != nil {
			return Error("ERR No shutdown in progress.")
		}
		c.Out.OK()
		return nil
	}
	if busy := c.Client.Gate.BusyScript(); busy != "" && !opt.NoSave {
		return busy
	}
	if err := c.Node.Shutdown(c.Ctx, opt); err != nil {
		var reply Error
		if reply, _ = err.(Error); reply == "" {
			reply = "ERR Errors trying to SHUTDOWN. Check logs."
		}
		return reply
	}
	c.Client.Close = true
	return nil
}

func compact(c *Call) error {
	if len(c.Args) > 2 {
		return Error(resp.ErrSyntax)
	}
	if len(c.Args) == 2 && !compactable(c.Arg(1)) {
		return Error(resp.ErrSyntax)
	}
	return c.compact()
}

// compactRange is COMPACTRANGE, which one version of Pika calls with a database first.
func compactRange(c *Call) error {
	if n := len(c.Args); n > 5 || !compactable(c.Arg(n-3)) {
		return Error(resp.ErrSyntax)
	}
	return c.compact()
}

func compactable(typ string) bool {
	switch typ {
	case "ALL", "STRING", "HASH", "LIST", "SET", "ZSET":
		return true
	}
	return false
}

func (c *Call) compact() error {
	node := c.Node
	if !node.Background("compact", func(ctx context.Context) error { return node.Compact(ctx) }) {
		return Error("ERR a compaction is already in progress")
	}
	c.Out.OK()
	return nil
}
