package replog

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

var sizes = []int{200, 3 << 10}

// BenchmarkRawWrite is what BenchmarkAppend is measured against: the same bytes by write(2) alone.
func BenchmarkRawWrite(b *testing.B) {
	for _, size := range sizes {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			f, err := os.OpenFile(filepath.Join(b.TempDir(), "raw"), os.O_CREATE|os.O_RDWR|os.O_APPEND, 0o600)
			if err != nil {
				b.Fatal(err)
			}
			defer f.Close()
			p := make([]byte, HeaderSize+size)
			b.SetBytes(int64(size))
			written := 0
			for b.Loop() {
				if _, err := f.Write(p); err != nil {
					b.Fatal(err)
				}
				if written += len(p); written > 256<<20 {
					b.StopTimer()
					if err := f.Truncate(0); err != nil {
						b.Fatal(err)
					}
					written = 0
					b.StartTimer()
				}
			}
		})
	}
}

func BenchmarkAppend(b *testing.B) {
	for _, size := range sizes {
		b.Run(fmt.Sprint(size), func(b *testing.B) { benchAppend(b, size, false) })
	}
}

// BenchmarkAppendFed has a feed that follows the log through the in-memory tail.
func BenchmarkAppendFed(b *testing.B) {
	for _, size := range sizes {
		b.Run(fmt.Sprint(size), func(b *testing.B) { benchAppend(b, size, true) })
	}
}

func benchAppend(b *testing.B, size int, fed bool) {
	l, err := Create(Options{Dir: filepath.Join(b.TempDir(), "log")}, 0)
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		p := make([]byte, 64<<10)
		for off := Offset(0); fed; {
			end, err := l.WaitEnd(ctx, off)
			if err != nil {
				return
			}
			if end-off > 3<<20 {
				off = end - 1<<20 // stay within the tail: this is not about the disk
			}
			n, err := l.ReadAt(p, off)
			if err != nil {
				b.Error(err)
				return
			}
			off += Offset(n)
		}
	}()
	r := l.BeginReign()
	frame := make([]byte, HeaderSize+size)
	b.SetBytes(int64(size))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := l.AppendFrame(r, 0, frame); err != nil {
			b.Fatal(err)
		}
		if l.DiskBytes() > 600<<20 {
			b.StopTimer()
			if err := l.TrimTo(l.End()); err != nil {
				b.Fatal(err)
			}
			b.StartTimer()
		}
	}
	b.StopTimer()
	cancel()
	<-done
}

// BenchmarkOpen opens a log of 1 GB after a clean end and after a kill, with file caches warm.
func BenchmarkOpen(b *testing.B) {
	opt := bigLog(b)
	for name, end := range map[string]func(*Log){"closed": func(l *Log) { l.Close() }, "killed": killIdle} {
		b.Run(name, func(b *testing.B) {
			l, _, err := Open(opt)
			if err != nil {
				b.Fatal(err)
			}
			r := l.BeginReign()
			for frame := make([]byte, HeaderSize+1000); l.Segments()[len(l.Segments())-1].Bytes < 200<<20; {
				if _, err := l.AppendFrame(r, 0, frame); err != nil {
					b.Fatal(err)
				}
			}
			end(l)
			for b.Loop() {
				if l, _, err = Open(opt); err != nil {
					b.Fatal(err)
				}
				end(l)
			}
		})
	}
}

// BenchmarkReplay verifies and delivers 1 GB, with file caches warm.
func BenchmarkReplay(b *testing.B) {
	opt := bigLog(b)
	l, _, err := Open(opt)
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	b.SetBytes(int64(l.End() - l.Start()))
	for b.Loop() {
		if err := l.Replay(l.Start(), func(Frame) error { return nil }); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkReadDisk follows old segments in pieces of 64 KB, as a feed far behind does.
func BenchmarkReadDisk(b *testing.B) {
	opt := bigLog(b)
	l, _, err := Open(opt)
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	p := make([]byte, 64<<10)
	b.SetBytes(int64(len(p)))
	off := l.Start()
	for b.Loop() {
		n, err := l.ReadAt(p, off)
		if err != nil {
			b.Fatal(err)
		}
		if off += Offset(n); off > l.End()-Offset(len(p)) {
			off = l.Start()
		}
	}
}

func bigLog(b *testing.B) Options {
	opt := Options{Dir: filepath.Join(b.TempDir(), "log")}
	l, err := Create(opt, 0)
	if err != nil {
		b.Fatal(err)
	}
	r := l.BeginReign()
	frame := make([]byte, HeaderSize+1000)
	for l.DiskBytes() < 1000<<20 {
		if _, err := l.AppendFrame(r, 0, frame); err != nil {
			b.Fatal(err)
		}
	}
	if err := l.Close(); err != nil {
		b.Fatal(err)
	}
	return opt
}
