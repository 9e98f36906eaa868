package geo

import (
	"math"

	"haypile/internal/types/zset"
)

// Shape is what a search covers, in metres: a circle, or a box that stands upright.
type Shape struct {
	Center        Point
	Radius        float64
	Box           bool
	Width, Height float64
}

// Distance is how far a point is from the center, and whether it is inside.
func (s *Shape) Distance(p Point) (d float64, inside bool) {
	if !s.Box {
		d = Distance(s.Center, p)
		return d, d <= s.Radius
	}
	if Distance(p, Point{p.Longitude, s.Center.Latitude}) > s.Height/2 ||
		Distance(p, Point{s.Center.Longitude, p.Latitude}) > s.Width/2 {
		return 0, false
	}
	return Distance(s.Center, p), true
}

// bounds is a box of coordinates around the shape.
func (s *Shape) bounds() (longitude, latitude axis) {
	width, height := s.Radius, s.Radius
	if s.Box {
		width, height = s.Width/2, s.Height/2
	}
	dLat := degrees(height / radius)
	// A degree of longitude is shortest on the side of the pole.
	edge := s.Center.Latitude + dLat
	if s.Center.Latitude < 0 {
		edge = s.Center.Latitude - dLat
	}
	dLon := degrees(width / radius / math.Cos(radians(edge)))
	return axis{s.Center.Longitude - dLon, s.Center.Longitude + dLon},
		axis{s.Center.Latitude - dLat, s.Center.Latitude + dLat}
}

// halfEquator is half the length of the equator of the map, in metres.
const halfEquator = 20037726.37

// step is how fine the grid may be so that the nine cells around the center probably cover the shape.
func (s *Shape) step() uint {
	reach := s.Radius
	if s.Box {
		reach = math.Sqrt(float64(s.Width/2*(s.Width/2)) + float64(s.Height/2*(s.Height/2)))
	}
	if reach == 0 {
		return maxStep
	}
	step := -1 // two less: cells of at least the reach
	for n := 1; reach < halfEquator; n++ {
		reach *= 2
		step = n - 1
	}
	switch lat := math.Abs(s.Center.Latitude); { // cells are narrower towards the poles
	case lat > 80:
		step -= 2
	case lat > 66:
		step--
	}
	return uint(min(max(step, 1), maxStep))
}

// ring are the directions of the cells to walk, the center's first. The order shows in replies that are not sorted.
var ring = [9][2]int{{0, 0}, {0, 1}, {0, -1}, {1, 0}, {-1, 0}, {1, 1}, {-1, 1}, {1, -1}, {-1, -1}}

// cells are those that cover the shape.
func (s *Shape) cells() []cell {
	lon, lat := s.bounds()
	step := s.step()
	center := cellOf(s.Center, step)
	if step > 1 && !center.reaches(lon, lat) {
		step--
		center = cellOf(s.Center, step)
	}
	x, y := longitudes.part(center.x, step), latitudes.part(center.y, step)
	var found []cell
	for _, d := range ring {
		inside := d[0] > 0 && x.high > lon.high || d[0] < 0 && x.low < lon.low ||
			d[1] > 0 && y.high > lat.high || d[1] < 0 && y.low < lat.low
		if inside && step >= 2 { // the shape ends before the neighbour in this direction
			continue
		}
		c := center.moved(d[0], d[1])
		// In the coarsest grid, of two columns and rows, the neighbours on both sides are the same.
		if len(found) > 1 && c == found[len(found)-1] {
			continue
		}
		found = append(found, c)
	}
	return found
}

// reaches reports whether the neighbours of a cell reach to all bounds.
func (c cell) reaches(lon, lat axis) bool {
	row := func(dy int) axis { return latitudes.part(c.moved(0, dy).y, c.step) }
	column := func(dx int) axis { return longitudes.part(c.moved(dx, 0).x, c.step) }
	return row(1).high >= lat.high && row(-1).low <= lat.low && column(1).high >= lon.high && column(-1).low <= lon.low
}

// Found is a member inside a shape.
type Found struct {
	Member []byte
	Score  float64
	Point  Point
	// Distance is that from the center, in metres.
	Distance float64
}

// Search visits the members inside a shape, cell by cell, until f says stop. Member is valid during the call.
func Search(z *zset.ZSet, s Shape, f func(Found) (more bool)) error {
	more := true
	for _, c := range s.cells() {
		from, to := c.scores()
		err := z.Walk(zset.Scores(from, to, false, true), false, func(e zset.Entry) bool {
			p := At(e.Score)
			if d, inside := s.Distance(p); inside {
				more = f(Found{e.Member, e.Score, p, d})
			}
			return more
		})
		if err != nil || !more {
			return err
		}
	}
	return nil
}
