package bucket

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/natsorm/natsorm/internal/errs"
	"github.com/natsorm/natsorm/internal/store"
	"github.com/natsorm/natsorm/internal/wire"
)

// EnableBatches switches the bucket's atomic publish on, where it is off.
// errs.ErrUnsupportedServer when that is not possible.
func (b *Bucket) EnableBatches(ctx context.Context) error {
	if b.batches.Load() {
		return nil
	}
	b.denied.mu.Lock()
	defer b.denied.mu.Unlock()
	if time.Since(b.denied.at) < deniedFor { // without permission the server does not answer
		return b.denied.err
	}
	err := b.enableBatches(ctx)
	if errors.Is(err, errs.ErrUnsupportedServer) {
		b.denied.at, b.denied.err = time.Now(), err
	}
	return err
}

// denied is why batches could not be switched on, and when.
type denied struct {
	mu  sync.Mutex
	at  time.Time
	err error
}

// deniedFor is how long what was denied is not tried again.
const deniedFor = time.Minute

func (b *Bucket) enableBatches(parent context.Context) error {
	ctx, cancel := context.WithTimeout(parent, upgradeTimeout)
	defer cancel()
	js, err := jetstream.New(b.stream.Conn())
	if err != nil {
		return b.stream.Explain(err)
	}
	stream, err := js.Stream(ctx, b.stream.Name)
	if err == nil {
		conf := stream.CachedInfo().Config
		conf.AllowAtomicPublish = true
		stream, err = js.UpdateStream(ctx, conf)
	}
	if err == nil && !stream.CachedInfo().Config.AllowAtomicPublish {
		err = errors.New("the server ignores it")
	}
	if err != nil && (Transient(err) && parent.Err() != nil || errors.Is(err, nats.ErrConnectionClosed) || !b.stream.Conn().IsConnected()) {
		return fmt.Errorf("%w: %w", errs.ErrUnwritten, b.stream.Explain(err))
	}
	if err != nil {
		return fmt.Errorf("%w: the bucket's atomic publish is off, and this account cannot switch it on (%w); nothing was written: set allow_atomic in the configuration of stream %s", errs.ErrUnsupportedServer, wire.Mark(err), b.stream.Name)
	}
	b.batches.Store(true)
	return nil
}

// share puts ops into a batch with those of other calls; see package groupcommit.
func (b *Bucket) share(ctx context.Context, ops []store.Op) (first uint64, err error) {
	if err := ctx.Err(); err != nil {
		return 0, fmt.Errorf("%w: %w", errs.ErrUnwritten, err)
	}
	limit := b.maxValue()
	for _, op := range ops {
		if len(op.Value) > limit {
			return 0, fmt.Errorf("%w: key %s", store.ErrTooLarge, op.Key)
		}
	}
	last, err := b.group.Do(ctx, ops)
	if err != nil {
		return 0, err
	}
	return last - uint64(len(ops)-1), nil
}

// BeginChange says how the change is best written: where the server stages
// batches, phased, unless many changes are under way and a message takes the
// server as long as a disk does.
func (b *Bucket) BeginChange(many bool) (way store.Way, end func()) {
	enough := b.load.Begin()
	switch {
	case !b.batches.Load():
		way = store.Phased
	case !b.staged && many, enough && b.load.Slow():
		way = store.Shared
	case !b.staged:
		way = store.Atomic
	default:
		way = store.Phased
	}
	return way, b.endChange
}

// Traits reads what the server told, and counts nothing.
func (b *Bucket) Traits() store.Traits {
	t := store.Traits{Replicated: b.replicated, MaxValue: b.maxValue(), Writes: store.Phased}
	if b.batches.Load() && !b.staged { // a batch is as fast as a message
		t.Writes = store.Atomic
	}
	return t
}
