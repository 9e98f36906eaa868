package lua

import (
	"fmt"
	"strings"
)

// token is the kind of a word of the language: a character, or one of these.
type token int

const (
	tEOF token = iota + 256
	tName
	tString
	tNumber
	tConcat // ..
	tDots   // ...
	tEq
	tGE
	tLE
	tNE
	tAnd
	tBreak
	tDo
	tElse
	tElseif
	tEnd
	tFalse
	tFor
	tFunction
	tIf
	tIn
	tLocal
	tNil
	tNot
	tOr
	tRepeat
	tReturn
	tThen
	tTrue
	tUntil
	tWhile
)

var words = map[string]token{
	"and": tAnd, "break": tBreak, "do": tDo, "else": tElse, "elseif": tElseif, "end": tEnd, "false": tFalse,
	"for": tFor, "function": tFunction, "if": tIf, "in": tIn, "local": tLocal, "nil": tNil, "not": tNot, "or": tOr,
	"repeat": tRepeat, "return": tReturn, "then": tThen, "true": tTrue, "until": tUntil, "while": tWhile,
}

var tokenNames = func() map[token]string {
	m := map[token]string{tEOF: "<eof>", tName: "<name>", tString: "<string>", tNumber: "<number>", tConcat: "..",
		tDots: "...", tEq: "==", tGE: ">=", tLE: "<=", tNE: "~="}
	for w, t := range words {
		m[t] = w
	}
	return m
}()

func (t token) String() string {
	if n, ok := tokenNames[t]; ok {
		return n
	}
	if t < ' ' {
		return fmt.Sprintf("char(%d)", int(t))
	}
	return string([]byte{byte(t)})
}

// lexer cuts a source into tokens. Errors are panics with *SyntaxError; Compile catches them.
type lexer struct {
	src   string
	pos   int
	chunk string
	line  int
	last  int // line of the token before

	tok  token
	text string  // of names and strings
	num  float64 // of numbers
	from int     // where the token begins in src

	ahead   token
	aheadAt struct {
		text string
		num  float64
		line int
		from int
	}
}

// SyntaxError is what the compiler says about a source, as the reference implementation words it.
type SyntaxError struct{ Text string }

func (e *SyntaxError) Error() string { return e.Text }

func (l *lexer) fail(msg string, near bool) {
	text := fmt.Sprintf("%s:%d: %s", chunkID(l.chunk), l.line, msg)
	if near {
		text += fmt.Sprintf(" near '%s'", l.tokenText())
	}
	panic(&SyntaxError{text})
}

// failAt is fail while a token is being read: what has been read of it is shown.
func (l *lexer) failAt(msg string, from int) {
	panic(&SyntaxError{fmt.Sprintf("%s:%d: %s near '%s'", chunkID(l.chunk), l.line, msg, l.src[from:min(l.pos, len(l.src))])})
}

// failIn is failAt in a quoted string, whose escapes have been replaced.
func (l *lexer) failIn(msg string, quote byte, text string) {
	panic(&SyntaxError{fmt.Sprintf("%s:%d: %s near '%c%s'", chunkID(l.chunk), l.line, msg, quote, text)})
}

func (l *lexer) tokenText() string {
	switch l.tok {
	case tName, tString, tNumber:
		return l.src[l.from:l.pos]
	}
	return l.tok.String()
}

// chunkID is how messages name a chunk.
func chunkID(name string) string {
	const most = 60
	if name == "" {
		return `[string ""]`
	}
	switch name[0] {
	case '=', '@':
		name = name[1:]
		if len(name) > most-1 {
			if name[0] == '=' {
				return name[:most-1]
			}
			return "..." + name[len(name)-(most-1)+len("..."):]
		}
		return name
	}
	first, _, more := strings.Cut(name, "\n")
	if i := strings.IndexByte(first, '\r'); i >= 0 {
		first, more = first[:i], true
	}
	const room = most - len(`[string "..."] `)
	if len(first) > room {
		first, more = first[:room], true
	}
	if more {
		first += "..."
	}
	return `[string "` + first + `"]`
}

func (l *lexer) next() {
	l.last = l.line
	if l.ahead != 0 {
		l.tok, l.ahead = l.ahead, 0
		l.text, l.num, l.line, l.from = l.aheadAt.text, l.aheadAt.num, l.aheadAt.line, l.aheadAt.from
		return
	}
	l.tok = l.scan()
}

// peek is the token behind the present one.
func (l *lexer) peek() token {
	tok, text, num, line, from := l.tok, l.text, l.num, l.line, l.from
	l.ahead = l.scan()
	l.aheadAt.text, l.aheadAt.num, l.aheadAt.line, l.aheadAt.from = l.text, l.num, l.line, l.from
	l.tok, l.text, l.num, l.line, l.from = tok, text, num, line, from
	return l.ahead
}

func (l *lexer) char(n int) byte {
	if l.pos+n < len(l.src) {
		return l.src[l.pos+n]
	}
	return 0
}

// newline skips an end of line, two different characters of it counting as one.
func (l *lexer) newline() {
	c := l.src[l.pos]
	l.pos++
	if d := l.char(0); l.pos < len(l.src) && (d == '\n' || d == '\r') && d != c {
		l.pos++
	}
	l.line++
}

func (l *lexer) scan() token {
	for l.pos < len(l.src) {
		c := l.src[l.pos]
		l.from = l.pos
		switch {
		case c == '\n' || c == '\r':
			l.newline()
			continue
		case strings.IndexByte(spaces, c) >= 0:
			l.pos++
			continue
		case c == '-' && l.char(1) == '-':
			l.comment()
			continue
		case c == '[':
			if level := l.longBracket(); level >= 0 {
				l.text = l.long(level, "string")
				return tString
			} else if level < -1 {
				l.pos = l.from + 1 - level - 1
				l.failAt("invalid long string delimiter", l.from)
			}
		case c == '"' || c == '\'':
			l.text = l.quoted(c)
			return tString
		case isDigit(c) || c == '.' && isDigit(l.char(1)):
			return l.number()
		case isLetter(c):
			for l.pos < len(l.src) && (isLetter(l.src[l.pos]) || isDigit(l.src[l.pos])) {
				l.pos++
			}
			l.text = l.src[l.from:l.pos]
			if t, ok := words[l.text]; ok {
				return t
			}
			return tName
		}
		return l.operator(c)
	}
	l.from = l.pos
	return tEOF
}

func (l *lexer) operator(c byte) token {
	two := func(second byte, t token) bool {
		if l.char(1) == second {
			l.pos += 2
			l.tok = t
			return true
		}
		return false
	}
	switch c {
	case '=':
		if two('=', tEq) {
			return tEq
		}
	case '<':
		if two('=', tLE) {
			return tLE
		}
	case '>':
		if two('=', tGE) {
			return tGE
		}
	case '~':
		if two('=', tNE) {
			return tNE
		}
	case '.':
		if l.char(1) == '.' {
			if l.char(2) == '.' {
				l.pos += 3
				return tDots
			}
			l.pos += 2
			return tConcat
		}
	}
	l.pos++
	return token(c)
}

func isDigit(c byte) bool  { return '0' <= c && c <= '9' }
func isLetter(c byte) bool { return c == '_' || 'a' <= c|0x20 && c|0x20 <= 'z' }

func (l *lexer) comment() {
	l.pos += 2
	if l.char(0) == '[' {
		if level := l.longBracket(); level >= 0 {
			l.long(level, "comment")
			return
		}
	}
	for l.pos < len(l.src) && l.src[l.pos] != '\n' && l.src[l.pos] != '\r' {
		l.pos++
	}
}

// longBracket is the level of the long bracket that opens at the position; without one it is -1 less the number of
// '=' behind the first bracket.
func (l *lexer) longBracket() int {
	n := 0
	for l.char(1+n) == '=' {
		n++
	}
	if l.char(1+n) == '[' {
		return n
	}
	return -1 - n
}

func (l *lexer) long(level int, what string) string {
	from := l.pos
	l.pos += level + 2
	if c := l.char(0); l.pos < len(l.src) && (c == '\n' || c == '\r') {
		l.newline()
	}
	var b strings.Builder
	end := "]" + strings.Repeat("=", level) + "]"
	for l.pos < len(l.src) {
		switch c := l.src[l.pos]; {
		case c == ']' && strings.HasPrefix(l.src[l.pos:], end):
			l.pos += len(end)
			return b.String()
		case c == '\n' || c == '\r':
			l.newline()
			b.WriteByte('\n')
		default:
			b.WriteByte(c)
			l.pos++
		}
	}
	l.from, l.tok = from, tEOF
	l.fail("unfinished long "+what, true)
	return ""
}

func (l *lexer) quoted(quote byte) string {
	l.pos++
	var b strings.Builder
	for {
		if l.pos >= len(l.src) {
			l.tok = tEOF
			l.fail("unfinished string", true)
		}
		switch c := l.src[l.pos]; c {
		case quote:
			l.pos++
			return b.String()
		case '\n', '\r':
			l.failIn("unfinished string", quote, b.String())
		case '\\':
			l.escape(&b, quote)
		default:
			b.WriteByte(c)
			l.pos++
		}
	}
}

var escapes = map[byte]byte{'a': '\a', 'b': '\b', 'f': '\f', 'n': '\n', 'r': '\r', 't': '\t', 'v': '\v'}

func (l *lexer) escape(b *strings.Builder, quote byte) {
	l.pos++
	if l.pos >= len(l.src) {
		return // the loop of quoted says so
	}
	c := l.src[l.pos]
	switch e, ok := escapes[c]; {
	case ok:
		b.WriteByte(e)
		l.pos++
	case c == '\n' || c == '\r':
		l.newline()
		b.WriteByte('\n')
	case isDigit(c):
		n := 0
		for i := 0; i < 3 && l.pos < len(l.src) && isDigit(l.src[l.pos]); i++ {
			n = n*10 + int(l.src[l.pos]-'0')
			l.pos++
		}
		if n > 255 {
			l.failIn("escape sequence too large", quote, b.String())
		}
		b.WriteByte(byte(n))
	default:
		b.WriteByte(c)
		l.pos++
	}
}

// number reads what could be a number, as the reference does, and then tries to convert it.
func (l *lexer) number() token {
	for l.pos < len(l.src) && (isDigit(l.src[l.pos]) || l.src[l.pos] == '.') {
		l.pos++
	}
	if c := l.char(0); c == 'e' || c == 'E' {
		l.pos++
		if c = l.char(0); c == '+' || c == '-' {
			l.pos++
		}
	}
	for l.pos < len(l.src) && (isLetter(l.src[l.pos]) || isDigit(l.src[l.pos])) {
		l.pos++
	}
	f, ok := ParseNumber(l.src[l.from:l.pos])
	if !ok {
		l.failAt("malformed number", l.from)
	}
	l.num = f
	return tNumber
}
