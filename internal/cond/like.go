package cond

import (
	"fmt"
	"strings"
)

// In a compiled pattern these stand for the wildcards. No character of a string is
// negative.
const (
	anyText rune = -1 // %
	anyOne  rune = -2 // _
)

// likePattern compiles an SQL LIKE pattern. % matches any text, also none; _ matches
// exactly one character (a Unicode code point); and \ makes the next character
// stand for itself.
func likePattern(pattern string) (func(string) bool, error) {
	var p []rune
	escaped := false
	for _, r := range pattern {
		switch {
		case escaped:
			p, escaped = append(p, r), false
		case r == '\\':
			escaped = true
		case r == '%':
			p = append(p, anyText)
		case r == '_':
			p = append(p, anyOne)
		default:
			p = append(p, r)
		}
	}
	if escaped {
		return nil, fmt.Errorf(`pattern %q ends with a single \; write \\ for a backslash`, pattern)
	}
	return func(s string) bool { return likeMatch(p, []rune(s)) }, nil
}

// likeMatch reports whether s matches p. It lets each % match as little as possible,
// and after a mismatch lets the last % match one character more. Earlier ones need
// not be tried again: what they could gain, the last one can match too. So the time
// is at most len(p) times len(s), whatever the pattern.
func likeMatch(p, s []rune) bool {
	i, j := 0, 0        // matched up to here: of p, of s
	star, from := -1, 0 // the last % in p, and where in s the text after it begins
	for j < len(s) {
		switch {
		case i < len(p) && p[i] == anyText:
			star, from = i, j
			i++
		case i < len(p) && (p[i] == anyOne || p[i] == s[j]):
			i++
			j++
		case star >= 0:
			from++
			i, j = star+1, from
		default:
			return false
		}
	}
	for i < len(p) && p[i] == anyText {
		i++
	}
	return i == len(p)
}

// LikePrefix is the text with which every text begins that matches a LIKE pattern: what is before
// the first wildcard.
func LikePrefix(pattern string) string {
	var b strings.Builder
	escaped := false
	for _, r := range pattern {
		switch {
		case escaped:
			escaped = false
		case r == '\\':
			escaped = true
			continue
		case r == '%' || r == '_':
			return b.String()
		}
		b.WriteRune(r)
	}
	return b.String()
}
