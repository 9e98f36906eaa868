package rdb

import (
	"errors"
	"slices"
	"strings"
	"testing"
)

func TestElements(t *testing.T) {
	ziplist := []byte{15, 0, 0, 0, 12, 0, 0, 0, 2, 0, 0, 0xf2, 2, 0xf3, 0xff}
	packed := append([]byte{2, nodePlain, 1, 'x', nodePacked}, AppendString(nil, goldenListpack())...)
	for _, c := range []struct {
		typ  byte
		in   []byte
		want []string
	}{
		{TypeList, []byte{2, 1, 'a', 0xc0, 5}, []string{"a", "5"}},
		{TypeListZiplist, AppendString(nil, ziplist), []string{"1", "2"}},
		{TypeListQuicklist, AppendString(AppendString([]byte{2}, ziplist), ziplist), []string{"1", "2", "1", "2"}},
		{TypeListQuicklist2, packed, []string{"x", "f", "5", "g", strings.Repeat("x", 100)}},
	} {
		read := func(in []byte) (got []string, err error) {
			r := NewReader(in)
			err = r.Elements(c.typ, func(v []byte) error {
				got = append(got, string(v))
				return nil
			})
			if err == nil && r.Left() > 0 {
				err = ErrFormat
			}
			return got, err
		}
		if got, err := read(c.in); err != nil || !slices.Equal(got, c.want) {
			t.Errorf("type %d: %q, %v", c.typ, got, err)
		}
		for i := range c.in {
			if _, err := read(c.in[:i]); !errors.Is(err, ErrFormat) {
				t.Errorf("type %d cut at %d: %v", c.typ, i, err)
			}
		}
	}
	if err := NewReader([]byte{1, 3, 1, 'x'}).Elements(TypeListQuicklist2, nil); !errors.Is(err, ErrFormat) {
		t.Errorf("a node of unknown form: %v", err)
	}
}
