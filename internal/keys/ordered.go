package keys

import (
	"hash/fnv"
	"math"
	"slices"
	"strings"

	"github.com/natsorm/natsorm/internal/value"
)

// The entry of an ordered index has the values of all its columns but the last one as those of
// every index have, and then its place: the value of the last column, and the primary key, in
// tokens of one character each. Places are compared as texts. So a range of values is a few
// patterns, and so are the entries that come next after one of them:
//
//	User.index.city/age.Oslo.8.2.a./.8.7.b./.123    city Oslo, age 42, primary key 123
//
// The name of the index has a slash before the last column.

// The characters of a place. In the order of texts they are: null, end, 0 to 9, a to f; and
// beyond is after all of them.
const (
	nullPlace  = "-"
	endPlace   = "/"
	beyond     = "g"
	nibbles    = "0123456789abcdef"
	placeStart = nullPlace // the first place of all
)

// These are part of the format.
const (
	// maxOrderedBytes is how much of a text is in its place, in bytes. Of longer ones the rest
	// is not compared.
	maxOrderedBytes = 32

	// maxOrderedDigits is the same for the digits of a decimal.
	maxOrderedDigits = 40

	// maxOrderedID is the same for a primary key that is text.
	maxOrderedID = 12

	// firstSecond is 0000-01-01T00:00:00Z, the first second of a time, in Unix time. There are
	// fewer than 2^39 up to the year 9999.
	firstSecond = -62167219200
	maxSecond   = 1<<40 - 1
)

// Samples is how many levels of samples an ordered index has. Of the entries of one level, a
// level has about every SampleRate-th: which ones depends on the primary key only. Level 0 is
// the index itself. By the samples a reader knows about where entries are, and how many.
const (
	Samples    = 2
	SampleRate = 64 // six bits of the hash

	// mix spreads the hash of a short text over its upper bits: 2^64 divided by the golden ratio.
	mix = 0x9e3779b97f4a7c15
)

// OrderedName is the name of the ordered index on columns, as it stands in keys.
func OrderedName(columns []string) string {
	last := len(columns) - 1
	return IndexName(columns[:last]) + endPlace + columns[last]
}

// sampleName is the name of a level of an ordered index.
func sampleName(index string, level int) string {
	if level == 0 {
		return index
	}
	return index + endPlace + nibbles[level:level+1]
}

// baseName is the name of an index, without the level of samples.
func baseName(index string) string {
	if first := strings.IndexByte(index, endPlace[0]); first >= 0 {
		if last := strings.LastIndexByte(index, endPlace[0]); last > first {
			return index[:last]
		}
	}
	return index
}

// IsOrderedName reports whether a name is that of an ordered index, or of a level of its samples.
func IsOrderedName(index string) bool { return strings.Contains(index, endPlace) }

// OrderedEntries appends the keys of a record's entries in an ordered index: in the index itself, and in
// the levels of samples that have this record. values are those of its columns, and the record's
// primary key is id.
func OrderedEntries(to []string, model, index string, values []value.Value, id value.Value) []string {
	last := len(values) - 1
	token := ID(id)
	place := Place(values[last], id) + "." + token
	h := fnv.New64a()
	h.Write([]byte(token))
	sum := h.Sum64() * mix
	for level := 0; level <= Samples; level++ {
		if level > 0 {
			if sum>>58 != 0 {
				break
			}
			sum <<= 6
		}
		to = append(to, OrderedPrefix(model, index, level, values[:last])+place)
	}
	return to
}

// OrderedPrefix is what all entries of a level of an ordered index begin with, for values of all columns but the last.
func OrderedPrefix(model, index string, level int, values []value.Value) string {
	return under(model, indexToken, sampleName(index, level), values) + "."
}

// IsOrderedEntry reports whether a key has the form of an entry, or a sample, in an ordered index of so many columns. IndexOf has
// given the name of that index.
func IsOrderedEntry(model, key string, columns int) bool {
	rest := key[len(model)+1+len(indexToken)+1:]
	for range columns { // the name, and the values of all columns but the last
		_, rest, _ = strings.Cut(rest, ".")
	}
	dot := strings.LastIndexByte(rest, '.')
	if dot < 0 {
		return false
	}
	place, ends := rest[:dot], 0
	for i := 0; i < len(place); i++ {
		switch c := place[i]; {
		case i%2 == 1:
			if c != '.' {
				return false
			}
		case c == endPlace[0]:
			ends++
		case c != nullPlace[0] && strings.IndexByte(nibbles, c) < 0:
			return false
		}
	}
	return ends == 2 && place[len(place)-1] == endPlace[0]
}

// PlaceOf is the place of an entry's key, which begins with prefix.
func PlaceOf(key, prefix string) string {
	rest := key[len(prefix):]
	return rest[:max(0, strings.LastIndexByte(rest, '.'))]
}

// Place is the place of a value and a primary key in an ordered index.
func Place(v, id value.Value) string {
	b, _ := appendOrdered(nil, v)
	b = append(b, endPlace[0])
	b = append(appendID(b, id), endPlace[0])
	return string(dotted(b))
}

// GroupPlace is what the places of all entries with a value begin with: those with a longer text
// or decimal that begins with it, too, if it is as long as a place can be.
func GroupPlace(v value.Value) string {
	b, _ := appendOrdered(nil, v)
	return string(dotted(append(b, endPlace[0])))
}

// SplitPlace divides a place into that of its group, and that of the primary key in it.
func SplitPlace(place string) (group, id string) {
	i := strings.Index(place, endPlace)
	if i < 0 || i+2 > len(place) {
		return place, ""
	}
	return place[:i+1], place[i+2:]
}

// After is the first place that does not begin with this one and comes after it.
func After(place string) string { return place + "." + beyond }

// FirstPlace and EndPlace are where all places of an index are between, and ValuesFrom is where
// those begin that are not of null.
const (
	FirstPlace = placeStart
	ValuesFrom = endPlace
	EndPlace   = beyond
)

// PlaceFrom is where the places begin of the values from v on; with open, of those after v. Where
// several values have one place, that of v is there too.
func PlaceFrom(v value.Value, open bool) string {
	b, exact := appendOrdered(nil, v)
	if open && exact {
		b = append(b, nibbles[0]) // after the end, which the places of v have here
	}
	if len(b) == 0 {
		return endPlace
	}
	return string(dotted(b))
}

// PlaceTo is where the places end of the values before v; with closed, of those up to v. It is
// the first place that does not belong to them. Where several values have one place, that of v
// belongs to them.
func PlaceTo(v value.Value, closed bool) string {
	b, exact := appendOrdered(nil, v)
	if closed || !exact {
		b = append(b, nibbles[0])
	}
	if len(b) == 0 {
		return endPlace
	}
	return string(dotted(b))
}

// Exact reports whether no other value has the places of v.
func Exact(v value.Value) bool {
	_, exact := appendOrdered(nil, v)
	return exact
}

// Between is a short place after a, up to b, where a range may begin or end: it then has few patterns. It has a
// token more than it takes to tell it from a, so that it is near b. It is b when that is not after a.
func Between(a, b string) string { return b[:apart(a, b)] }

// Past is the same after a, and near it. It is b when that is not after a.
func Past(a, b string) string {
	if n := apart(b, a); a < b && n < len(a) {
		return After(a[:n])
	}
	return b
}

// apart is how much of b has a token more than what a begins with, and the one by which they differ. Tokens are of one character,
// with dots between them.
func apart(a, b string) int {
	n := 0
	for n < min(len(a), len(b)) && a[n] == b[n] {
		n++
	}
	return min(n+n%2+3, len(b))
}

// Middle is a place about in the middle of a range; "" when the range is that of one place. inGroup says that the
// places are those of primary keys in one group.
func Middle(from, until string, inGroup bool) string {
	patterns := Cover(nil, "", from, until)
	for n := len(patterns) / 2; n < len(patterns); n++ {
		if at := strings.TrimSuffix(patterns[n], "."+anyTokens); at > from && at < until {
			return at
		}
	}
	if len(patterns) == 0 {
		return ""
	}
	at := strings.TrimSuffix(patterns[len(patterns)-1], "."+anyTokens)
	at = max(at, from) // the only pattern that is not at the beginning
	ends := 2
	if inGroup {
		ends = 1
	}
	if strings.Count(at, endPlace) >= ends {
		return ""
	}
	if middle := at + "." + nibbles[8:9]; middle > from && middle < until {
		return middle
	}
	return ""
}

// Places is where the places of the texts that begin with prefix begin, and end.
func Places(prefix string) (from, until string) {
	if prefix == "" {
		return ValuesFrom, EndPlace
	}
	from = string(dotted(appendText(nil, prefix, maxOrderedBytes)))
	return from, After(from)
}

// dotted puts dots between the characters.
func dotted(b []byte) []byte {
	out := make([]byte, 0, 2*len(b))
	for i, c := range b {
		if i > 0 {
			out = append(out, '.')
		}
		out = append(out, c)
	}
	return out
}

// appendOrdered appends the characters of a value: for two values of one type, the text of the smaller
// one, with the end behind it, is the smaller text. exact says that no other value has the same
// ones.
func appendOrdered(b []byte, v value.Value) (_ []byte, exact bool) {
	switch v.Type() {
	case "":
		return append(b, nullPlace...), true
	case value.Bool:
		if v.Bool() {
			return append(b, '1'), true
		}
		return append(b, '0'), true
	case value.Int:
		return appendInt(b, v.Int()), true
	case value.Uint:
		return appendMagnitude(b, v.Uint()), true
	case value.Float:
		return appendFloat(b, v.Float()), true
	case value.Time:
		t := v.Time()
		seconds := t.Unix() - firstSecond
		if seconds < 0 || seconds > maxSecond { // a time in a condition: no record has it
			return appendHex(b, uint64(min(max(seconds, 0), maxSecond)), 10), false
		}
		b = appendHex(b, uint64(seconds), 10)
		return append(b, fraction(t.Nanosecond())...), true
	case value.Decimal:
		return appendDecimal(b, v)
	default:
		return appendText(b, v.Str(), maxOrderedBytes), len(v.Str()) < maxOrderedBytes
	}
}

// appendInt appends an integer: first how many bytes it has, 8 to f, and those bytes. Of a negative
// one these are 7 to 0, and the complement of its bytes.
func appendInt(b []byte, i int64) []byte {
	if i >= 0 {
		return appendMagnitude(b, uint64(i))
	}
	at := len(b)
	b = appendMagnitude(b, uint64(^i))
	for ; at < len(b); at++ {
		b[at] = nibbles[15-strings.IndexByte(nibbles, b[at])]
	}
	return b
}

func appendMagnitude(b []byte, u uint64) []byte {
	n := 1
	for n < 8 && u>>(8*n) != 0 {
		n++
	}
	return appendHex(append(b, nibbles[7+n]), u, 2*n)
}

// appendHex appends the last n hexadecimal digits of a number.
func appendHex(b []byte, u uint64, n int) []byte {
	for n--; n >= 0; n-- {
		b = append(b, nibbles[u>>(4*n)&15])
	}
	return b
}

// appendFloat appends the bits of a number, made so that they ascend with it, without the zeros at
// their end.
func appendFloat(b []byte, f float64) []byte {
	bits := math.Float64bits(f)
	if bits>>63 == 1 {
		bits = -bits // the larger the number without its sign, the smaller; and its zeros stay at the end
	} else {
		bits |= 1 << 63
	}
	at := len(b) + 1
	b = appendHex(b, bits, 16)
	for len(b) > at && b[len(b)-1] == '0' {
		b = b[:len(b)-1]
	}
	return b
}

// fraction is nine digits without the zeros at their end.
func fraction(n int) string {
	if n == 0 {
		return ""
	}
	var b [9]byte
	for i := len(b) - 1; i >= 0; i-- {
		b[i] = nibbles[n%10]
		n /= 10
	}
	return strings.TrimRight(string(b[:]), "0")
}

// appendDecimal appends a decimal: 7, 8 or 9 for a negative one, zero, or a positive one. Then the
// power of ten that its first digit stands for, as an integer, and its digits. Those of a negative one
// are the complement, with an f behind them: of two that begin with the same digits, the longer
// one is smaller.
func appendDecimal(b []byte, v value.Value) (_ []byte, exact bool) {
	sign, digits, power := v.Digits()
	if sign == 0 {
		return append(b, '8'), true
	}
	exact = len(digits) < maxOrderedDigits
	digits = digits[:min(len(digits), maxOrderedDigits)]
	if sign > 0 {
		return append(appendInt(append(b, '9'), int64(power)), digits...), exact
	}
	b = appendInt(append(b, '7'), -int64(power))
	for i := range len(digits) {
		b = append(b, nibbles['9'-digits[i]])
	}
	if exact {
		b = append(b, 'f')
	}
	return b, exact
}

func appendText(b []byte, text string, most int) []byte {
	for i := range min(len(text), most) {
		b = append(b, nibbles[text[i]>>4], nibbles[text[i]&15])
	}
	return b
}

func appendID(b []byte, id value.Value) []byte {
	switch id.Type() {
	case value.Int:
		return appendInt(b, id.Int())
	case value.Uint:
		return appendMagnitude(b, id.Uint())
	default:
		return appendText(b, id.Str(), maxOrderedID)
	}
}

// maxCover is about how many patterns a range has at the most. A range that needs more
// is made larger: 2 µs for each pattern are more than what a few entries take that are read for nothing.
const maxCover = 192

// Cover appends patterns that match all entries whose keys begin with prefix and have a place from
// the first one up to, but not including, the other. They may match a few more; each of the
// patterns is a part of the index that comes after those before it.
func Cover(to []string, prefix, from, until string) []string {
	if from >= until {
		return to
	}
	for tokens := max(len(from), len(until))/2 + 1; ; tokens-- {
		out := cover(to, prefix, cut(from, tokens), cutAfter(until, tokens))
		if len(out)-len(to) <= maxCover || tokens == 1 {
			return out
		}
	}
}

// cut is the first tokens of a place: it is at or before that.
func cut(place string, tokens int) string { return place[:min(len(place), 2*tokens-1)] }

// cutAfter is the end of a range cut to so many tokens, so that it is at or after where it was.
func cutAfter(place string, tokens int) string {
	if 2*tokens > len(place) {
		return place
	}
	return After(cut(place, tokens))
}

func cover(to []string, prefix, from, until string) []string {
	hi, closed := strings.Split(until, "."), false
	if last := len(hi) - 1; hi[last] == beyond { // all that begins with the tokens before it is in
		hi, closed = hi[:last], true
	}
	return coverUnder(to, prefix, true, strings.Split(from, "."), hi, closed)
}

// coverUnder is cover for what begins with head: from lo on, or all when that is empty; up to hi,
// and closed says that all that begins with hi is in. Only the first token can be that of null.
func coverUnder(to []string, head string, first bool, lo, hi []string, closed bool) []string {
	switch {
	case len(hi) == 0 && !closed:
		return to
	case len(lo) == 0 && len(hi) == 0:
		return append(to, head+anyTokens)
	case len(lo) > 0 && len(hi) > 0 && lo[0] == hi[0]:
		return coverUnder(to, head+lo[0]+".", false, lo[1:], hi[1:], closed)
	}
	after, before := "", beyond
	if len(lo) > 0 {
		if after = lo[0]; after != beyond {
			to = coverUnder(to, head+after+".", false, lo[1:], nil, true)
		}
	}
	if len(hi) > 0 {
		before = hi[0]
	}
	for _, token := range alphabet {
		if token > after && token < before && (first || token != nullPlace) {
			to = append(to, head+token+"."+anyTokens)
		}
	}
	if len(hi) > 0 {
		to = coverUnder(to, head+before+".", false, nil, hi[1:], closed)
	}
	return to
}

// alphabet is the tokens of places, in their order.
var alphabet = slices.Concat([]string{nullPlace, endPlace}, strings.Split(nibbles, ""))
