package option

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"haypile/internal/quote"
)

// Bounds on what a configuration may be.
const (
	maxFileBytes    = 16 << 20
	maxIncludeDepth = 16
	maxIncludeFiles = 1000
	maxProblems     = 20 // reported at once
)

// CommandLine is the File of a Problem in the arguments of the command, and Stdin of one in the standard
// input.
const (
	CommandLine = "command line"
	Stdin       = "standard input"
)

// Problem is one line of a configuration that was refused.
type Problem struct {
	File   string // path, CommandLine or Stdin
	Line   int    // from 1; on the command line options are counted
	Text   string // the line; secrets masked
	Reason string
}

// String prints file, line and reason, and below them the line.
func (p Problem) String() string {
	return fmt.Sprintf("%s:%d: %s\n>>> %s", p.File, p.Line, p.Reason, p.Text)
}

// LoadError holds every problem found, up to a bound, so that a file can be mended in one go.
type LoadError struct {
	Problems []Problem
	More     bool // there were others
}

func (e *LoadError) Error() string {
	var b strings.Builder
	b.WriteString("bad configuration")
	for _, p := range e.Problems {
		b.WriteByte('\n')
		b.WriteString(p.String())
	}
	if e.More {
		b.WriteString("\nand more")
	}
	return b.String()
}

// Load reads the arguments of `haypile server` as redis-server takes them: [file or -] [--name value
// ...]... A first argument of - reads the file from stdin. Options of the command line override those of
// the file.
func Load(args []string, stdin io.Reader) (*Config, error) {
	c := New()
	l := newLoader(c.cur.Load())
	if len(args) > 0 && !strings.HasPrefix(args[0], "--") {
		if args[0] == "-" {
			l.read(Stdin, stdin, 0)
		} else {
			path, err := filepath.Abs(args[0])
			if err != nil {
				return nil, fmt.Errorf("configuration file %s: %w", args[0], err)
			}
			c.file = path
			if err := l.file(path, 0); err != nil {
				return nil, fmt.Errorf("configuration file: %w", err)
			}
		}
		args = args[1:]
	}
	l.arguments(args)
	if len(l.err.Problems) > 0 {
		return nil, &l.err
	}
	c.users = l.users
	c.cur.Store(&View{l.vals})
	return c, nil
}

// loader gathers values and problems over all sources.
type loader struct {
	vals  []value
	seen  map[int][]string // words so far of options whose lines add up
	users [][]string
	err   LoadError
	files int
	// lenient ignores problems, where Rewrite reads a file that somebody may be editing.
	lenient bool
}

func newLoader(from *View) *loader {
	return &loader{vals: append([]value(nil), from.vals...), seen: map[int][]string{}}
}

func (l *loader) problem(p Problem) {
	switch {
	case l.lenient:
		return
	case len(l.err.Problems) == maxProblems:
		l.err.More = true
		return
	}
	l.err.Problems = append(l.err.Problems, p)
}

func (l *loader) file(path string, depth int) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	if l.files++; l.files > maxIncludeFiles {
		return fmt.Errorf("%s: more than %d files", path, maxIncludeFiles)
	}
	l.read(path, f, depth)
	return nil
}

func (l *loader) read(name string, r io.Reader, depth int) {
	text, err := io.ReadAll(io.LimitReader(r, maxFileBytes+1))
	if err == nil && len(text) > maxFileBytes {
		err = fmt.Errorf("longer than %d bytes", maxFileBytes)
	}
	if err != nil {
		l.problem(Problem{File: name, Reason: err.Error()})
		return
	}
	for n := 1; len(text) > 0 && !l.err.More; n++ {
		line, rest, _ := bytes.Cut(text, []byte{'\n'})
		text = rest
		l.line(name, n, string(line), depth)
	}
}

const lineSpace = " \t\r\n"

func (l *loader) line(file string, n int, line string, depth int) {
	line = strings.Trim(line, lineSpace)
	if line == "" || line[0] == '#' {
		return
	}
	words, err := SplitWords(line)
	if err == nil && len(words) > 0 {
		err = l.directive(words, depth)
	}
	if err != nil {
		l.problem(Problem{file, n, mask(line), err.Error()})
	}
}

// mask hides what follows the name of a sensitive option, a misspelt one included.
func mask(line string) string {
	end := strings.IndexAny(line, lineSpace+"=:")
	if end < 0 {
		return line
	}
	name := strings.ToLower(strings.Trim(line[:end], `-"'`))
	if near := nearest(name); Sensitive(name) || (Lookup(name) == nil && Sensitive(near)) {
		return line[:end] + " " + Masked
	}
	if name == "user" {
		if words := strings.Fields(line); len(words) > 2 {
			return words[0] + " " + words[1] + " " + Masked
		}
	}
	return line
}

// Masked stands where a secret would.
const Masked = "(redacted)"

// directive takes one line's words.
func (l *loader) directive(words []string, depth int) error {
	name, args := strings.ToLower(words[0]), words[1:]
	switch name {
	case "include":
		return l.include(args, depth)
	case "user":
		if len(args) == 0 {
			return errWrongNumber
		}
		l.users = append(l.users, args)
		return nil
	}
	id, ok := byName[name]
	if !ok {
		return unknownOption(words)
	}
	if len(args) == 0 {
		return errWrongNumber
	}
	if args[0] == ":" {
		return errPikaLine
	}
	return l.set(id, args)
}

func (l *loader) set(id int, args []string) (err error) {
	s := table[id]
	if s.list == nil {
		if len(args) != 1 {
			return errWrongNumber
		}
		val, err := s.parse(args[0])
		if err == nil {
			l.vals[id] = val
		}
		return err
	}
	if len(args) == 1 { // `save "900 1"`, as CONFIG SET and Redis' command line have it
		if args, err = SplitWords(args[0]); err != nil {
			return err
		}
	}
	var old []string
	switch {
	case s.list.keep:
		old = l.vals[id].words
	case s.Multi:
		old = l.seen[id]
	}
	val, err := s.parseWords(old, args)
	if err != nil {
		return err
	}
	l.seen[id] = val.words
	l.vals[id] = val
	return nil
}

// include reads files by path or pattern, relative to the working directory as Redis does. A pattern may
// match nothing; a path must exist.
func (l *loader) include(args []string, depth int) error {
	if len(args) != 1 {
		return errWrongNumber
	}
	if depth == maxIncludeDepth {
		return fmt.Errorf("include is nested more than %d deep", maxIncludeDepth)
	}
	if !strings.ContainsAny(args[0], "*?[") {
		return l.file(args[0], depth+1)
	}
	paths, err := filepath.Glob(args[0]) // sorted
	if err != nil {
		return err
	}
	for _, path := range paths {
		if err := l.file(path, depth+1); err != nil {
			return err
		}
	}
	return nil
}

// arguments takes --name value... groups. As in redis-server, an option's first value may itself begin with
// -- (a password), "--name value" may be one argument, and --save without a value means an empty one.
func (l *loader) arguments(args []string) {
	for n := 1; len(args) > 0; n++ {
		name, ok := strings.CutPrefix(args[0], "--")
		if !ok {
			l.problem(Problem{CommandLine, n, quote.Word(args[0]), "expected an option that begins with --"})
			return
		}
		args = args[1:]
		words, err := SplitWords(name)
		if err != nil || len(words) == 0 {
			l.problem(Problem{CommandLine, n, mask("--" + name), "not the name of an option"})
			return
		}
		needsValue := len(words) == 1
		if needsValue && strings.EqualFold(words[0], Save.Spec().Name) &&
			(len(args) == 0 || strings.HasPrefix(args[0], "--")) {
			words, needsValue = append(words, ""), false
		}
		for len(args) > 0 && (needsValue || !strings.HasPrefix(args[0], "--")) {
			words, needsValue = append(words, args[0]), false
			args = args[1:]
		}
		if err := l.directive(words, 0); err != nil {
			text := mask(strings.ToLower(words[0]) + " " + quote.Join(words[1:]))
			l.problem(Problem{CommandLine, n, "--" + strings.TrimRight(text, " "), err.Error()})
		}
	}
}

// errPikaLine answers the `name : value` lines of pika.conf.
var errPikaLine = errors.New(
	"this looks like a line of pika.conf: write the name and the value without the colon")
