package option

import (
	"errors"

	"haypile/internal/quote"
)

// ErrUnbalanced is returned for a line whose quotes do not match.
var ErrUnbalanced = errors.New("Unbalanced quotes in configuration line")

// SplitWords splits a line of a configuration into words; see quote.Split.
func SplitWords(line string) ([]string, error) {
	split, ok := quote.Split([]byte(line))
	if !ok {
		return nil, ErrUnbalanced
	}
	var list []string
	for _, w := range split {
		list = append(list, string(w))
	}
	return list, nil
}
