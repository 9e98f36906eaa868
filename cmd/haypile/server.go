package main

import (
	"fmt"
	"os"

	"haypile/internal/option"
	"haypile/internal/server"

	"github.com/spf13/cobra"
)

const serverUsage = `Run a data node.

Usage:
  haypile server [/path/to/haypile.conf | -] [--name value ...]

Options are those of the file, with two dashes in front; they override the file. docs/config.md lists them.

Examples:
  haypile server
  haypile server /etc/haypile.conf --port 6380
  haypile server --port 6380 --dir /var/lib/haypile --replicaof "10.0.0.1 6379"
  echo "appendfsync always" | haypile server -
`

func newServerCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "server [/path/to/haypile.conf | -] [--name value ...]",
		Short: "Run a data node",
		// Names and values belong to the option table, which reads them as redis-server does.
		DisableFlagParsing: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 1 && (args[0] == "--help" || args[0] == "-h") {
				return cmd.Help()
			}
			adviseHugePages() // before standard input is read
			cfg, err := option.Load(args, os.Stdin)
			if err != nil {
				return err
			}
			return server.Run(cmd.Context(), cfg, version)
		},
	}
	cmd.SetHelpFunc(func(cmd *cobra.Command, _ []string) { fmt.Fprint(cmd.OutOrStdout(), serverUsage) })
	return cmd
}
