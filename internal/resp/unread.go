package resp

// Unread copies what was read but not parsed: for a connection that is handed over.
func (r *Reader) Unread() []byte { return append([]byte(nil), r.buf[r.pos:r.end]...) }
