// Package quote splits lines into words and quotes words, as Redis does in inline requests, in its configuration file and
// in what MONITOR shows. It keeps no state.
package quote

// Split splits a line into words as Redis does (sdssplitargs): words stand between white space; "..." knows
// \n \r \t \b \a \xHH and \ before any other character for that character; '...' knows only \'; a closing quote must
// end its word. It reports false if a quote is not closed or not followed by white space. Words without quotes are
// views into line.
func Split(line []byte) ([][]byte, bool) { return AppendSplit(nil, line) }

// AppendSplit appends the words to dst. On failure it returns what it has, only so that the caller can keep
// the slice.
func AppendSplit(dst [][]byte, line []byte) ([][]byte, bool) {
	// Unquoted text goes here. It is never longer than the line, so that it is allocated once and the words
	// taken from it stay where they are.
	var text []byte
	for i := 0; i < len(line); {
		if isSpace(line[i]) {
			i++
			continue
		}
		begin := i
		for i < len(line) && !endsWord(line[i]) && line[i] != '"' && line[i] != '\'' {
			i++
		}
		if i == len(line) || endsWord(line[i]) {
			dst = append(dst, line[begin:i:i])
			continue
		}
		if text == nil {
			text = make([]byte, 0, len(line))
		}
		from := len(text)
		text = append(text, line[begin:i]...)
		var ok bool
		if text, i, ok = unquote(text, line, i); !ok {
			return dst, false
		}
		dst = append(dst, text[from:len(text):len(text)])
	}
	return dst, true
}

// unquote appends the text of the quotation that begins at line[i] and returns where it ends.
func unquote(text, line []byte, i int) ([]byte, int, bool) {
	quote := line[i]
	for i++; i < len(line); i++ {
		c := line[i]
		switch {
		case c == quote:
			i++
			return text, i, i == len(line) || isSpace(line[i])
		case c != '\\' || i+1 == len(line):
			text = append(text, c)
		case quote == '\'':
			if line[i+1] == '\'' {
				i++
				c = '\''
			}
			text = append(text, c)
		case line[i+1] == 'x' && i+3 < len(line) && isHex(line[i+2]) && isHex(line[i+3]):
			text = append(text, hexValue(line[i+2])<<4|hexValue(line[i+3]))
			i += 3
		default:
			i++
			text = append(text, unescape(line[i]))
		}
	}
	return text, i, false
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

// isSpace is C's isspace in the POSIX locale: what may stand between words.
func isSpace(c byte) bool { return c == ' ' || c >= '\t' && c <= '\r' }

// endsWord tells what ends a word outside quotes. Vertical tab and form feed do not, although a word cannot
// begin with them; so it is in Redis.
func endsWord(c byte) bool { return c == ' ' || c == '\n' || c == '\r' || c == '\t' }

func isHex(c byte) bool { return c >= '0' && c <= '9' || c|0x20 >= 'a' && c|0x20 <= 'f' }

func hexValue(c byte) byte {
	if c <= '9' {
		return c - '0'
	}
	return c | 0x20 - 'a' + 10
}
