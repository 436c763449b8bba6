package keys

import (
	"strings"
	"unicode/utf8"
)

// The tokens of a pattern that stand for other tokens.
const (
	anyToken  = "*" // stands for one token
	anyTokens = ">" // at the end; stands for one token or more
)

// MaxLength is the largest length of a key, in bytes. The server takes no protocol line
// of more than 4096 bytes, and the line has more in it than the key.
const MaxLength = 3 << 10

// Valid reports whether a text can be a key: the server takes it as a subject, and it is
// not a pattern.
func Valid(key string) bool {
	if key == "" || key[0] == '.' || key[len(key)-1] == '.' || strings.Contains(key, "..") || !utf8.ValidString(key) || len(key) > MaxLength {
		return false
	}
	for i := 0; i < len(key); i++ {
		if key[i] <= ' ' || key[i] == 0x7f {
			return false
		}
	}
	return !IsPattern(key)
}

// IsPattern reports whether s is a pattern: a key has neither * nor > in it.
func IsPattern(s string) bool { return strings.ContainsAny(s, anyToken+anyTokens) }

// Matches reports whether a key matches a pattern, or is that key. Use a Matcher for many
// patterns.
func Matches(pattern, key string) bool {
	for {
		p, pRest, pMore := strings.Cut(pattern, ".")
		k, kRest, kMore := strings.Cut(key, ".")
		switch {
		case p == anyTokens:
			return true
		case p != anyToken && p != k, pMore != kMore:
			return false
		case !pMore:
			return true
		}
		pattern, key = pRest, kRest
	}
}

// Matcher finds, among many keys and patterns, those that a key matches. Patterns with
// literal tokens at the same places have one form, and one map by their literal tokens.
// So a match takes time by the number of forms, not of patterns; the lookups of a model
// have only a few forms.
type Matcher struct {
	forms []*form
	equal []int // for each position the position of an earlier pattern with the same text, plus 1; 0 when there is none
}

// form holds the patterns that have literal tokens at the same places.
type form struct {
	tokens string         // literal, anyOne or anyMany for each token
	fixed  int            // how many tokens are literal, when all of them come first; otherwise -1
	at     map[string]int // the position of the last pattern, by the text of its literal tokens
}

const (
	literal = 'a'
	anyOne  = '*'
	anyMany = '>'
)

// NewMatcher makes a Matcher for keys and patterns. Each refers to them by their
// positions in the slice.
func NewMatcher(patterns []string) *Matcher {
	m := &Matcher{equal: make([]int, len(patterns))}
	var buf [32]byte
	for i, p := range patterns {
		f := m.form(formOf(p, buf[:0]), len(patterns))
		text := f.text(p)
		if before, ok := f.at[text]; ok {
			m.equal[i] = before + 1
		}
		f.at[text] = i
	}
	return m
}

// formOf appends, for each token of a pattern, what it is: literal, anyOne or anyMany.
func formOf(pattern string, to []byte) []byte {
	for more := true; more; {
		var token string
		token, pattern, more = strings.Cut(pattern, ".")
		switch token {
		case anyTokens:
			return append(to, anyMany)
		case anyToken:
			to = append(to, anyOne)
		default:
			to = append(to, literal)
		}
	}
	return to
}

// form returns the form with these tokens, and makes it if it is new. The first form
// gets a map with room for that many patterns, because most patterns share one form.
func (m *Matcher) form(tokens []byte, room int) *form {
	for _, f := range m.forms {
		if f.tokens == string(tokens) {
			return f
		}
	}
	if len(m.forms) > 0 {
		room = 0
	}
	f := &form{tokens: string(tokens), fixed: -1, at: make(map[string]int, room)}
	if first := len(strings.TrimLeft(f.tokens, string(literal))); !strings.Contains(f.tokens[len(f.tokens)-first:], string(literal)) {
		f.fixed = len(f.tokens) - first
	}
	m.forms = append(m.forms, f)
	return f
}

// text returns those tokens of a key or a pattern that stand where the form has literal
// ones: what a key and a pattern that it matches have in common.
func (f *form) text(s string) string {
	if f.fixed >= 0 {
		return firstTokens(s, f.fixed)
	}
	var b strings.Builder
	for i, rest := 0, s; i < len(f.tokens) && f.tokens[i] != anyMany; i++ {
		var token string
		if token, rest, _ = strings.Cut(rest, "."); f.tokens[i] == literal {
			b.WriteString(token)
			b.WriteByte('.')
		}
	}
	return b.String()
}

// fits reports whether a key with this number of tokens can match the form.
func (f *form) fits(tokens int) bool {
	if f.tokens[len(f.tokens)-1] == anyMany {
		return tokens >= len(f.tokens)
	}
	return tokens == len(f.tokens)
}

// firstTokens returns the first n tokens of s, with the dot behind them if there is one.
func firstTokens(s string, n int) string {
	at := 0
	for range n {
		i := strings.IndexByte(s[at:], '.')
		if i < 0 {
			return s
		}
		at += i + 1
	}
	return s[:at]
}

// Has reports whether a key matches one of the patterns, or is one of the keys.
func (m *Matcher) Has(key string) bool {
	tokens := strings.Count(key, ".") + 1
	for _, f := range m.forms {
		if f.fits(tokens) {
			if _, ok := f.at[f.text(key)]; ok {
				return true
			}
		}
	}
	return false
}

// Each calls found with the position of every pattern that a key matches, and of every
// key in the slice that is the same, in no particular order.
func (m *Matcher) Each(key string, found func(i int)) {
	tokens := strings.Count(key, ".") + 1
	for _, f := range m.forms {
		if !f.fits(tokens) {
			continue
		}
		for i, ok := f.at[f.text(key)]; ok; {
			found(i)
			i = m.equal[i] - 1
			ok = i >= 0
		}
	}
}
