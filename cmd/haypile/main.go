// Command haypile is every role of the database in one binary: the data node, the proxy, the dashboard, the
// operator's command line, and what rehearses and documents them. Each sub-command has its file here, and
// nothing of weight: they parse flags, join packages that must not know each other, and print.
//
// Contexts begin here. The first SIGINT or SIGTERM ends the context of the running command, which stops in
// order; a second one ends the process at once.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"haypile/internal/commands"

	"github.com/spf13/cobra"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	// From then on the signals have their default effect again.
	context.AfterFunc(ctx, stop)
	root, err := newRootCommand()
	if err == nil {
		err = root.ExecuteContext(ctx)
	}
	if err == nil {
		return
	}
	if !errors.Is(err, errReported) {
		fmt.Fprintln(os.Stderr, "haypile:", err)
	}
	os.Exit(1)
}

// errReported fails a command that has already printed why.
var errReported = errors.New("failed, as reported")

func newRootCommand() (*cobra.Command, error) {
	root := &cobra.Command{
		Use:   "haypile",
		Short: "A Redis-compatible database on disk, with its proxy and its control centre",
		// Errors are printed once, in main; a failed run is no reason to explain the flags.
		SilenceErrors:     true,
		SilenceUsage:      true,
		CompletionOptions: cobra.CompletionOptions{HiddenDefaultCmd: true},
	}
	table, err := commands.NewTable(commands.All())
	if err != nil {
		return nil, fmt.Errorf("command table: %w", err)
	}
	root.AddCommand(
		newServerCommand(),
		newProxyCommand(table),
		newDashboardCommand(),
		newCtlCommand(),
		newDemoCommand(),
		newDrillCommand(),
		newDocsCommand(),
		newDebugCommand(),
		newVersionCommand(),
	)
	return root, nil
}
