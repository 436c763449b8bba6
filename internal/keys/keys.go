// Package keys is the key format: every key that natsorm writes to a bucket is
// made here, and read here, and so is every pattern that it reads keys by. Nothing
// here touches the network. docs/format.md says the
// same in prose; golden tests hold both to it.
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

// What a key is made of, between its dots.
const (
	shardPrefix  = "shard_"
	indexToken   = "index"
	uniqueToken  = "unique"
	headToken    = "head"
	catalogue    = "_schema"
	sequence     = "_sequence"
	nullToken    = "=null"
	columnJoiner = "-" // between the columns of a compound index
)

const (
	maxName        = 64  // bytes of a model or column name
	maxValuePrefix = 64  // readable bytes of a value token
	maxID          = 128 // bytes of an id token, before it becomes a hash
	headSlots      = 256 // heads of an index
)

// CheckName reports why name cannot be a model's or an indexed column's
// token in a key.
func CheckName(name string) error {
	switch {
	case name == "":
		return fmt.Errorf("an empty name")
	case len(name) > maxName:
		return fmt.Errorf("name %q… is longer than %d bytes", name[:maxName], maxName)
	case name[0] == '_':
		return fmt.Errorf("name %q begins with _, which natsorm keeps for itself", name)
	case !plain(name, false):
		return fmt.Errorf("name %q has a character outside A–Z a–z 0–9 _ -", name)
	}
	return nil
}

// Record is the key of a record: User.shard_11.123.
func Record(model string, shards int, id string) string {
	b := appendShard(make([]byte, 0, len(model)+len(shardPrefix)+len(id)+6), model, Shard(id, shards))
	return string(append(b, id...))
}

// RecordOf is Record of the id token of a primary key.
func RecordOf(model string, shards int, id value.Value) string {
	if id.Type() != value.Int || id.Int() < 0 {
		return Record(model, shards, ID(id))
	}
	b := appendShard(make([]byte, 0, len(model)+len(shardPrefix)+26), model, int(id.Int()%int64(shards)))
	return string(strconv.AppendInt(b, id.Int(), 10))
}

// appendShard appends what the keys of a shard's records begin with.
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

// Shard is the shard of the record with this id token. Ids that are integers
// in canonical form go by remainder, so that neighbours spread evenly; all
// others by 64-bit FNV-1a.
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

// ID is the token of a primary key. Integers and text of [A-Za-z0-9_-] stand
// as they are; every other byte becomes =XX in hexadecimal, and empty text "=".
// What would be longer than 128 bytes becomes "==" and a hash of the text.
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

// Value is the token of an indexed value: its text with every character
// outside [A-Za-z0-9/_-] replaced by "_" and cut to 64 bytes; when that lost
// anything, or is empty, "=" and a hash of the whole text follow. Null is
// "=null", which no text gives.
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

// IndexName names an index by its columns, as its keys do.
func IndexName(columns []string) string { return strings.Join(columns, columnJoiner) }

// Entry is the key of an index entry: User.index.email.<value>.<id>. A
// compound index has a token for each of its columns' values.
func Entry(model, index string, values []value.Value, id string) string {
	return Lookup(model, index, values) + id
}

// Lookup is what every entry of one index for the same values begins with.
func Lookup(model, index string, values []value.Value) string {
	return under(model, indexToken, index, values) + "."
}

// LookupPattern matches the entries of one index for the same values of its first
// columns; open is how many columns follow them.
func LookupPattern(model, index string, values []value.Value, open int) string {
	return Lookup(model, index, values) + strings.Repeat(anyToken+".", open) + anyToken
}

// IsLookup tells the pattern of a lookup, which has a value in it, from a scan's.
func IsLookup(pattern string) bool {
	_, rest, _ := strings.Cut(pattern, ".")
	return strings.HasPrefix(rest, indexToken+".") && strings.Count(rest, ".") > 2 && IsPattern(rest)
}

// HeadOf is the head of an index entry, or of a lookup's pattern: the key that is
// written with every new entry, where replicas keep a pattern from being
// guarded. It goes by the first value alone, which every lookup knows, in one of
// 256 slots: User.head.email.17.
func HeadOf(model, entry string) string {
	rest := entry[len(model)+1+len(indexToken)+1:]
	index, rest, _ := strings.Cut(rest, ".")
	first, _, _ := strings.Cut(rest, ".")
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

// All matches every key of a model.
func All(model string) string { return model + "." + anyTokens }

// Claims matches every claim of a model.
func Claims(model string) string { return model + "." + uniqueToken + "." + anyTokens }

// Heads matches every head of a model.
func Heads(model string) string { return model + "." + headToken + "." + anyTokens }

// IsHead tells a head of a model from its other keys.
func IsHead(model, key string) bool {
	return strings.HasPrefix(key, model+"."+headToken+".")
}

// IsClaim tells a claim of a model from its index entries.
func IsClaim(model, key string) bool {
	return strings.HasPrefix(key[min(len(key), len(model)+1):], uniqueToken+".")
}

// IndexOf is the index that a key of a model is an entry or a claim of, and how many
// tokens follow its name; "" where it is neither.
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
	return index, strings.Count(rest, ".") + 1
}

// Schema is the key of a model's entry in the catalogue.
func Schema(model string) string { return catalogue + "." + model }

// Schemas matches the whole catalogue.
func Schemas() string { return catalogue + "." + anyToken }

// Sequence is the key of a model's sequence of automatic ids.
func Sequence(model string) string { return sequence + "." + model }

// IsSchema tells the catalogue's keys from others.
func IsSchema(key string) bool { return strings.HasPrefix(key, catalogue+".") }

// IsSequence tells the keys of sequences from others.
func IsSequence(key string) bool { return strings.HasPrefix(key, sequence+".") }

// Everything matches every key.
const Everything = anyTokens

// Passing tells keys that mean nothing outside of the moment: the anchor, the guard
// and probes.
func Passing(key string) bool {
	return key == Anchor || key == Guard || strings.HasPrefix(key, Probe)
}

// Keys without data; see package store.
const (
	Anchor = "_anchor"
	Guard  = "_guard"
	Probe  = "_settle." // and a message id
)

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

// hash is 128 bits of SHA-256, in 22 characters of URL-safe base64.
func hash(text string) string {
	sum := sha256.Sum256([]byte(text))
	return base64.RawURLEncoding.EncodeToString(sum[:16])
}
