package fault

import "github.com/natsorm/natsorm/internal/store"

// kind is a store that says of itself what decides how it is written to.
type kind struct {
	store.Store
	batches, staged bool
}

func (k kind) Batches() bool       { return k.batches }
func (k kind) StagesBatches() bool { return k.staged }

// Phased is s as a bucket on which records are written phased.
func Phased(s store.Store) store.Store { return kind{s, s.Batches(), true} }

// Atomic is s as a bucket on which records are written in batches.
func Atomic(s store.Store) store.Store { return kind{s, true, false} }
