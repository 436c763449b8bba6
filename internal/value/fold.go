package value

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/cases"
	"golang.org/x/text/unicode/rangetable"
)

// foldable are the characters that Fold changes: those of Unicode 15.0. The keys of folded indexes
// hold folded text, so what folds to what must not depend on the library's version, nor on Go's,
// which chooses the library's tables. For characters that Unicode has, it never changes that (its
// stability policy for case folding). It does for those that it adds, and so these stay as they are.
var foldable = rangetable.Assigned("15.0.0")

// folds reports whether Fold changes the character, if it has a folding. The library swaps the case
// of Cherokee, in which small letters fold to the capitals, and the capitals to themselves: they came
// first.
func folds(r rune) bool {
	const first, last = 0x13A0, 0x13F5 // Cherokee's capitals
	return unicode.Is(foldable, r) && (r < first || r > last)
}

// Fold is v with text in which letter case does not matter any more, by Unicode's full case
// folding (CaseFolding.txt, status C and F): "Straße" and "STRASSE" are both "strasse". It is not
// that of a language, and does not normalize: an é of one character is not an é of two. What is
// not a string stays as it is.
func Fold(v Value) Value {
	if v.typ != String {
		return v
	}
	v.text = foldText(v.text)
	return v
}

func foldText(s string) string {
	ascii := true
	for i := 0; i < len(s) && ascii; i++ {
		ascii = s[i] < utf8.RuneSelf
	}
	if ascii {
		return strings.ToLower(s)
	}
	fold := cases.Fold() // not for several goroutines
	var b strings.Builder
	for s != "" {
		i := strings.IndexFunc(s, func(r rune) bool { return !folds(r) })
		if i < 0 {
			i = len(s)
		}
		b.WriteString(fold.String(s[:i]))
		_, n := utf8.DecodeRuneInString(s[i:])
		b.WriteString(s[i : i+n])
		s = s[i+n:]
	}
	return b.String()
}
