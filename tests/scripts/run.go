package scripts

import (
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"sort"
	"strconv"
	"strings"
	"syscall"
	"time"

	"haypile/internal/testcluster/wire"
)

// TargetKind says which directives hold for a target.
type TargetKind int

// The targets of a transcript.
const (
	Reference TargetKind = iota // a real redis-server
	Server                      // haypile server
	Proxy                       // haypile proxy in front of one or more shards
)

// Target is a running server.
type Target struct {
	Kind TargetKind
	Addr string
}

// Failure is one step that did not answer as expected.
type Failure struct {
	File      string
	Line      int
	Command   string
	Want, Got string
}

func (f Failure) String() string {
	return fmt.Sprintf("%s:%d: %s\n  want: %s\n  got:  %s", f.File, f.Line, f.Command, indent(f.Want), indent(f.Got))
}

func indent(s string) string { return strings.ReplaceAll(s, "\n", "\n        ") }

const (
	eventuallyBound = 10 * time.Second
	eventuallyPause = 10 * time.Millisecond
	quietBound      = 100 * time.Millisecond
)

// ErrUnusable means that the target could not be emptied: no transcript can run there any more.
var ErrUnusable = errors.New("cannot empty the target")

// Run plays a transcript against a target that has been emptied first. With rewrite, and on the reference
// only, the expectations become what the server answered.
func Run(f *File, t Target, rewrite bool) ([]Failure, error) {
	r := &runner{file: f, target: t, rewrite: rewrite, conns: map[string]*wire.Conn{}, saved: map[string]string{}}
	defer r.close()
	if err := reset(t.Addr); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnusable, err)
	}
	for _, s := range f.Steps {
		if r.skip(s) {
			continue
		}
		if err := r.step(s); err != nil {
			return r.failures, fmt.Errorf("%s:%d: %w", f.Path, s.Line, err)
		}
	}
	return r.failures, nil
}

// reset empties the target. A pause that a failed transcript left behind is lifted first.
func reset(addr string) error {
	c, err := wire.Dial(addr)
	if err != nil {
		return err
	}
	defer c.Close()
	if _, err := c.Do("CLIENT", "UNPAUSE"); err != nil {
		return err
	}
	_, err = c.Must("FLUSHALL")
	return err
}

type runner struct {
	file     *File
	target   Target
	rewrite  bool
	conns    map[string]*wire.Conn
	saved    map[string]string
	failures []Failure
}

func (r *runner) close() {
	for _, c := range r.conns {
		c.Close()
	}
}

func (r *runner) skip(s *Step) bool {
	switch r.target.Kind {
	case Reference:
		return s.Since != "" || r.file.Since != ""
	case Proxy:
		return s.NoProxy != "" || r.file.NoProxy != ""
	}
	return false
}

func (r *runner) conn(name string) (*wire.Conn, error) {
	if c := r.conns[name]; c != nil {
		return c, nil
	}
	c, err := wire.Dial(r.target.Addr)
	if err != nil {
		return nil, err
	}
	r.conns[name] = c
	return c, nil
}

func (r *runner) step(s *Step) error {
	var got []wire.Value
	var problem string
	for deadline := time.Now().Add(eventuallyBound); ; <-time.After(eventuallyPause) {
		var err error
		if got, err = r.exchange(s); err != nil {
			return err
		}
		problem = r.check(s, got)
		if problem == "" || !s.Eventually || time.Now().After(deadline) {
			break
		}
	}
	if s.Save != "" && len(got) == 1 {
		r.saved[s.Save] = plain(got[0])
	}
	ignored := r.target.Kind == Reference && (!s.compared() || r.file.Differs != "")
	switch {
	case problem == "" || ignored:
	case r.rewrite && len(s.Match) == 0 && !s.Eventually && !s.Quiet:
		s.Want = canonical(s, got)
	default:
		r.failures = append(r.failures, Failure{
			File: r.file.Path, Line: s.Line, Command: strings.Join(s.head, "\n  "), Want: problem, Got: formatAll(got),
		})
	}
	return nil
}

// exchange sends what the step sends and reads what it reads. The end of the connection is a value.
func (r *runner) exchange(s *Step) ([]wire.Value, error) {
	c, err := r.conn(s.Client)
	if err != nil {
		return nil, err
	}
	if s.Quiet {
		if !c.Quiet(quietBound) {
			v, err := c.Read()
			return []wire.Value{v}, err
		}
		return nil, nil
	}
	args := make([]string, len(s.Args))
	for i, a := range s.Args {
		if args[i], err = r.expand(a); err != nil {
			return nil, err
		}
	}
	switch s.Op {
	case OpDo, OpSend:
		err = c.Send(args...)
	case OpRaw:
		err = c.SendRaw([]byte(args[0]))
	}
	var got []wire.Value
	for err == nil && len(got) < s.Replies {
		var v wire.Value
		if v, err = c.Read(); err == nil {
			got = append(got, v)
		}
	}
	if isClosed(err) {
		c.Close()
		delete(r.conns, s.Client)
		return append(got, wire.Value{Kind: wire.Closed}), nil
	}
	return got, err
}

func isClosed(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) ||
		errors.Is(err, net.ErrClosed)
}

// expand replaces ${...}.
func (r *runner) expand(arg string) (string, error) {
	for {
		before, rest, ok := strings.Cut(arg, "${")
		if !ok {
			return arg, nil
		}
		name, after, ok := strings.Cut(rest, "}")
		if !ok {
			return "", fmt.Errorf("unclosed ${ in %q", arg)
		}
		value, saved := r.saved[name]
		if spec, isRepeat := strings.CutPrefix(name, "repeat:"); isRepeat {
			count, text, _ := strings.Cut(spec, ":")
			n, err := strconv.Atoi(count)
			if err != nil {
				return "", err
			}
			value, saved = strings.Repeat(text, n), true
		}
		if !saved {
			return "", fmt.Errorf("nothing was saved as %q", name)
		}
		arg = before + value + after
	}
}

// check returns the text of the expectation if got does not meet it, else "".
func (r *runner) check(s *Step, got []wire.Value) string {
	if len(s.Match) > 0 {
		texts := make([]string, len(got))
		for i, v := range got {
			texts[i] = Flat(v)
		}
		text := strings.Join(texts, "\n")
		for _, re := range s.Match {
			if !re.MatchString(text) {
				return "match " + re.String()
			}
		}
		return ""
	}
	if formatAll(canonical(s, s.Want)) == formatAll(canonical(s, got)) {
		return ""
	}
	if len(s.Want) == 0 {
		return "(no reply)"
	}
	return formatAll(s.Want)
}

func formatAll(vs []wire.Value) string {
	texts := make([]string, len(vs))
	for i, v := range vs {
		texts[i] = Format(v)
	}
	return strings.Join(texts, "\n")
}

func plain(v wire.Value) string {
	if v.Kind == wire.Int {
		return strconv.FormatInt(v.Int, 10)
	}
	return v.Str
}

// canonical brings into one order what the step declared to have none.
func canonical(s *Step, vs []wire.Value) []wire.Value {
	vs = slices.Clone(vs)
	if s.Unordered {
		for i := range vs {
			vs[i] = sortValue(s, vs[i])
		}
	}
	if s.UnorderedReplies {
		sort.SliceStable(vs, func(i, j int) bool { return Format(vs[i]) < Format(vs[j]) })
	}
	return vs
}

// sortValue orders the elements for which the step declared the order irrelevant.
func sortValue(s *Step, v wire.Value) wire.Value {
	if !s.Inner {
		return sortElems(v, s.Pairs)
	}
	v.Elems = slices.Clone(v.Elems)
	for i, e := range v.Elems {
		v.Elems[i] = sortElems(e, s.Pairs)
	}
	return v
}

func sortElems(v wire.Value, pairs bool) wire.Value {
	width := 1
	if v.Kind == wire.Map || pairs {
		width = 2
	}
	if len(v.Elems)%width != 0 {
		return v
	}
	groups := slices.Collect(slices.Chunk(v.Elems, width))
	sort.SliceStable(groups, func(i, j int) bool { return formatAll(groups[i]) < formatAll(groups[j]) })
	v.Elems = slices.Concat(groups...)
	return v
}
