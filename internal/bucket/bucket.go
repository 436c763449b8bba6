package bucket

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/natsorm/natsorm/internal/groupcommit"
	"github.com/natsorm/natsorm/internal/session"
	"github.com/natsorm/natsorm/internal/store"
	"github.com/natsorm/natsorm/internal/wire"
)

// Bucket is a store.Store on a JetStream KV bucket. It is safe for concurrent use.
type Bucket struct {
	*session.Session
	kv     jetstream.KeyValue
	logger *slog.Logger

	ackPrefix []byte // of an acknowledgement without an error
	ids       *session.IDs
	tallies   tallies

	denied denied // of switching batches on
	group  *groupcommit.Group
	load   *groupcommit.Load
}

var _ store.Purger = (*Bucket)(nil)

// newBucket makes a Bucket on the stream, and looks at it.
func newBucket(ctx context.Context, stream *wire.Stream, kv jetstream.KeyValue, cfg Config) (*Bucket, error) {
	b := &Bucket{
		kv:        kv,
		logger:    cfg.Logger,
		ackPrefix: fmt.Appendf(nil, `{"stream":%q,"seq":`, stream.Name),
		ids:       session.NewIDs(),
		load:      groupcommit.NewLoad(),
	}
	var err error
	b.Session, err = session.New(ctx, session.Options{
		Stream: stream,
		Logger: cfg.Logger,
		Write: func(ctx context.Context, op store.Op) store.Result {
			result := make([]store.Result, 1)
			b.write(ctx, []store.Op{op}, result)
			return result[0]
		},
		Put:  func(ctx context.Context, op store.Op) store.Result { return b.Write(ctx, op)[0] },
		Anew: b.tallies.clear,
	})
	if err != nil {
		return nil, err
	}
	if err := b.Now().Unfit; err != nil {
		return nil, err
	}
	b.group = groupcommit.New(b, groupcommit.Options{Staged: b.Now().Staged, Go: stream.Go, GiveUp: session.GiveUp, Grace: wire.WriteGrace})
	return b, nil
}

// Close frees what the bucket holds on the connection and on the server. Calls
// that wait end with store.ErrClosed.
func (b *Bucket) Close() { b.Stream.Close() }

// Hear calls f with what is published to the keys under a pattern from now on, by
// anyone, as long as the connection lasts; Epoch changes with it. It hears what is
// sent, whether the server takes it or not.
func (b *Bucket) Hear(ctx context.Context, pattern string, f func(value []byte)) error {
	return b.Stream.Hear(ctx, b.Stream.Prefix+pattern, f)
}

// KV is the bucket as nats.go gives it.
func (b *Bucket) KV() jetstream.KeyValue { return b.kv }

// Transient is store.Transient also for errors that come straight from nats.go.
func Transient(err error) bool { return store.Transient(wire.Mark(err)) }
