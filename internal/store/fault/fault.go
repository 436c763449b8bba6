// Package fault is stores that fail on demand: for tests of what a crash, a stall or a
// replaced leader leaves behind.
package fault

import (
	"context"
	"errors"
	"iter"
	"sync/atomic"

	"github.com/natsorm/natsorm/internal/store"
)

// ErrCrashed is every answer after the crash.
var ErrCrashed = errors.New("fault: this process has crashed")

// Store is a process that crashes: it passes a number of writes on, and nothing after
// that. Messages of one connection reach the server in their order, so of writes that
// are sent together a crash lets the first ones through.
type Store struct {
	store.Store
	budget atomic.Int64
}

// CrashAfter is s for a process that crashes after n writes.
func CrashAfter(s store.Store, n int) *Store {
	f := &Store{Store: s}
	f.budget.Store(int64(n))
	return f
}

// Crashed reports whether the crash has come.
func (f *Store) Crashed() bool { return f.budget.Load() < 0 }

// alive is ErrCrashed after the crash.
func (f *Store) alive() error {
	if f.Crashed() {
		return ErrCrashed
	}
	return nil
}

func (f *Store) Write(ctx context.Context, ops ...store.Op) []store.Result {
	results := make([]store.Result, len(ops))
	pass := 0
	for pass < len(ops) && f.budget.Add(-1) >= 0 {
		pass++
	}
	if pass > 0 {
		copy(results, f.Store.Write(ctx, ops[:pass]...))
	}
	if pass < len(ops) {
		// Nobody is left to see the answers to those that went through.
		for i := range results {
			results[i] = store.Result{Err: ErrCrashed}
		}
	}
	return results
}

// Batch passes a batch on as one write: all of it reaches the server, or none.
func (f *Store) Batch(ctx context.Context, b store.Batch) (uint64, error) {
	if f.budget.Add(-1) < 0 {
		return 0, ErrCrashed
	}
	return f.Store.Batch(ctx, b)
}

// Purge passes a purge on as one write, to a store that has it.
func (f *Store) Purge(ctx context.Context, pattern string, upTo uint64) error {
	if f.budget.Add(-1) < 0 {
		return ErrCrashed
	}
	p, ok := f.Store.(store.Purger)
	if !ok {
		return store.ErrNoPurge
	}
	return p.Purge(ctx, pattern, upTo)
}

func (f *Store) Get(ctx context.Context, key string) (store.Message, error) {
	if err := f.alive(); err != nil {
		return store.Message{}, err
	}
	return f.Store.Get(ctx, key)
}

func (f *Store) GetLatest(ctx context.Context, key string) (store.Message, error) {
	if err := f.alive(); err != nil {
		return store.Message{}, err
	}
	return f.Store.GetLatest(ctx, key)
}

func (f *Store) GetEach(ctx context.Context, keys []string, each func(i int, m store.Message)) error {
	if err := f.alive(); err != nil {
		return err
	}
	return f.Store.GetEach(ctx, keys, each)
}

func (f *Store) Read(ctx context.Context, l store.Lookup) (store.Answer, error) {
	if err := f.alive(); err != nil {
		return store.Answer{}, err
	}
	return f.Store.Read(ctx, l)
}

func (f *Store) Scan(ctx context.Context, pattern string, opts store.ScanOptions) iter.Seq2[store.Message, error] {
	if err := f.alive(); err != nil {
		return func(yield func(store.Message, error) bool) { yield(store.Message{}, err) }
	}
	return f.Store.Scan(ctx, pattern, opts)
}

func (f *Store) Count(ctx context.Context, pattern string, p store.Precision) (int, error) {
	if err := f.alive(); err != nil {
		return 0, err
	}
	return f.Store.Count(ctx, pattern, p)
}

func (f *Store) Changes(ctx context.Context, pattern string, revision uint64) ([]store.Message, error) {
	if err := f.alive(); err != nil {
		return nil, err
	}
	return f.Store.Changes(ctx, pattern, revision)
}

func (f *Store) Last(ctx context.Context, pattern string) (uint64, error) {
	if err := f.alive(); err != nil {
		return 0, err
	}
	return f.Store.Last(ctx, pattern)
}

func (f *Store) Feed(ctx context.Context, o store.FeedOptions) (store.Feed, error) {
	if err := f.alive(); err != nil {
		return nil, err
	}
	return f.Store.Feed(ctx, o)
}

func (f *Store) Revision(ctx context.Context, c store.Certainty) (uint64, error) {
	if err := f.alive(); err != nil {
		return 0, err
	}
	return f.Store.Revision(ctx, c)
}
