package fault

import (
	"context"
	"fmt"
	"slices"
	"sync"

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

// forgetful is a bucket that loses the first answer to each write that may be refused.
type forgetful struct {
	store.Store
	mu   sync.Mutex
	lost map[string]bool
}

// LoseFirstAnswers is s when the answer to the first removal of each key is lost, and that to its
// first conditional write, unless the write asks for certainty (store.Op.Settle) or may be done twice
// (store.Op.Loose). Each of them is done.
func LoseFirstAnswers(s store.Store) store.Store {
	return &forgetful{Store: s, lost: map[string]bool{}}
}

func (f *forgetful) Write(ctx context.Context, ops ...store.Op) []store.Result {
	results := f.Store.Write(ctx, ops...)
	f.mu.Lock()
	defer f.mu.Unlock()
	for i, op := range ops {
		id := fmt.Sprint(op.Key, op.Delete)
		if (op.Delete || op.Conditional) && !op.Settle && !op.Loose && !f.lost[id] {
			f.lost[id] = true
			results[i] = store.Result{Err: store.ErrUnknown}
		}
	}
	return results
}
