package fault

import (
	"context"
	"sync"

	"github.com/natsorm/natsorm/internal/store"
)

// Behind is a replicated bucket whose leader has been replaced, and does not know
// it: what is asked of it is answered as it was when the leader stopped, until a
// majority is asked. Other reads and writes go to the others.
type Behind struct {
	store.Store
	mu  sync.Mutex
	was map[string]store.Message
}

// NewBehind is s with a leader that has only what is in the bucket now under those
// keys.
func NewBehind(ctx context.Context, s store.Store, keys ...string) (*Behind, error) {
	b := &Behind{Store: s, was: map[string]store.Message{}}
	for _, key := range keys {
		e, err := s.GetLatest(ctx, key)
		if err != nil {
			return nil, err
		}
		b.was[key] = e
	}
	return b, nil
}

func (b *Behind) Traits() store.Traits {
	t := b.Store.Traits()
	t.Replicable = true
	return t
}

func (b *Behind) GetLatest(ctx context.Context, key string) (store.Message, error) {
	b.mu.Lock()
	e, ok := b.was[key]
	b.mu.Unlock()
	if ok {
		return e, nil
	}
	return b.Store.GetLatest(ctx, key)
}

func (b *Behind) Revision(ctx context.Context, c store.Certainty) (uint64, error) {
	if c == store.Agreed { // the others say what the old leader does not know
		b.mu.Lock()
		clear(b.was)
		b.mu.Unlock()
	}
	return b.Store.Revision(ctx, c)
}
