package javascript

import (
	"math"
	"testing"
)

// What Node v20 prints for String(JSON.parse(...)).
func TestString(t *testing.T) {
	for raw, want := range map[string]string{
		`null`: "null", `true`: "true", `false`: "false",
		`0`: "0", `-0`: "0", `1`: "1", `-1`: "-1", `1.0`: "1", `1.5`: "1.5", `1e2`: "100", `0.000001`: "0.000001", `1e-7`: "1e-7", `1.5e-10`: "1.5e-10",
		`1e20`: "100000000000000000000", `1e21`: "1e+21", `123456789012345680000`: "123456789012345680000", `1.7976931348623157e308`: "1.7976931348623157e+308",
		`9007199254740993`: "9007199254740992", `9223372036854775807`: "9223372036854776000", `18446744073709551615`: "18446744073709552000", `1e999`: "Infinity", `-1e999`: "-Infinity",
		`0.1`: "0.1", `5e-324`: "5e-324", `4.35`: "4.35",
		`""`: "", `"a"`: "a", `"a\u00e9\n"`: "aé\n", `"\ud83d\ude00"`: "😀",
		`[]`: "", `[1,2]`: "1,2", `[null,"a",[true,[]],{}]`: ",a,true,,[object Object]", `{}`: "[object Object]", ` {"a":1} `: "[object Object]",
	} {
		if got := String([]byte(raw)); got != want {
			t.Errorf("%s: %q, want %q", raw, got, want)
		}
	}
}

// What Node v20 prints for Number(...).
func TestNumber(t *testing.T) {
	for s, want := range map[string]float64{
		"": 0, " ": 0, "12": 12, "-5": -5, "+5": 5, " 7\n": 7, "1.5": 1.5, ".5": 0.5, "5.": 5, "1e3": 1000, "1E-2": 0.01, "007": 7, "-0": 0,
		"0x1f": 31, "0b101": 5, "0o17": 15, "0x20000000000001": 9007199254740992, "9007199254740993": 9007199254740992, "1e400": math.Inf(1),
		"Infinity": math.Inf(1), "-Infinity": math.Inf(-1), "99999999999999999999": 1e20,
	} {
		if got := Number(s); got != want {
			t.Errorf("%q: %v, want %v", s, got, want)
		}
	}
	for _, s := range []string{"a", "1_000", "-0x1f", "inf", "infinity", "nan", "NaN", "0x", "0x1p-2", "1e", "e1", ".", "+", "1 2", "١"} {
		if got := Number(s); !math.IsNaN(got) {
			t.Errorf("%q: %v, want NaN", s, got)
		}
	}
}
