package rdb

// Forms of a node of a quicklist of the second version.
const (
	nodePlain  = 1 // one element as it is
	nodePacked = 2 // a listpack
)

// Elements reads the value of a list in one of its encodings and visits its elements. The views are valid as long as
// the input is, and during the call.
func (r *Reader) Elements(typ byte, visit func(element []byte) error) error {
	if typ == TypeListZiplist {
		packed, err := r.String()
		if err != nil {
			return err
		}
		return readZiplist(packed, visit)
	}
	n, err := r.Length()
	if err != nil {
		return err
	}
	for ; n > 0; n-- {
		read := func(b []byte, visit func([]byte) error) error { return visit(b) }
		switch typ {
		case TypeListQuicklist:
			read = readZiplist
		case TypeListQuicklist2:
			form, err := r.Length()
			switch {
			case err != nil:
				return err
			case form == nodePacked:
				read = readListpack
			case form != nodePlain:
				return ErrFormat
			}
		}
		node, err := r.String()
		if err != nil {
			return err
		}
		if err := read(node, visit); err != nil {
			return err
		}
	}
	return nil
}
