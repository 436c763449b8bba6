package keys

import (
	"math"
	"strings"
	"testing"

	"github.com/natsorm/natsorm/internal/value"
)

// The keys that sequelize-natskv makes: `${name}.shard_${id % 16}.${id}`.
func TestSequelizeRecord(t *testing.T) {
	for _, c := range []struct {
		id   value.Value
		want string
	}{
		{value.OfInt(123), "User.shard_11.123"},
		{value.OfInt(0), "User.shard_0.0"},
		{value.OfInt(16), "User.shard_0.16"},
		{value.OfInt(-5), "User.shard_-5.-5"},
		{value.OfInt(-16), "User.shard_0.-16"},
		{value.OfInt(1<<53 - 1), "User.shard_15.9007199254740991"},
		{value.OfInt(-(1<<53 - 1)), "User.shard_-15.-9007199254740991"},
		{value.OfUint(17), "User.shard_1.17"},
		{value.OfString("12"), "User.shard_12.12"},
		{value.OfString("-5"), "User.shard_-5.-5"},
		{value.OfString("007"), "User.shard_7.007"},
		{value.OfString("0x1f"), "User.shard_15.0x1f"},
		{value.OfString("1e3"), "User.shard_8.1e3"},
		{value.OfString("1e-7"), "User.shard_1e-7.1e-7"},
		{value.OfString("99999999999999999999"), "User.shard_0.99999999999999999999"},
		{value.OfString("9007199254740993"), "User.shard_0.9007199254740993"},
		{value.OfString("Infinity"), "User.shard_NaN.Infinity"},
		{value.OfString("alice"), "User.shard_NaN.alice"},
		{value.OfString("a/b=c-d_e"), "User.shard_NaN.a/b=c-d_e"},
		{value.OfString("-"), "User.shard_NaN.-"},
	} {
		if got, why := SequelizeRecord("User", 16, c.id); got != c.want || why != "" {
			t.Errorf("%s: %s (%s), want %s", c.id.Text(), got, why, c.want)
		}
	}
	seen := map[string]bool{}
	for _, id := range []value.Value{
		value.OfInt(1 << 53), value.OfInt(math.MaxInt64), value.OfInt(math.MinInt64), value.OfUint(math.MaxUint64),
		value.OfString(""), value.OfString("a.b"), value.OfString("1.5"), value.OfString("5e-1"), value.OfString(">"), value.OfString("*"),
		value.OfString("a b"), value.OfString("é"), value.OfString("😀"), value.OfString(strings.Repeat("x", 1025)), value.OfString("a\x00"),
	} {
		key, why := SequelizeRecord("User", 16, id)
		if why == "" || !strings.HasPrefix(key, "User.none.") || strings.Count(key, ".") != 2 || strings.ContainsAny(key, "*> ") || seen[key] {
			t.Errorf("%.20s: %s, %q", id.Text(), key, why)
		}
		seen[key] = true
	}
}

func TestSequelizeEntry(t *testing.T) {
	for text, want := range map[string]string{
		"alice@example.com":        "User.index.email.alice_example_com",
		"null":                     "User.index.email.null",
		"true":                     "User.index.email.true",
		"1.5":                      "User.index.email.1_5",
		"-7":                       "User.index.email.-7",
		"1e+21":                    "User.index.email.1e_21",
		"2024-05-06T07:08:09.000Z": "User.index.email.2024-05-06T07_08_09_000Z",
		"a/b_c-d":                  "User.index.email.a/b_c-d",
		"[object Object]":          "User.index.email._object_Object_",
		"é":                        "User.index.email._",
		"😀":                        "User.index.email.__",
		"a\nb=c":                   "User.index.email.a_b_c",
		strings.Repeat("x", 1024):  "User.index.email." + strings.Repeat("x", 1024),
	} {
		if got, ok := SequelizeEntry("User", "email", text); got != want || !ok {
			t.Errorf("%q: %s, %v, want %s", text, got, ok, want)
		}
	}
	for _, text := range []string{"", strings.Repeat("x", 1025), strings.Repeat("😀", 513)} {
		if got, ok := SequelizeEntry("User", "email", text); ok {
			t.Errorf("%.20q: %.60s", text, got)
		}
	}
}
