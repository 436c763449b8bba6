// Package keys is the key format. Every key that natsorm writes to a bucket, and every
// pattern that it reads keys by, is made and parsed here. The package is pure.
// docs/format.md describes the same format; golden tests check it.
//
// A key is tokens with dots between them. The keys of a model begin with its name:
//
//	User.shard_11.123                  a record: shard, id token
//	User.index.email.<value>.<id>      an index entry: index, a token for each value, id token
//	User.index./age.8.2.a./.8.1./.1    an entry of an ordered index: see Place
//	User.index.tags=each.<value>.<id>  the same for one element of a list
//	User.unique.email.<value>          the claim of a unique value
//	User.head.email.17                 a head: see HeadOf
//
// Names that begin with _ are natsorm's own: the catalogue, sequences, the records of
// migrations, how far builds have come, and keys without data.
package keys

import (
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"hash/fnv"
	"strconv"
	"strings"

	"github.com/natsorm/natsorm/internal/value"
)

// The fixed parts of keys.
const (
	shardPrefix  = "shard_"
	indexToken   = "index"
	uniqueToken  = "unique"
	headToken    = "head"
	catalogue    = "_schema"
	sequence     = "_sequence"
	migration    = "_migration"
	build        = "_build"
	nullToken    = "=null"
	columnJoiner = "-" // between the columns of a compound index
	foldedMark   = "=fold"
	eachSuffix   = "=each"
	memberMark   = "=_" // before a member of a path: no column and no member that is indexed begins with _
)

// These are part of the format: another number makes other keys.
const (
	maxName        = 64  // bytes of a model's or column's name
	maxValuePrefix = 64  // readable bytes of a value token
	maxID          = 128 // bytes of an id token; a longer one becomes a hash
	headSlots      = 256 // heads of each index
)

// CheckName returns why name cannot be a token in a key, as that of a model, of an indexed
// column or of a migration is, or nil.
func CheckName(name string) error {
	switch {
	case name == "":
		return fmt.Errorf("an empty name")
	case len(name) > maxName:
		return fmt.Errorf("name %q… is longer than %d bytes", name[:maxName], maxName)
	case name[0] == '_':
		return fmt.Errorf("name %q begins with _, which natsorm keeps for itself", name)
	case !plain(name, false):
		return fmt.Errorf("name %q has a character outside A–Z a–z 0–9 _ -; use others", name)
	}
	return nil
}

// Record is the key of the record with an id token: User.shard_11.123.
func Record(model string, shards int, id string) string {
	b := appendShard(make([]byte, 0, len(model)+len(shardPrefix)+len(id)+6), model, Shard(id, shards))
	return string(append(b, id...))
}

// RecordOf is Record for a primary key. It makes the key of an integer without making
// the token first.
func RecordOf(model string, shards int, id value.Value) string {
	if id.Type() != value.Int || id.Int() < 0 {
		return Record(model, shards, ID(id))
	}
	b := appendShard(make([]byte, 0, len(model)+len(shardPrefix)+26), model, int(id.Int()%int64(shards)))
	return string(strconv.AppendInt(b, id.Int(), 10))
}

// appendShard appends the part that the keys of all records of a shard begin with.
func appendShard(b []byte, model string, shard int) []byte {
	b = append(append(append(b, model...), '.'), shardPrefix...)
	return append(strconv.AppendInt(b, int64(shard), 10), '.')
}

// Records matches every record of a model and no other key of it.
func Records(model string) string { return model + "." + anyToken + "." + anyToken }

// InShard matches the records of one shard of a model.
func InShard(model string, shard int) string {
	return model + "." + shardPrefix + strconv.Itoa(shard) + "." + anyToken
}

// RecordID is the id token of a record's key.
func RecordID(key string) string { return key[strings.LastIndexByte(key, '.')+1:] }

// Shard is the shard of the record with an id token, from 0 to shards-1. An id that is
// an integer in canonical form goes by its remainder, so that consecutive ids spread
// evenly. Any other goes by its 64-bit FNV-1a hash.
func Shard(id string, shards int) int {
	n := uint64(shards)
	if i, err := strconv.ParseInt(id, 10, 64); err == nil && strconv.FormatInt(i, 10) == id {
		if i >= 0 {
			return int(uint64(i) % n)
		}
		return int((n - uint64(-(i+1))%n) - 1)
	}
	if u, err := strconv.ParseUint(id, 10, 64); err == nil && id[0] != '0' && id[0] != '+' {
		return int(u % n)
	}
	h := fnv.New64a()
	h.Write([]byte(id))
	return int(h.Sum64() % n)
}

// ID is the token of a primary key. Integers, and text of [A-Za-z0-9_-], stand as they
// are. In other text every byte outside of that becomes =XX in hexadecimal. Empty text
// is "=". A token that would be longer than 128 bytes becomes "==" and a hash of the
// text.
func ID(v value.Value) string {
	text := v.Text()
	if plain(text, false) && len(text) <= maxID && text != "" {
		return text
	}
	if text == "" {
		return "="
	}
	const hexDigits = "0123456789ABCDEF"
	var b strings.Builder
	for i := 0; i < len(text) && b.Len() <= maxID; i++ {
		if c := text[i]; isPlain(c) {
			b.WriteByte(c)
		} else {
			b.WriteByte('=')
			b.WriteByte(hexDigits[c>>4])
			b.WriteByte(hexDigits[c&15])
		}
	}
	if b.Len() > maxID {
		return "==" + hash(text)
	}
	return b.String()
}

// Value is the token of an indexed value: its text, with every character outside
// [A-Za-z0-9/_-] replaced by "_", cut to 64 bytes. When that changed the text, or the
// text is empty, "=" and a hash of the whole text follow, so different values have
// different tokens. Null is "=null", which is no text's token.
func Value(v value.Value) string {
	if v.IsNull() {
		return nullToken
	}
	text := v.Text()
	if len(text) <= maxValuePrefix && text != "" && plain(text, true) {
		return text
	}
	var b strings.Builder
	for _, r := range text {
		if b.Len() == maxValuePrefix {
			break
		}
		if r < 0x80 && (isPlain(byte(r)) || r == '/') {
			b.WriteByte(byte(r))
		} else {
			b.WriteByte('_')
		}
	}
	b.WriteByte('=')
	b.WriteString(hash(text))
	return b.String()
}

// IndexName is the name of the index on columns, as it stands in keys. That on members inside of a column
// names it with the path to them, as address.city, and is called address=_city.
func IndexName(columns []string) string {
	return strings.ReplaceAll(strings.Join(columns, columnJoiner), ".", memberMark)
}

// FoldedName is the name of an index in whose keys letter case does not matter, beside which there can
// be one of the same columns in whose keys it does. No column has "=" in its name.
func FoldedName(name string) string { return name + foldedMark }

// Unfolded is the name without what FoldedName adds.
func Unfolded(name string) string { return strings.TrimSuffix(name, foldedMark) }

// EachName is the name of the index on the elements of a column's lists, of which name is the
// plain one: tags=each. EachOf is the name of its column; ok is false for other names.
func EachName(name string) string { return name + eachSuffix }

func EachOf(name string) (column string, ok bool) {
	plain, ok := strings.CutSuffix(name, eachSuffix)
	column, _, _ = strings.Cut(plain, memberMark)
	return column, ok
}

// Entry is the key of an index entry: User.index.email.<value>.<id>. A
// compound index has a token for each of its columns' values.
func Entry(model, index string, values []value.Value, id string) string {
	return Lookup(model, index, values) + id
}

// Lookup is the part that all entries of an index for the same values begin with.
func Lookup(model, index string, values []value.Value) string {
	return under(model, indexToken, index, values) + "."
}

// LookupPattern matches the entries of an index for these values of its first columns.
// open is the number of columns that follow them, whose values may be any.
func LookupPattern(model, index string, values []value.Value, open int) string {
	return Lookup(model, index, values) + strings.Repeat(anyToken+".", open) + anyToken
}

// IsLookup reports whether a pattern is that of a lookup, which has a value in it. That
// of a scan of all entries has none.
func IsLookup(pattern string) bool {
	_, rest, _ := strings.Cut(pattern, ".")
	return strings.HasPrefix(rest, indexToken+".") && strings.Count(rest, ".") > 2 && IsPattern(rest)
}

// HeadOf is the head of an index entry, or of a lookup's pattern: User.head.email.17.
//
// A head is a key that is written with every new entry where a bucket may have replicas, where
// the server cannot guard a pattern (package txn). It depends only on the first value,
// which every lookup knows: FNV-1a of that value's token, modulo 256 slots. An ordered index of
// one column has one head, because a lookup in it may be of any values.
func HeadOf(model, entry string) string {
	rest := entry[len(model)+1+len(indexToken)+1:]
	index, rest, _ := strings.Cut(rest, ".")
	first, _, _ := strings.Cut(rest, ".")
	if index = baseName(index); index[0] == endPlace[0] {
		first = ""
	}
	h := fnv.New64a()
	h.Write([]byte(first))
	return model + "." + headToken + "." + index + "." + strconv.FormatUint(h.Sum64()%headSlots, 10)
}

// Claim is the key of a unique value's claim: User.unique.email.<value>.
func Claim(model, index string, values []value.Value) string {
	return under(model, uniqueToken, index, values)
}

func under(model, kind, index string, values []value.Value) string {
	var b strings.Builder
	b.Grow(len(model) + len(kind) + len(index) + 2 + 40*len(values))
	b.WriteString(model)
	b.WriteByte('.')
	b.WriteString(kind)
	b.WriteByte('.')
	b.WriteString(index)
	for _, v := range values {
		b.WriteByte('.')
		b.WriteString(Value(v))
	}
	return b.String()
}

// Entries matches every entry of every index of a model.
func Entries(model string) string { return model + "." + indexToken + "." + anyTokens }

// InIndex matches every entry of one index of a model, but no samples.
func InIndex(model, index string) string {
	return model + "." + indexToken + "." + index + "." + anyTokens
}

// All matches every key of a model.
func All(model string) string { return model + "." + anyTokens }

// Claims matches every claim of a model.
func Claims(model string) string { return model + "." + uniqueToken + "." + anyTokens }

// Heads matches every head of a model.
func Heads(model string) string { return model + "." + headToken + "." + anyTokens }

// OfIndex matches the claims of a unique index, or the entries and the heads of another one, and
// the samples of an ordered one.
func OfIndex(model, index string, unique bool) (patterns []string) {
	kinds := []string{indexToken, headToken}
	if unique {
		kinds = []string{uniqueToken}
	}
	for _, kind := range kinds {
		patterns = append(patterns, model+"."+kind+"."+index+"."+anyTokens)
	}
	if IsOrderedName(index) {
		for level := 1; level <= Samples; level++ {
			patterns = append(patterns, model+"."+indexToken+"."+sampleName(index, level)+"."+anyTokens)
		}
	}
	return patterns
}

// IsHead reports whether a key is a head of the model.
func IsHead(model, key string) bool {
	return strings.HasPrefix(key, model+"."+headToken+".")
}

// IsClaim reports whether an index key of the model is a claim, and not an entry.
func IsClaim(model, key string) bool {
	return strings.HasPrefix(key[min(len(key), len(model)+1):], uniqueToken+".")
}

// IndexOf parses a key as an entry of the model, or with unique as a claim. It returns
// the index's name, and how many tokens follow the name in the key; "" when the key is
// neither. A sample of an ordered index counts as an entry of it.
func IndexOf(model, key string, unique bool) (index string, tokens int) {
	kind := indexToken
	if unique {
		kind = uniqueToken
	}
	rest, ok := strings.CutPrefix(key, model+"."+kind+".")
	if !ok {
		return "", 0
	}
	index, rest, ok = strings.Cut(rest, ".")
	if !ok {
		return "", 0
	}
	return baseName(index), strings.Count(rest, ".") + 1
}

// Schema is the key of a model's document in the catalogue.
func Schema(model string) string { return catalogue + "." + model }

// Schemas matches the whole catalogue.
func Schemas() string { return catalogue + "." + anyToken }

// Sequence is the key of a model's sequence of automatic ids.
func Sequence(model string) string { return sequence + "." + model }

// IsSchema reports whether a key is in the catalogue.
func IsSchema(key string) bool { return strings.HasPrefix(key, catalogue+".") }

// IsSequence reports whether a key is that of a sequence.
func IsSequence(key string) bool { return strings.HasPrefix(key, sequence+".") }

// Migration is the key of a migration's record: _migration.add-email.
func Migration(name string) string { return migration + "." + name }

// Migrations matches the records of all migrations.
func Migrations() string { return migration + "." + anyToken }

// IsMigration reports whether a key is that of a migration's record.
func IsMigration(key string) bool { return strings.HasPrefix(key, migration+".") }

// Build is the key that says how far the building of a model's indexes has come: _build.User.
func Build(model string) string { return build + "." + model }

// Everything matches every key.
const Everything = anyTokens

// Passing reports whether a key holds no data: the anchor, the guard, a probe, a lease, or how
// far a build has come. Such a key is left out of backups and may be lost.
func Passing(key string) bool {
	return key == Anchor || key == Guard || key == MigrationLease || key == Sweeping || strings.HasPrefix(key, Probe) || strings.HasPrefix(key, build+".")
}

// Keys without data. Package bucket writes the first three only for their revisions.
const (
	Anchor         = "_anchor"
	Guard          = "_guard"
	Probe          = "_settle."         // followed by a message id
	MigrationLease = "_lease.migration" // see package migration
	Sweeping       = "_lease.sweep"     // who sweeps in the background, or restores: see package maintenance
)

// plain reports whether a text can stand in a key as it is; with slash, also "/" can.
func plain(s string, slash bool) bool {
	for i := 0; i < len(s); i++ {
		if !isPlain(s[i]) && (!slash || s[i] != '/') {
			return false
		}
	}
	return true
}

func isPlain(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '_' || c == '-'
}

// hash is the first 128 bits of the text's SHA-256, in 22 characters of URL-safe base64.
func hash(text string) string {
	sum := sha256.Sum256([]byte(text))
	return base64.RawURLEncoding.EncodeToString(sum[:16])
}
