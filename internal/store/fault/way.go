package fault

import "github.com/natsorm/natsorm/internal/store"

// way is a store that says of itself how it is written to.
type way struct {
	store.Store
	way store.Way
}

func (w way) BeginChange(bool) (store.Way, func()) { return w.way, func() {} }

func (w way) Traits() store.Traits {
	t := w.Store.Traits()
	t.Writes = w.way
	return t
}

// Phased is s as a bucket on which records are written phased.
func Phased(s store.Store) store.Store { return way{s, store.Phased} }

// Atomic is s as a bucket on which records are written in a batch each.
func Atomic(s store.Store) store.Store { return way{s, store.Atomic} }

// Shared is s as a bucket on which records share batches.
func Shared(s store.Store) store.Store { return way{s, store.Shared} }
