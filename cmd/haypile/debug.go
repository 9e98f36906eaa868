package main

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"haypile/internal/disk"
	"haypile/internal/replog"

	"github.com/spf13/cobra"
)

func newDebugCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "debug",
		Short: "Look into files of a data node",
	}
	cmd.AddCommand(newDebugLogCommand())
	return cmd
}

func newDebugLogCommand() *cobra.Command {
	var verbose bool
	cmd := &cobra.Command{
		Use:   "log DIR",
		Short: "Read and check the log of a data directory",
		Long: "Reads every frame of the log, checks its checksums and prints a line per segment and one per damaged " +
			"place. DIR is a data directory or a log directory in one. Nothing is changed. The node may be running: " +
			"what it is writing at the moment then looks like a torn tail. The exit status is 1 if anything is " +
			"damaged.",
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			dir, err := logDirectory(args[0])
			if err != nil {
				return err
			}
			out := bufio.NewWriter(cmd.OutOrStdout())
			return errors.Join(replog.Inspect(out, disk.OS(), dir, verbose), out.Flush())
		},
	}
	cmd.Flags().BoolVarP(&verbose, "verbose", "v", false, "print every frame")
	return cmd
}

// logDirectory finds the log in use in a data directory. It only looks: opening the directory as its owner
// does would lock it and tidy it up.
func logDirectory(dir string) (string, error) {
	text, err := os.ReadFile(filepath.Join(dir, "CURRENT"))
	if errors.Is(err, fs.ErrNotExist) {
		return dir, nil
	}
	if err != nil {
		return "", err
	}
	n, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		return "", fmt.Errorf("%s: CURRENT says %q, which is no number", dir, text)
	}
	return filepath.Join(dir, fmt.Sprintf("log-%d", n)), nil
}
