package fault

import (
	"context"
	"sync"

	"github.com/natsorm/natsorm/internal/store"
)

// Stalling is a process that stops for a while before one of its writes, as
// one does whose machine is suspended or whose network is slow.
type Stalling struct {
	store.Store
	when    func(op store.Op) bool
	once    sync.Once
	stalled chan struct{}
	resume  chan struct{}
}

// StallBefore is s for a process that stalls before its first write of which
// when is true.
func StallBefore(s store.Store, when func(op store.Op) bool) *Stalling {
	return &Stalling{Store: s, when: when, stalled: make(chan struct{}), resume: make(chan struct{})}
}

// Stalled is closed when the process has stalled.
func (f *Stalling) Stalled() <-chan struct{} { return f.stalled }

// Resume lets the process go on.
func (f *Stalling) Resume() { close(f.resume) }

func (f *Stalling) Write(ctx context.Context, ops ...store.Op) []store.Result {
	f.stall(ops)
	return f.Store.Write(ctx, ops...)
}

func (f *Stalling) Batch(ctx context.Context, b store.Batch) (uint64, error) {
	f.stall(b.Ops)
	return f.Store.Batch(ctx, b)
}

func (f *Stalling) stall(ops []store.Op) {
	for _, op := range ops {
		if f.when(op) {
			f.once.Do(func() {
				close(f.stalled)
				<-f.resume
			})
		}
	}
}
