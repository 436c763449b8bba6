package value

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"testing"
	"unicode/utf8"
)

// The keys of folded indexes hold folded text: what is here may never change.
func TestGoldenFold(t *testing.T) {
	t.Parallel()
	for s, want := range map[string]string{
		"":              "",
		"Alice":         "alice",
		"@[`{~ 0_/":     "@[`{~ 0_/",
		"ß":             "ss",
		"ẞ":             "ss",
		"SS":            "ss",
		"STRASSE":       "strasse",
		"Straße":        "strasse",
		"ﬁ":             "fi",
		"ﬃ":             "ffi",
		"ſ":             "s",
		"K":             "k", // the sign of kelvin
		"Å":             "å", // that of ångström
		"µ":             "μ", // micro
		"İ":             "i̇",
		"I":             "i", // also in Turkish
		"ı":             "ı",
		"ŉ":             "ʼn",
		"ǅ":             "ǆ",
		"ΣΊΣΥΦΟΣ":       "σίσυφοσ",
		"σίσυφος":       "σίσυφοσ",
		"ΐ":             "\u03b9\u0308\u0301",
		"ᾳ":             "αι",
		"ᾼ":             "αι",
		"ᏸ":             "Ᏸ", // Cherokee folds to capitals
		"ꭰ":             "Ꭰ",
		"Ꭰ":             "Ꭰ",
		"Ა":             "ა", // Georgian, since Unicode 11
		"𐐀":             "𐐨",
		"𞤀":             "𞤢",
		"É":             "é",
		"E\u0301":       "e\u0301", // not the same: nothing is normalized
		"日本":            "日本",
		"\U00010D50":    "\U00010D50", // a capital since Unicode 16
		"\uA7CBA\uA7CB": "\uA7CBa\uA7CB",
	} {
		if got := Fold(OfString(s)); got != OfString(want) {
			t.Errorf("%+q: %+q, want %+q", s, got.Str(), want)
		}
	}
	for _, v := range []Value{Null, OfInt(3), OfBytes([]byte("A")), OfJSON(`"A"`)} {
		if Fold(v) != v {
			t.Errorf("%v is folded", v)
		}
	}
	// All of them: the characters that change, and what to.
	sum, changed := sha256.New(), 0
	for r := rune(0); r <= utf8.MaxRune; r++ {
		if !utf8.ValidRune(r) {
			continue
		}
		folded := foldText(string(r))
		if again := foldText(folded); again != folded {
			t.Errorf("%U folds to %+q, and that to %+q", r, folded, again)
		}
		if in := foldText("aß" + string(r) + "Σ"); in != "ass"+folded+"σ" {
			t.Errorf("%U folds to %+q by itself, and to %+q among others", r, folded, in)
		}
		if folded != string(r) {
			changed++
			fmt.Fprintf(sum, "%X %+q\n", r, folded)
		}
	}
	if got := fmt.Sprint(changed, " ", hex.EncodeToString(sum.Sum(nil))); got != goldenFold {
		t.Errorf("the characters that fold are %s, and were %s: keys of folded indexes would not be found any more", got, goldenFold)
	}
}

// goldenFold is that of Unicode 15.0's CaseFolding.txt, and of Python's str.casefold, which has the same table.
const goldenFold = "1530 d8a423d5ed6df0168ec5906c015d442732e5a5ec939c433767948e7453274f1d"
