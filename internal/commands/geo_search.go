package commands

import (
	"haypile/internal/keyevent"
	"haypile/internal/resp"
	"haypile/internal/types/geo"
	"haypile/internal/types/zset"
)

// searchForm is how a command says what it searches for.
type searchForm struct {
	// options is where these begin; source is the argument with the key.
	options, source int
	// shaped: center and shape are options, as of GEOSEARCH. Else there is a circle, around a member or a point.
	shaped, member bool
	// stores: the result is stored, or, where center and shape are no options, may be.
	stores bool
}

// geoQuery is what GEOSEARCH and its kin ask for.
type geoQuery struct {
	searchForm
	geo.Shape
	unit                float64 // in metres
	order               geo.Order
	count               int64
	any                 bool
	dist, hash, coord   bool
	to                  []byte // the destination, nil for an answer
	distances           bool   // are stored
	fromMember, fromLoc bool
	byRadius, byBox     bool
}

func (f searchForm) run(c *Call) error {
	z, err := c.openZSet(f.source)
	if err != nil {
		return err
	}
	c.notifyMiss(z.Key())
	q := geoQuery{searchForm: f, unit: 1}
	if err := q.parse(c, &z); err != nil {
		return err
	}
	sel := geo.Selection{Order: q.order, Most: int(q.count)}
	if z.Len() > 0 {
		err = geo.Search(&z, q.Shape, func(m geo.Found) bool {
			sel.Add(m)
			return sel.Bytes <= maxStoredBytes && !(q.any && sel.Full())
		})
	}
	switch {
	case err != nil:
		return err
	case sel.Bytes > maxStoredBytes:
		return errTooLarge
	case q.to != nil:
		return q.store(c, &sel)
	}
	q.answer(c, &sel)
	return nil
}

func (q *geoQuery) parse(c *Call, z *zset.ZSet) (err error) {
	switch {
	case q.shaped:
		if q.stores {
			q.to = c.Args[1]
		}
	case q.member:
		if z.Len() == 0 {
			break // the answer will be nothing, whatever the radius
		}
		if q.Center, err = c.memberAt(2, z); err != nil {
			return err
		}
		err = q.parseRadius(c, 3)
	default:
		if q.Center, err = c.pointAt(2); err == nil {
			err = q.parseRadius(c, 4)
		}
	}
	if err != nil {
		return err
	}
	for i := q.options; i < len(c.Args); i++ {
		if i, err = q.option(c, z, i); err != nil {
			return err
		}
	}
	return q.check(c)
}

// option reads one option and returns where it ends.
func (q *geoQuery) option(c *Call, z *zset.ZSet, i int) (last int, err error) {
	more := len(c.Args) - 1 - i
	switch {
	case c.Is(i, "WITHDIST"):
		q.dist = true
	case c.Is(i, "WITHHASH"):
		q.hash = true
	case c.Is(i, "WITHCOORD"):
		q.coord = true
	case c.Is(i, "ANY"):
		q.any = true
	case c.Is(i, "ASC"):
		q.order = geo.NearestFirst
	case c.Is(i, "DESC"):
		q.order = geo.FarthestFirst
	case c.Is(i, "COUNT") && more >= 1:
		if q.count, err = c.int64At(i + 1); err == nil && q.count <= 0 {
			err = Error(resp.ErrGeoCount)
		}
		return i + 1, err
	case !q.shaped:
		return q.radiusOption(c, i, more)
	default:
		return q.shapeOption(c, z, i, more)
	}
	return i, nil
}

// radiusOption reads an option that only GEORADIUS has.
func (q *geoQuery) radiusOption(c *Call, i, more int) (last int, err error) {
	distances := c.Is(i, "STOREDIST")
	if !q.stores || more < 1 || !distances && !c.Is(i, "STORE") {
		return i, Error(resp.ErrSyntax)
	}
	q.to, q.distances = c.Args[i+1], distances
	return i + 1, nil
}

// shapeOption reads an option that only GEOSEARCH has.
func (q *geoQuery) shapeOption(c *Call, z *zset.ZSet, i, more int) (last int, err error) {
	switch {
	case c.Is(i, "FROMMEMBER") && more >= 1 && !q.fromLoc:
		q.fromMember = true
		if z.Len() > 0 {
			q.Center, err = c.memberAt(i+1, z)
		}
		return i + 1, err
	case c.Is(i, "FROMLONLAT") && more >= 2 && !q.fromMember:
		q.fromLoc = true
		q.Center, err = c.pointAt(i + 1)
		return i + 2, err
	case c.Is(i, "BYRADIUS") && more >= 2 && !q.byBox:
		q.byRadius = true
		return i + 2, q.parseRadius(c, i+1)
	case c.Is(i, "BYBOX") && more >= 3 && !q.byRadius:
		q.byBox = true
		return i + 3, q.parseBox(c, i+1)
	case c.Is(i, "STOREDIST") && q.stores:
		q.distances = true
		return i, nil
	}
	return i, Error(resp.ErrSyntax)
}

// check finds what the options do not say, or say twice.
func (q *geoQuery) check(c *Call) error {
	name := string(c.Args[0])
	switch {
	case q.to != nil && (q.dist || q.hash || q.coord):
		if q.shaped {
			return Error(resp.StoreWith("GEOSEARCHSTORE"))
		}
		return Error(resp.StoreWith("STORE option in GEORADIUS"))
	case q.shaped && !q.fromMember && !q.fromLoc:
		return Error(resp.AnyOneOf("FROMMEMBER or FROMLONLAT", name))
	case q.shaped && !q.byRadius && !q.byBox:
		return Error(resp.AnyOneOf("BYRADIUS and BYBOX", name))
	case q.any && q.count == 0:
		return Error(resp.ErrGeoAnyNoCount)
	}
	if q.count > 0 && q.order == geo.AsFound && !q.any {
		q.order = geo.NearestFirst
	}
	return nil
}

// memberAt is the place of the member that is argument i.
func (c *Call) memberAt(i int, z *zset.ZSet) (geo.Point, error) {
	p, found, err := place(z, c.Args[i])
	if err == nil && !found {
		err = Error(resp.ErrGeoMember)
	}
	return p, err
}

func (q *geoQuery) parseRadius(c *Call, i int) (err error) {
	r, ok := resp.ParseFloat(c.Args[i])
	switch {
	case !ok:
		return Error(resp.ErrGeoRadius)
	case r < 0:
		return Error(resp.ErrGeoRadiusSign)
	}
	q.unit, err = c.unitAt(i + 1)
	q.Radius = r * q.unit
	return err
}

func (q *geoQuery) parseBox(c *Call, i int) (err error) {
	w, ok := resp.ParseFloat(c.Args[i])
	if !ok {
		return Error(resp.ErrGeoWidth)
	}
	h, ok := resp.ParseFloat(c.Args[i+1])
	switch {
	case !ok:
		return Error(resp.ErrGeoHeight)
	case w < 0 || h < 0:
		return Error(resp.ErrGeoBoxSign)
	}
	q.unit, err = c.unitAt(i + 2)
	q.Box, q.Width, q.Height = true, w*q.unit, h*q.unit
	return err
}

func (q *geoQuery) answer(c *Call, sel *geo.Selection) {
	fields := 1 + int(bit(q.dist)+bit(q.hash)+bit(q.coord))
	c.Out.Array(sel.Len())
	sel.All(func(m geo.Found) {
		if fields > 1 {
			c.Out.Array(fields)
		}
		c.Out.Bulk(m.Member)
		if q.dist {
			c.writeDistance(m.Distance / q.unit)
		}
		if q.hash {
			c.Out.Int(int64(m.Score))
		}
		if q.coord {
			c.writePoint(m.Point)
		}
	})
}

var wordZAdd = []byte("ZADD")

// geoBatch is the number of entries in one ZADD of the log.
const geoBatch = 512

// store replaces the destination. The log gets the entries: distances depend on a processor's mathematics.
func (q *geoQuery) store(c *Call, sel *geo.Selection) error {
	e, err := c.Tx.Lookup(q.to)
	if err != nil {
		return err
	}
	existed := e.Found
	if existed {
		c.effect(wordDel, q.to)
	}
	c.Out.Int(int64(sel.Len()))
	if sel.Len() == 0 {
		if _, err = c.Tx.Remove(&e); existed {
			c.notify(keyevent.Generic, "del", q.to)
		}
		return err
	}
	dst := zset.Begin(c.Tx, e, 0)
	effect := [][]byte{wordZAdd, q.to}
	sel.All(func(m geo.Found) {
		score := m.Score
		if q.distances {
			score = m.Distance / q.unit
		}
		dst.Fill(m.Member, score)
		effect = append(effect, resp.AppendFloat(nil, score), m.Member)
		if len(effect) == 2+2*geoBatch {
			c.effect(effect...)
			effect = effect[:2]
		}
	})
	if len(effect) > 2 {
		c.effect(effect...)
	}
	if err := dst.Save(); err != nil {
		return err
	}
	event := "georadiusstore"
	if q.shaped {
		event = "geosearchstore"
	}
	c.notify(keyevent.ZSet, event, q.to)
	return nil
}
