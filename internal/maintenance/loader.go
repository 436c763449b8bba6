package maintenance

import (
	"context"
	"fmt"

	"github.com/natsorm/natsorm/internal/store"
)

// loader writes many keys in chunks. A chunk is acknowledged before the next one is sent,
// so the later of two writes of a key wins. It is for one goroutine.
type loader struct {
	s     store.Store
	ops   []store.Op
	at    map[string]int // the position in ops of each key: a later write of it takes the place
	bytes int            // the size of ops: keys and values
}

// The size of a chunk, in writes and in bytes.
const (
	loadOps   = 1000
	loadBytes = 4 << 20
)

func newLoader(s store.Store) *loader {
	return &loader{s: s, at: map[string]int{}}
}

func (l *loader) add(ctx context.Context, op store.Op) error {
	if i, ok := l.at[op.Key]; ok {
		op.Loose = true
		l.bytes += len(op.Value) - len(l.ops[i].Value)
		l.ops[i] = op
		return nil
	}
	op.Loose = true // what is loaded twice is the same
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
