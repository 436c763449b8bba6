package cond

import "fmt"

const (
	anyText rune = -1 // %
	anyOne  rune = -2 // _
)

// likePattern compiles an SQL LIKE pattern: % is any text, _ any one
// character, and \ takes the next character as itself.
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
		return nil, fmt.Errorf(`pattern %q ends with \; write \\ for a backslash`, pattern)
	}
	return func(s string) bool { return likeMatch(p, []rune(s)) }, nil
}

// likeMatch matches greedily and goes back only to the last %, so it is at
// worst quadratic, whatever the pattern.
func likeMatch(p, s []rune) bool {
	i, j := 0, 0
	star, from := -1, 0
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
