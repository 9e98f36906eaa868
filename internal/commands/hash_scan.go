package commands

import (
	"haypile/internal/option"
	"haypile/internal/resp"
	"haypile/internal/types/members"
)

func hRandField(c *Call) error {
	q, err := c.parseRandom("WITHVALUES")
	if err != nil {
		return err
	}
	h, err := c.openHash()
	if err != nil {
		return err
	}
	return c.writeRandom(&h.Members, q, c.Out.Bulk)
}

func hScan(c *Call) error {
	return c.scanMembers(func() (*members.Members, error) {
		h, err := c.openHash()
		return &h.Members, err
	}, c.Node.Config().Int(option.HashMaxListpackEntries), (*resp.Writer).Bulk)
}
