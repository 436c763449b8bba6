package keys

import (
	"fmt"
	"math"
	"strings"

	"github.com/natsorm/natsorm/internal/javascript"
	"github.com/natsorm/natsorm/internal/value"
)

// The keys of the Node library sequelize-natskv. natsorm reads and writes them for models
// with the Sequelize layout. They are made of the text that JavaScript makes of a value.

// SequelizeShards is the shard count of that library, unless a service sets
// Model.SHARD_COUNT.
const SequelizeShards = 16

// maxSequelizeToken is the largest length of an id or a value in such a key, in bytes.
// The library has no limit; but the server closes a connection that sends a longer line
// than it takes (MaxLength).
const maxSequelizeToken = 1024

// SequelizeRecord is the key of a record: User.shard_11.123. The shard is id % shards as
// JavaScript computes it, and the id stands as it is. When there can be no such key, why
// says the reason, and key is one that no record has.
func SequelizeRecord(model string, shards int, id value.Value) (key, why string) {
	text, number := id.Text(), 0.0
	switch id.Type() {
	case value.Int:
		if i := id.Int(); i > javascript.MaxSafeInteger || i < -javascript.MaxSafeInteger {
			why = "beyond ±(2^53-1) JavaScript takes it for another number"
		}
		number = float64(id.Int())
	case value.Uint:
		if id.Uint() > javascript.MaxSafeInteger {
			why = "beyond 2^53-1 JavaScript takes it for another number"
		}
		number = float64(id.Uint())
	default:
		number = javascript.Number(text)
	}
	shard := javascript.NumberString(javascript.Remainder(number, float64(shards)))
	switch {
	case why != "":
	case text == "":
		why = "it is empty, and a key cannot end with a dot"
	case len(text) > maxSequelizeToken:
		why = fmt.Sprintf("it is longer than %d bytes", maxSequelizeToken)
	case strings.Contains(text, ".") || strings.Contains(shard, "."):
		why = "a dot in it makes a key of another form, which no scan finds"
	case !plainSequelize(text):
		why = "a key takes only A–Z a–z 0–9 - _ / ="
	default:
		return model + "." + shardPrefix + shard + "." + text, ""
	}
	return model + "." + noRecordToken + "." + hash(text), why
}

// noRecordToken stands in place of the shard, in the key for an id that no record can
// have.
const noRecordToken = "none"

func plainSequelize(s string) bool {
	for i := 0; i < len(s); i++ {
		if !isPlain(s[i]) && s[i] != '/' && s[i] != '=' {
			return false
		}
	}
	return true
}

// SequelizeEntry is the key of an index entry: User.index.email.alice_example_com. text
// is the value's text in JavaScript; each UTF-16 unit outside [A-Za-z0-9/_-] becomes
// "_", so several values can have one key. ok is false when there is no entry: for empty
// text, because a key cannot end with a dot, and for more than 1024 bytes.
func SequelizeEntry(model, field, text string) (key string, ok bool) {
	var b strings.Builder
	b.WriteString(model)
	b.WriteString("." + indexToken + ".")
	b.WriteString(field)
	b.WriteByte('.')
	before := b.Len()
	for _, r := range text {
		switch {
		case r < 0x80 && (isPlain(byte(r)) || r == '/'):
			b.WriteByte(byte(r))
		case r > math.MaxUint16: // two units
			b.WriteString("__")
		default:
			b.WriteByte('_')
		}
	}
	n := b.Len() - before
	return b.String(), 0 < n && n <= maxSequelizeToken
}
