package typed

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/google/uuid"

	"github.com/natsorm/natsorm/internal/codec"
	"github.com/natsorm/natsorm/internal/commit"
	"github.com/natsorm/natsorm/internal/errs"
	"github.com/natsorm/natsorm/internal/records"
	"github.com/natsorm/natsorm/internal/store"
	"github.com/natsorm/natsorm/internal/value"
)

// Create creates v; with many, it is one of many records that come together. An
// automatic key that is zero becomes id or, when id is null, the next key. If a record
// has that key already, because somebody chose it, create tries a later one: each try
// passes over twice as many keys as the last, to get beyond such keys soon.
func (s *Records) Create(ctx context.Context, v any, id value.Value, many bool) error {
	if v == nil {
		return s.NilRecord()
	}
	if s.Codec.Version(v) == codec.Partial {
		return errs.Invalidf(s.Name, "", "the record was read with Select and is not whole; read all of it")
	}
	w := s.Codec.Clone(v)
	s.Codec.Stamp(w, now(), now())
	auto := s.Docs.Def.Key().Auto && s.Codec.ZeroKey(w)
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
		err = s.Docs.Write(ctx, records.Target{ID: after.keys.ID, New: true, Many: many}, s.recordChange(Change{
			next: func(before store.Message) (state, error) {
				if before.Live() {
					return state{}, fmt.Errorf("%w; Save or Upsert changes it", s.Describe(errs.ErrExists, after.keys.ID.Text()))
				}
				return after, nil
			},
			done: s.fillIn(v),
		}))
		if !auto || !errors.Is(err, errs.ErrExists) {
			return err
		}
	}
}

// giveKey sets v's key to id or, when id is null, to the next automatic key.
func (s *Records) giveKey(ctx context.Context, v any, id value.Value, skip uint64) (err error) {
	if id.IsNull() {
		if id, err = s.nextKey(ctx, skip); err != nil {
			return err
		}
	}
	return s.Codec.SetKey(v, id)
}

// nextKey is an automatic key that was given to no record. skip is how many numbers it
// passes over.
func (s *Records) nextKey(ctx context.Context, skip uint64) (value.Value, error) {
	key := s.Docs.Def.Key()
	if key.Type == value.String {
		id, err := uuid.NewV7()
		return value.OfString(id.String()), err
	}
	n, err := s.Seq.Next(ctx, skip)
	if err != nil {
		return value.Null, err
	}
	id, err := value.Coerce(n, key.Type)
	if err != nil {
		return id, errs.Invalidf(s.Name, key.Name, "no automatic id is left that fits: %v", err)
	}
	return id, nil
}

// CreateMany creates the records of a BulkCreate, and returns why some were not
// created.
func (s *Records) CreateMany(ctx context.Context, vs []any) (faults []errs.BulkFault) {
	var mu sync.Mutex
	fail := func(i int, err error) {
		mu.Lock()
		defer mu.Unlock()
		faults = append(faults, errs.BulkFault{Index: i, Err: err})
	}
	type job struct {
		i  int
		id value.Value // its automatic key; null when it has a key
	}
	jobs := make(chan job)
	var wg sync.WaitGroup
	workers := min(commit.Together, len(vs))
	if s.Tx != nil {
		workers = min(1, workers) // a transaction is for one goroutine
	}
	for range workers {
		wg.Go(func() {
			for j := range jobs {
				if err := s.Create(ctx, vs[j.i], j.id, len(vs) > 1); err != nil {
					fail(j.i, err)
				}
			}
		})
	}
	auto := s.Docs.Def.Key().Auto
	for i, v := range vs {
		j := job{i: i}
		if auto && v != nil && s.Codec.ZeroKey(v) { // here, so that keys follow the order of the slice
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
