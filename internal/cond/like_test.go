package cond

import (
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"
)

// FuzzLike: LIKE agrees with the regular expression that says the same.
func FuzzLike(f *testing.F) {
	for _, c := range [][2]string{{"a%", "abc"}, {"%b%", "abc"}, {"a_c", "abc"}, {`50\%`, "50%"}, {"", ""}, {"%", ""}, {"_", "日"}, {"%%_%a", "xaya"}, {`\\`, `\`}} {
		f.Add(c[0], c[1])
	}
	f.Fuzz(func(t *testing.T, pattern, s string) {
		if !utf8.ValidString(pattern) || !utf8.ValidString(s) {
			return
		}
		like, err := likePattern(pattern)
		var re strings.Builder
		escaped := false
		for _, r := range pattern {
			switch {
			case escaped:
				re.WriteString(regexp.QuoteMeta(string(r)))
				escaped = false
			case r == '\\':
				escaped = true
			case r == '%':
				re.WriteString(".*")
			case r == '_':
				re.WriteString(".")
			default:
				re.WriteString(regexp.QuoteMeta(string(r)))
			}
		}
		if escaped != (err != nil) {
			t.Fatalf("%q: %v", pattern, err)
		}
		if err != nil {
			return
		}
		want, err := regexp.Compile("^(?s:" + re.String() + ")$")
		if err != nil {
			return
		}
		if got := like(s); got != want.MatchString(s) {
			t.Errorf("%q like %q: %v", s, pattern, got)
		}
	})
}
