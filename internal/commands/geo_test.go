package commands_test

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"testing"
)

// TestGeoAgainstRedis compares random searches among random places, replies byte by byte.
func TestGeoAgainstRedis(t *testing.T) {
	p := newPair(t)
	rng := rand.New(rand.NewPCG(12, 1))
	pick := func(words ...string) string { return words[rng.IntN(len(words))] }
	inside := func(limit float64) string { return fmt.Sprintf("%.6f", (rng.Float64()*2-1)*limit) }
	special := func(limit float64) string {
		switch rng.IntN(6) {
		case 0:
			return strconv.FormatFloat(limit, 'f', -1, 64)
		case 1:
			return strconv.FormatFloat(-limit, 'f', -1, 64)
		case 2:
			return "0"
		case 3:
			return strconv.FormatFloat(rng.NormFloat64(), 'f', -1, 64)
		}
		return inside(limit)
	}
	// Never two special coordinates: among equal distances Redis' order depends on its sorting.
	point := func() (lon, lat string) {
		if rng.IntN(2) == 0 {
			return inside(180), special(85.05112878)
		}
		return special(180), inside(85.05112878)
	}
	member := func() string { return fmt.Sprint("m", rng.IntN(400)) }
	size := func() string {
		// From metres to more than the earth, each magnitude as often as the others.
		return fmt.Sprintf("%.3f", float64(rng.IntN(1000))*float64(uint64(1)<<rng.IntN(24))/100)
	}
	unit := func() string { return pick("m", "km", "ft", "MI") }
	options := func() (o []string) {
		if rng.IntN(2) == 0 {
			o = append(o, pick("ASC", "DESC"))
		}
		switch rng.IntN(4) {
		case 0:
			o = append(o, "COUNT", fmt.Sprint(1+rng.IntN(7)))
		case 1:
			o = append(o, "COUNT", fmt.Sprint(1+rng.IntN(20)), "ANY")
		}
		return o
	}
	shown := func(o []string) []string {
		for _, w := range []string{"WITHCOORD", "WITHDIST", "WITHHASH"} {
			if rng.IntN(2) == 0 {
				o = append(o, w)
			}
		}
		return o
	}
	shape := func() (s []string) {
		if rng.IntN(3) == 0 {
			s = append(s, "FROMMEMBER", member())
		} else {
			lon, lat := point()
			s = append(s, "FROMLONLAT", lon, lat)
		}
		if rng.IntN(2) == 0 {
			return append(s, "BYRADIUS", size(), unit())
		}
		return append(s, "BYBOX", size(), size(), unit())
	}
	for i := range 4000 {
		if i%1000 == 0 {
			p.proto(2 + i/1000%2)
			p.clear()
			for range 150 {
				lon, lat := point()
				p.same("GEOADD", "g", lon, lat, member())
			}
		}
		lon, lat := point()
		switch rng.IntN(10) {
		case 0:
			p.same("GEOADD", "g", pick("NX", "XX", "CH"), "CH", lon, lat, member())
		case 1:
			p.same("GEODIST", "g", member(), member(), unit())
			p.same("GEOPOS", "g", member(), member())
			p.same("GEOHASH", "g", member(), member())
		case 2:
			p.same(append([]string{"GEORADIUS", "g", lon, lat, size(), unit()}, shown(options())...)...)
		case 3:
			p.same(append([]string{"GEORADIUSBYMEMBER_RO", "g", member(), size(), unit()}, shown(options())...)...)
		case 4:
			p.same(append(append([]string{"GEOSEARCHSTORE", "s", "g"}, shape()...), options()...)...)
			p.same("ZRANGE", "s", "0", "-1", "WITHSCORES")
		case 5:
			p.same("ZREM", "g", member())
		default:
			p.same(append(append([]string{"GEOSEARCH", "g"}, shape()...), shown(options())...)...)
		}
		if t.Failed() {
			t.FailNow()
		}
	}
}
