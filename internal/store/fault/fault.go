// Package fault is a store that fails on demand, for tests of what a crash
// leaves behind.
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

// Store is a process that crashes: it passes a number of writes on, and from
// then on nothing. Messages of one connection reach the server in order, so of
// writes that are sent together a crash lets through the first ones.
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

func (f *Store) Share(ctx context.Context, ops []store.Op) (uint64, error) {
	if f.budget.Add(-1) < 0 {
		return 0, ErrCrashed
	}
	return f.Store.Share(ctx, ops)
}

func (f *Store) Read(ctx context.Context, patterns []string) ([]store.Message, uint64, error) {
	if f.Crashed() {
		return nil, 0, ErrCrashed
	}
	return f.Store.Read(ctx, patterns)
}

func (f *Store) Last(ctx context.Context, pattern string) (uint64, error) {
	if f.Crashed() {
		return 0, ErrCrashed
	}
	return f.Store.Last(ctx, pattern)
}

func (f *Store) Whole(ctx context.Context) (uint64, error) {
	if f.Crashed() {
		return 0, ErrCrashed
	}
	return f.Store.Whole(ctx)
}

func (f *Store) Barrier(ctx context.Context) error {
	if f.Crashed() {
		return ErrCrashed
	}
	return f.Store.Barrier(ctx)
}

func (f *Store) CatchUp(ctx context.Context) error {
	if f.Crashed() {
		return ErrCrashed
	}
	return f.Store.CatchUp(ctx)
}

func (f *Store) Get(ctx context.Context, key string) (store.Message, error) {
	if f.Crashed() {
		return store.Message{}, ErrCrashed
	}
	return f.Store.Get(ctx, key)
}

func (f *Store) GetLatest(ctx context.Context, key string) (store.Message, error) {
	if f.Crashed() {
		return store.Message{}, ErrCrashed
	}
	return f.Store.GetLatest(ctx, key)
}

func (f *Store) GetMany(ctx context.Context, keys []string) ([]store.Message, error) {
	if f.Crashed() {
		return nil, ErrCrashed
	}
	return f.Store.GetMany(ctx, keys)
}

func (f *Store) GetEach(ctx context.Context, keys []string, each func(i int, e store.Message)) error {
	if f.Crashed() {
		return ErrCrashed
	}
	return f.Store.GetEach(ctx, keys, each)
}

func (f *Store) Match(ctx context.Context, patterns []string) iter.Seq2[store.Message, error] {
	if f.Crashed() {
		return func(yield func(store.Message, error) bool) { yield(store.Message{}, ErrCrashed) }
	}
	return f.Store.Match(ctx, patterns)
}

func (f *Store) Lookup(ctx context.Context, patterns []string, most int) ([]store.Message, int, uint64, error) {
	if f.Crashed() {
		return nil, 0, 0, ErrCrashed
	}
	return f.Store.Lookup(ctx, patterns, most)
}

func (f *Store) Scan(ctx context.Context, pattern string, opts store.ScanOptions) iter.Seq2[store.Message, error] {
	if f.Crashed() {
		return func(yield func(store.Message, error) bool) { yield(store.Message{}, ErrCrashed) }
	}
	return f.Store.Scan(ctx, pattern, opts)
}

func (f *Store) Revision(ctx context.Context) (uint64, error) {
	if f.Crashed() {
		return 0, ErrCrashed
	}
	return f.Store.Revision(ctx)
}

func (f *Store) Since(ctx context.Context, pattern string, revision uint64) ([]store.Message, error) {
	if f.Crashed() {
		return nil, ErrCrashed
	}
	return f.Store.Since(ctx, pattern, revision)
}

func (f *Store) Changes(ctx context.Context, pattern string, revision uint64) ([]store.Message, error) {
	if f.Crashed() {
		return nil, ErrCrashed
	}
	return f.Store.Changes(ctx, pattern, revision)
}

func (f *Store) Count(ctx context.Context, pattern string) (int, error) {
	if f.Crashed() {
		return 0, ErrCrashed
	}
	return f.Store.Count(ctx, pattern)
}

func (f *Store) Size(ctx context.Context, pattern string) (int, error) {
	if f.Crashed() {
		return 0, ErrCrashed
	}
	return f.Store.Size(ctx, pattern)
}
