package option

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// ErrUnbalanced is returned for a line whose quotes do not match.
var ErrUnbalanced = errors.New("Unbalanced quotes in configuration line")

// SplitWords splits a line as Redis' sdssplitargs does: words are separated by white space; "double quotes"
// understand \n \r \t \b \a \xHH and \any, 'single quotes' only \'; a closing quote must end the word.
func SplitWords(line string) ([]string, error) {
	var words []string
	for i := 0; ; {
		for i < len(line) && isSpace(line[i]) {
			i++
		}
		if i == len(line) {
			return words, nil
		}
		word, next, err := nextWord(line, i)
		if err != nil {
			return nil, err
		}
		words = append(words, word)
		i = next
	}
}

func isSpace(c byte) bool { return c == ' ' || (c >= '\t' && c <= '\r') }

// nextWord reads the word that starts at i and returns the position behind it.
func nextWord(line string, i int) (word string, next int, err error) {
	var b strings.Builder
	for i < len(line) {
		c := line[i]
		switch {
		case isSpace(c):
			return b.String(), i, nil
		case c == '"' || c == '\'':
			if i, err = quoted(&b, line, i+1, c); err != nil {
				return "", 0, err
			}
			if i < len(line) && !isSpace(line[i]) {
				return "", 0, ErrUnbalanced
			}
			return b.String(), i, nil
		default:
			b.WriteByte(c)
			i++
		}
	}
	return b.String(), i, nil
}

// quoted reads up to the closing quote and returns the position behind it.
func quoted(b *strings.Builder, line string, i int, quote byte) (int, error) {
	for ; i < len(line); i++ {
		c := line[i]
		switch {
		case c == quote:
			return i + 1, nil
		case c == '\\' && quote == '\'':
			if i+1 < len(line) && line[i+1] == '\'' {
				i++
				c = '\''
			}
		case c == '\\' && i+1 < len(line):
			if n, ok := hexEscape(line[i:]); ok {
				b.WriteByte(n)
				i += 3
				continue
			}
			i++
			c = unescape(line[i])
		}
		b.WriteByte(c)
	}
	return 0, ErrUnbalanced
}

// hexEscape reads \xHH.
func hexEscape(s string) (byte, bool) {
	if len(s) < 4 || s[1] != 'x' {
		return 0, false
	}
	n, err := strconv.ParseUint(s[2:4], 16, 8)
	return byte(n), err == nil
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

// Quote returns the word so that SplitWords reads it back: as it stands where that is safe, else quoted.
func Quote(word string) string {
	plain := word != ""
	for i := 0; i < len(word) && plain; i++ {
		c := word[i]
		plain = c > ' ' && c < 0x7f && c != '"' && c != '\'' && c != '\\'
	}
	if plain {
		return word
	}
	var b strings.Builder
	b.WriteByte('"')
	for i := 0; i < len(word); i++ {
		switch c := word[i]; c {
		case '"', '\\':
			b.WriteByte('\\')
			b.WriteByte(c)
		case '\n':
			b.WriteString(`\n`)
		case '\r':
			b.WriteString(`\r`)
		case '\t':
			b.WriteString(`\t`)
		case '\b':
			b.WriteString(`\b`)
		case '\a':
			b.WriteString(`\a`)
		default:
			if c >= ' ' && c < 0x7f {
				b.WriteByte(c)
			} else {
				fmt.Fprintf(&b, `\x%02x`, c)
			}
		}
	}
	b.WriteByte('"')
	return b.String()
}

// QuoteWords joins quoted words with spaces.
func QuoteWords(words []string) string {
	quoted := make([]string, len(words))
	for i, w := range words {
		quoted[i] = Quote(w)
	}
	return strings.Join(quoted, " ")
}
