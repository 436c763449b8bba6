package natsorm

import (
	"context"
	"errors"
	"maps"
	"slices"

	"github.com/natsorm/natsorm/internal/document"
	"github.com/natsorm/natsorm/internal/errs"
	"github.com/natsorm/natsorm/internal/maintenance"
	"github.com/natsorm/natsorm/internal/query"
	"github.com/natsorm/natsorm/internal/schema"
	"github.com/natsorm/natsorm/internal/store"
	"github.com/natsorm/natsorm/internal/value"
)

// Set is column names to values: new ones for Update, amounts for Increment.
type Set map[string]any

// Update sets columns of every record that the queries select, and returns how
// many. Each record is changed atomically, and only if it still is selected
// at that moment; all of them together are not, but in a transaction, which fails
// when this stops half way. OrderBy, Limit and Offset choose
// among them first, so fewer than Limit are changed when one is not selected any
// more at its turn. ErrMissingWhere without a
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
		if err == nil && col.ZeroNull && string(raw) == "null" {
			err = errors.New("can not be set to null: the Go field is not a pointer")
		}
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
			sum, err := value.Add(vals.At(s.position), s.amount, m.exec.Def.Columns[s.position].Type)
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
	m, leave, err := m.enterToRead(ctx)
	if err != nil {
		return 0, err
	}
	defer leave()
	bound, _, err := m.bind(q, query.ForChange)
	if err != nil {
		return 0, err
	}
	n, err := m.exec.Modify(ctx, bound, func(cur store.Message) ([]byte, error) {
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
		if err := m.codec.decode(store.Message{Key: cur.Key, Value: doc}, &v); err != nil {
			if e := m.codec.decode(cur, new(T)); e != nil {
				return nil, e // as it did not before
			}
			field, problem := misfit(errors.Unwrap(err))
			return nil, errs.Invalidf(m.name(), field, "the changed record at %s would not fit %T: %v", cur.Key, v, problem)
		}
		return doc, nil
	})
	if err != nil && n > 0 && m.inside() {
		return n, m.tx.run.Fail(err) // all of them or none
	}
	return n, err
}

// Truncate destroys every record, also those that can not be read, and clears
// what crashed writers left in the indexes. Records created meanwhile may
// stay. Automatic ids go on from where they were.
func (m *Model[T]) Truncate(ctx context.Context) error {
	m, leave, err := m.enter(ctx)
	if err != nil {
		return err
	}
	defer leave()
	if err := m.notInside("Truncate"); err != nil {
		return err
	}
	return maintenance.Truncate(ctx, m.db.store, m.exec.Def)
}
