package value

import (
	"encoding/json"
	"math"
	"math/big"
	"math/rand/v2"
	"testing"
	"time"
)

func TestCoerce(t *testing.T) {
	type named int8
	at := time.Date(2024, 1, 2, 3, 4, 5, 6, time.FixedZone("", 7200))
	for _, c := range []struct {
		x    any
		t    Type
		want string // text; "-" does not fit
	}{
		{2, Int, "2"}, {named(-2), Int, "-2"}, {uint64(math.MaxInt64), Int, "9223372036854775807"}, {uint64(math.MaxUint64), Int, "-"}, {2.0, Int, "2"}, {2.5, Int, "-"}, {1e19, Int, "-"},
		{json.Number("12e1"), Int, "120"}, {"2", Int, "-"}, {true, Int, "-"}, {math.NaN(), Int, "-"}, {-1, Uint, "-"}, {uint64(math.MaxUint64), Uint, "18446744073709551615"}, {1.8446744073709552e19, Uint, "-"},
		{1, Float, "1"}, {int64(1)<<53 + 1, Float, "-"}, {float32(0.1), Float, "0.1"}, {math.Inf(1), Float, "-"}, {math.Copysign(0, -1), Float, "0"},
		{"1.50", Decimal, "15e-1"}, {1.5, Decimal, "15e-1"}, {json.Number("0.000"), Decimal, "0"}, {"-0", Decimal, "0"}, {"1e400000000", Decimal, "-"}, {"x", Decimal, "-"}, {1, Decimal, "1"}, {200, Decimal, "2e2"},
		{"s", String, "s"}, {7, String, "-"}, {"\xff", String, "-"}, {[]byte("b"), Bytes, "b"}, {"b", Bytes, "-"},
		{at, Time, "2024-01-02T01:04:05.000000006Z"}, {&at, Time, "2024-01-02T01:04:05.000000006Z"}, {"2024-01-02T03:04:05+02:00", Time, "2024-01-02T01:04:05Z"}, {"2024-01-02", Time, "-"}, {0, Time, "-"},
		{map[string]int{"a": 1}, JSON, `{"a":1}`}, {"<", JSON, `"<"`}, {json.RawMessage(" [1] "), JSON, "[1]"}, {make(chan int), JSON, "-"}, {nil, Int, "null"}, {(*int)(nil), Int, "null"}, {true, Bool, "true"}, {1, Bool, "-"},
	} {
		v, err := Coerce(c.x, c.t)
		if c.want == "-" {
			if err == nil {
				t.Errorf("%v (%T) fits %s: %q", c.x, c.x, c.t, v.Text())
			}
			continue
		}
		if err != nil || v.Text() != c.want {
			t.Errorf("%v (%T) as %s: %q, %v; want %q", c.x, c.x, c.t, v.Text(), err, c.want)
		}
		if back, err := FromJSON(v.AppendJSON(nil), c.t); err != nil || !Equal(back, v) {
			t.Errorf("%v as %s: %s reads as %q, %v", c.x, c.t, v.AppendJSON(nil), back.Text(), err)
		}
	}
}

// Decimals order and add as rationals do.
func TestDecimals(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	number := func() (Value, *big.Rat) {
		s := big.NewInt(r.Int64N(2_000_001)-1_000_000).String() + "e" + big.NewInt(r.Int64N(13)-6).String()
		v, ok := OfDecimal(s)
		rat, ok2 := new(big.Rat).SetString(s)
		if !ok || !ok2 {
			t.Fatal(s)
		}
		return v, rat
	}
	for range 5000 {
		a, ra := number()
		b, rb := number()
		if got, want := Compare(a, b), ra.Cmp(rb); got != want {
			t.Fatalf("compare %s and %s: %d, want %d", a.Text(), b.Text(), got, want)
		}
		if (a.Text() == b.Text()) != (ra.Cmp(rb) == 0) {
			t.Fatalf("%s and %s", a.Text(), b.Text())
		}
		sum, err := Add(a, b, Decimal)
		if err != nil {
			t.Fatal(err)
		}
		got, ok := new(big.Rat).SetString(string(sum.AppendJSON(nil)))
		if !ok || got.Cmp(new(big.Rat).Add(ra, rb)) != 0 {
			t.Fatalf("%s plus %s is %s", a.Text(), b.Text(), sum.AppendJSON(nil))
		}
	}
}

func TestAddOverflows(t *testing.T) {
	for _, c := range []struct {
		v, by Value
		t     Type
	}{
		{OfInt(math.MaxInt64), OfInt(1), Int}, {OfInt(math.MinInt64), OfInt(-1), Int}, {OfUint(math.MaxUint64), OfInt(1), Uint}, {OfUint(4), OfInt(-5), Uint},
		{OfUint(0), OfInt(math.MinInt64), Uint}, {Null, OfInt(-1), Uint}, {OfFloat(math.MaxFloat64), OfFloat(math.MaxFloat64), Float},
	} {
		if sum, err := Add(c.v, c.by, c.t); err == nil {
			t.Errorf("%s plus %s is %s", c.v.Text(), c.by.Text(), sum.Text())
		}
	}
}

// FuzzFromJSON: what is read can be written and read again, the same.
func FuzzFromJSON(f *testing.F) {
	for _, s := range []string{"1", "-0", "1.50", "1e5", `"x"`, `"2024-01-02T03:04:05Z"`, `"aGk="`, "true", "null", `{"a":[1]}`, `"\ud800"`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		for _, typ := range Types {
			v, err := FromJSON(raw, typ)
			if err != nil || v.IsNull() || !json.Valid(raw) {
				continue
			}
			if typ == Time && (v.Time().Year() > 9999 || v.Time().Year() < 0) {
				continue // of a zone at the edge of what RFC 3339 can say
			}
			again, err := FromJSON(v.AppendJSON(nil), typ)
			if err != nil || !Equal(v, again) {
				t.Errorf("%q as %s is %q, written as %q: %v", raw, typ, v.Text(), v.AppendJSON(nil), err)
			}
			if Compare(v, again) != 0 {
				t.Errorf("%q does not equal itself", raw)
			}
		}
	})
}
