package rdb

import (
	"encoding/binary"
	"math"
	"strconv"
)

// AppendScore appends the score of an entry of TypeZSet2.
func AppendScore(dst []byte, score float64) []byte {
	return binary.LittleEndian.AppendUint64(dst, math.Float64bits(score))
}

// Lengths that stand for a score which has no digits, in TypeZSet.
const (
	scoreNaN   = 253
	scorePlus  = 254
	scoreMinus = 255
)

// textScore reads a score as TypeZSet has it: a length of one byte, and digits.
func (r *Reader) textScore() (float64, error) {
	p, err := r.take(1)
	if err != nil {
		return 0, err
	}
	switch p[0] {
	case scoreNaN:
		return math.NaN(), nil
	case scorePlus:
		return math.Inf(1), nil
	case scoreMinus:
		return math.Inf(-1), nil
	}
	if p, err = r.take(uint64(p[0])); err != nil {
		return 0, err
	}
	return parseScore(p)
}

func parseScore(b []byte) (float64, error) {
	score, err := strconv.ParseFloat(string(b), 64)
	if err != nil {
		return 0, ErrFormat
	}
	return score, nil
}

func (r *Reader) binaryScore() (float64, error) {
	p, err := r.take(8)
	if err != nil {
		return 0, err
	}
	return math.Float64frombits(binary.LittleEndian.Uint64(p)), nil
}

// Entries reads the value of a sorted set in one of its encodings and visits its entries. The views are valid as
// long as the input is, and during the call.
func (r *Reader) Entries(typ byte, visit func(member []byte, score float64) error) error {
	checked := func(member []byte, score float64) error {
		if math.IsNaN(score) {
			return ErrFormat
		}
		return visit(member, score)
	}
	if typ != TypeZSet && typ != TypeZSet2 {
		pairs := byte(TypeHashListpack)
		if typ == TypeZSetZiplist {
			pairs = TypeHashZiplist
		}
		return r.Pairs(pairs, func(member, text []byte) error {
			score, err := parseScore(text)
			if err != nil {
				return err
			}
			return checked(member, score)
		})
	}
	n, err := r.Length()
	if err != nil {
		return err
	}
	for ; n > 0; n-- {
		member, err := r.String()
		if err != nil {
			return err
		}
		read := r.binaryScore
		if typ == TypeZSet {
			read = r.textScore
		}
		score, err := read()
		if err != nil {
			return err
		}
		if err := checked(member, score); err != nil {
			return err
		}
	}
	return nil
}
