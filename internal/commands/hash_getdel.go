package commands

import (
	"haypile/internal/command"
	"haypile/internal/resp"
	"haypile/internal/types/hash"
)

// Commands on hashes that came after Redis 7.2 and do not need deadlines of fields.
var hashLaterCommands = []*Command{
	hashFamily.command("HGETDEL", "8.0.0", -5, command.Write|command.Fast, oneKey(accessTake),
		"HGETDEL key FIELDS numfields field [field ...]", "O(N) fields given",
		"Answers the values of fields of a hash and deletes the fields, and the hash with its last field.", hGetDel),
}

// fieldsAt reads the word FIELDS, their number and the fields from argument i to the end; bad is the error for what is
// no number of fields.
func (c *Call) fieldsAt(i int, bad Error) ([][]byte, error) {
	if !c.Is(i, "FIELDS") {
		return nil, Error(resp.ErrFieldsMissing)
	}
	if i+1 == len(c.Args) {
		return nil, bad
	}
	n, ok := resp.ParseInt(c.Args[i+1])
	if !ok || n < 1 {
		return nil, bad
	}
	fields := c.Args[i+2:]
	if n != int64(len(fields)) {
		return nil, Error(resp.ErrFieldsCount)
	}
	return fields, nil
}

// meetFields is fieldsAt; those of the fields that are past their deadlines are deleted first.
func (c *Call) meetFields(h *hash.Hash, i int, bad Error) ([][]byte, error) {
	fields, err := c.fieldsAt(i, bad)
	if err != nil {
		return nil, err
	}
	return fields, h.Meet(fields, 1)
}

func hGetDel(c *Call) error {
	h, err := c.openHash()
	if err != nil {
		return err
	}
	fields, err := c.meetFields(&h, 2, resp.ErrFieldsNumber)
	if err != nil {
		return err
	}
	c.Out.Array(len(fields))
	var deleted [][]byte
	for _, field := range fields {
		v, found, err := h.Get(field)
		if err != nil {
			return err
		}
		c.writeString(found, v)
		if !found {
			continue
		}
		if _, err := h.Delete(field); err != nil {
			return err
		}
		deleted = append(deleted, field)
	}
	if len(deleted) == 0 {
		return nil
	}
	c.deleteFields(deleted)
	return c.saveHash(&h, "hdel")
}
