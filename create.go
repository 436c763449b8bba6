package natsorm

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/natsorm/natsorm/internal/commit"
	"github.com/natsorm/natsorm/internal/document"
	"github.com/natsorm/natsorm/internal/errs"
	"github.com/natsorm/natsorm/internal/layout"
	"github.com/natsorm/natsorm/internal/value"
)

// Create writes a new record. It fills in an automatic key that is zero, the
// model's times, and the version. ErrExists when the primary key is taken,
// ErrUnique when a unique value is, ErrInvalid when the record can not be
// stored, ErrUnknownOutcome when the server's answer was lost. After an error
// v is as it was. In a transaction, unique values are judged when it commits, and
// it is Transaction that returns ErrUnique.
func (m *Model[T]) Create(ctx context.Context, v *T) error {
	m, leave, err := m.enter(ctx)
	if err != nil {
		return err
	}
	defer leave()
	return m.createWith(ctx, v, value.Null, false)
}

// createWith creates v, with an automatic key that was taken for it already, or
// null, perhaps as one of many.
func (m *Model[T]) createWith(ctx context.Context, v *T, id value.Value, many bool) error {
	if v == nil {
		return m.nilRecord()
	}
	w := m.codec.clone(v)
	m.codec.stamp(w, now(), now())
	var created place
	var err error
	if m.exec.Def.Key().Auto && m.codec.zeroKey(w) {
		created, err = m.createAuto(ctx, w, id, many)
	} else {
		created, err = m.create(ctx, w, many)
	}
	if err == nil {
		m.written(v, w, created.record, created.revision)
	}
	return err
}

// place is where a record was written.
type place struct {
	record   string // its key
	revision uint64
}

func (m *Model[T]) create(ctx context.Context, v *T, many bool) (place, error) {
	if m.codec.version(v) == partial {
		return place{}, errs.Invalidf(m.name(), "", "the record was read with Select and is not whole; read all of it")
	}
	doc, footprint, err := m.encode(v)
	if err != nil {
		return place{}, err
	}
	out, err := m.exec.Create(ctx, doc, footprint, many)
	if err != nil {
		if errors.Is(err, ErrExists) {
			err = fmt.Errorf("%w; Save or Upsert changes it", m.describe(ErrExists, footprint.ID.Text()))
		}
		return place{}, err
	}
	return place{footprint.Record, out.Revision}, nil
}

// createAuto creates with id, or when that is null or taken with keys that
// nobody was given, until one is free: records may have been created with keys
// of their own. It passes over twice as many each time, so that it soon gets
// beyond them.
func (m *Model[T]) createAuto(ctx context.Context, v *T, id value.Value, many bool) (place, error) {
	skip := uint64(0)
	for {
		if id.IsNull() {
			var err error
			if id, err = m.nextKey(ctx, skip); err != nil {
				return place{}, err
			}
		}
		if err := m.codec.setKey(v, id); err != nil {
			return place{}, err
		}
		created, err := m.create(ctx, v, many)
		if !errors.Is(err, ErrExists) {
			return created, err
		}
		id, skip = value.Null, 2*skip+1
	}
}

func (m *Model[T]) nextKey(ctx context.Context, skip uint64) (value.Value, error) {
	typ := m.exec.Def.Key().Type
	if typ == value.String {
		id, err := uuid.NewV7()
		return value.OfString(id.String()), err
	}
	n, err := m.seq.Next(ctx, skip)
	if err != nil {
		return value.Null, err
	}
	id, err := value.Coerce(n, typ)
	if err != nil {
		return id, errs.Invalidf(m.name(), m.exec.Def.Key().Name, "the automatic ids are used up: %v", err)
	}
	return id, nil
}

// encode makes v's document and the keys that go with it.
func (m *Model[T]) encode(v *T) ([]byte, *layout.Footprint, error) {
	doc, err := m.codec.encode(v)
	if err != nil {
		return nil, nil, err
	}
	footprint, err := m.exec.Layout.Of(doc)
	if err != nil {
		return nil, nil, document.Invalid(m.name(), err)
	}
	if footprint.ID.IsNull() {
		return nil, nil, errs.Invalidf(m.name(), m.exec.Def.Key().Name, "is the primary key and has no value; set it")
	}
	return doc, &footprint, nil
}

// BulkCreate creates records, in batches of some hundred; automatic keys are in the
// order of the slice. Each is created or not by itself: when some are not, the
// error is a *BulkError that names them, and the others are there, also when it is
// a record of the slice that has the value. Once the context has ended no more are
// begun. In a transaction, which fails when one of them does, it is all or none.
func (m *Model[T]) BulkCreate(ctx context.Context, vs []*T) error {
	m, leave, err := m.enter(ctx)
	if err != nil {
		return err
	}
	defer leave()
	faults := &BulkError{Total: len(vs)}
	var mu sync.Mutex
	fail := func(i int, err error) {
		mu.Lock()
		defer mu.Unlock()
		faults.Faults = append(faults.Faults, BulkFault{Index: i, Err: err})
	}
	type job struct {
		i  int
		id value.Value // null when the record has its key
	}
	jobs := make(chan job)
	var wg sync.WaitGroup
	workers := min(commit.Together, len(vs))
	if m.inside() {
		workers = min(1, workers) // in the order of the slice
	}
	for range workers {
		wg.Go(func() {
			for j := range jobs {
				if err := m.createWith(ctx, vs[j.i], j.id, len(vs) > 1); err != nil {
					fail(j.i, err)
				}
			}
		})
	}
	auto := m.exec.Def.Key().Auto
	for i, v := range vs {
		j := job{i: i}
		if auto && v != nil && m.codec.zeroKey(v) { // here, so that keys are in order
			var err error
			if j.id, err = m.nextKey(ctx, 0); err != nil {
				fail(i, err)
				continue
			}
		}
		jobs <- j
	}
	close(jobs)
	wg.Wait()
	if len(faults.Faults) == 0 {
		return nil
	}
	if m.inside() {
		defer func() { _ = m.tx.run.Fail(faults) }() // all of them or none
	}
	slices.SortFunc(faults.Faults, func(a, b BulkFault) int { return cmp.Compare(a.Index, b.Index) })
	return faults
}

// now is the time as it is stored: in UTC, to the microsecond.
func now() time.Time { return time.Now().UTC().Truncate(time.Microsecond) }
