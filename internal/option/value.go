package option

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"

	"haypile/internal/quote"
)

// value is a parsed option. It is immutable.
type value struct {
	n     int64    // bool 0/1, number, bytes, position of an enum's word; percent of a share: negative
	text  string   // as CONFIG GET prints it
	words []string // of a list, canonical
	data  any      // of a list: what its handle's Get returns
}

// listRules are the parts of a list's behaviour that differ from one to the next.
type listRules struct {
	// parse reads words. old is what stood before when the new words add to it (see keep and Spec.Multi),
	// else nil. It returns the canonical words and the typed form.
	parse func(old, words []string) (canonical []string, data any, err error)
	// keep makes every assignment, not only further lines of a file, add to the current value.
	keep bool
	// lines prints the canonical words as the argument lists of file lines; nil means one line with all.
	// def are the canonical words of the default.
	lines func(words, def []string) [][]string
}

// parse reads the text of one assignment, as CONFIG SET takes it, over the option's default.
func (s *Spec) parse(text string) (value, error) { return s.parseOver(nil, text) }

func (s *Spec) parseOver(old []string, text string) (value, error) {
	if s.list != nil {
		words, err := SplitWords(text)
		if err != nil {
			return value{}, err
		}
		return s.parseWords(old, words)
	}
	val, err := s.parseScalar(text)
	if err != nil {
		return value{}, err
	}
	if s.check != nil {
		if reason := s.check(val); reason != "" {
			return value{}, errors.New(reason)
		}
	}
	return val, nil
}

// parseWords reads the words of a list.
func (s *Spec) parseWords(old, words []string) (value, error) {
	canonical, data, err := s.list.parse(old, words)
	if err != nil {
		return value{}, err
	}
	return value{text: strings.Join(canonical, " "), words: canonical, data: data}, nil
}

// The texts of refusals are Redis 7's.
var (
	errNotBool   = errors.New("argument must be 'yes' or 'no'")
	errNotInt    = errors.New("argument couldn't be parsed into an integer")
	errNotOctal  = errors.New("argument couldn't be parsed as an octal number")
	errNotMemory = errors.New("argument must be a memory value")
	errNotShare  = errors.New("argument must be a memory or percent value")
	errPercent   = errors.New("percentage argument must be less or equal to 100")
)

func (s *Spec) parseScalar(text string) (value, error) {
	switch s.Type {
	case TypeBool:
		switch strings.ToLower(text) {
		case "yes":
			return value{n: 1, text: "yes"}, nil
		case "no":
			return value{text: "no"}, nil
		}
		return value{}, errNotBool
	case TypeEnum:
		for i, word := range s.Enum {
			if strings.EqualFold(word, text) {
				return value{n: int64(i), text: word}, nil
			}
		}
		return value{}, errNotOneOf(s.Enum)
	case TypeString:
		return value{text: text}, nil
	}
	n, err := s.parseNumber(text)
	if err != nil {
		return value{}, err
	}
	return value{n: n, text: s.formatNumber(n)}, nil
}

func (s *Spec) parseNumber(text string) (n int64, err error) {
	switch s.Type {
	case TypeInt, TypeDuration:
		n, err = strictInt(text)
	case TypeOctal:
		if n, err = strconv.ParseInt(text, 8, 64); err != nil {
			err = errNotOctal
		}
	case TypeMemory:
		n, err = ParseBytes(text)
	case TypeShare:
		if digits, ok := strings.CutSuffix(text, "%"); ok {
			return parsePercent(digits)
		}
		if n, err = ParseBytes(text); err != nil {
			err = errNotShare
		}
	}
	if err != nil {
		return 0, err
	}
	if s.Clamp {
		return min(max(n, s.Min), s.Max), nil
	}
	if n < s.Min || n > s.Max {
		if s.Type == TypeOctal {
			return 0, fmt.Errorf("argument must be between %o and %o inclusive", s.Min, s.Max)
		}
		return 0, fmt.Errorf("argument must be between %d and %d inclusive", s.Min, s.Max)
	}
	return n, nil
}

func (s *Spec) formatNumber(n int64) string {
	switch {
	case s.Type == TypeOctal:
		return strconv.FormatInt(n, 8)
	case s.Type == TypeShare && n < 0:
		return strconv.FormatInt(-n, 10) + "%"
	}
	return strconv.FormatInt(n, 10)
}

// strictInt reads a decimal number in its one canonical spelling, as Redis does: no "+5", "007" or " 5".
func strictInt(text string) (int64, error) {
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || strconv.FormatInt(n, 10) != text {
		return 0, errNotInt
	}
	return n, nil
}

// parsePercent returns 1..100 percent as -1..-100, so that it cannot be mistaken for a size.
func parsePercent(digits string) (int64, error) {
	n, err := strictInt(digits)
	if err != nil || n < 0 {
		return 0, errNotShare
	}
	if n > 100 {
		return 0, errPercent
	}
	return -n, nil
}

// units are the suffixes of a memory size; as in Redis k, m, g are powers of 1000 and kb, mb, gb of 1024.
var units = []struct {
	suffix string
	factor int64
}{
	{"kb", 1 << 10}, {"mb", 1 << 20}, {"gb", 1 << 30}, {"k", 1e3}, {"m", 1e6}, {"g", 1e9}, {"b", 1}, {"", 1},
}

// ParseBytes reads a memory size: a whole number with an optional unit in any case.
func ParseBytes(text string) (int64, error) {
	digits := strings.TrimRightFunc(text, func(r rune) bool { return r < '0' || r > '9' })
	unit := strings.ToLower(text[len(digits):])
	n, err := strconv.ParseUint(digits, 10, 63)
	if err != nil {
		return 0, errNotMemory
	}
	for _, u := range units {
		if unit == u.suffix {
			if int64(n) > math.MaxInt64/u.factor {
				return 0, errNotMemory
			}
			return int64(n) * u.factor, nil
		}
	}
	return 0, errNotMemory
}

// FormatBytes prints a size with the largest unit that divides it, as CONFIG REWRITE writes it.
func FormatBytes(n int64) string {
	for _, u := range []struct {
		suffix string
		factor int64
	}{{"gb", 1 << 30}, {"mb", 1 << 20}, {"kb", 1 << 10}} {
		if n != 0 && n%u.factor == 0 {
			return strconv.FormatInt(n/u.factor, 10) + u.suffix
		}
	}
	return strconv.FormatInt(n, 10)
}

func errNotOneOf(words []string) error {
	return errors.New("argument(s) must be one of the following: " + strings.Join(words, ", "))
}

// fileText prints a scalar as a file line has it.
func (s *Spec) fileText(val value) string {
	if (s.Type == TypeMemory || s.Type == TypeShare) && val.n > 0 {
		return FormatBytes(val.n)
	}
	return quote.Word(val.text)
}
