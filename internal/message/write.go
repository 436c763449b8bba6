package message

import (
	"strconv"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/natsorm/natsorm/internal/store"
)

// Settings are those of the bucket on which the message of a write depends.
type Settings struct {
	TTL     bool // a message can have a TTL
	History bool // more than one revision of a key is kept
	Rollup  bool // a write may remove what its key had before
}

// Write makes the message of a write. id is for one that is to be settled when its answer is lost.
func Write(m *nats.Msg, prefix string, op *store.Op, s Settings, id func() string) {
	m.Subject, m.Data = prefix+op.Key, op.Value
	if !op.Delete && !op.Conditional && op.Fence == 0 && op.Schema == 0 && !op.Settle && op.TTL == 0 {
		return
	}
	m.Header = nats.Header{}
	if op.Settle {
		m.Header[ID] = []string{id()}
	}
	if op.TTL != 0 && s.TTL {
		m.Header[TTL] = Seconds(op.TTL)
	}
	if op.Conditional {
		m.Header[Expect] = []string{strconv.FormatUint(op.Expect, 10)}
	}
	if op.Delete {
		m.Header[Operation] = []string{"DEL"}
		// A marker over an older revision must stay: when it went, that revision would be
		// the last one again. So one that does not stay removes what its key had before, also
		// where a key has no history: it may have got one, and nothing would tell.
		expires := s.TTL && s.Rollup && (op.Purge || !s.History)
		if op.Purge && s.History {
			m.Header[Operation] = []string{"PURGE"}
		}
		// An index entry that comes back so is harmless, and the removal is work for the server.
		if op.Purge && s.History || expires && (s.History || !op.Brief) {
			m.Header[Rollup] = []string{"sub"}
		}
		if expires {
			ttl := MarkerTTL
			if op.Brief {
				ttl = store.BriefFor
			}
			m.Header[TTL] = Seconds(ttl)
		}
	}
	if op.Fence != 0 {
		m.Header[Fence] = []string{strconv.FormatUint(op.Fence, 10)}
	}
	if op.Schema != 0 {
		m.Header[Schema] = []string{strconv.FormatUint(op.Schema, 10)}
	}
}

// Seconds is a TTL as a header has it.
func Seconds(d time.Duration) []string { return []string{strconv.Itoa(int(d / time.Second))} }
