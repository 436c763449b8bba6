package fault

import "github.com/natsorm/natsorm/internal/store"

// kind is a store that says of itself what decides how it is written to.
type kind struct {
	store.Store
	staged, shares bool
}

func (k kind) Batches() bool       { return true }
func (k kind) StagesBatches() bool { return k.staged }
func (k kind) SharingPays() bool   { return k.shares }

// Phased is s as a bucket on which records are written phased.
func Phased(s store.Store) store.Store { return kind{s, true, false} }

// Atomic is s as a bucket on which records are written in a batch each.
func Atomic(s store.Store) store.Store { return kind{s, false, false} }

// Shared is s as a bucket on which records share batches.
func Shared(s store.Store) store.Store { return kind{s, true, true} }
