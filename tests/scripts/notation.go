package scripts

import (
	"fmt"
	"strconv"
	"strings"

	"haypile/internal/testcluster/wire"
)

// inlineWidth is the widest aggregate that Format writes on one line.
const inlineWidth = 100

// Format writes a reply in the notation of the transcripts (see the package documentation).
func Format(v wire.Value) string {
	var b strings.Builder
	format(&b, v, 0)
	return b.String()
}

// Flat writes a reply on one line, however long, for regular expressions. A bulk or verbatim string that is
// the whole reply is written as it is, without quotes.
func Flat(v wire.Value) string {
	if v.Kind == wire.Bulk || v.Kind == wire.Verbatim {
		return v.Str
	}
	return flat(v)
}

func flat(v wire.Value) string {
	open, aggregate := openText[v.Kind]
	if !aggregate {
		return Format(v)
	}
	pairs := v.Kind == wire.Map || v.Kind == wire.Attribute
	var b strings.Builder
	b.WriteString(open)
	for i, e := range v.Elems {
		switch {
		case i == 0:
		case pairs && i%2 == 1:
			b.WriteString(": ")
		default:
			b.WriteString(", ")
		}
		b.WriteString(flat(e))
	}
	if pairs {
		return b.String() + "}"
	}
	return b.String() + "]"
}

var scalarPrefix = map[wire.Kind]string{
	wire.Double: "(double) ", wire.BigNumber: "(big) ", wire.BulkError: "(bulk error) ", wire.Verbatim: "(verbatim) ",
}

var nullText = map[wire.Kind]string{
	wire.Null: "(null)", wire.NullBulk: "(nil)", wire.NullArray: "(nil array)", wire.Closed: "(closed)",
}

var openText = map[wire.Kind]string{
	wire.Array: "[", wire.Set: "set[", wire.Push: "push[", wire.Map: "map{", wire.Attribute: "attr{",
}

func format(b *strings.Builder, v wire.Value, depth int) {
	switch v.Kind {
	case wire.Simple, wire.Error:
		b.WriteByte(byte(v.Kind))
		b.WriteString(v.Str)
	case wire.Int:
		b.WriteString(strconv.FormatInt(v.Int, 10))
	case wire.Bulk:
		b.WriteString(quote(v.Str))
	case wire.Double, wire.BigNumber:
		b.WriteString(scalarPrefix[v.Kind] + v.Str)
	case wire.BulkError, wire.Verbatim:
		b.WriteString(scalarPrefix[v.Kind] + quote(v.Str))
	case wire.Bool:
		b.WriteString("(" + strconv.FormatBool(v.Int == 1) + ")")
	case wire.Null, wire.NullBulk, wire.NullArray, wire.Closed:
		b.WriteString(nullText[v.Kind])
	default:
		formatAggregate(b, v, depth)
	}
}

func formatAggregate(b *strings.Builder, v wire.Value, depth int) {
	closing := "]"
	pairs := v.Kind == wire.Map || v.Kind == wire.Attribute
	if pairs {
		closing = "}"
	}
	b.WriteString(openText[v.Kind])
	items := make([]string, len(v.Elems))
	width, inline := 0, true
	for i, e := range v.Elems {
		var eb strings.Builder
		format(&eb, e, depth+1)
		items[i] = eb.String()
		width += len(items[i]) + 2
		if strings.Contains(items[i], "\n") || !inlineSafe(e) {
			inline = false
		}
	}
	inline = inline && width+2*depth <= inlineWidth
	step := 1
	if pairs {
		step = 2
	}
	for i := 0; i < len(items); i += step {
		item := items[i]
		if pairs {
			item += ": " + items[i+1]
		}
		switch {
		case !inline:
			b.WriteString("\n" + strings.Repeat("  ", depth+1))
		case i > 0:
			b.WriteString(", ")
		}
		b.WriteString(item)
	}
	if !inline {
		b.WriteString("\n" + strings.Repeat("  ", depth))
	}
	b.WriteString(closing)
}

// inlineSafe says whether v can stand between commas: an error or a status with spaces cannot.
func inlineSafe(v wire.Value) bool {
	if v.Kind == wire.Error {
		return false
	}
	return v.Kind != wire.Simple || !strings.ContainsFunc(v.Str, func(r rune) bool { return !isWord(byte(r)) })
}

func isWord(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z' || c == '_' || c == '-'
}

// quote writes bytes between double quotes; everything outside printable ASCII is escaped.
func quote(s string) string {
	b := make([]byte, 0, len(s)+2)
	b = append(b, '"')
	for i := 0; i < len(s); i++ {
		switch c := s[i]; c {
		case '"', '\\':
			b = append(b, '\\', c)
		case '\n':
			b = append(b, '\\', 'n')
		case '\r':
			b = append(b, '\\', 'r')
		case '\t':
			b = append(b, '\\', 't')
		default:
			if c < ' ' || c > '~' {
				b = fmt.Appendf(b, "\\x%02x", c)
			} else {
				b = append(b, c)
			}
		}
	}
	return string(append(b, '"'))
}

// ParseReplies reads the values that stand one after another in an expectation.
func ParseReplies(text string) ([]wire.Value, error) {
	p := &parser{s: text}
	var vs []wire.Value
	for {
		p.space()
		if p.i == len(p.s) {
			return vs, nil
		}
		v, err := p.value(false)
		if err != nil {
			return nil, fmt.Errorf("expectation, byte %d: %w", p.i, err)
		}
		vs = append(vs, v)
	}
}

type parser struct {
	s string
	i int
}

func (p *parser) space() {
	for p.i < len(p.s) && strings.IndexByte(" \t\n", p.s[p.i]) >= 0 {
		p.i++
	}
}

func (p *parser) take(prefix string) bool {
	if strings.HasPrefix(p.s[p.i:], prefix) {
		p.i += len(prefix)
		return true
	}
	return false
}

// until takes everything up to one of the stop characters or the end.
func (p *parser) until(stops string) string {
	n := strings.IndexAny(p.s[p.i:], stops)
	if n < 0 {
		n = len(p.s) - p.i
	}
	text := p.s[p.i : p.i+n]
	p.i += n
	return text
}

// value reads one value; inline says that it stands between commas.
func (p *parser) value(inline bool) (wire.Value, error) {
	for kind, text := range openText {
		if p.take(text) {
			return p.aggregate(kind)
		}
	}
	for kind, text := range nullText {
		if p.take(text) {
			return wire.Value{Kind: kind}, nil
		}
	}
	stops := "\n"
	if inline {
		stops = ",]}:\n"
	}
	switch {
	case p.i == len(p.s):
		return wire.Value{}, fmt.Errorf("value expected")
	case p.take("+"):
		return wire.Value{Kind: wire.Simple, Str: p.until(stops)}, nil
	case p.s[p.i] == '-' && (p.i+1 == len(p.s) || p.s[p.i+1] < '0' || p.s[p.i+1] > '9'):
		p.i++
		return wire.Value{Kind: wire.Error, Str: p.until(stops)}, nil
	case p.take("(true)"):
		return wire.Value{Kind: wire.Bool, Int: 1}, nil
	case p.take("(false)"):
		return wire.Value{Kind: wire.Bool}, nil
	case p.take("(double) "):
		return wire.Value{Kind: wire.Double, Str: p.until(stops)}, nil
	case p.take("(big) "):
		return wire.Value{Kind: wire.BigNumber, Str: p.until(stops)}, nil
	case p.take("(verbatim) "):
		return p.quoted(wire.Verbatim)
	case p.take("(bulk error) "):
		return p.quoted(wire.BulkError)
	case p.s[p.i] == '"':
		return p.quoted(wire.Bulk)
	}
	text := p.until(",]}: \n")
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return wire.Value{}, fmt.Errorf("not a value: %.60q", text)
	}
	return wire.Value{Kind: wire.Int, Int: n}, nil
}

func (p *parser) quoted(kind wire.Kind) (wire.Value, error) {
	end := p.i + 1
	for end < len(p.s) && p.s[end] != '"' {
		if p.s[end] == '\\' {
			end++
		}
		end++
	}
	if p.i >= len(p.s) || p.s[p.i] != '"' || end >= len(p.s) {
		return wire.Value{}, fmt.Errorf("unbalanced quotes")
	}
	args, err := SplitArgs(p.s[p.i : end+1])
	if err != nil || len(args) != 1 {
		return wire.Value{}, fmt.Errorf("bad string %.60q", p.s[p.i:end+1])
	}
	p.i = end + 1
	return wire.Value{Kind: kind, Str: args[0]}, nil
}

func (p *parser) aggregate(kind wire.Kind) (wire.Value, error) {
	v := wire.Value{Kind: kind, Elems: []wire.Value{}}
	pairs := kind == wire.Map || kind == wire.Attribute
	closing := "]"
	if pairs {
		closing = "}"
	}
	inline := p.i < len(p.s) && p.s[p.i] != '\n'
	for {
		p.space()
		if p.take(closing) {
			return v, nil
		}
		e, err := p.value(inline)
		if err != nil {
			return v, err
		}
		v.Elems = append(v.Elems, e)
		if pairs {
			if !p.take(": ") {
				return v, fmt.Errorf("colon expected after a map's key")
			}
			if e, err = p.value(inline); err != nil {
				return v, err
			}
			v.Elems = append(v.Elems, e)
		}
		p.take(",")
	}
}

// SplitArgs splits a command line as redis-cli does: words, 'single quotes' with \' inside, "double
// quotes" with \n \r \t \a \b \\ \" and \xHH.
func SplitArgs(line string) ([]string, error) {
	var args []string
	for i := 0; ; {
		for i < len(line) && (line[i] == ' ' || line[i] == '\t') {
			i++
		}
		if i == len(line) {
			return args, nil
		}
		var cur []byte
		var err error
		switch line[i] {
		case '"':
			cur, i, err = doubleQuoted(line, i+1)
		case '\'':
			cur, i, err = singleQuoted(line, i+1)
		default:
			start := i
			for i < len(line) && line[i] != ' ' && line[i] != '\t' {
				i++
			}
			cur = []byte(line[start:i])
		}
		if err != nil {
			return nil, err
		}
		if i < len(line) && line[i] != ' ' && line[i] != '\t' {
			return nil, fmt.Errorf("text directly after a closing quote in %q", line)
		}
		args = append(args, string(cur))
	}
}

func doubleQuoted(line string, i int) ([]byte, int, error) {
	cur := []byte{}
	for ; i < len(line); i++ {
		c := line[i]
		switch {
		case c == '"':
			return cur, i + 1, nil
		case c == '\\' && i+3 < len(line) && line[i+1] == 'x':
			if n, err := strconv.ParseUint(line[i+2:i+4], 16, 8); err == nil {
				cur = append(cur, byte(n))
				i += 3
				continue
			}
			return nil, i, fmt.Errorf("bad \\x in %q", line)
		case c == '\\' && i+1 < len(line):
			i++
			cur = append(cur, unescape(line[i]))
		default:
			cur = append(cur, c)
		}
	}
	return nil, i, fmt.Errorf("unbalanced quotes in %q", line)
}

func unescape(c byte) byte {
	switch c {
	case 'n':
		return '\n'
	case 'r':
		return '\r'
	case 't':
		return '\t'
	case 'b':
		return '\b'
	case 'a':
		return '\a'
	}
	return c
}

func singleQuoted(line string, i int) ([]byte, int, error) {
	cur := []byte{}
	for ; i < len(line); i++ {
		switch {
		case line[i] == '\'':
			return cur, i + 1, nil
		case line[i] == '\\' && i+1 < len(line) && line[i+1] == '\'':
			i++
			cur = append(cur, '\'')
		default:
			cur = append(cur, line[i])
		}
	}
	return nil, i, fmt.Errorf("unbalanced quotes in %q", line)
}
