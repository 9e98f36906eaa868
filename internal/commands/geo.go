package commands

import (
	"bytes"
	"strconv"

	"haypile/internal/command"
	"haypile/internal/resp"
	"haypile/internal/types/geo"
	"haypile/internal/types/zset"
)

var geoFamily = family{group: "geo", category: "geo"}

const geoCost = "O(N+log(M)) for N members in the cells around the shape, of M"

// geoStored is the difference that all commands share which store distances.
const geoStored = "Distances that are stored may differ in their last digit."

var geoCommands = []*Command{
	geoFamily.command("GEOADD", "3.2.0", -5, writeGrow, oneKey(accessChange),
		"GEOADD key [NX | XX] [CH] longitude latitude member [longitude latitude member ...]",
		"O(log(N)) for every member", "Adds places to a sorted set, or moves them.", geoAdd),
	geoFamily.command("GEOPOS", "3.2.0", -2, command.ReadOnly, oneKey(accessGet), "GEOPOS key [member [member ...]]",
		"O(1) for every member", "Answers the coordinates of members.", geoPos),
	geoFamily.command("GEODIST", "3.2.0", -4, command.ReadOnly, oneKey(accessGet),
		"GEODIST key member1 member2 [M | KM | FT | MI]", "O(1)", "Answers the distance between two members.", geoDist),
	geoFamily.command("GEOHASH", "3.2.0", -2, command.ReadOnly, oneKey(accessGet), "GEOHASH key [member [member ...]]",
		"O(1) for every member", "Answers the usual geohashes of members.", geoHash),
	geoFamily.command("GEOSEARCH", "6.2.0", -7, command.ReadOnly, oneKey(accessGet),
		"GEOSEARCH key <FROMMEMBER member | FROMLONLAT longitude latitude> <BYRADIUS radius <M | KM | FT | MI> | "+
			"BYBOX width height <M | KM | FT | MI>> [ASC | DESC] [COUNT count [ANY]] [WITHCOORD] [WITHDIST] [WITHHASH]",
		geoCost, "Answers the members inside a circle or a box.", searchForm{options: 2, source: 1, shaped: true}.run),
	geoFamily.command("GEOSEARCHSTORE", "6.2.0", -8, writeGrow, command.KeySpec{},
		"GEOSEARCHSTORE destination source <FROMMEMBER member | FROMLONLAT longitude latitude> <BYRADIUS radius <M | KM | "+
			"FT | MI> | BYBOX width height <M | KM | FT | MI>> [ASC | DESC] [COUNT count [ANY]] [STOREDIST]",
		geoCost, "Stores the members inside a circle or a box.",
		searchForm{options: 3, source: 2, shaped: true, stores: true}.run).twoKeys(accessStore, accessGet).differs(geoStored),
	geoFamily.command("GEORADIUS", "3.2.0", -6, writeGrow, command.KeySpec{},
		"GEORADIUS key longitude latitude radius <M | KM | FT | MI> [WITHCOORD] [WITHDIST] [WITHHASH] [COUNT count [ANY]] "+
			"[ASC | DESC] [STORE key | STOREDIST key]", geoCost, "Answers or stores the members inside a circle.",
		searchForm{options: 6, source: 1, stores: true}.run).storesRadius(6).differs(geoStored),
	geoFamily.command("GEORADIUS_RO", "3.2.10", -6, command.ReadOnly, oneKey(accessGet),
		"GEORADIUS_RO key longitude latitude radius <M | KM | FT | MI> [WITHCOORD] [WITHDIST] [WITHHASH] "+
			"[COUNT count [ANY]] [ASC | DESC]", geoCost, "Answers the members inside a circle.",
		searchForm{options: 6, source: 1}.run),
	geoFamily.command("GEORADIUSBYMEMBER", "3.2.0", -5, writeGrow, command.KeySpec{},
		"GEORADIUSBYMEMBER key member radius <M | KM | FT | MI> [WITHCOORD] [WITHDIST] [WITHHASH] [COUNT count [ANY]] "+
			"[ASC | DESC] [STORE key | STOREDIST key]", geoCost, "Answers or stores the members inside a circle around one.",
		searchForm{options: 5, source: 1, member: true, stores: true}.run).storesRadius(5).differs(geoStored),
	geoFamily.command("GEORADIUSBYMEMBER_RO", "3.2.10", -5, command.ReadOnly, oneKey(accessGet),
		"GEORADIUSBYMEMBER_RO key member radius <M | KM | FT | MI> [WITHCOORD] [WITHDIST] [WITHHASH] [COUNT count [ANY]] "+
			"[ASC | DESC]", geoCost, "Answers the members inside a circle around one.",
		searchForm{options: 5, source: 1, member: true}.run),
}

// storesRadius gives GEORADIUS its keys: of several destinations, the last counts.
func (c *Command) storesRadius(options int) *Command {
	destination := func(word string) command.KeySpec {
		return command.KeySpec{Find: command.FindWord, First: options, Step: 1, Word: word, Access: accessStore}
	}
	c.Keys = []command.KeySpec{command.One(1, accessGet), destination("STORE"), destination("STOREDIST")}
	c.KeysFunc = func(dst []command.KeyRef, args [][]byte) ([]command.KeyRef, error) {
		if len(args) < 2 {
			return dst, command.ErrBadKeys
		}
		dst, stored := append(dst, command.KeyRef{Pos: 1, Access: accessGet}), 0
		for i := options; i+1 < len(args); i++ {
			if bytes.EqualFold(args[i], []byte("STORE")) || bytes.EqualFold(args[i], []byte("STOREDIST")) {
				i++
				stored = i
			}
		}
		if stored > 0 {
			dst = append(dst, command.KeyRef{Pos: stored, Access: accessStore})
		}
		return dst, nil
	}
	return c
}

func geoAdd(c *Call) error {
	var m addMode
	at := 2
options:
	for ; at < len(c.Args); at++ {
		switch {
		case c.Is(at, "NX"):
			m.nx = true
		case c.Is(at, "XX"):
			m.xx = true
		case c.Is(at, "CH"):
			m.ch = true
		default:
			break options
		}
	}
	if at == len(c.Args) || (len(c.Args)-at)%3 != 0 || m.nx && m.xx {
		return Error(resp.ErrSyntax)
	}
	scores := make([]float64, 0, (len(c.Args)-at)/3)
	for i := at; i < len(c.Args); i += 3 {
		p, err := c.pointAt(i)
		if err != nil {
			return err
		}
		scores = append(scores, geo.Score(p))
	}
	return c.add(m, scores, func(i int) []byte { return c.Args[at+3*i+2] })
}

// pointAt reads longitude and latitude.
func (c *Call) pointAt(i int) (p geo.Point, err error) {
	var ok, also bool
	if p.Longitude, ok = resp.ParseFloat(c.Args[i]); ok {
		p.Latitude, also = resp.ParseFloat(c.Args[i+1])
	}
	switch {
	case !ok || !also:
		return p, Error(resp.ErrNotFloat)
	case !p.Valid():
		return p, Error(resp.BadLongLat(p.Longitude, p.Latitude))
	}
	return p, nil
}

// unitAt reads a unit as its length in metres.
func (c *Call) unitAt(i int) (float64, error) {
	switch c.Arg(i) {
	case "M":
		return 1, nil
	case "KM":
		return 1000, nil
	case "FT":
		return 0.3048, nil
	case "MI":
		return 1609.34, nil
	}
	return 0, Error(resp.ErrGeoUnit)
}

// place is where a member is.
func place(z *zset.ZSet, member []byte) (geo.Point, bool, error) {
	score, found, err := z.Score(member)
	if err != nil || !found {
		return geo.Point{}, false, err
	}
	return geo.At(score), true, nil
}

func geoPos(c *Call) error {
	z, err := c.openZSet(1)
	if err != nil {
		return err
	}
	c.Out.Array(len(c.Args) - 2)
	for _, m := range c.Args[2:] {
		p, found, err := place(&z, m)
		switch {
		case err != nil:
			return err
		case found:
			c.writePoint(p)
		default:
			c.Out.NullArray()
		}
	}
	return nil
}

func (c *Call) writePoint(p geo.Point) {
	c.Out.Array(2)
	c.Out.DoubleText(coordinate(p.Longitude))
	c.Out.DoubleText(coordinate(p.Latitude))
}

// coordinate spells a number with 17 decimals, less the zeros at the end.
func coordinate(f float64) []byte {
	s := bytes.TrimRight(strconv.AppendFloat(nil, f, 'f', 17, 64), "0")
	s = bytes.TrimSuffix(s, []byte("."))
	if string(s) == "-0" {
		return s[1:]
	}
	return s
}

// writeDistance answers a distance, in the unit wanted.
func (c *Call) writeDistance(d float64) {
	var buf [32]byte
	c.Out.Bulk(strconv.AppendFloat(buf[:0], d, 'f', 4, 64))
}

func geoDist(c *Call) error {
	unit := 1.0
	switch len(c.Args) {
	case 4:
	case 5:
		var err error
		if unit, err = c.unitAt(4); err != nil {
			return err
		}
	default:
		return Error(resp.ErrSyntax)
	}
	z, err := c.openZSet(1)
	if err != nil {
		return err
	}
	a, foundA, err := place(&z, c.Args[2])
	if err != nil {
		return err
	}
	b, foundB, err := place(&z, c.Args[3])
	switch {
	case err != nil:
		return err
	case foundA && foundB:
		c.writeDistance(geo.Distance(a, b) / unit)
	default:
		c.Out.Null()
	}
	return nil
}

func geoHash(c *Call) error {
	z, err := c.openZSet(1)
	if err != nil {
		return err
	}
	c.Out.Array(len(c.Args) - 2)
	for _, m := range c.Args[2:] {
		p, found, err := place(&z, m)
		switch {
		case err != nil:
			return err
		case found:
			c.Out.BulkString(p.String())
		default:
			c.Out.Null()
		}
	}
	return nil
}
