package natsorm

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/google/uuid"

	"github.com/natsorm/natsorm/internal/codec"
	"github.com/natsorm/natsorm/internal/commit"
	"github.com/natsorm/natsorm/internal/errs"
	"github.com/natsorm/natsorm/internal/records"
	"github.com/natsorm/natsorm/internal/store"
	"github.com/natsorm/natsorm/internal/value"
)

// Create writes a new record. It fills v's automatic key when that is zero, its
// createdAt and updatedAt times, and its version. After an error, v is as it was.
//
// In a transaction, unique values are compared when the transaction commits, so it is
// Transaction that returns ErrUnique.
//
// Errors: ErrExists when a record has this primary key already. ErrUnique when another
// record has one of the unique values. ErrInvalid when the record cannot be stored.
// ErrUnknownOutcome when the server's answer was lost.
func (m *Model[T]) Create(ctx context.Context, v *T) error {
	return m.call(ctx, operation{name: "Create"}, func(s *session[T]) error {
		return s.create(ctx, v, value.Null, false)
	})
}

// create creates v; with many, it is one of many records that come together. An
// automatic key that is zero becomes id or, when id is null, the next key. If a record
// has that key already, because somebody chose it, create tries a later one: each try
// passes over twice as many keys as the last, to get beyond such keys soon.
func (s *session[T]) create(ctx context.Context, v *T, id value.Value, many bool) error {
	if v == nil {
		return s.nilRecord()
	}
	if s.codec.Version(v) == codec.Partial {
		return errs.Invalidf(s.name, "", "the record was read with Select and is not whole; read all of it")
	}
	w := s.codec.Clone(v)
	s.codec.Stamp(w, now(), now())
	auto := s.records.Def.Key().Auto && s.codec.ZeroKey(w)
	for skip := uint64(0); ; skip = 2*skip + 1 {
		if auto {
			if err := s.giveKey(ctx, w, id, skip); err != nil {
				return err
			}
			id = value.Null
		}
		after, err := s.encode(w)
		if err != nil {
			return err
		}
		err = s.records.Write(ctx, records.Target{ID: after.keys.ID, New: true, Many: many}, s.recordChange(change[T]{
			next: func(before store.Message) (state[T], error) {
				if before.Live() {
					return state[T]{}, fmt.Errorf("%w; Save or Upsert changes it", s.describe(ErrExists, after.keys.ID.Text()))
				}
				return after, nil
			},
			done: s.fillIn(v),
		}))
		if !auto || !errors.Is(err, ErrExists) {
			return err
		}
	}
}

// giveKey sets v's key to id or, when id is null, to the next automatic key.
func (s *session[T]) giveKey(ctx context.Context, v *T, id value.Value, skip uint64) (err error) {
	if id.IsNull() {
		if id, err = s.nextKey(ctx, skip); err != nil {
			return err
		}
	}
	return s.codec.SetKey(v, id)
}

// nextKey is an automatic key that was given to no record. skip is how many numbers it
// passes over.
func (s *session[T]) nextKey(ctx context.Context, skip uint64) (value.Value, error) {
	key := s.records.Def.Key()
	if key.Type == value.String {
		id, err := uuid.NewV7()
		return value.OfString(id.String()), err
	}
	n, err := s.seq.Next(ctx, skip)
	if err != nil {
		return value.Null, err
	}
	id, err := value.Coerce(n, key.Type)
	if err != nil {
		return id, errs.Invalidf(s.name, key.Name, "no automatic id is left that fits: %v", err)
	}
	return id, nil
}

// BulkCreate creates many records, some hundred at a time. Automatic keys follow the
// order of the slice. Each record is created or fails by itself, also when it takes a
// unique value from another record of the slice. When records fail, the error is a
// *BulkError that names them; all others are created. When the context ends, no further
// record is begun.
//
// In a transaction it is all or nothing: when one record fails, the transaction ends
// with that error.
func (m *Model[T]) BulkCreate(ctx context.Context, vs []*T) error {
	return m.call(ctx, operation{name: "BulkCreate"}, func(s *session[T]) error {
		faults := s.createMany(ctx, vs)
		if len(faults) == 0 {
			return nil
		}
		slices.SortFunc(faults, func(a, b BulkFault) int { return cmp.Compare(a.Index, b.Index) })
		err := &BulkError{Total: len(vs), Faults: faults}
		if s.tx != nil {
			_ = s.tx.run.Fail(err) // all or nothing; Fail returns the first error, which Transaction returns too
		}
		return err
	})
}

// createMany creates the records of a BulkCreate, and returns why some were not
// created.
func (s *session[T]) createMany(ctx context.Context, vs []*T) (faults []BulkFault) {
	var mu sync.Mutex
	fail := func(i int, err error) {
		mu.Lock()
		defer mu.Unlock()
		faults = append(faults, BulkFault{Index: i, Err: err})
	}
	type job struct {
		i  int
		id value.Value // its automatic key; null when it has a key
	}
	jobs := make(chan job)
	var wg sync.WaitGroup
	workers := min(commit.Together, len(vs))
	if s.tx != nil {
		workers = min(1, workers) // a transaction is for one goroutine
	}
	for range workers {
		wg.Go(func() {
			for j := range jobs {
				if err := s.create(ctx, vs[j.i], j.id, len(vs) > 1); err != nil {
					fail(j.i, err)
				}
			}
		})
	}
	auto := s.records.Def.Key().Auto
	for i, v := range vs {
		j := job{i: i}
		if auto && v != nil && s.codec.ZeroKey(v) { // here, so that keys follow the order of the slice
			var err error
			if j.id, err = s.nextKey(ctx, 0); err != nil {
				fail(i, err)
				continue
			}
		}
		jobs <- j
	}
	close(jobs)
	wg.Wait()
	return faults
}
