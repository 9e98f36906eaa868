package resp

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// Error is an error reply: its text begins with the code word. As a Go error it compares by text, so that
// errors.Is(err, resp.Error(resp.ErrNoAuth)) asks for exactly that answer.
type Error string

func (e Error) Error() string { return string(e) }

// Code is the first word: "ERR", "WRONGTYPE", "MOVED".
func (e Error) Code() string {
	code, _, _ := strings.Cut(string(e), " ")
	return code
}

// Kind is the type of a decoded reply.
type Kind uint8

// The kinds. KindNull is that of the zero Value.
const (
	KindNull         Kind = iota // $-1 or _
	KindNullArray                // *-1
	KindSimpleString             // +
	KindError                    // - or !
	KindInt                      // :
	KindBulk                     // $
	KindArray                    // *
	KindMap                      // %: Elems are key, value, key, value
	KindSet                      // ~
	KindPush                     // >
	KindDouble                   // ,
	KindBool                     // #: Int is 1 or 0
	KindBigNumber                // (: Str are its digits
	KindVerbatim                 // =: Str without the format word
)

// Value is a decoded reply. Its bytes are its own.
type Value struct {
	Kind  Kind
	Str   []byte  // of strings, errors and big numbers
	Int   int64   // of integers and bools
	Num   float64 // of doubles
	Elems []Value // of aggregates
}

// Err returns an Error if the value is an error reply, else nil.
func (v Value) Err() error {
	if v.Kind == KindError {
		return Error(v.Str)
	}
	return nil
}

// IsNull reports whether the value is the missing string or array.
func (v Value) IsNull() bool { return v.Kind <= KindNullArray }

// IsAggregate reports whether the value has elements (possibly none).
func (v Value) IsAggregate() bool { return v.Kind >= KindArray && v.Kind <= KindPush }

// String returns the text of a string, error or number; of a missing value the empty string; of an
// aggregate its elements in brackets, for messages and tests.
func (v Value) String() string {
	switch v.Kind {
	case KindNull, KindNullArray:
		return ""
	case KindInt, KindBool:
		return strconv.FormatInt(v.Int, 10)
	case KindDouble:
		return FormatFloat(v.Num)
	case KindArray, KindMap, KindSet, KindPush:
		return "[" + strings.Join(v.Strings(), " ") + "]"
	}
	return string(v.Str)
}

// Strings returns the String of each element.
func (v Value) Strings() []string {
	s := make([]string, len(v.Elems))
	for i, e := range v.Elems {
		s[i] = e.String()
	}
	return s
}

// Int64 returns the number that the value is, or that its text spells.
func (v Value) Int64() (int64, error) {
	switch v.Kind {
	case KindInt, KindBool:
		return v.Int, nil
	case KindDouble:
		if v.Num == math.Trunc(v.Num) && math.Abs(v.Num) < 1<<62 {
			return int64(v.Num), nil
		}
	case KindError:
		return 0, v.Err()
	default:
		if n, ok := ParseInt(v.Str); ok {
			return n, nil
		}
	}
	return 0, fmt.Errorf("reply %.64q is not an integer", v.String())
}

// Lookup finds the value of a key in a map, or in an array that alternates keys and values as version 2
// sends maps.
func (v Value) Lookup(key string) (Value, bool) {
	for i := 0; i+1 < len(v.Elems); i += 2 {
		if string(v.Elems[i].Str) == key {
			return v.Elems[i+1], true
		}
	}
	return Value{}, false
}

// Value appends a decoded reply, for a client of the Writer's version. The format word of a verbatim string
// is "txt", the only one in use.
func (w *Writer) Value(v Value) {
	switch v.Kind {
	case KindNull:
		w.Null()
	case KindNullArray:
		w.NullArray()
	case KindSimpleString:
		w.SimpleString(string(v.Str))
	case KindError:
		w.Error(string(v.Str))
	case KindInt:
		w.Int(v.Int)
	case KindBulk:
		w.Bulk(v.Str)
	case KindArray:
		w.Array(len(v.Elems))
	case KindMap:
		w.Map(len(v.Elems) / 2)
	case KindSet:
		w.Set(len(v.Elems))
	case KindPush:
		w.Push(len(v.Elems))
	case KindDouble:
		w.Double(v.Num)
	case KindBool:
		w.Bool(v.Int != 0)
	case KindBigNumber:
		w.BigNumber(string(v.Str))
	case KindVerbatim:
		w.Verbatim("txt", string(v.Str))
	}
	for _, e := range v.Elems {
		w.Value(e)
	}
}
