package txn

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

func TestMatches(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		pattern, key string
		want         bool
	}{
		{"User.*.*", "User.shard_1.7", true},
		{"User.*.*", "User.index.name.a.7", false},
		{"User.*.*", "Users.shard_1.7", false},
		{"User.*.*", "User.shard_1", false},
		{"User.index.name.a.*", "User.index.name.a.7", true},
		{"User.index.name.a.*", "User.index.name.b.7", false},
		{"User.index.city-name.a.*.*", "User.index.city-name.a.b.7", true},
		{"User.index.city-name.a.*.*", "User.index.city-name.a.7", false},
		{"User.>", "User.index.name.a.7", true},
		{"User.>", "User", false},
		{"User.unique.email.a", "User.unique.email.a", true},
	} {
		if got := matches(c.pattern, c.key); got != c.want {
			t.Errorf("%s, %s: %v", c.pattern, c.key, got)
		}
	}
}

// The matcher says what asking pattern by pattern says.
func TestMatcherAgrees(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(1, 2))
	random := func(wild bool) string {
		tokens := make([]string, 1+r.IntN(4))
		for i := range tokens {
			if tokens[i] = fmt.Sprint(r.IntN(3)); wild && r.IntN(2) == 0 {
				tokens[i] = "*"
			}
		}
		if wild && r.IntN(5) == 0 {
			tokens = append(tokens, ">")
		}
		return strings.Join(tokens, ".")
	}
	for range 2000 {
		patterns := make([]string, 1+r.IntN(5))
		for i := range patterns {
			patterns[i] = random(true)
		}
		m := newMatcher(patterns)
		key := random(false)
		var got []string
		m.each(key, func(p string) { got = append(got, p) })
		if m.keys[key] {
			got = append(got, key)
		}
		for _, p := range patterns {
			if want := matches(p, key); want != slices.Contains(got, p) {
				t.Fatalf("%q among %q: %v, want %v of %q", key, patterns, got, want, p)
			}
		}
		if m.has(key) != (len(got) > 0) {
			t.Fatalf("%q among %q: has %v", key, patterns, m.has(key))
		}
	}
}
