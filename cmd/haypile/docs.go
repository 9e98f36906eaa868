package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"haypile/internal/option"

	"github.com/spf13/cobra"
)

func newDocsCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "docs [dir]",
		Short: "Write the reference pages that are made from the tables",
		Long: "Writes config.md from the option table into the directory (default: docs). Files whose content " +
			"is right already are left alone.",
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			dir := "docs"
			if len(args) > 0 {
				dir = args[0]
			}
			return writePages(dir, map[string][]byte{"config.md": option.Markdown()})
		},
	}
}

// writePages writes files below dir, by slash-separated name.
func writePages(dir string, pages map[string][]byte) error {
	for name, text := range pages {
		path := filepath.Join(dir, filepath.FromSlash(name))
		old, err := os.ReadFile(path)
		if err == nil && bytes.Equal(old, text) {
			continue
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return fmt.Errorf("write %s: %w", name, err)
		}
		if err := os.WriteFile(path, text, 0o644); err != nil {
			return err
		}
	}
	return nil
}
