package option

import "strings"

// Get is CONFIG GET: the options that match any of the patterns, each once. A pattern without wildcards
// answers under the spelling asked; wildcards also find aliases, as in Redis.
func (c *Config) Get(patterns ...string) []Pair {
	view := c.cur.Load()
	var out []Pair
	seen := map[string]bool{}
	add := func(name string, id int) {
		if key := strings.ToLower(name); !seen[key] {
			seen[key] = true
			out = append(out, Pair{name, view.vals[id].text})
		}
	}
	for _, pattern := range patterns {
		if !strings.ContainsAny(pattern, "[*?") {
			if id, ok := byName[strings.ToLower(pattern)]; ok {
				add(pattern, id)
			}
			continue
		}
		pattern = strings.ToLower(pattern)
		for id, s := range table {
			for _, name := range s.Names() {
				if !s.Hidden && globMatch(pattern, name) {
					add(name, id)
				}
			}
		}
	}
	return out
}

// globMatch matches a name against a lower-case pattern with Redis' wildcards: * ? [abc] [^a] [a-z] and \x.
// It backtracks only to the last *, so its work is bounded by len(pattern) * len(name).
func globMatch(pattern, name string) bool {
	p, n := 0, 0
	star, mark := -1, 0
	for n < len(name) {
		if p < len(pattern) && pattern[p] == '*' {
			star, mark = p, n
			p++
			continue
		}
		if width, ok := globOne(pattern[p:], name[n]); ok {
			p += width
			n++
			continue
		}
		if star < 0 {
			return false
		}
		mark++
		p, n = star+1, mark
	}
	for p < len(pattern) && pattern[p] == '*' {
		p++
	}
	return p == len(pattern)
}

// globOne matches one character against the element that the pattern starts with and returns its width.
func globOne(pattern string, c byte) (width int, ok bool) {
	if pattern == "" {
		return 0, false
	}
	switch pattern[0] {
	case '?':
		return 1, true
	case '[':
		return globClass(pattern, c)
	case '\\':
		if len(pattern) > 1 {
			return 2, pattern[1] == c
		}
	}
	return 1, pattern[0] == c
}

// globClass matches [...]; a class without its closing bracket runs to the end of the pattern, as in Redis.
func globClass(pattern string, c byte) (width int, ok bool) {
	i, not := 1, false
	if i < len(pattern) && pattern[i] == '^' {
		not = true
		i++
	}
	for ; i < len(pattern) && pattern[i] != ']'; i++ {
		switch {
		case pattern[i] == '\\' && i+1 < len(pattern):
			i++
			ok = ok || pattern[i] == c
		case i+2 < len(pattern) && pattern[i+1] == '-':
			lo, hi := min(pattern[i], pattern[i+2]), max(pattern[i], pattern[i+2])
			ok = ok || (c >= lo && c <= hi)
			i += 2
		default:
			ok = ok || pattern[i] == c
		}
	}
	return min(i+1, len(pattern)), ok != not
}
