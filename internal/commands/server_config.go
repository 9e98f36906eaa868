package commands

import (
	"strings"

	"haypile/internal/command"
	"haypile/internal/option"
	"haypile/internal/resp"
)

func configSub(name string, arity int, syntax, summary string, run func(*Call) error) *Command {
	return complexity(&Command{
		Spec: serverSpec(name, "2.0.0", arity, "CONFIG "+syntax, summary, adminAnytime), Run: run,
	}, "O(N) options.")
}

// configCommands are CONFIG and INFO.
var configCommands = []*Command{
	{
		Spec: containerSpec("CONFIG", "2.0.0", "Reads and changes the configuration."),
		Sub: []*Command{
			configSub("GET", -3, "GET parameter [parameter ...]",
				"Shows the options that match any of the patterns.", configGet),
			differs(configSub("SET", -4, "SET parameter value [parameter value ...]",
				"Changes options while the node runs: all of them or none.", configSet),
				"The options are Haypile's own; see docs/config.md."),
			differs(configSub("REWRITE", 2, "REWRITE", "Brings the configuration file to the present values.",
				configRewrite), "The file is replaced atomically and forced to disk."),
			configSub("RESETSTAT", 2, "RESETSTAT", "Sets the counters of INFO to zero.", func(c *Call) error {
				c.Node.ResetStats()
				c.Out.OK()
				return nil
			}),
			helpSub("CONFIG", "server",
				"GET <pattern>", "    Return parameters matching the glob-like <pattern> and their values.",
				"SET <directive> <value>", "    Set the configuration <directive> to <value>.",
				"RESETSTAT", "    Reset statistics reported by the INFO command.",
				"REWRITE", "    Rewrite the configuration file."),
		},
	},
	infoCommand(),
}

func configGet(c *Call) error {
	patterns := make([]string, 0, len(c.Args)-2)
	for _, a := range c.Args[2:] {
		patterns = append(patterns, string(a))
	}
	pairs := c.Node.Config().Get(patterns...)
	c.Out.Map(len(pairs))
	for _, p := range pairs {
		c.Out.BulkString(p.Name)
		c.Out.BulkString(p.Value)
	}
	return nil
}

func configSet(c *Call) error {
	if len(c.Args)%2 != 0 {
		return Error(resp.ErrSyntax)
	}
	var pairs []option.Pair
	for i := 2; i < len(c.Args); i += 2 {
		pairs = append(pairs, option.Pair{Name: string(c.Args[i]), Value: string(c.Args[i+1])})
	}
	if err := c.Node.Config().Set(pairs...); err != nil {
		return refusal(err)
	}
	c.Out.OK()
	return nil
}

func configRewrite(c *Call) error {
	if err := c.Node.Config().Rewrite(); err != nil {
		return refusal(err)
	}
	c.Out.OK()
	return nil
}

func infoCommand() *Command {
	c := &Command{
		Spec: serverSpec("INFO", "1.0.0", -1, "INFO [section [section ...]]",
			"Describes the node: the named sections, or the usual ones.", anyRole),
		Run: func(c *Call) error {
			var sections []string
			for _, a := range c.Args[1:] {
				sections = append(sections, strings.ToLower(string(a)))
			}
			c.Out.Verbatim("txt", c.Node.Info(sections))
			return nil
		},
	}
	c.Differs = "Sections about the engine and the log are added; fields that mean nothing here are " +
		"absent. Through a proxy, one node answers."
	return routed(categories(c, "dangerous"), command.RouteAny, command.MergeNone)
}
