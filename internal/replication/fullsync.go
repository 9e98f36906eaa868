package replication

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"haypile/internal/disk"
	"haypile/internal/replog"
)

// A full sync between Haypile nodes, on the connection that asked for it:
//
//	primary   "\n" each second until the checkpoint is made
//	          +FULLRESYNC <replid> <offset>\r\n
//	          @manifest <bytes>\r\n<JSON>\r\n
//	replica   REPLCONF FILES <JSON: what it has of them, with checksums>
//	primary   for each file of the manifest, in its order:
//	            @file <index> <from>\r\n<bytes from..size>@sum <CRC-32C of the whole file, hex>\r\n
//	          @end\r\n
//	replica   "\n" each second while it checks old files and installs the new ones, then REPLCONF ACK <offset>
//	primary   the stream from <offset> on
//
// A snapshot for any Redis begins with '$' where the manifest begins with '@'.

const (
	// maxManifestBytes bounds a manifest: some hundred thousand files.
	maxManifestBytes = 64 << 20
	// fileChunk is how much of a file is read, summed and sent at once without a rate.
	fileChunk = 256 << 10
)

// manifest announces a checkpoint.
type manifest struct {
	Format int                  `json:"format"`
	Epoch  uint64               `json:"epoch"`
	Reigns []replog.ReignRecord `json:"reigns"`
	Offset replog.Offset        `json:"offset"`
	DB     int                  `json:"db"`
	Files  []FileInfo           `json:"files"`
}

// check refuses a manifest whose names could leave the target directory, or that contradicts itself.
func (m *manifest) check() error {
	seen := make(map[string]bool, len(m.Files))
	for _, f := range m.Files {
		switch {
		case f.Name == "" || f.Name == "." || f.Name == ".." || strings.ContainsAny(f.Name, "/\\\x00"):
			return fmt.Errorf("manifest with the file name %q", f.Name)
		case seen[f.Name]:
			return fmt.Errorf("manifest names %q twice", f.Name)
		case f.Size < 0:
			return fmt.Errorf("manifest gives %q %d bytes", f.Name, f.Size)
		}
		seen[f.Name] = true
	}
	if len(m.Reigns) == 0 || m.Offset < 0 || m.DB < 0 {
		return errors.New("manifest without a history, or with a negative offset or database")
	}
	return nil
}

func encodeHello(h *Hello) ([]byte, error) {
	b, err := json.Marshal(h)
	if err != nil {
		return nil, fmt.Errorf("encoding the hello: %w", err)
	}
	return b, nil
}

// fullSync brings a replica to a checkpoint. It returns the offset where the stream goes on, with the log
// pinned there until release.
func (f *Feed) fullSync(ctx context.Context) (from replog.Offset, release func(), err error) {
	began := time.Now()
	var cp *Checkpoint
	hold := &pin{lose: f.close}
	release = func() {}
	defer func() {
		if err != nil {
			release()
		}
	}()
	leave := func() {}
	defer func() { leave() }()
	err = f.keepAlive(ctx, func(ctx context.Context) error {
		var err error
		if leave, err = f.fs.acquireSync(ctx); err != nil {
			return err
		}
		hold.off = f.st.Log.Start()
		release = f.fs.pin(hold)
		cp, err = f.fs.node.Checkpoint(ctx)
		return err
	})
	if cp != nil {
		defer cp.Release()
	}
	if err != nil {
		return 0, release, fmt.Errorf("making a checkpoint: %w", err)
	}
	f.fs.movePin(hold, cp.Offset)
	if start := f.st.Log.Start(); start > cp.Offset {
		return 0, release, fmt.Errorf("the log starts at %d, behind the checkpoint at %d", start, cp.Offset)
	}
	f.setState(FeedSendFiles)
	sent, err := f.sendCheckpoint(ctx, cp)
	if err != nil {
		return 0, release, err
	}
	f.fs.logger.Info("full sync sent", "addr", f.conn.RemoteAddr().String(), "node", f.nodeID,
		"files", len(cp.Files), "bytes", sent, "offset", int64(cp.Offset),
		"took", time.Since(began).Round(time.Millisecond))
	return cp.Offset, release, f.awaitAck(ctx)
}

// keepAlive runs fn and sends the replica an empty line each second meanwhile. It returns when fn has.
func (f *Feed) keepAlive(ctx context.Context, fn func(context.Context) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- fn(ctx) }()
	ticker := time.NewTicker(keepalivePeriod)
	defer ticker.Stop()
	for {
		select {
		case err := <-done:
			return err
		case <-ticker.C:
			if err := f.write([]byte{'\n'}); err != nil {
				cancel()
				return errors.Join(err, <-done)
			}
		}
	}
}

// awaitAck waits until the replica says that it has installed what it got. It may be silent no longer than
// the timeout.
func (f *Feed) awaitAck(ctx context.Context) error {
	ticker := time.NewTicker(tickPeriod)
	defer ticker.Stop()
	for {
		select {
		case <-f.firstAck:
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		case now := <-ticker.C:
			if now.Sub(time.Unix(0, f.heard.Load())) > f.fs.opt.Load().Timeout {
				return fmt.Errorf("waiting for the replica to install the checkpoint: %w", ErrSilent)
			}
		}
	}
}

// sendCheckpoint sends everything from +FULLRESYNC to @end and returns the bytes of files sent.
func (f *Feed) sendCheckpoint(ctx context.Context, cp *Checkpoint) (int64, error) {
	reigns := f.st.Reigns
	m := manifest{Format: f.st.Format, Epoch: f.st.Epoch, Reigns: reigns, Offset: cp.Offset, DB: cp.DB,
		Files: cp.Files}
	doc, err := json.Marshal(m)
	if err != nil {
		return 0, fmt.Errorf("encoding the manifest: %w", err)
	}
	head := fmt.Appendf(nil, "+FULLRESYNC %s %d\r\n@manifest %d\r\n",
		reigns[len(reigns)-1].ReplID, cp.Offset, len(doc))
	if err := f.write(append(append(head, doc...), "\r\n"...)); err != nil {
		return 0, err
	}
	have, err := f.awaitHave(ctx)
	if err != nil {
		return 0, err
	}
	buf := make([]byte, fileChunk)
	sent := int64(0)
	for i, file := range cp.Files {
		n, err := f.sendFile(ctx, cp, i, have[file.Name], buf)
		if err != nil {
			return sent, fmt.Errorf("sending %s: %w", file.Name, err)
		}
		sent += n
	}
	return sent, f.write([]byte("@end\r\n"))
}

// awaitHave waits for the replica's list of files from an interrupted attempt.
func (f *Feed) awaitHave(ctx context.Context) (map[string]FileInfo, error) {
	ticker := time.NewTicker(tickPeriod)
	defer ticker.Stop()
	for {
		select {
		case doc := <-f.files:
			var list []FileInfo
			if err := json.Unmarshal(doc, &list); err != nil {
				return nil, fmt.Errorf("decoding the replica's list of files: %w", err)
			}
			have := make(map[string]FileInfo, len(list))
			for _, h := range list {
				have[h.Name] = h
			}
			return have, nil
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case now := <-ticker.C:
			if now.Sub(time.Unix(0, f.heard.Load())) > f.fs.opt.Load().Timeout {
				return nil, fmt.Errorf("waiting for the replica's list of files: %w", ErrSilent)
			}
		}
	}
}

// sendFile sends what the replica lacks of a file. What it has is used only if its checksum is that of the
// same bytes here: names alone may mean another file.
func (f *Feed) sendFile(
	ctx context.Context, cp *Checkpoint, i int, have FileInfo, buf []byte,
) (int64, error) {
	info := cp.Files[i]
	file, err := cp.FS.Open(filepath.Join(cp.Dir, info.Name))
	if err != nil {
		return 0, err
	}
	defer file.Close()
	from, sum := int64(0), uint32(0)
	if 0 < have.Size && have.Size <= info.Size {
		crc, err := sumFile(file, have.Size, buf)
		if err != nil {
			return 0, err
		}
		if crc == have.CRC {
			from, sum = have.Size, crc
		}
	}
	if err := f.write(fmt.Appendf(nil, "@file %d %d\r\n", i, from)); err != nil {
		return 0, err
	}
	for at := from; at < info.Size; {
		chunk := buf[:min(int64(len(buf)), info.Size-at, f.fs.pace.chunk())]
		if err := f.fs.pace.take(ctx, len(chunk)); err != nil {
			return at - from, err
		}
		if err := readFull(file, chunk, at); err != nil {
			return at - from, err
		}
		sum = crc32.Update(sum, castagnoli, chunk)
		if err := f.write(chunk); err != nil {
			return at - from, err
		}
		at += int64(len(chunk))
	}
	return info.Size - from, f.write(fmt.Appendf(nil, "@sum %08x\r\n", sum))
}

// readFull fills p from off; a file that ends before is an error.
func readFull(r io.ReaderAt, p []byte, off int64) error {
	n, err := r.ReadAt(p, off)
	if n == len(p) {
		return nil
	}
	if err == nil || err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return err
}

// sumFile computes the checksum of a file's first n bytes.
func sumFile(file disk.File, n int64, buf []byte) (uint32, error) {
	sum := uint32(0)
	for at := int64(0); at < n; {
		chunk := buf[:min(int64(len(buf)), n-at)]
		if err := readFull(file, chunk, at); err != nil {
			return 0, err
		}
		sum = crc32.Update(sum, castagnoli, chunk)
		at += int64(len(chunk))
	}
	return sum, nil
}

// pace bounds the bytes per second of all full syncs together. It books time, not bytes: next is when the
// bytes booked so far will have gone out.
type pace struct {
	mu struct {
		sync.Mutex
		rate int64 // 0 is no bound
		next time.Time
	}
}

func (p *pace) setRate(rate int64) {
	p.mu.Lock()
	p.mu.rate, p.mu.next = rate, time.Time{}
	p.mu.Unlock()
}

// chunk is how much to send at once: an eighth of a second's worth, so that slow transfers stay alive.
func (p *pace) chunk() int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.mu.rate <= 0 {
		return fileChunk
	}
	return min(max(p.mu.rate/8, 512), fileChunk)
}

// take waits until n more bytes may go out.
func (p *pace) take(ctx context.Context, n int) error {
	p.mu.Lock()
	now := time.Now()
	at := p.mu.next
	if p.mu.rate <= 0 || at.Before(now) {
		at = now
	}
	if p.mu.rate > 0 {
		p.mu.next = at.Add(time.Duration(float64(n) / float64(p.mu.rate) * float64(time.Second)))
	}
	p.mu.Unlock()
	if !at.After(now) {
		return ctx.Err()
	}
	timer := time.NewTimer(at.Sub(now))
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
