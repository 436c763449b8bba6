package maintenance

import (
	"context"
	"fmt"

	"github.com/natsorm/natsorm/internal/store"
)

// loader writes in chunks, each of which is acknowledged before the next is sent.
type loader struct {
	s     store.Store
	ops   []store.Op
	at    map[string]int // in ops, by key: a later write of the key takes its place
	bytes int
}

const (
	loadOps   = 1000
	loadBytes = 4 << 20
)

func newLoader(s store.Store) *loader {
	return &loader{s: s, at: map[string]int{}}
}

func (l *loader) add(ctx context.Context, op store.Op) error {
	if i, ok := l.at[op.Key]; ok {
		l.bytes += len(op.Value) - len(l.ops[i].Value)
		l.ops[i] = op
		return nil
	}
	l.at[op.Key] = len(l.ops)
	l.ops = append(l.ops, op)
	if l.bytes += len(op.Key) + len(op.Value); len(l.ops) < loadOps && l.bytes < loadBytes {
		return nil
	}
	return l.flush(ctx)
}

func (l *loader) flush(ctx context.Context) error {
	if len(l.ops) == 0 {
		return nil
	}
	for i, res := range l.s.Write(ctx, l.ops...) {
		if res.Err != nil {
			return fmt.Errorf("write %s: %w", l.ops[i].Key, res.Err)
		}
	}
	l.ops, l.bytes = l.ops[:0], 0
	clear(l.at)
	return nil
}
