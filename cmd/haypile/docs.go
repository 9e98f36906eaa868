package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"

	"haypile/internal/commands"
	"haypile/internal/option"

	"github.com/spf13/cobra"
)

// commandPages is where the pages of commands stand, and generatedMark what tells them from others.
const (
	commandPages  = "commands"
	generatedMark = "generated from the command table"
)

func newDocsCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "docs [dir]",
		Short: "Write the reference pages that are made from the tables",
		Long: "Writes config.md from the option table and commands/*.md from the command table into the directory\n" +
			"(default: docs), and removes pages of commands that do not exist any more. Files whose content is right\n" +
			"are left alone.",
		Args: cobra.MaximumNArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			dir := "docs"
			if len(args) > 0 {
				dir = args[0]
			}
			pages, err := referencePages()
			if err != nil {
				return err
			}
			return errors.Join(writePages(dir, pages), removeStale(dir, pages))
		},
	}
}

// referencePages are all generated pages, by slash-separated name.
func referencePages() (map[string][]byte, error) {
	list, err := commands.Markdown(commands.All())
	if err != nil {
		return nil, err
	}
	pages := map[string][]byte{"config.md": option.Markdown()}
	for name, text := range list {
		pages[path.Join(commandPages, name)] = text
	}
	return pages, nil
}

func writePages(dir string, pages map[string][]byte) error {
	for name, text := range pages {
		file := filepath.Join(dir, filepath.FromSlash(name))
		old, err := os.ReadFile(file)
		if err == nil && bytes.Equal(old, text) {
			continue
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			return fmt.Errorf("write %s: %w", name, err)
		}
		if err := os.WriteFile(file, text, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// removeStale removes generated pages of commands that have none any more.
func removeStale(dir string, pages map[string][]byte) error {
	files, err := filepath.Glob(filepath.Join(dir, commandPages, "*.md"))
	if err != nil {
		return err
	}
	for _, file := range files {
		if pages[path.Join(commandPages, filepath.Base(file))] != nil {
			continue
		}
		text, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		if bytes.Contains(text, []byte(generatedMark)) {
			if err := os.Remove(file); err != nil {
				return err
			}
		}
	}
	return nil
}
