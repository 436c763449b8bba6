package keys

import (
	"strings"
	"unicode/utf8"
)

// The tokens of a pattern that stand for others.
const (
	anyToken  = "*" // for one token
	anyTokens = ">" // at the end, for one token or more
)

// MaxLength is how many bytes a key has at most: the server takes no line of more than
// 4096 bytes.
const MaxLength = 3 << 10

// Valid reports whether a text can be a key: it can be published to, and is no pattern.
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

// IsPattern tells patterns from keys, which have none of those characters.
func IsPattern(s string) bool { return strings.ContainsAny(s, anyToken+anyTokens) }

// Matches reports whether a key matches a pattern, or is the same key. For many
// patterns there is Matcher.
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

// Matcher finds those of many keys and patterns that a key matches. The time that
// takes does not grow with their number, but with the number of their forms; the
// lookups of a model have a few.
type Matcher struct {
	forms []*form
	equal []int // by position: an earlier pattern with the same text, plus one; 0 for none
}

// form is the patterns that have literal tokens at the same places.
type form struct {
	tokens string         // literal, anyOne or anyMany for each token
	fixed  int            // the number of literal ones where they all come first; otherwise -1
	at     map[string]int // the position of a pattern, by the text of its literal tokens
}

const (
	literal = 'a'
	anyOne  = '*'
	anyMany = '>'
)

// NewMatcher makes a Matcher for keys and patterns. It refers to them by their
// positions.
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

// formOf appends what each token of a pattern is.
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

// form is the one of these tokens; most of the patterns that are to come, at most room,
// have the first one.
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

// text is the tokens of a key or a pattern where the form has literal ones.
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

// fits reports whether keys with this number of tokens can match.
func (f *form) fits(tokens int) bool {
	if f.tokens[len(f.tokens)-1] == anyMany {
		return tokens >= len(f.tokens)
	}
	return tokens == len(f.tokens)
}

// firstTokens is the first n tokens of s, with the dot behind them if there is one.
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

// Has reports whether a key matches a pattern, or is among the keys.
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

// Each calls found with the position of every pattern that a key matches, and of
// every key that it is, in no particular order.
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
