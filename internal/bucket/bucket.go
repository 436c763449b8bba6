package bucket

import (
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/natsorm/natsorm/internal/groupcommit"
	"github.com/natsorm/natsorm/internal/store"
	"github.com/natsorm/natsorm/internal/wire"
)

// giveUp is how long a call without a deadline is looked after.
const giveUp = 10 * time.Second

// Bucket is a store.Store on a JetStream KV bucket. It is safe for concurrent use.
type Bucket struct {
	stream *wire.Stream
	kv     jetstream.KeyValue
	logger *slog.Logger

	replicated bool
	direct     bool          // direct get is allowed
	messageTTL bool          // a message can have a TTL
	history    bool          // more than one revision of a key is kept
	staged     bool          // a batch is written to a file of its own first
	maxMsgSize int           // the bucket's own limit, 0 for none
	window     time.Duration // for which the server remembers message ids
	created    time.Time     // when the stream was made
	ackPrefix  []byte        // of an acknowledgement without an error
	ids        ids

	floor      atomic.Uint64 // the highest revision written or seen, of a replicated bucket
	anchorless atomic.Int64  // when it was found that the anchor is missing and cannot be written, in ns
	barriers   barriers
	tallies    tallies

	batches atomic.Bool // atomic publish is on
	denied  denied
	group   *groupcommit.Group
	load    groupcommit.Load

	endChange func() // ends what BeginChange began; made once, so that no change makes its own
}

var _ store.Store = (*Bucket)(nil)

func newBucket(client *wire.Client, kv jetstream.KeyValue, info *jetstream.StreamInfo, cfg Config) *Bucket {
	conf := info.Config
	b := &Bucket{
		stream:     &wire.Stream{Client: client, Name: conf.Name, Prefix: "$KV." + cfg.Bucket + "."},
		kv:         kv,
		logger:     cfg.Logger,
		replicated: conf.Replicas > 1,
		direct:     conf.AllowDirect,
		messageTTL: conf.AllowMsgTTL,
		history:    conf.MaxMsgsPerSubject != 1,
		staged:     conf.Replicas <= 1 && conf.Storage == jetstream.FileStorage,
		maxMsgSize: max(0, int(conf.MaxMsgSize)),
		window:     conf.Duplicates,
		created:    info.Created,
		ackPrefix:  fmt.Appendf(nil, `{"stream":%q,"seq":`, conf.Name),
		ids:        newIDs(),
	}
	b.batches.Store(conf.AllowAtomicPublish)
	b.endChange = b.load.End
	b.group = groupcommit.New(b, groupcommit.Options{Staged: b.staged, Go: client.Go, GiveUp: giveUp, Grace: wire.WriteGrace})
	return b
}

// Close frees what the bucket holds on the connection and on the server. Calls
// that wait end with store.ErrClosed.
func (b *Bucket) Close() { b.stream.Close() }

// Hear calls f with what is published to the keys under a pattern from now on, by
// anyone, as long as the connection lasts; Epoch changes with it. It hears what is
// sent, whether the server takes it or not.
func (b *Bucket) Hear(pattern string, f func(value []byte)) error {
	return b.stream.Hear(b.stream.Prefix+pattern, f)
}

// Epoch is the number of the connection, which changes when it is lost.
func (b *Bucket) Epoch() uint64 { return b.stream.Epoch() }

// KV is the bucket as nats.go gives it.
func (b *Bucket) KV() jetstream.KeyValue { return b.kv }

// Transient is store.Transient also for errors that come straight from nats.go.
func Transient(err error) bool { return store.Transient(wire.Mark(err)) }
