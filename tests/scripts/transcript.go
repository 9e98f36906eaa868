// Package scripts reads and runs command transcripts: text files of commands and the exact replies that
// are expected, which run unchanged against a real redis-server (where the expectations come from),
// against `haypile server` and through `haypile proxy`.
//
// # Lines
//
//	> SET k v            client c1 sends a command (quoting as in redis-cli) and reads one reply
//	+OK                  the expected reply, up to the next empty line, comment or command
//	c2> GET k            the same by another client; each has a connection of its own
//	c2>> WAIT 1 0        sends without reading
//	c2<                  reads one more value, expected below
//	c2! "PING\r\n"       sends raw bytes, then reads one value
//	# text               a comment
//
// ${name} in an argument stands for a saved reply, ${repeat:N:text} for N times the text.
//
// # Replies
//
//	+OK  -ERR text  12  "bulk\r\n\xff"      status, error, integer, bulk string
//	(nil)  (nil array)  (null)              null bulk and null array of RESP2, null of RESP3
//	(double) 1.5  (big) 12  (true)  (verbatim) "txt:..."  (bulk error) "..."
//	[1, "a"]  set[1, 2]  push["message"]  map{"k": 1}    aggregates; wide ones one element per line
//	(closed)                                the server closed the connection
//
// # Directives, between a command and its reply
//
//	# differs: reason     the expectation is ours; the reference runs the command, its reply is ignored
//	# since 7.2: source   the reference (7.0) does not know this; it is not sent there
//	# noproxy: reason     not sent through a proxy
//	# unordered           compare the aggregate as a multiset; "unordered pairs" for flat field-value
//	                      lists; "unordered inner" (or "inner pairs") for aggregates inside the reply;
//	                      "unordered replies" for the order of several replies
//	# match regexp        the reply must match instead: the text of a bulk or verbatim string, of others
//	                      the notation on one line ("[1, [+OK, -ERR text]]")
//	# replies n           n values answer this command
//	# eventually          repeat the command until the reply is the expected one, for at most 10 s
//	# save name           keep the reply (the text of a bulk, the digits of an integer) as ${name}
//	# quiet               for c2<: nothing arrives for 100 ms
//
// Directives of the kinds "noproxy", "since" and "differs" before the first command of a file hold for all of it.
package scripts

import (
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"

	"haypile/internal/testcluster/wire"
)

// Op is what a line does.
type Op string

// The operations; see the package documentation.
const (
	OpDo   Op = ">"
	OpSend Op = ">>"
	OpRead Op = "<"
	OpRaw  Op = "!"
)

// Step is one command line with its directives and its expectation.
type Step struct {
	Line   int
	Client string
	Op     Op
	Args   []string // before expansion of ${...}

	Differs, Since, NoProxy string // reasons; empty if absent
	Unordered, Inner, Pairs bool
	UnorderedReplies        bool
	Match                   []*regexp.Regexp
	Replies                 int
	Eventually, Quiet       bool
	Save                    string

	Want []wire.Value

	head []string // the command line and its directives, as written
}

// compared reports whether the step's reply is checked against the expectation on the reference server.
func (s *Step) compared() bool { return s.Differs == "" && s.Since == "" }

// File is a parsed transcript.
type File struct {
	Path                    string
	Differs, Since, NoProxy string // for the whole file
	Steps                   []*Step
	parts                   []any // string (a comment or empty line) or *Step, in order
}

var commandLine = regexp.MustCompile(`^([a-z][a-z0-9]*)?(>>|>|<|!)( .*)?$`)

// Load reads and parses a transcript.
func Load(path string) (*File, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	f, err := Parse(string(text))
	if err != nil {
		return nil, fmt.Errorf("%s:%w", path, err)
	}
	f.Path = path
	return f, nil
}

// Parse parses the text of a transcript.
func Parse(text string) (*File, error) {
	f := &File{}
	lines := strings.Split(strings.TrimRight(text, "\n"), "\n")
	for i := 0; i < len(lines); {
		if !commandLine.MatchString(lines[i]) {
			if lines[i] != "" && lines[i][0] != '#' {
				return nil, fmt.Errorf("%d: neither command nor comment, and no command before it: %q", i+1, lines[i])
			}
			if len(f.Steps) == 0 {
				f.fileDirective(lines[i])
			}
			f.parts = append(f.parts, lines[i])
			i++
			continue
		}
		s, n, err := parseStep(lines, i)
		if err != nil {
			return nil, err
		}
		f.Steps = append(f.Steps, s)
		f.parts = append(f.parts, s)
		i += n
	}
	return f, nil
}

func (f *File) fileDirective(line string) {
	for prefix, field := range map[string]*string{
		"# differs: ": &f.Differs, "# since 7.2: ": &f.Since, "# noproxy: ": &f.NoProxy,
	} {
		if rest, ok := strings.CutPrefix(line, prefix); ok {
			*field = rest
		}
	}
}

// parseStep parses the step at lines[i] and returns how many lines it has.
func parseStep(lines []string, i int) (*Step, int, error) {
	m := commandLine.FindStringSubmatch(lines[i])
	s := &Step{Line: i + 1, Client: m[1], Op: Op(m[2]), Replies: 1, head: []string{lines[i]}}
	if s.Client == "" {
		s.Client = "c1"
	}
	if s.Op == OpSend {
		s.Replies = 0
	}
	var err error
	if s.Args, err = SplitArgs(m[3]); err != nil {
		return nil, 0, fmt.Errorf("%d: %w", s.Line, err)
	}
	if wantArgs := s.Op != OpRead; wantArgs != (len(s.Args) > 0) || s.Op == OpRaw && len(s.Args) != 1 {
		return nil, 0, fmt.Errorf("%d: wrong number of arguments for %q", s.Line, s.Op)
	}
	n := 1
	for ; i+n < len(lines) && strings.HasPrefix(lines[i+n], "# "); n++ {
		known, err := s.directive(lines[i+n][2:])
		if err != nil {
			return nil, 0, fmt.Errorf("%d: %w", i+n+1, err)
		}
		if !known {
			break
		}
		s.head = append(s.head, lines[i+n])
	}
	start := i + n
	for ; i+n < len(lines); n++ {
		l := lines[i+n]
		if l == "" || l[0] == '#' || commandLine.MatchString(l) {
			break
		}
	}
	if s.Want, err = ParseReplies(strings.Join(lines[start:i+n], "\n")); err != nil {
		return nil, 0, fmt.Errorf("%d: %w", s.Line, err)
	}
	return s, n, nil
}

func (s *Step) directive(d string) (bool, error) {
	word, rest, _ := strings.Cut(d, " ")
	switch word {
	case "differs:":
		s.Differs = rest
	case "since":
		s.Since = rest
	case "noproxy:":
		s.NoProxy = rest
	case "unordered":
		s.UnorderedReplies = rest == "replies"
		s.Unordered = !s.UnorderedReplies
		s.Inner, s.Pairs = strings.Contains(rest, "inner"), strings.Contains(rest, "pairs")
	case "match":
		re, err := regexp.Compile(rest)
		if err != nil {
			return true, err
		}
		s.Match = append(s.Match, re)
	case "replies":
		n, err := strconv.Atoi(rest)
		if err != nil {
			return true, err
		}
		s.Replies = n
	case "eventually":
		s.Eventually = true
	case "quiet":
		s.Quiet, s.Replies = true, 0
	case "save":
		s.Save = rest
	default:
		return false, nil
	}
	if (word == "differs:" || word == "noproxy:" || word == "since") && rest == "" {
		return true, fmt.Errorf("directive %q without a reason", word)
	}
	return true, nil
}

// String writes the transcript back, with the expectations as they stand in the steps.
func (f *File) String() string {
	var b strings.Builder
	for _, p := range f.parts {
		s, ok := p.(*Step)
		if !ok {
			b.WriteString(p.(string) + "\n")
			continue
		}
		for _, l := range s.head {
			b.WriteString(l + "\n")
		}
		for _, v := range s.Want {
			b.WriteString(Format(v) + "\n")
		}
	}
	return b.String()
}
