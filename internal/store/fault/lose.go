package fault

import (
	"context"
	"slices"

	"github.com/natsorm/natsorm/internal/store"
)

// lossy is a bucket that does every write, and whose answers are lost.
type lossy struct{ store.Store }

// LoseAnswers is s when the answers to all writes are lost. What became of a write
// that asks for it is found out, as the port promises (store.Op.Settle); a batch asks
// for it with one of its ops. Of other writes nobody knows.
func LoseAnswers(s store.Store) store.Store { return lossy{s} }

func (l lossy) Write(ctx context.Context, ops ...store.Op) []store.Result {
	results := l.Store.Write(ctx, ops...)
	for i, op := range ops {
		if !op.Settle {
			results[i] = store.Result{Err: store.ErrUnknown}
		}
	}
	return results
}

func (l lossy) Batch(ctx context.Context, b store.Batch) (uint64, error) {
	first, err := l.Store.Batch(ctx, b)
	if !slices.ContainsFunc(b.Ops, func(op store.Op) bool { return op.Settle }) {
		return 0, store.ErrUnknown
	}
	return first, err
}
