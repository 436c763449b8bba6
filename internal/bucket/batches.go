package bucket

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/natsorm/natsorm/internal/errs"
	"github.com/natsorm/natsorm/internal/store"
	"github.com/natsorm/natsorm/internal/wire"
)

// EnableBatches switches the bucket's atomic publish on, where it is off.
// errs.ErrUnsupportedServer when that is not possible.
func (b *Bucket) EnableBatches(ctx context.Context) error {
	if b.Batches.Load() {
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
	info, err := b.Stream.Info(ctx)
	if err == nil {
		info, err = b.Stream.SwitchOn(ctx, info, "allow_atomic")
	}
	if err == nil && !info.Config.Batches {
		err = errors.New("the server ignores it")
	}
	if err != nil && (Transient(err) && parent.Err() != nil || errors.Is(err, nats.ErrConnectionClosed) || !b.Stream.Conn().IsConnected()) {
		return fmt.Errorf("%w: %w", errs.ErrUnwritten, b.Stream.Explain(err))
	}
	if err != nil {
		return fmt.Errorf("%w: the bucket's atomic publish is off, and this account cannot switch it on (%w); nothing was written: set allow_atomic in the configuration of stream %s", errs.ErrUnsupportedServer, wire.Mark(err), b.Stream.Name)
	}
	b.Batches.Store(true)
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

// BeginChange says how the change is best written. Changes that come alone are phased
// where the server stages batches, and a batch each elsewhere. When many are under way,
// they share batches if that has proved to be faster.
func (b *Bucket) BeginChange(many bool) (way store.Way, end func()) {
	alone := store.Atomic
	if b.Now().Staged {
		alone = store.Phased
	}
	switch {
	case !b.Batches.Load():
		return store.Phased, b.load.Count()
	case many && !b.Now().Staged:
		return store.Shared, b.load.Count()
	}
	share, end := b.load.Begin()
	if share {
		return store.Shared, end
	}
	return alone, end
}

// Traits reads what the server told, and counts nothing.
func (b *Bucket) Traits() store.Traits {
	t := store.Traits{Replicable: b.Replicable(), Created: b.Now().Created, Generation: b.Generation(), MaxValue: b.maxValue(), Writes: store.Phased}
	if b.Batches.Load() && !b.Now().Staged { // a batch is as fast as a message
		t.Writes = store.Atomic
	}
	return t
}
