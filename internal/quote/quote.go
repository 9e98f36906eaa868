package quote

import "strings"

const hexDigits = "0123456789abcdef"

// Append appends the word between double quotes, so that Split reads it back: as Redis' sdscatrepr writes it.
func Append[S ~string | ~[]byte](dst []byte, word S) []byte {
	dst = append(dst, '"')
	for i := range len(word) {
		switch c := word[i]; c {
		case '"', '\\':
			dst = append(dst, '\\', c)
		case '\n':
			dst = append(dst, `\n`...)
		case '\r':
			dst = append(dst, `\r`...)
		case '\t':
			dst = append(dst, `\t`...)
		case '\b':
			dst = append(dst, `\b`...)
		case '\a':
			dst = append(dst, `\a`...)
		default:
			if c >= ' ' && c < 0x7f {
				dst = append(dst, c)
			} else {
				dst = append(dst, '\\', 'x', hexDigits[c>>4], hexDigits[c&15])
			}
		}
	}
	return append(dst, '"')
}

// Word returns the word so that Split reads it back: as it stands where that is safe, else quoted.
func Word(word string) string {
	plain := word != ""
	for i := 0; i < len(word) && plain; i++ {
		c := word[i]
		plain = c > ' ' && c < 0x7f && c != '"' && c != '\'' && c != '\\'
	}
	if plain {
		return word
	}
	return string(Append(nil, word))
}

// Join joins quoted words with spaces.
func Join(words []string) string {
	quoted := make([]string, len(words))
	for i, w := range words {
		quoted[i] = Word(w)
	}
	return strings.Join(quoted, " ")
}
