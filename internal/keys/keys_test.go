package keys

import (
	"math"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/natsorm/natsorm/internal/value"
)

// These are the bytes on disk. A change here is a change of the format and
// needs a new format version in the catalogue.
func TestGoldenIDs(t *testing.T) {
	for _, c := range []struct {
		id   value.Value
		want string
	}{
		{value.OfInt(123), "User.shard_11.123"},
		{value.OfInt(0), "User.shard_0.0"},
		{value.OfInt(-5), "User.shard_11.-5"},
		{value.OfInt(-16), "User.shard_0.-16"},
		{value.OfInt(math.MinInt64), "User.shard_0.-9223372036854775808"},
		{value.OfUint(math.MaxUint64), "User.shard_15.18446744073709551615"},
		{value.OfString("123"), "User.shard_11.123"},
		{value.OfString("007"), "User.shard_14.007"},
		{value.OfString("+5"), "User.shard_3.=2B5"},
		{value.OfString("alice"), "User.shard_7.alice"},
		{value.OfString("a.b"), "User.shard_0.a=2Eb"},
		{value.OfString("*"), "User.shard_13.=2A"},
		{value.OfString(">"), "User.shard_12.=3E"},
		{value.OfString(""), "User.shard_8.="},
		{value.OfString("a b\n"), "User.shard_7.a=20b=0A"},
		{value.OfString("Zoë"), "User.shard_5.Zo=C3=AB"},
		{value.OfString(strings.Repeat("x", 128)), "User.shard_5." + strings.Repeat("x", 128)},
		{value.OfString(strings.Repeat("x", 129)), "User.shard_14.==DsnrM-dFELzdHy6lUgboLw"},
	} {
		if got := Record("User", 16, ID(c.id)); got != c.want {
			t.Errorf("Record(%q) = %q, want %q", c.id.Text(), got, c.want)
		}
	}
}

func TestGoldenValues(t *testing.T) {
	for _, c := range []struct {
		v    value.Value
		want string
	}{
		{value.OfString("Alice"), "Alice"},
		{value.OfString("alice@example.com"), "alice_example_com=_42YGfwOEr8NJIkuRZh-JA"},
		{value.OfString("alice_example_com"), "alice_example_com"},
		{value.OfString(""), "=47DEQpj8HBSa-_TImW-5JA"},
		{value.OfString("null"), "null"},
		{value.OfString("=null"), "_null=08PcMvITI718vgeSg4Ky8A"},
		{value.Null, "=null"},
		{value.OfInt(-7), "-7"},
		{value.OfBool(true), "true"},
		{value.OfFloat(1.5), "1_5=nymhMEOLgRcLkqQmUPmpQg"},
		{value.OfFloat(math.Copysign(0, -1)), "0"},
		{value.OfFloat(1e21), "1e_21=JBxGQ_pwsdzeEgW3G-Tjvg"},
		{value.OfTime(time.Date(2024, 1, 2, 3, 4, 5, 0, time.FixedZone("", 3600))), "2024-01-02T02_04_05Z=w-I8-v8afqB-fxSQ0GCSbg"},
		{value.OfString("a/b"), "a/b"},
		{value.OfString("日本"), "__=zyq_DFvjJsuSKnD4Fj-RBw"},
		{value.OfString(strings.Repeat("x", 65)), strings.Repeat("x", 64) + "=lTfF_fEgSC99WNJentWD9Q"},
	} {
		if got := Value(c.v); got != c.want {
			t.Errorf("Value(%q) = %q, want %q", c.v.Text(), got, c.want)
		}
	}
}

func TestGoldenKeys(t *testing.T) {
	folded := Entry("User", FoldedName("city-age"), []value.Value{value.OfString("oslo"), value.OfInt(30)}, "7")
	oslo := []value.Value{value.OfString("Oslo"), value.OfInt(30)}
	for got, want := range map[string]string{
		Entry("User", "name", oslo[:1], "7"):                         "User.index.name.Oslo.7",
		Entry("User", IndexName([]string{"city", "age"}), oslo, "7"): "User.index.city-age.Oslo.30.7",
		Claim("User", "name", oslo[:1]):                              "User.unique.name.Oslo",
		folded:                                                       "User.index.city-age=fold.oslo.30.7",
		HeadOf("User", folded):                                       "User.head.city-age=fold.42",
		Unfolded("city-age=fold") + Unfolded("city"):                 "city-agecity",
		Schema("User"):                                               "_schema.User",
		Sequence("User"):                                             "_sequence.User",
		Migration("add-email"):                                       "_migration.add-email",
		Migrations():                                                 "_migration.*",
		MigrationLease:                                               "_lease.migration",
		Sweeping:                                                     "_lease.sweep",
		Records("User"):                                              "User.*.*",
		Entry("User", EachName("tags"), oslo[:1], "7"):               "User.index.tags=each.Oslo.7",
		HeadOf("User", "User.index.tags=each.Oslo.7"):                "User.head.tags=each.10",
		EachName(IndexName([]string{"address.in.city"})):             "address=_in=_city=each",
	} {
		if got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	for name, column := range map[string]string{"tags=each": "tags", "address=_in=_city=each": "address", "address=_fold=each": "address"} {
		if got, ok := EachOf(Unfolded(name)); got != column || !ok {
			t.Errorf("%s is of column %q", name, got)
		}
	}
}

var oneToken = regexp.MustCompile(`^[-/_=a-zA-Z0-9]+$`)

// FuzzTokens: every text gives one token of the bucket's alphabet, of bounded
// length, and different texts give different tokens.
func FuzzTokens(f *testing.F) {
	for _, s := range []string{"", "a", "=", "==", "=2E", ".", "*", ">", "a.b", "a_b", "null", "=null", "\x00\xff", strings.Repeat("é", 200)} {
		f.Add(s, "a_b")
	}
	f.Fuzz(func(t *testing.T, a, b string) {
		va, vb := value.OfString(a), value.OfString(b)
		for _, token := range []string{ID(va), Value(va)} {
			if !oneToken.MatchString(token) || len(token) > maxID+24 {
				t.Errorf("%q gives the token %q", a, token)
			}
		}
		if a != b && (ID(va) == ID(vb) || Value(va) == Value(vb)) {
			t.Errorf("%q and %q share a token", a, b)
		}
		if s := Shard(ID(va), 16); s < 0 || s > 15 {
			t.Errorf("%q is in shard %d", a, s)
		}
	})
}

func TestCheckName(t *testing.T) {
	for _, ok := range []string{"User", "user_2", "a-b", strings.Repeat("x", 64)} {
		if err := CheckName(ok); err != nil {
			t.Errorf("%q: %v", ok, err)
		}
	}
	for _, bad := range []string{"", "_x", "a.b", "a b", "*", ">", "é", strings.Repeat("x", 65)} {
		if CheckName(bad) == nil {
			t.Errorf("%q is accepted", bad)
		}
	}
}

// The two ways to a record's key give the same one.
func TestRecordOf(t *testing.T) {
	for _, id := range []value.Value{
		value.OfInt(0), value.OfInt(7), value.OfInt(-7), value.OfInt(math.MaxInt64), value.OfInt(math.MinInt64),
		value.OfUint(7), value.OfUint(math.MaxUint64), value.OfString("7"), value.OfString("x.y"), value.OfString(""),
	} {
		for _, shards := range []int{1, 16, 4096} {
			if got, want := RecordOf("M", shards, id), Record("M", shards, ID(id)); got != want {
				t.Errorf("%s of %d shards: %s, want %s", id.Text(), shards, got, want)
			}
		}
	}
}
