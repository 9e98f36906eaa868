package command

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// The grammar of Spec.Syntax, which is that of Redis' documentation:
//
//	TOKEN            a word that is sent as it stands; besides upper case these are the signs = ~ * $ and ""
//	name             an argument
//	[x y]            may be left out
//	<x y>            belongs together
//	x | y            one of these, inside of [] or <> only
//	x y [x y ...]    x y, once or more often
//	x ...            x, once or more often; x is one word or one pair of brackets
//
// The words of the command's name come first.

// node is a word, or a pair of brackets with its alternatives.
type node struct {
	word     string
	alts     [][]node
	optional bool
	multiple bool
}

// isToken reports whether the node is a word that is sent as it stands.
func (n node) isToken() bool { return n.word != "" && strings.ToUpper(n.word) == n.word }

func (n node) equal(m node) bool {
	return n.word == m.word && n.optional == m.optional && n.multiple == m.multiple &&
		slices.EqualFunc(n.alts, m.alts, equalNodes)
}

func equalNodes(a, b []node) bool { return slices.EqualFunc(a, b, node.equal) }

// maxSyntaxDepth is deeper than any description nests brackets.
const maxSyntaxDepth = 16

func parseSyntax(syntax string) ([]node, error) {
	tokens, err := splitSyntax(syntax)
	if err != nil {
		return nil, err
	}
	p := syntaxParser{rest: tokens}
	alts, err := p.alternatives(0)
	switch {
	case err != nil:
		return nil, err
	case len(p.rest) > 0:
		return nil, fmt.Errorf("syntax: %q without its opening", p.rest[0])
	case len(alts) > 1:
		return nil, errors.New("syntax: alternatives outside of brackets")
	}
	return alts[0], nil
}

// splitSyntax cuts a syntax into brackets, bars, ellipses and words.
func splitSyntax(syntax string) ([]string, error) {
	var tokens []string
	for syntax != "" {
		n := 1
		switch {
		case syntax[0] == ' ':
			syntax = syntax[1:]
			continue
		case !strings.ContainsRune("[]<>|", rune(syntax[0])):
			if n = strings.IndexAny(syntax, " []<>|"); n < 0 {
				n = len(syntax)
			}
			if w := syntax[:n]; w != "..." && !validSyntaxWord(w) {
				return nil, fmt.Errorf("syntax: %q is no word", w)
			}
		}
		tokens = append(tokens, syntax[:n])
		syntax = syntax[n:]
	}
	return tokens, nil
}

// validSyntaxWord reports whether w is a sign, or of one case: a word of both would be neither token nor argument.
func validSyntaxWord(w string) bool {
	if signNames[w] != "" {
		return true
	}
	upper, lower := false, false
	for _, c := range []byte(w) {
		switch {
		case c >= 'A' && c <= 'Z':
			upper = true
		case c >= 'a' && c <= 'z':
			lower = true
		case c >= '0' && c <= '9' || c == '-' || c == '_' || c == ':':
		default:
			return false
		}
	}
	return upper != lower
}

type syntaxParser struct{ rest []string }

// alternatives reads up to the bracket that closes the one before it, or to the end.
func (p *syntaxParser) alternatives(depth int) ([][]node, error) {
	if depth > maxSyntaxDepth {
		return nil, errors.New("syntax: too deep")
	}
	var alts [][]node
	var seq []node
	for len(p.rest) > 0 && p.rest[0] != "]" && p.rest[0] != ">" {
		t := p.rest[0]
		p.rest = p.rest[1:]
		switch t {
		case "|":
			if len(seq) == 0 {
				return nil, errors.New("syntax: nothing before |")
			}
			alts, seq = append(alts, seq), nil
		case "...":
			if len(seq) == 0 || seq[len(seq)-1].multiple {
				return nil, errors.New("syntax: nothing that ... repeats")
			}
			seq[len(seq)-1].multiple = true
		case "[", "<":
			inner, err := p.alternatives(depth + 1)
			if err != nil {
				return nil, err
			}
			if end := map[string]string{"[": "]", "<": ">"}[t]; len(p.rest) == 0 || p.rest[0] != end {
				return nil, fmt.Errorf("syntax: %q is not closed", t)
			}
			p.rest = p.rest[1:]
			if n := repeats(seq, inner); t == "[" && n > 0 {
				seq = foldTail(seq, n)
			} else {
				seq = append(seq, node{alts: inner, optional: t == "["})
			}
		default:
			seq = append(seq, node{word: t})
		}
	}
	if len(seq) == 0 {
		return nil, errors.New("syntax: nothing where words are expected")
	}
	return append(alts, seq), nil
}

// repeats tells how many of the last nodes of seq are what an optional pair of brackets says again, with an
// ellipsis: 2 for "x y" and "[x y ...]"; 0 if it says something else.
func repeats(seq []node, inner [][]node) int {
	if len(inner) != 1 {
		return 0
	}
	again := slices.Clone(inner[0])
	n := len(again)
	if !again[n-1].multiple || n > len(seq) {
		return 0
	}
	again[n-1].multiple = false
	if !equalNodes(seq[len(seq)-n:], again) {
		return 0
	}
	return n
}

// foldTail makes one node, which may be given several times, of the last n nodes.
func foldTail(seq []node, n int) []node {
	at := len(seq) - n
	if n > 1 {
		tail := slices.Clone(seq[at:])
		seq = append(seq[:at], node{alts: [][]node{tail}})
	}
	seq[at].multiple = true
	return seq
}
