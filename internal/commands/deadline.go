package commands

import (
	"math"

	"haypile/internal/resp"
)

// timeForm is the way in which a client names a point in time.
type timeForm uint8

const (
	noTime       timeForm = iota
	inSeconds             // EX: seconds from now
	inMillis              // PX: milliseconds from now
	atUnixTime            // EXAT: seconds since 1970
	atUnixMillis          // PXAT: milliseconds since 1970, the form in which everything is logged
)

func (f timeForm) relative() bool  { return f == inSeconds || f == inMillis }
func (f timeForm) inSeconds() bool { return f == inSeconds || f == atUnixTime }

// timeWords are the options of SET and GETEX that name a time.
var timeWords = [...]struct {
	word string
	form timeForm
}{{"EX", inSeconds}, {"PX", inMillis}, {"EXAT", atUnixTime}, {"PXAT", atUnixMillis}}

// deadlineFrom converts an argument into Unix milliseconds. Zero and negative times are refused, as are
// times that do not fit; name is the command's, for the error.
func (c *Call) deadlineFrom(arg []byte, form timeForm, name string) (int64, error) {
	n, ok := resp.ParseInt(arg)
	if !ok {
		return 0, Error(resp.ErrNotInteger)
	}
	bad := Error(resp.InvalidExpire(name))
	if n <= 0 || form.inSeconds() && n > math.MaxInt64/1000 {
		return 0, bad
	}
	if form.inSeconds() {
		n *= 1000
	}
	if form.relative() {
		if n > math.MaxInt64-c.Tx.Now() {
			return 0, bad
		}
		n += c.Tx.Now()
	}
	return n, nil
}

// past reports whether a deadline has passed for this call. The stream's deadlines never have: the node
// that wrote it deletes by itself.
func (c *Call) past(deadline int64) bool { return deadline <= c.Tx.Now() && !c.Tx.Applying() }

// storedDeadline is a deadline as metadata can hold it: 0 means none there, and what is before 1970 is as
// far in the past as 1 ms after it.
func storedDeadline(deadline int64) int64 { return max(deadline, 1) }
