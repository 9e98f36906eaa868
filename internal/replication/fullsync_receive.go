package replication

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math"
	"path/filepath"
	"strconv"
	"time"

	"haypile/internal/disk"
	"haypile/internal/replog"
	"haypile/internal/resp"
)

// fullSync receives what follows +FULLRESYNC and puts it in service. The first byte tells its form.
func (s *linkConn) fullSync(ctx context.Context, up *Upstream, off replog.Offset, format int) error {
	began := time.Now()
	line, err := s.line()
	if err != nil {
		return err
	}
	var size int
	switch {
	case line[0] == '$':
		return ErrForeignSnapshot
	case !scanLine(line, "@manifest %d", &size) || size < 0 || size > maxManifestBytes:
		return fmt.Errorf("%w: %q", errSnapshotForm, clip(line, 64))
	}
	m, err := s.readManifest(size)
	if err != nil {
		return err
	}
	last := m.Reigns[len(m.Reigns)-1]
	switch {
	case m.Format != format:
		return fmt.Errorf("the primary's files have format %d, this node's %d", m.Format, format)
	case m.Offset != off:
		return fmt.Errorf("the manifest is of offset %d, the reply said %d", m.Offset, off)
	case last.ReplID != up.ReplID:
		return fmt.Errorf("the manifest is of history %s, the reply said %s", last.ReplID, up.ReplID)
	}
	up.Epoch, up.Reigns = m.Epoch, m.Reigns
	meta := Meta{Upstream: *up, Offset: m.Offset, DB: m.DB}
	for _, f := range m.Files {
		meta.Bytes += f.Size
	}
	s.link.syncRead.Store(0)
	s.link.syncTotal.Store(meta.Bytes)
	s.link.cfg.Logger.Info("full sync begins", "primary", s.link.address(), "files", len(m.Files),
		"bytes", meta.Bytes, "offset", int64(m.Offset))

	s.idle.Store(true)
	s.primaryWaits(true)
	target, err := s.link.node.Begin(ctx, meta)
	if err != nil {
		return fmt.Errorf("preparing a full sync: %w", err)
	}
	if err := s.receive(m, target); err != nil {
		s.link.node.Abort(meta)
		return fmt.Errorf("full sync: %w", err)
	}
	s.primaryWaits(true)
	if err := s.link.node.Install(ctx, meta); err != nil {
		return fmt.Errorf("installing a full sync: %w", err)
	}
	s.link.cfg.Logger.Info("full sync installed", "primary", s.link.address(), "bytes", meta.Bytes,
		"offset", int64(m.Offset), "took", time.Since(began).Round(time.Millisecond))
	return nil
}

// primaryWaits says whether the primary has nothing to send before this node has done its part: then its
// silence is no sign of death, and a dead one is found by the empty lines that it does not take.
func (s *linkConn) primaryWaits(yes bool) {
	if yes {
		s.silence.Store(math.MaxInt64)
		return
	}
	s.link.lastIO.Store(time.Now().UnixNano())
	s.silence.Store(int64(s.link.cfg.Timeout))
}

// scanLine matches a line made by the other side's fmt; a line with anything behind is no match.
func scanLine(line []byte, format string, args ...any) bool {
	var rest string
	n, _ := fmt.Sscanf(string(line)+" .", format+" %s", append(args, &rest)...)
	return n == len(args)+1 && rest == "."
}

func (s *linkConn) readManifest(size int) (*manifest, error) {
	doc, err := io.ReadAll(io.LimitReader(s.in, int64(size)+2))
	if err == nil && len(doc) != size+2 {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		return nil, fmt.Errorf("reading the manifest: %w", err)
	}
	m := new(manifest)
	if err := json.Unmarshal(doc[:size], m); err != nil {
		return nil, fmt.Errorf("decoding the manifest: %w", err)
	}
	for _, r := range m.Reigns {
		if !replog.ValidReplID(r.ReplID) {
			return nil, fmt.Errorf("manifest with the replication id %q", r.ReplID)
		}
	}
	return m, m.check()
}

// receive brings the target directory to the manifest.
func (s *linkConn) receive(m *manifest, target Target) error {
	buf := make([]byte, fileChunk)
	have, err := survey(m, target, buf)
	if err != nil {
		return fmt.Errorf("looking at the files of an earlier attempt: %w", err)
	}
	list := make([]FileInfo, 0, len(have))
	for _, f := range m.Files {
		if h, ok := have[f.Name]; ok {
			list = append(list, h)
		}
	}
	doc, err := json.Marshal(list)
	if err != nil {
		return fmt.Errorf("encoding the list of files: %w", err)
	}
	if err := s.write(resp.AppendCommandStrings(nil, "REPLCONF", "FILES", string(doc))); err != nil {
		return err
	}
	s.primaryWaits(false)
	for i, f := range m.Files {
		if err := s.receiveFile(i, f, have[f.Name], target, buf); err != nil {
			return fmt.Errorf("receiving %s: %w", f.Name, err)
		}
	}
	line, err := s.line()
	if err != nil {
		return err
	}
	if string(line) != "@end" {
		return fmt.Errorf("expected the end of the files, got %q", clip(line, 64))
	}
	if err := target.FS.SyncDir(target.Dir); err != nil {
		return fmt.Errorf("syncing %s: %w", target.Dir, err)
	}
	return nil
}

// survey removes what the manifest does not name and sums up what is left of an earlier attempt.
func survey(m *manifest, target Target, buf []byte) (map[string]FileInfo, error) {
	want := make(map[string]int64, len(m.Files))
	for _, f := range m.Files {
		want[f.Name] = f.Size
	}
	names, err := target.FS.List(target.Dir)
	if err != nil {
		return nil, err
	}
	have := make(map[string]FileInfo)
	for _, name := range names {
		path := filepath.Join(target.Dir, name)
		st, err := target.FS.Stat(path)
		if err != nil {
			return nil, err
		}
		size, wanted := want[name]
		if !wanted || st.Dir || st.Size > size || st.Size == 0 {
			if err := target.FS.RemoveAll(path); err != nil {
				return nil, err
			}
			continue
		}
		crc, err := sumPath(target.FS, path, st.Size, buf)
		if err != nil {
			return nil, err
		}
		have[name] = FileInfo{Name: name, Size: st.Size, CRC: crc}
	}
	return have, nil
}

func sumPath(fsys disk.FS, path string, size int64, buf []byte) (uint32, error) {
	file, err := fsys.Open(path)
	if err != nil {
		return 0, err
	}
	defer file.Close()
	return sumFile(file, size, buf)
}

// receiveFile receives one file from where the primary says, and checks the sum of the whole. A file that
// does not match is removed: the next attempt gets it anew.
func (s *linkConn) receiveFile(i int, info, have FileInfo, target Target, buf []byte) (err error) {
	line, err := s.line()
	if err != nil {
		return err
	}
	var index int
	var from int64
	if !scanLine(line, "@file %d %d", &index, &from) || index != i || from != 0 && from != have.Size {
		return fmt.Errorf("expected file %d from %d or 0, got %q", i, have.Size, clip(line, 64))
	}
	path := filepath.Join(target.Dir, info.Name)
	open, sum := target.FS.Create, uint32(0)
	if from > 0 {
		open, sum = target.FS.OpenAppend, have.CRC
		s.link.syncRead.Add(from)
	}
	file, err := open(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	for left := info.Size - from; left > 0; {
		chunk := buf[:min(int64(len(buf)), left)]
		n, err := s.in.Read(chunk)
		if n > 0 {
			sum = crc32.Update(sum, castagnoli, chunk[:n])
			if _, err := file.Write(chunk[:n]); err != nil {
				return err
			}
			left -= int64(n)
			s.link.syncRead.Add(int64(n))
		}
		if err != nil {
			return fmt.Errorf("%d bytes missing: %w", left, err)
		}
	}
	if line, err = s.line(); err != nil {
		return err
	}
	if want := fmt.Sprintf("@sum %08x", sum); string(line) != want {
		return errors.Join(fmt.Errorf("checksum differs: have %q, got %q", want, clip(line, 64)),
			target.FS.Remove(path))
	}
	return file.Sync()
}

// perc is the share of a running full sync that has arrived, in percent.
func perc(read, total int64) string {
	if total <= 0 {
		return "0.00"
	}
	return strconv.FormatFloat(float64(read)/float64(total)*100, 'f', 2, 64)
}
