package txn

import "strings"

// matcher finds the patterns that keys match, of many patterns, in time that does
// not grow with their number: as long as after their first * there are only others.
type matcher struct {
	keys   map[string]bool
	shapes map[shape]map[string]string // patterns by what precedes their first *
	others []string
}

// shape is what patterns have in common: the tokens before the first *, and all.
type shape struct{ fixed, tokens int }

func newMatcher(patterns []string) *matcher {
	m := &matcher{keys: map[string]bool{}, shapes: map[shape]map[string]string{}}
	for _, p := range patterns {
		star := strings.IndexAny(p, "*>")
		if star < 0 {
			m.keys[p] = true
			continue
		}
		rest := p[star:]
		if strings.Trim(rest, "*.") != "" || star == 0 {
			m.others = append(m.others, p)
			continue
		}
		s := shape{fixed: strings.Count(p[:star], "."), tokens: strings.Count(p, ".") + 1}
		if m.shapes[s] == nil {
			m.shapes[s] = map[string]string{}
		}
		m.shapes[s][p[:star]] = p
	}
	return m
}

// has reports whether a key is among the keys and patterns.
func (m *matcher) has(key string) bool {
	found := m.keys[key]
	m.each(key, func(string) { found = true })
	return found
}

// each calls f with each pattern that a key matches.
func (m *matcher) each(key string, f func(pattern string)) {
	tokens := strings.Count(key, ".") + 1
	for s, patterns := range m.shapes {
		if s.tokens == tokens {
			if p, ok := patterns[firstTokens(key, s.fixed)]; ok {
				f(p)
			}
		}
	}
	for _, p := range m.others {
		if matches(p, key) {
			f(p)
		}
	}
}

// firstTokens is the first n tokens of a key, with the dot behind them.
func firstTokens(key string, n int) string {
	at := 0
	for range n {
		at += strings.IndexByte(key[at:], '.') + 1
	}
	return key[:at]
}

// isPattern tells patterns from keys, which have no such characters.
func isPattern(s string) bool { return strings.ContainsAny(s, "*>") }

// matches reports whether a key matches a pattern.
func matches(pattern, key string) bool {
	for {
		p, pRest, pMore := strings.Cut(pattern, ".")
		k, kRest, kMore := strings.Cut(key, ".")
		switch {
		case p == ">":
			return true
		case p != "*" && p != k, pMore != kMore:
			return false
		case !pMore:
			return true
		}
		pattern, key = pRest, kRest
	}
}
