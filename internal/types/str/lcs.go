package str

// LCS is the table of the longest common subsequences of the prefixes of two strings.
type LCS struct {
	a, b []byte
	// best[i*(len(b)+1)+j] is the length for a[:i] and b[:j].
	best []uint32
}

// LCSBytes is the memory that NewLCS takes for strings of so many bytes.
func LCSBytes(a, b int64) int64 { return (a + 1) * (b + 1) * 4 }

// NewLCS fills the table.
func NewLCS(a, b []byte) *LCS {
	l := &LCS{a: a, b: b, best: make([]uint32, (len(a)+1)*(len(b)+1))}
	w := len(b) + 1
	for i, x := range a {
		above, row := l.best[i*w:(i+1)*w], l.best[(i+1)*w:(i+2)*w]
		for j, y := range b {
			if x == y {
				row[j+1] = above[j] + 1
			} else {
				row[j+1] = max(above[j+1], row[j])
			}
		}
	}
	return l
}

func (l *LCS) at(i, j int) uint32 { return l.best[i*(len(l.b)+1)+j] }

// Len is the length of the longest common subsequence.
func (l *LCS) Len() int { return int(l.at(len(l.a), len(l.b))) }

// walk goes back through the table and visits the pairs of equal bytes, last first. Where several
// subsequences are equally long it takes the one that Redis takes.
func (l *LCS) walk(visit func(i, j int)) {
	for i, j := len(l.a), len(l.b); i > 0 && j > 0; {
		switch {
		case l.a[i-1] == l.b[j-1]:
			i, j = i-1, j-1
			visit(i, j)
		case l.at(i-1, j) > l.at(i, j-1):
			i--
		default:
			j--
		}
	}
}

// Bytes is a longest common subsequence.
func (l *LCS) Bytes() []byte {
	out := make([]byte, l.Len())
	at := len(out)
	l.walk(func(i, _ int) {
		at--
		out[at] = l.a[i]
	})
	return out
}

// Match is a run of bytes that the strings have in common, at A in one and at B in the other.
type Match struct{ A, B, Len int }

// Ranges visits the runs of which the subsequence consists, last first.
func (l *LCS) Ranges(visit func(Match)) {
	var m Match
	l.walk(func(i, j int) {
		if m.Len > 0 && (i != m.A-1 || j != m.B-1) {
			visit(m)
			m.Len = 0
		}
		m = Match{i, j, m.Len + 1}
	})
	if m.Len > 0 {
		visit(m)
	}
}
