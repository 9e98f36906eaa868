// Package geo places points of the earth on the scores of a sorted set, and finds them again. A score is a geohash of
// 52 bits: longitude and latitude are halved in turn, so that points of one cell of the grid have scores that are one
// range. Searches walk the ranges of the cells around a place.
//
// The arithmetic follows Redis step by step, because replies show its results to the last digit: the earth is a
// sphere, and positions are the middles of cells. Products are rounded before they are added, on every processor.
//
// The package keeps no state.
package geo

import "math"

// Limits of coordinates in degrees. The latitude is that of the square map of the web (EPSG:900913).
const (
	MaxLongitude = 180
	MaxLatitude  = 85.05112878
)

const (
	// radius is that of the earth in metres.
	radius = 6372797.560856
	// maxStep is how often both coordinates are halved.
	maxStep = 26
)

// Point is a place, in degrees.
type Point struct{ Longitude, Latitude float64 }

// Valid reports whether the coordinates are within the limits.
func (p Point) Valid() bool {
	return math.Abs(p.Longitude) <= MaxLongitude && math.Abs(p.Latitude) <= MaxLatitude
}

// axis is a range of coordinates that is halved.
type axis struct{ low, high float64 }

var (
	longitudes = axis{-MaxLongitude, MaxLongitude}
	latitudes  = axis{-MaxLatitude, MaxLatitude}
)

// index is the number of the part that holds a coordinate, of 1<<step parts. That of the greatest coordinate is
// one more than the last.
func (a axis) index(v float64, step uint) uint32 {
	return uint32((v - a.low) / (a.high - a.low) * float64(uint64(1)<<step))
}

// part is where a part begins and ends.
func (a axis) part(i uint32, step uint) axis {
	n := float64(uint64(1) << step)
	size := a.high - a.low
	return axis{a.low + float64(float64(i)/n*size), a.low + float64(float64(i+1)/n*size)}
}

// spread puts a zero bit before each bit.
func spread(v uint32) uint64 {
	x := uint64(v)
	x = (x | x<<16) & 0x0000ffff0000ffff
	x = (x | x<<8) & 0x00ff00ff00ff00ff
	x = (x | x<<4) & 0x0f0f0f0f0f0f0f0f
	x = (x | x<<2) & 0x3333333333333333
	return (x | x<<1) & 0x5555555555555555
}

// gather takes every second bit.
func gather(x uint64) uint32 {
	x &= 0x5555555555555555
	x = (x | x>>1) & 0x3333333333333333
	x = (x | x>>2) & 0x0f0f0f0f0f0f0f0f
	x = (x | x>>4) & 0x00ff00ff00ff00ff
	x = (x | x>>8) & 0x0000ffff0000ffff
	return uint32(x | x>>16)
}

// cell is a field of the grid of 1<<step columns and rows.
type cell struct {
	x, y uint32
	step uint
}

func cellOf(p Point, step uint) cell {
	return cell{longitudes.index(p.Longitude, step), latitudes.index(p.Latitude, step), step}
}

func (c cell) hash() uint64 { return spread(c.x)<<1 | spread(c.y) }

// scores is the range of scores in the cell, without the end.
func (c cell) scores() (from, to float64) {
	shift := 2 * (maxStep - c.step)
	return float64(c.hash() << shift), float64((c.hash() + 1) << shift)
}

// moved is the cell so many columns and rows away, around the edges.
func (c cell) moved(dx, dy int) cell {
	mask := uint32(1)<<c.step - 1
	if dx != 0 {
		c.x = (c.x + uint32(dx)) & mask
	}
	if dy != 0 {
		c.y = (c.y + uint32(dy)) & mask
	}
	return c
}

// Score is the score of a point.
func Score(p Point) float64 { return float64(cellOf(p, maxStep).hash()) }

// hashOf is the geohash that a score stands for. Of scores that are none: what a conversion gives on amd64.
func hashOf(score float64) uint64 {
	const half = 1 << 63
	switch {
	case score >= 2*half:
		return 0
	case score >= half:
		return uint64(score)
	case score < -half:
		return half
	}
	return uint64(int64(score))
}

// At is the point that has a score: the middle of its cell.
func At(score float64) Point {
	h := hashOf(score)
	return Point{
		middle(longitudes.part(gather(h>>1), maxStep), MaxLongitude),
		middle(latitudes.part(gather(h), maxStep), MaxLatitude),
	}
}

// middle is that of a part, which the edge of the map may cut.
func middle(a axis, limit float64) float64 { return max(min((a.low+a.high)/2, limit), -limit) }

func radians(degrees float64) float64 { return degrees * (math.Pi / 180) }

func degrees(radians float64) float64 { return radians / (math.Pi / 180) }

// Distance is that of two points on the sphere, in metres (haversine).
func Distance(a, b Point) float64 {
	latA, latB := radians(a.Latitude), radians(b.Latitude)
	v := math.Sin((radians(b.Longitude) - radians(a.Longitude)) / 2)
	if v == 0 {
		return radius * math.Abs(latB-latA)
	}
	u := math.Sin((latB - latA) / 2)
	h := math.Sqrt(float64(u*u) + float64(math.Cos(latA)*math.Cos(latB)*v*v))
	return 2 * radius * arcsine(h)
}

// arcsine is exact near 1, where math.Asin is not.
func arcsine(x float64) float64 { return math.Atan2(x, math.Sqrt((1-x)*(1+x))) }

// alphabet has the digits of the usual spelling of geohashes.
const alphabet = "0123456789bcdefghjkmnpqrstuvwxyz"

// String is the usual geohash of a point: 11 digits over latitudes from -90 to 90. The last is always 0, since 52 bits
// are ten digits and a bit.
func (p Point) String() string {
	h := cell{longitudes.index(p.Longitude, maxStep), axis{-90, 90}.index(p.Latitude, maxStep), maxStep}.hash()
	b := []byte("00000000000")
	for i := range 10 {
		b[i] = alphabet[h>>(47-5*i)&31]
	}
	return string(b)
}
