package keys

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/natsorm/natsorm/internal/value"
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
		{"User.*.name.*.7", "User.index.name.a.7", true},
		{"User.*.name.*.7", "User.index.name.a.8", false},
		{"User.>", "User.index.name.a.7", true},
		{"User.>", "User", false},
		{"User.*.>", "User.index", false},
		{"User.*.>", "User.index.name", true},
		{"User.unique.email.a", "User.unique.email.a", true},
		{"User.unique.email.a", "User.unique.email.a.b", false},
		{">", "User", true},
		{"*", "User", true},
		{"*", "User.index", false},
	} {
		if got := Matches(c.pattern, c.key); got != c.want {
			t.Errorf("%s, %s: %v", c.pattern, c.key, got)
		}
		if got := NewMatcher([]string{"other", c.pattern, "User.other.*"}).Has(c.key); got != c.want {
			t.Errorf("%s among others, %s: %v", c.pattern, c.key, got)
		}
	}
}

// agrees holds a Matcher to what asking pattern by pattern says.
func agrees(t *testing.T, patterns []string, key string) {
	t.Helper()
	m := NewMatcher(patterns)
	var got, want []int
	m.Each(key, func(i int) { got = append(got, i) })
	slices.Sort(got)
	for i, p := range patterns {
		if Matches(p, key) {
			want = append(want, i)
		}
	}
	if !slices.Equal(got, want) {
		t.Fatalf("%q matches %v of %q, want %v", key, got, patterns, want)
	}
	if m.Has(key) != (len(want) > 0) {
		t.Fatalf("%q among %q: %v", key, patterns, m.Has(key))
	}
}

// The matcher says what asking pattern by pattern says, also of patterns that are the
// same, and of keys among them.
func TestMatcherAgrees(t *testing.T) {
	t.Parallel()
	const seed = 1
	r := rand.New(rand.NewPCG(seed, 2))
	random := func(wild bool) string {
		tokens := make([]string, 1+r.IntN(4))
		for i := range tokens {
			if tokens[i] = fmt.Sprint(r.IntN(3)); wild && r.IntN(2) == 0 {
				tokens[i] = anyToken
			}
		}
		if wild && r.IntN(5) == 0 {
			tokens = append(tokens, anyTokens)
		}
		return strings.Join(tokens, ".")
	}
	for range 5000 {
		patterns := make([]string, 1+r.IntN(8))
		for i := range patterns {
			patterns[i] = random(i%3 > 0)
		}
		agrees(t, patterns, random(false))
	}
}

// FuzzMatcher is TestMatcherAgrees of any text: patterns are separated by spaces.
func FuzzMatcher(f *testing.F) {
	f.Add("User.*.* User.index.name.a.* User.>", "User.index.name.a.7")
	f.Add("a.*.c *.b.* a.b.c a.b.c >", "a.b.c")
	f.Add("  . .. *. .* >.a a*", "")
	f.Fuzz(func(t *testing.T, patterns, key string) { agrees(t, strings.Split(patterns, " "), key) })
}

func TestIsLookup(t *testing.T) {
	city := []value.Value{value.OfString("Oslo")}
	for pattern, want := range map[string]bool{
		LookupPattern("User", "city", city, 0):     true,
		LookupPattern("User", "city-zip", city, 1): true,
		Entries("User"):                  false,
		Records("User"):                  false,
		Heads("User"):                    false,
		All("User"):                      false,
		Everything:                       false,
		Entry("User", "city", city, "7"): false,
		Claim("User", "city", city):      false,
	} {
		if got := IsLookup(pattern); got != want {
			t.Errorf("%s: %v", pattern, got)
		}
	}
}

// BenchmarkMatcher: a key among 1,000 lookups, and the making of those.
func BenchmarkMatcher(b *testing.B) {
	patterns := make([]string, 1000)
	for i := range patterns {
		patterns[i] = LookupPattern("User", "email", []value.Value{value.OfInt(int64(i))}, 0)
	}
	b.Run("make", func(b *testing.B) {
		for b.Loop() {
			NewMatcher(patterns)
		}
	})
	m, key := NewMatcher(patterns), Entry("User", "email", []value.Value{value.OfInt(500)}, "7")
	b.Run("each", func(b *testing.B) {
		for b.Loop() {
			m.Each(key, func(int) {})
		}
	})
}

func TestValid(t *testing.T) {
	t.Parallel()
	for _, key := range []string{"a", "User.shard_1.7", "User.unique.email.a/b=c", "é.ü", Anchor, strings.Repeat("x", MaxLength)} {
		if !Valid(key) {
			t.Errorf("%.40q is refused", key)
		}
	}
	for _, key := range []string{"", ".", ".a", "a.", "a..b", "a b", "a\tb", "a\x00", "a\x7f", "\xff", "a.*", "a.>", "a*b", strings.Repeat("x", MaxLength+1)} {
		if Valid(key) {
			t.Errorf("%.40q is a key", key)
		}
	}
}
