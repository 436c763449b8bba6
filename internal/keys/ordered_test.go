package keys

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/natsorm/natsorm/internal/value"
)

func decimal(t testing.TB, text string) value.Value {
	t.Helper()
	v, ok := value.OfDecimal(text)
	if !ok {
		t.Fatalf("%s is no decimal", text)
	}
	return v
}

// These keys are in buckets: they must not change.
func TestOrderedEntries(t *testing.T) {
	t.Parallel()
	at := func(text string) value.Value {
		when, err := time.Parse(time.RFC3339Nano, text)
		if err != nil {
			t.Fatal(err)
		}
		return value.OfTime(when)
	}
	for _, c := range []struct {
		v, id value.Value
		want  string
	}{
		{value.Null, value.OfInt(1), "-./.8.0.1./.1"},
		{value.OfBool(false), value.OfInt(-1), "0./.7.f.f./.-1"},
		{value.OfBool(true), value.OfInt(256), "1./.9.0.1.0.0./.256"},
		{value.OfInt(0), value.OfString(""), "8.0.0././.="},
		{value.OfInt(42), value.OfString("a.b"), "8.2.a./.6.1.2.e.6.2./.a=2Eb"},
		{value.OfInt(-1), value.OfUint(7), "7.f.f./.8.0.7./.7"},
		{value.OfInt(-257), value.OfInt(7), "6.f.e.f.f./.8.0.7./.7"},
		{value.OfInt(math.MaxInt64), value.OfInt(7), "f.7.f.f.f.f.f.f.f.f.f.f.f.f.f.f.f./.8.0.7./.7"},
		{value.OfInt(math.MinInt64), value.OfInt(7), "0.8.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0./.8.0.7./.7"},
		{value.OfUint(math.MaxUint64), value.OfInt(7), "f.f.f.f.f.f.f.f.f.f.f.f.f.f.f.f.f./.8.0.7./.7"},
		{value.OfFloat(0), value.OfInt(7), "8./.8.0.7./.7"},
		{value.OfFloat(1.5), value.OfInt(7), "b.f.f.8./.8.0.7./.7"},
		{value.OfFloat(-1.5), value.OfInt(7), "4.0.0.8./.8.0.7./.7"},
		{value.OfFloat(5e-324), value.OfInt(7), "8.0.0.0.0.0.0.0.0.0.0.0.0.0.0.1./.8.0.7./.7"},
		{value.OfString(""), value.OfInt(7), "/.8.0.7./.7"},
		{value.OfString("Zoë"), value.OfInt(7), "5.a.6.f.c.3.a.b./.8.0.7./.7"},
		{value.OfBytes([]byte{0, 255}), value.OfInt(7), "0.0.f.f./.8.0.7./.7"},
		{at("2026-11-27T00:00:00Z"), value.OfInt(7), "0.e.e.4.7.d.4.4.0.0./.8.0.7./.7"},
		{at("1969-12-31T23:59:59.0500Z"), value.OfInt(7), "0.e.7.9.7.4.7.b.f.f.0.5./.8.0.7./.7"},
		{decimal(t, "0"), value.OfInt(7), "8./.8.0.7./.7"},
		{decimal(t, "1.25"), value.OfInt(7), "9.8.0.1.1.2.5./.8.0.7./.7"},
		{decimal(t, "-1.25"), value.OfInt(7), "7.7.f.f.8.7.4.f./.8.0.7./.7"},
		{decimal(t, "1e-3"), value.OfInt(7), "9.7.f.e.1./.8.0.7./.7"},
	} {
		got := OrderedEntries(nil, "User", OrderedName([]string{"city", "age"}), []value.Value{value.OfString("Oslo"), c.v}, c.id)
		if want := "User.index.city/age.Oslo." + c.want; got[0] != want {
			t.Errorf("%s of %s: %s, want %s", c.v.Text(), c.id.Text(), got[0], want)
		}
		if !Valid(got[0]) {
			t.Errorf("%s is no key", got[0])
		}
	}
	long := OrderedEntries(nil, "User", OrderedName([]string{"name"}), []value.Value{value.OfString(strings.Repeat("a", 1000))}, value.OfString(strings.Repeat("b", 1000)))
	if want := "User.index./name" + strings.Repeat(".6.1", 32) + "./" + strings.Repeat(".6.2", 12) + "./.==9vEY4SDlK-C9DP3yeUzRLA"; long[0] != want {
		t.Error(long[0], want)
	}
	var sampled []int
	for i := range 20_000 {
		if e := OrderedEntries(nil, "User", "/age", []value.Value{value.OfInt(42)}, value.OfInt(int64(i))); len(e) > Samples {
			sampled = append(sampled, i)
			if want := []string{"User.index./age", "User.index./age/1", "User.index./age/2"}; !slices.EqualFunc(e, want, strings.HasPrefix) || e[2][len(want[2]):] != e[0][len(want[0]):] {
				t.Error(e)
			}
		}
	}
	if want := []int{310, 1168, 6264, 8559, 13534, 14072, 15309, 15985}; !slices.Equal(sampled, want) {
		t.Error(sampled)
	}
}

// About every 64th entry is in the next level, whatever the primary keys are like.
func TestSamples(t *testing.T) {
	t.Parallel()
	for name, id := range map[string]func(i int) value.Value{
		"counted":  func(i int) value.Value { return value.OfInt(int64(i)) },
		"hundreds": func(i int) value.Value { return value.OfInt(int64(i) * 100) },
		"negative": func(i int) value.Value { return value.OfInt(-int64(i)) },
		"text":     func(i int) value.Value { return value.OfString(fmt.Sprintf("user-%06d", i)) },
		"uuid": func(i int) value.Value {
			return value.OfString(fmt.Sprintf("0193a1b2-%04x-7000-8000-%012x", i, i*7919))
		},
	} {
		const n = 1 << 16
		var levels [Samples + 1]int
		gap, longest := 0, 0
		for i := range n {
			e := OrderedEntries(nil, "M", "/a", []value.Value{value.Null}, id(i))
			for l := range e {
				levels[l]++
			}
			if gap++; len(e) > 1 {
				gap, longest = 0, max(longest, gap)
			}
		}
		if levels[0] != n || levels[1] < n/SampleRate*8/10 || levels[1] > n/SampleRate*12/10 || levels[2] < 4 || levels[2] > 40 {
			t.Errorf("%s: %v", name, levels)
		}
		if longest > 12*SampleRate {
			t.Errorf("%s: %d entries in a row are no samples", name, longest)
		}
	}
}

// edges are values around which the encoding changes.
func edges(t testing.TB) map[string][]value.Value {
	out := map[string][]value.Value{}
	for _, i := range []int64{0, 1, 15, 16, 127, 128, 255, 256, 65535, 65536, 1 << 24, 1 << 32, 1 << 40, 1 << 48, 1 << 56, math.MaxInt64} {
		for _, d := range []int64{-1, 0, 1} {
			out["int"] = append(out["int"], value.OfInt(i+d), value.OfInt(-(i + d)), value.OfInt(math.MinInt64+i))
			out["uint"] = append(out["uint"], value.OfUint(uint64(i+d)), value.OfUint(math.MaxUint64-uint64(i)))
		}
	}
	for _, f := range []float64{0, 1, 1.5, 2, math.Pi, math.MaxFloat64, math.SmallestNonzeroFloat64, 1e-310, 1e300, 1 << 53, 0.1} {
		for _, g := range []float64{f, math.Nextafter(f, math.Inf(-1)), math.Nextafter(f, math.Inf(1))} {
			if !math.IsInf(g, 0) {
				out["float"] = append(out["float"], value.OfFloat(g), value.OfFloat(-g))
			}
		}
	}
	texts := []string{"", "\x00", "a", "a\x00", "aa", "ab", "b", "é", "𝄞", "�", "z", "ÿ", strings.Repeat("a", 31), strings.Repeat("a", 32), strings.Repeat("a", 33), strings.Repeat("a", 31) + "b", strings.Repeat("x", 10_000)}
	for _, s := range texts {
		out["string"] = append(out["string"], value.OfString(s))
		out["bytes"] = append(out["bytes"], value.OfBytes([]byte(s)), value.OfBytes([]byte(s+"\xff")))
	}
	out["bool"] = []value.Value{value.OfBool(true), value.OfBool(false)}
	for _, base := range []time.Time{time.Unix(firstSecond, 0), time.Unix(0, 0), time.Date(2026, 11, 27, 0, 0, 0, 0, time.UTC), time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC)} {
		for _, d := range []time.Duration{0, 1, 10, 100, 999_999_999, 500_000_000, 123_456_789} {
			out["time"] = append(out["time"], value.OfTime(base.Add(d)))
		}
	}
	for _, d := range []string{"0", "1", "10", "1.2", "1.25", "1.205", "1.3", "9", "9.9", "0.1", "0.01", "123456789", "1e100", "1e-100", "1e1000", "1e999999", "1e-999999", "0." + strings.Repeat("3", 39), "0." + strings.Repeat("3", 41), "0." + strings.Repeat("3", 60)} {
		out["decimal"] = append(out["decimal"], decimal(t, d), decimal(t, "-"+d))
	}
	for kind := range out {
		out[kind] = append(out[kind], value.Null)
	}
	return out
}

// orders checks that places are in the order of what they are of, and that ranges of places
// are those of values.
func orders(t *testing.T, a, b, idA, idB value.Value) {
	t.Helper()
	want := value.Compare(a, b)
	_, exact := appendOrdered(nil, a)
	_, same := appendOrdered(nil, b)
	got := cmp.Compare(GroupPlace(a), GroupPlace(b))
	if got != want && (got != 0 || exact && same) {
		t.Errorf("%.50q and %.50q: %d, want %d: %s, %s", a.Text(), b.Text(), got, want, GroupPlace(a), GroupPlace(b))
	}
	place := Place(b, idB)
	if group, id := SplitPlace(place); group != GroupPlace(b) || group+"."+id != place {
		t.Errorf("%s is %s and %s", place, group, id)
	}
	if from := Place(a, idA); from < place {
		for _, at := range []string{Between(from, place), Past(from, place)} {
			if at <= from || at > place {
				t.Errorf("%s is between %s and %s", at, from, place)
			}
		}
	}
	if got := cmp.Compare(Place(a, idA), place); want != 0 && got != want && (exact && same) || want == 0 && got != value.Compare(idA, idB) && got != 0 {
		t.Errorf("%.50q and %.50q: %d, want %d", a.Text(), b.Text(), got, want)
	}
	if a.IsNull() || b.IsNull() {
		return
	}
	for _, r := range []struct {
		name        string
		from, until string
		has, only   bool
	}{
		{">", PlaceFrom(a, true), EndPlace, want < 0, want <= 0 && !exact},
		{">=", PlaceFrom(a, false), EndPlace, want <= 0, !exact},
		{"<", ValuesFrom, PlaceTo(a, false), want > 0, !exact},
		{"<=", ValuesFrom, PlaceTo(a, true), want >= 0, !exact},
	} {
		in := r.from <= place && place < r.until
		if r.has && !in || in && !r.has && exact && same {
			t.Errorf("%.50q %s %.50q: %t; %s in [%s, %s)", b.Text(), r.name, a.Text(), in, place, r.from, r.until)
		}
		if !in || hash(a.Text() + r.name + b.Text())[0] > 'F' { // a tenth of them
			continue
		}
		covered := slices.ContainsFunc(Cover(nil, "p.", r.from, r.until), func(p string) bool { return Matches(p, "p."+place+".7") })
		if !covered {
			t.Errorf("%s in [%s, %s) is not covered", place, r.from, r.until)
		}
	}
}

func TestPlacesAreInOrder(t *testing.T) {
	t.Parallel()
	ids := []value.Value{value.OfInt(-300), value.OfInt(-1), value.OfInt(5), value.OfInt(300)}
	for _, vals := range edges(t) {
		for i, a := range vals {
			for j, b := range vals {
				orders(t, a, b, ids[i%len(ids)], ids[j%len(ids)])
			}
		}
	}
}

func TestTextsThatBegin(t *testing.T) {
	t.Parallel()
	texts := edges(t)["string"]
	for _, prefix := range texts {
		if prefix.IsNull() {
			continue
		}
		from, until := Places(prefix.Str())
		for _, v := range texts {
			place := Place(v, value.OfInt(1))
			in := from <= place && place < until
			if has := !v.IsNull() && strings.HasPrefix(v.Str(), prefix.Str()); has && !in || in && !has && len(prefix.Str()) < maxOrderedBytes {
				t.Errorf("%.40q, %.40q: %t", prefix.Str(), v.Text(), in)
			}
		}
	}
}

func FuzzPlaces(f *testing.F) {
	f.Add(uint64(1), uint64(2), "a", "b", int64(7))
	f.Add(uint64(1)<<63, uint64(0), "", "a\x00", int64(-1))
	f.Add(uint64(0x7fefffffffffffff), uint64(0xffefffffffffffff), "ab", "abc", int64(256))
	f.Fuzz(func(t *testing.T, x, y uint64, s, u string, id int64) {
		a, b := value.OfInt(id), value.OfInt(id^int64(x>>60))
		orders(t, value.OfInt(int64(x)), value.OfInt(int64(y)), a, b)
		orders(t, value.OfUint(x), value.OfUint(y), a, b)
		if fx, fy := math.Float64frombits(x), math.Float64frombits(y); !math.IsNaN(fx-fx) && !math.IsNaN(fy-fy) {
			orders(t, value.OfFloat(fx), value.OfFloat(fy), a, b)
		}
		orders(t, value.OfString(s), value.OfString(u), value.OfString(u), value.OfString(s))
		const years = 315569520000 // seconds in ten thousand of them
		orders(t, value.OfTime(time.Unix(firstSecond+int64(x%years), int64(y%1e9))), value.OfTime(time.Unix(firstSecond+int64(y%years), int64(x%1e9))), a, b)
		dx, ok1 := value.OfDecimal(fmt.Sprintf("%de%d", int64(x), int8(id)))
		dy, ok2 := value.OfDecimal(fmt.Sprintf("%de%d", int64(y), int8(id>>8)))
		if ok1 && ok2 {
			orders(t, dx, dy, a, b)
		}
	})
}

// The patterns of a range match exactly its places, and come in their order.
func TestCover(t *testing.T) {
	t.Parallel()
	var places []string
	for i := range 3000 {
		places = append(places, Place(value.OfInt(int64(i%700)-200), value.OfInt(int64(i))))
	}
	slices.Sort(places)
	bounds := []string{FirstPlace, ValuesFrom, EndPlace, places[3], After(places[900]), places[2500], PlaceFrom(value.OfInt(0), true), PlaceTo(value.OfInt(100), true), GroupPlace(value.OfInt(77))}
	for _, from := range bounds {
		for _, until := range bounds {
			patterns := Cover(nil, "M.index./a.", from, until)
			last := -1
			for _, place := range places {
				at := slices.IndexFunc(patterns, func(p string) bool { return Matches(p, "M.index./a."+place+".7") })
				if in := from <= place && place < until; in != (at >= 0) {
					t.Fatalf("%s in [%s, %s): %t", place, from, until, at >= 0)
				}
				if at >= 0 && at < last {
					t.Fatalf("pattern %d comes after %d", at, last)
				}
				last = max(last, at)
			}
			if len(patterns) > maxCover {
				t.Errorf("%d patterns", len(patterns))
			}
		}
	}
	long := func(c string) string { return Place(value.OfString(strings.Repeat(c, 40)), value.OfInt(1)) }
	if n := len(Cover(nil, "M.index./a.", long("8"), long("z"))); n > maxCover || n < 30 {
		t.Errorf("%d patterns of long texts", n)
	}
}
