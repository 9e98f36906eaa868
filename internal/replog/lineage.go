package replog

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"slices"

	"haypile/internal/disk"
)

// ReplIDLen is the length of a replication id: hex digits.
const ReplIDLen = 40

// NoReplID is what Redis shows where there is no replication id.
const NoReplID = "0000000000000000000000000000000000000000"

// NewReplID makes a random replication id.
func NewReplID() string {
	var b [ReplIDLen / 2]byte
	rand.Read(b[:]) // never fails: the runtime ends the process instead
	return hex.EncodeToString(b[:])
}

// ValidReplID reports whether s has the form of a replication id.
func ValidReplID(s string) bool {
	if len(s) != ReplIDLen {
		return false
	}
	for _, c := range []byte(s) {
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}

// Role is what a node was when it last knew.
type Role string

// The roles.
const (
	RolePrimary Role = "primary"
	RoleReplica Role = "replica"
)

// lineageFormat is the newest format of the LINEAGE file that this program reads and writes.
const lineageFormat = 1

// MaxReigns bounds the list of reigns; older ones are forgotten, and who asks for them syncs in full.
const MaxReigns = 64

// ReignRecord is one opening for writes: from Start on the stream goes by the name of ReplID, up to where
// the next reign starts.
type ReignRecord struct {
	// Epoch under which a dashboard appointed the primary; 0 if none did.
	Epoch  uint64 `json:"epoch"`
	ReplID string `json:"replid"`
	Start  Offset `json:"start"`
}

// Lineage is what a node must know about its past before it opens the log: saved before the first append
// of a reign and before the answer to a fence. A value: methods do not change it.
type Lineage struct {
	Role Role `json:"role"`
	// Managed: a dashboard has had this node in its care.
	Managed bool `json:"managed"`
	// HadReplicas: somebody may have been promoted in this node's place.
	HadReplicas bool `json:"had_replicas"`
	// PromisedEpoch is the highest epoch that a fence was answered for: none below it is obeyed.
	PromisedEpoch uint64 `json:"promised_epoch"`
	// PrimaryAddr was followed last, host:port; Peers are other nodes that were seen in the shard.
	PrimaryAddr string   `json:"primary_addr,omitempty"`
	Peers       []string `json:"peers,omitempty"`
	// Reigns in order; the last is the present one.
	Reigns []ReignRecord `json:"reigns"`
}

// ReplID is the present replication id.
func (l *Lineage) ReplID() string {
	if len(l.Reigns) == 0 {
		return NoReplID
	}
	return l.Reigns[len(l.Reigns)-1].ReplID
}

// ReplID2 is the replication id before the present one, NoReplID if there was none.
func (l *Lineage) ReplID2() string {
	if len(l.Reigns) < 2 {
		return NoReplID
	}
	return l.Reigns[len(l.Reigns)-2].ReplID
}

// SecondOffset is second_repl_offset as Redis shows it: the first offset that is not shared under ReplID2,
// counted from 1 as PSYNC counts; -1 without ReplID2.
func (l *Lineage) SecondOffset() Offset {
	if len(l.Reigns) < 2 {
		return -1
	}
	return l.Reigns[len(l.Reigns)-1].Start + 1
}

// WithReign returns the lineage with a reign added that starts at the end of the log.
func (l Lineage) WithReign(r ReignRecord) Lineage {
	l.Reigns = append(slices.Clone(l.Reigns), r)
	if over := len(l.Reigns) - MaxReigns; over > 0 {
		l.Reigns = l.Reigns[over:]
	}
	return l
}

// WithCut returns the lineage of a log that was truncated at an offset: without the reigns above it.
func (l Lineage) WithCut(at Offset) Lineage {
	keep := len(l.Reigns)
	for keep > 1 && l.Reigns[keep-1].Start > at {
		keep--
	}
	l.Reigns = slices.Clone(l.Reigns[:keep])
	return l
}

// Accepts reports whether who has processed the stream called replid up to an offset (PSYNC asks for the
// next, offset + 1) has a prefix of this log, which ends at end. It says nothing about whether the log
// still holds what comes next.
func (l *Lineage) Accepts(replid string, processed, end Offset) bool {
	i := lastReign(l.Reigns, func(r ReignRecord) bool { return r.ReplID == replid })
	return i >= 0 && processed >= 0 && processed <= reignEnd(l.Reigns, i, end)
}

// ForkPoint returns the highest offset up to which two logs are identical; false if nothing shows that
// they have anything in common. The ends are those of the logs.
//
// A replication id is never given twice, so it names one stream: the logs agree up to where the newest id
// that both know ends in either of them. Recorded starts may differ where one node followed the reign by
// plain PSYNC, which does not tell it. Where a dashboard numbered the reign both nodes know it exactly: a
// different start or epoch then is no proof but a contradiction, and an older id decides.
func ForkPoint(mine []ReignRecord, mineEnd Offset, theirs []ReignRecord, theirsEnd Offset) (Offset, bool) {
	for i := len(mine) - 1; i >= 0; i-- {
		j := lastReign(theirs, mine[i].same)
		if j >= 0 {
			return min(reignEnd(mine, i, mineEnd), reignEnd(theirs, j, theirsEnd)), true
		}
	}
	return 0, false
}

func (r ReignRecord) same(o ReignRecord) bool {
	exact := r.Epoch > 0 && o.Epoch > 0
	return r.ReplID == o.ReplID && (!exact || r.Epoch == o.Epoch && r.Start == o.Start)
}

func lastReign(list []ReignRecord, is func(ReignRecord) bool) int {
	for i := len(list) - 1; i >= 0; i-- {
		if is(list[i]) {
			return i
		}
	}
	return -1
}

// reignEnd is the offset up to which the log goes by the name of reign i.
func reignEnd(list []ReignRecord, i int, end Offset) Offset {
	if i+1 < len(list) {
		return min(list[i+1].Start, end)
	}
	return end
}

// Validate checks what every saved lineage keeps.
func (l *Lineage) Validate() error {
	if l.Role != RolePrimary && l.Role != RoleReplica {
		return fmt.Errorf("lineage: unknown role %q", l.Role)
	}
	if len(l.Reigns) > MaxReigns {
		return fmt.Errorf("lineage: %d reigns, at most %d are kept", len(l.Reigns), MaxReigns)
	}
	for i, r := range l.Reigns {
		if !ValidReplID(r.ReplID) || r.Start < 0 {
			return fmt.Errorf("lineage: reign %d has replication id %q and start %d", i, r.ReplID, r.Start)
		}
		if i > 0 && r.Start < l.Reigns[i-1].Start {
			return fmt.Errorf("lineage: reign %d starts at %d, before the reign before it", i, r.Start)
		}
	}
	return nil
}

// lineageFile is the file's form. Sum is the CRC-32C of the lineage without white space, hex: a flipped
// bit in an offset would still be JSON.
type lineageFile struct {
	Format  int             `json:"format"`
	Sum     string          `json:"sum"`
	Lineage json.RawMessage `json:"lineage"`
}

func lineageSum(compact []byte) string {
	return fmt.Sprintf("%08x", crc32.Checksum(compact, castagnoli))
}

// MarshalFile returns the content of the LINEAGE file.
func (l *Lineage) MarshalFile() ([]byte, error) {
	if err := l.Validate(); err != nil {
		return nil, err
	}
	raw, err := json.Marshal(l)
	if err != nil {
		return nil, err
	}
	b, err := json.MarshalIndent(lineageFile{lineageFormat, lineageSum(raw), raw}, "", "  ")
	return append(b, '\n'), err
}

// UnmarshalLineage reads the content of a LINEAGE file.
func UnmarshalLineage(b []byte) (Lineage, error) {
	var f lineageFile
	if err := json.Unmarshal(b, &f); err != nil {
		return Lineage{}, fmt.Errorf("lineage: %w", err)
	}
	if f.Format != lineageFormat {
		return Lineage{}, fmt.Errorf("lineage: format %d, this program knows %d", f.Format, lineageFormat)
	}
	var compact bytes.Buffer
	if err := json.Compact(&compact, f.Lineage); err != nil {
		return Lineage{}, fmt.Errorf("lineage: %w", err)
	}
	if sum := lineageSum(compact.Bytes()); sum != f.Sum {
		return Lineage{}, fmt.Errorf("lineage: checksum is %s, the file says %s", sum, f.Sum)
	}
	var l Lineage
	if err := json.Unmarshal(compact.Bytes(), &l); err != nil {
		return Lineage{}, fmt.Errorf("lineage: %w", err)
	}
	return l, l.Validate()
}

// LoadLineage reads a LINEAGE file; false if there is none.
func LoadLineage(fsys disk.FS, path string) (Lineage, bool, error) {
	b, err := disk.ReadFile(fsys, path)
	if errors.Is(err, fs.ErrNotExist) {
		return Lineage{}, false, nil
	}
	if err != nil {
		return Lineage{}, false, err
	}
	l, err := UnmarshalLineage(b)
	if err != nil {
		return Lineage{}, false, fmt.Errorf("%s: %w", path, err)
	}
	return l, true, nil
}

// SaveLineage replaces a LINEAGE file; when it returns nil the new one survives a power loss.
func SaveLineage(fsys disk.FS, path string, l Lineage) error {
	b, err := l.MarshalFile()
	if err != nil {
		return err
	}
	return disk.WriteFileAtomic(fsys, path, b)
}
