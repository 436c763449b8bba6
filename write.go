package natsorm

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/natsorm/natsorm/internal/document"
	"github.com/natsorm/natsorm/internal/errs"
	"github.com/natsorm/natsorm/internal/layout"
	"github.com/natsorm/natsorm/internal/schema"
	"github.com/natsorm/natsorm/internal/store"
	"github.com/natsorm/natsorm/internal/value"
)

// Create writes a new record. It fills in an automatic key that is zero, the
// model's times, and the version. ErrExists when the primary key is taken,
// ErrUnique when a unique value is, ErrInvalid when the record can not be
// stored, ErrUnknownOutcome when the server's answer was lost.
func (m *Model[T]) Create(ctx context.Context, v *T) error {
	if err := m.db.check(ctx); err != nil {
		return err
	}
	if v == nil {
		return m.nilRecord()
	}
	m.codec.stamp(v, now(), now())
	if m.exec.Def.Key().Auto && m.codec.zeroKey(v) {
		return m.createAuto(ctx, v)
	}
	return m.create(ctx, v)
}

func (m *Model[T]) create(ctx context.Context, v *T) error {
	doc, footprint, err := m.encode(v)
	if err != nil {
		return err
	}
	out, err := m.exec.Create(ctx, doc, footprint)
	if err != nil {
		if errors.Is(err, ErrExists) {
			err = m.describe(ErrExists, footprint.ID.Text())
		}
		return err
	}
	m.codec.setVersion(v, out.Revision)
	return nil
}

// createAuto creates with keys that nobody was given, until one is free:
// records may have been created with keys of their own. It passes over twice
// as many each time, so that it soon gets beyond them.
func (m *Model[T]) createAuto(ctx context.Context, v *T) error {
	skip := uint64(0)
	for {
		id, err := m.nextKey(ctx, skip)
		if err != nil {
			return err
		}
		if err := m.codec.setKey(v, id); err != nil {
			return err
		}
		err = m.create(ctx, v)
		if err == nil {
			return nil
		}
		if !errors.Is(err, ErrExists) {
			_ = m.codec.setKey(v, value.Null) // it was set a moment ago
			return err
		}
		skip = 2*skip + 1
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
	return value.Coerce(n, typ)
}

// encode makes v's document and the keys that go with it.
func (m *Model[T]) encode(v *T) ([]byte, *layout.Footprint, error) {
	doc, err := m.codec.encode(v)
	if err != nil {
		return nil, nil, err
	}
	footprint, err := m.exec.Layout.Of(doc)
	if err != nil {
		return nil, nil, errs.Invalidf(m.name(), "", "%v", err)
	}
	if footprint.ID.IsNull() {
		return nil, nil, errs.Invalidf(m.name(), m.exec.Def.Key().Name, "is the primary key and has no value; set it")
	}
	return doc, &footprint, nil
}

// bulkWriters is how many records BulkCreate has under way.
const bulkWriters = 128

// BulkCreate creates records, many at a time. Each is created or not by
// itself: when some are not, the error is a *BulkError that names them, and
// the others are there. A context that ends stops it between records.
func (m *Model[T]) BulkCreate(ctx context.Context, vs []*T) error {
	if err := m.db.check(ctx); err != nil {
		return err
	}
	faults := &BulkError{Total: len(vs)}
	var mu sync.Mutex
	var wg sync.WaitGroup
	next := make(chan int)
	for range min(bulkWriters, len(vs)) {
		wg.Go(func() {
			for i := range next {
				if err := m.Create(ctx, vs[i]); err != nil {
					mu.Lock()
					faults.Faults = append(faults.Faults, BulkFault{Index: i, Err: err})
					mu.Unlock()
				}
			}
		})
	}
	for i := range vs {
		next <- i
	}
	close(next)
	wg.Wait()
	if len(faults.Faults) == 0 {
		return nil
	}
	slices.SortFunc(faults.Faults, func(a, b BulkFault) int { return cmp.Compare(a.Index, b.Index) })
	return faults
}

// Save writes the whole of a record that is there. With an orm:"version" field
// that a read or write has filled, it is ErrConflict when the record has been
// changed or destroyed since; without, the last Save wins. ErrNotFound when
// there is no such record; otherwise its errors are Create's. Members of the
// stored document that the model has no column for stay as they are.
func (m *Model[T]) Save(ctx context.Context, v *T) error {
	_, err := m.save(ctx, v, false)
	return err
}

// Upsert creates the record, or writes the whole of it over the one with the
// same primary key, whatever its version, but for the creation time, which
// stays when v's is zero. created says which. Its errors are Create's, but
// never ErrExists.
func (m *Model[T]) Upsert(ctx context.Context, v *T) (created bool, err error) {
	return m.save(ctx, v, true)
}

func (m *Model[T]) save(ctx context.Context, v *T, upsert bool) (created bool, err error) {
	if err := m.db.check(ctx); err != nil {
		return false, err
	}
	if v == nil {
		return false, m.nilRecord()
	}
	if upsert && m.exec.Def.Key().Auto && m.codec.zeroKey(v) {
		m.codec.stamp(v, now(), now())
		return true, m.createAuto(ctx, v)
	}
	id, err := m.keyOf(v)
	if err != nil {
		return false, err
	}
	version := m.codec.version(v)
	out, err := m.exec.Apply(ctx, id, func(cur store.Entry) ([]byte, error) {
		created = !cur.Live()
		switch {
		case created && upsert:
			m.codec.stamp(v, now(), now())
		case created && version != 0:
			return nil, fmt.Errorf("%w, it was destroyed: %w", m.describe(ErrConflict, id.Text()), ErrNotFound)
		case created:
			return nil, m.describe(ErrNotFound, id.Text())
		case !upsert && version != 0 && version != cur.Version():
			return nil, fmt.Errorf("%w is at revision %d, not %d; read it again", m.describe(ErrConflict, id.Text()), cur.Version(), version)
		default:
			m.codec.stamp(v, m.createdAt(cur), now())
		}
		doc, err := m.codec.encode(v)
		if err != nil || created {
			return doc, err
		}
		return document.Adopt(doc, cur.Value, m.codec.writes)
	})
	if err != nil {
		return false, err
	}
	m.codec.setVersion(v, out.Revision)
	return created, nil
}

// createdAt is the creation time of a stored record; zero when it has none.
func (m *Model[T]) createdAt(e store.Entry) time.Time {
	at := slices.IndexFunc(m.exec.Def.Columns, func(c schema.Column) bool { return c.Role == schema.CreatedAt })
	if at < 0 {
		return time.Time{}
	}
	vals, err := document.NewFields(m.exec.Def, at).Read(e.Value)
	if err != nil || vals.At(at).IsNull() {
		return time.Time{}
	}
	return vals.At(at).Time()
}

// keyOf is the primary key of v.
func (m *Model[T]) keyOf(v *T) (value.Value, error) {
	_, footprint, err := m.encode(v)
	if err != nil {
		return value.Null, err
	}
	return footprint.ID, nil
}

// Set is column names to values: new ones for Update, amounts for Increment.
type Set map[string]any

// Update sets columns of every record that the queries select, and returns how
// many. Each record is changed atomically, and only if it still is selected
// at that moment; all of them together are not. ErrMissingWhere without a
// condition or All; ErrInvalid for a column or value that does not fit, or the
// primary key; ErrUnique. After an error, those counted are changed.
func (m *Model[T]) Update(ctx context.Context, set Set, q ...Query) (int, error) {
	assign, err := m.assignments(set)
	if err != nil {
		return 0, err
	}
	return m.modify(ctx, q, func(doc []byte) ([]byte, error) {
		return document.Patch(doc, m.touch(assign))
	})
}

// assignments holds an Update's Set against the model.
func (m *Model[T]) assignments(set Set) ([]document.Member, error) {
	out := make([]document.Member, 0, len(set)+1)
	for _, name := range slices.Sorted(maps.Keys(set)) {
		col, err := m.settable(name)
		if err != nil {
			return nil, err
		}
		raw, err := value.ToJSON(set[name], col.Type)
		if err != nil {
			return nil, errs.Invalidf(m.name(), col.Name, "%v", err)
		}
		out = append(out, document.Member{Name: col.Name, Raw: raw})
	}
	if len(out) == 0 {
		return nil, errs.Invalidf(m.name(), "", "nothing to set")
	}
	return out, nil
}

func (m *Model[T]) settable(name string) (schema.Column, error) {
	at, err := m.exec.Def.Resolve(name)
	if err != nil {
		return schema.Column{}, err
	}
	col := m.exec.Def.Columns[at]
	if col.PrimaryKey {
		return col, errs.Invalidf(m.name(), col.Name, "is the primary key and can not change; create a record with the new key and destroy the old one")
	}
	return col, nil
}

// touch adds the time of the update to what is set, unless it is set itself.
func (m *Model[T]) touch(set []document.Member) []document.Member {
	for _, col := range m.exec.Def.Columns {
		if col.Role == schema.UpdatedAt && !slices.ContainsFunc(set, func(s document.Member) bool { return s.Name == col.Name }) {
			set = append(slices.Clip(set), document.Member{Name: col.Name, Raw: value.OfTime(now()).AppendJSON(nil)})
		}
	}
	return set
}

// Increment adds amounts to number columns of every record that the queries
// select, and returns how many; a negative amount subtracts, and null counts
// as zero. Otherwise it is as Update; a sum that does not fit is ErrInvalid.
func (m *Model[T]) Increment(ctx context.Context, by Set, q ...Query) (int, error) {
	sums, err := m.increments(by)
	if err != nil {
		return 0, err
	}
	positions := make([]int, len(sums))
	for i, s := range sums {
		positions[i] = s.position
	}
	fields := document.NewFields(m.exec.Def, positions...)
	return m.modify(ctx, q, func(doc []byte) ([]byte, error) {
		vals, err := fields.Read(doc)
		if err != nil {
			return nil, err
		}
		var set []document.Member
		for _, s := range sums {
			sum, err := value.Add(vals.At(s.position), s.amount)
			if err != nil {
				return nil, errs.Invalidf(m.name(), s.column, "%v", err)
			}
			set = append(set, document.Member{Name: s.column, Raw: sum.AppendJSON(nil)})
		}
		return document.Patch(doc, m.touch(set))
	})
}

type increment struct {
	column   string
	position int
	amount   value.Value
}

func (m *Model[T]) increments(by Set) ([]increment, error) {
	var out []increment
	for _, name := range slices.Sorted(maps.Keys(by)) {
		col, err := m.settable(name)
		if err != nil {
			return nil, err
		}
		amount, err := value.CoerceAmount(by[name], col.Type)
		if err != nil {
			return nil, errs.Invalidf(m.name(), col.Name, "%v", err)
		}
		out = append(out, increment{column: col.Name, position: m.exec.Def.Position(col.Name), amount: amount})
	}
	if len(out) == 0 {
		return nil, errs.Invalidf(m.name(), "", "nothing to increment")
	}
	return out, nil
}

// Destroy deletes every record that the queries select, and returns how many.
// ErrMissingWhere without a condition or All. A record that can not be read is
// destroyed by its primary key. After an error, those counted are gone.
func (m *Model[T]) Destroy(ctx context.Context, q ...Query) (int, error) {
	return m.modify(ctx, q, nil)
}

// modify changes every record that the queries select; nil deletes.
func (m *Model[T]) modify(ctx context.Context, q []Query, patch func(doc []byte) ([]byte, error)) (int, error) {
	if err := m.db.check(ctx); err != nil {
		return 0, err
	}
	p, err := m.plan(q, forChange)
	if err != nil {
		return 0, err
	}
	return m.exec.Modify(ctx, p, func(cur store.Entry) ([]byte, error) {
		if patch == nil {
			return nil, nil
		}
		doc, err := patch(cur.Value)
		if err != nil {
			if !errors.Is(err, ErrInvalid) { // the patch could not read the document
				err = &errs.CorruptError{Model: m.name(), Key: cur.Key, Err: err}
			}
			return nil, err
		}
		// What was set fits the column; it must fit the Go field too.
		var v T
		if err := m.codec.decode(store.Entry{Value: doc}, &v); err != nil {
			return nil, errs.Invalidf(m.name(), "", "the changed record at %s does not fit %T: %v", cur.Key, v, errors.Unwrap(err))
		}
		return doc, nil
	})
}

// Truncate destroys every record, also those that can not be read, and clears
// what crashed writers left in the indexes. Records created meanwhile may
// stay. Automatic ids go on from where they were.
func (m *Model[T]) Truncate(ctx context.Context) error {
	if err := m.db.check(ctx); err != nil {
		return err
	}
	return m.exec.Truncate(ctx)
}

// now is the time as it is stored: in UTC, to the microsecond.
func now() time.Time { return time.Now().UTC().Truncate(time.Microsecond) }
