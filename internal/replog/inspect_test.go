package replog

import (
	"bytes"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"haypile/internal/disk"
)

func TestInspect(t *testing.T) {
	opt := testOptions(disk.NewMem())
	opt.Now = func() time.Time { return time.UnixMilli(1_700_000_000_000) }
	l := mustCreate(t, opt, 1000)
	r := l.BeginReign()
	if _, err := l.Append(r, 2, []byte("*2\r\n$6\r\nSELECT\r\n$1\r\n2\r\n")); err != nil {
		t.Fatal(err)
	}
	mustAppend(t, l, r, 9000)
	mustAppend(t, l, r, 10)
	waitSealed(t, l)
	segs := l.Segments()
	killIdle(l)
	var out bytes.Buffer
	if err := Inspect(&out, opt.FS, opt.Dir, true); err != nil {
		t.Fatal(err)
	}
	text := out.String()
	for _, want := range []string{
		"  byte 0          offset 1000         +23       db 2   2023-11-14T22:13:20.000Z  *2 $6 SELECT $1 2",
		"sealed  offsets 1000..10023  2 frames  9143 bytes",
		"open  offsets 10023..10033  1 frames  50 bytes",
		"log 1000..10033, synced through ",
		"2 segments, 3 frames, 9193 bytes, 0 bad places",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is missing in\n%s", want, text)
		}
	}
	if err := opt.FS.(*disk.Mem).Corrupt(segs[0].Path, 5000, 1); err != nil {
		t.Fatal(err)
	}
	out.Reset()
	if err := Inspect(&out, opt.FS, opt.Dir, false); err == nil {
		t.Error("damage is no error")
	}
	for _, want := range []string{
		segs[0].Path + ", byte 63 (offset 1023): payload checksum does not match", "1 bad places",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is missing in\n%s", want, out.String())
		}
	}
}

// TestOnRealFiles goes once through a log's life on the operating system's files.
func TestOnRealFiles(t *testing.T) {
	opt := Options{Dir: filepath.Join(t.TempDir(), "a", "log-1"), SegmentBytes: 64 << 10}
	l := mustCreate(t, opt, 7)
	r := l.BeginReign()
	for range 300 {
		mustAppend(t, l, r, 1000)
	}
	if err := l.Sync(l.End()); err != nil {
		t.Fatal(err)
	}
	waitSealed(t, l)
	if err := l.TrimTo(150_000); err != nil {
		t.Fatal(err)
	}
	cut := l.End() - 12_345
	rescue := filepath.Join(t.TempDir(), "rescue", "x")
	if err := l.Truncate(cut, rescue); err != nil {
		t.Fatal(err)
	}
	mustAppend(t, l, l.BeginReign(), 5000)
	end, start := l.End(), l.Start()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	l, rec := mustOpen(t, opt)
	if l.End() != end || l.Start() != start || start < 50_000 || start > 150_000 || rec.TornBytes != 0 {
		t.Fatalf("log is [%d,%d), want [%d,%d), %+v", l.Start(), l.End(), start, end, rec)
	}
	checkStream(t, "after all", start, replayAll(t, l, start))
	found, _, file, err := ReadRescue(disk.OS(), rescue)
	if err != nil || found.Start != cut || found.End != 300_007 {
		t.Fatalf("rescue %+v, %v", found, err)
	}
	file.Close()
}
