package value

import "testing"

// get is a value that there is.
func get(t *testing.T) func(Value, error) Value {
	return func(v Value, err error) Value {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func TestWiden(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		raw      string
		from, to Type
		fits     bool
	}{
		{"5", Int, Float, true},
		{"-0", Int, Float, true},
		{"9007199254740992", Int, Float, true},
		{"9007199254740993", Int, Float, false},
		{"9223372036854775807", Int, Float, false},
		{"1152921504606846976", Int, Float, true},
		{"9223372036854775807", Int, Decimal, true},
		{"18446744073709551615", Uint, Float, false},
		{"9223372036854775808", Uint, Float, true},
		{"18446744073709551615", Uint, Decimal, true},
		{"-1", Uint, Float, false},
		{"5.5", Int, Float, false},
		{`"2024-01-02T03:04:05+01:00"`, String, Time, true},
		{`"2024-01-02T03:04:05.000000001Z"`, String, Time, true},
		{`"2024-01-02"`, String, Time, false},
		{`""`, String, Time, false},
		{`"0000-01-01T00:00:00+01:00"`, String, Time, false},
		{"7", String, Time, false},
		{"null", String, Time, true},
		{"null", Int, Float, true},
	} {
		if !c.from.Widens(c.to) {
			t.Errorf("%s is not wider than %s", c.to, c.from)
		}
		err := Widen([]byte(c.raw), c.from, c.to)
		if (err == nil) != c.fits {
			t.Errorf("%s of %s as %s: %v", c.raw, c.from, c.to, err)
		}
		if !c.fits {
			continue
		}
		// What was widened is the same value, and comes back.
		was, now := get(t)(FromJSON([]byte(c.raw), c.from)), get(t)(FromJSON([]byte(c.raw), c.to))
		if by := get(t)(Coerce(was, c.to)); by != now {
			t.Errorf("%s of %s is %s, and %s when it is converted", c.raw, c.from, now.Text(), by.Text())
		}
		back, err := Narrow([]byte(c.raw), c.from, c.to)
		if err != nil || get(t)(FromJSON(back, c.from)) != was {
			t.Errorf("%s of %s comes back from %s as %s: %v", c.raw, c.from, c.to, back, err)
		}
	}
	if Float.Widens(Int) || Int.Widens(Int) || Time.Widens(String) {
		t.Error("a type is wider that is not")
	}
}

func TestNarrow(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		raw      string
		from, to Type
		want     string // "": it has no such value
	}{
		{"5.0", Int, Float, "5"},
		{"1e3", Int, Float, "1000"},
		{"1152921504606847000", Int, Float, "1152921504606846976"}, // the float's exact value
		{"5.5", Int, Float, ""},
		{"1e300", Int, Float, ""},
		{"9223372036854775808", Int, Float, ""},
		{"9223372036854775808", Uint, Float, "9223372036854775808"},
		{"18446744073709551616", Uint, Float, ""},
		{"-1", Uint, Float, ""},
		{"5.00", Int, Decimal, "5"},
		{"5.01", Int, Decimal, ""},
		{"-1", Uint, Decimal, ""},
		{"null", Int, Decimal, "null"},
		{"true", Int, Float, "true"},
		{`"2024-01-02T03:04:05+01:00"`, String, Time, `"2024-01-02T03:04:05+01:00"`},
		{`"hello"`, String, Time, `"hello"`},
	} {
		got, err := Narrow([]byte(c.raw), c.from, c.to)
		if (err == nil) != (c.want != "") || err == nil && string(got) != c.want {
			t.Errorf("%s of %s as %s is %s, %v; it should be %s", c.raw, c.to, c.from, got, err, c.want)
		}
	}
}
