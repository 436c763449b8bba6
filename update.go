package natsorm

import (
	"context"
	"errors"
	"maps"
	"slices"

	"github.com/natsorm/natsorm/internal/document"
	"github.com/natsorm/natsorm/internal/errs"
	"github.com/natsorm/natsorm/internal/maintenance"
	"github.com/natsorm/natsorm/internal/schema"
	"github.com/natsorm/natsorm/internal/store"
	"github.com/natsorm/natsorm/internal/value"
)

// Set gives values to columns by their names: new values for Update, amounts for
// Increment.
type Set map[string]any

// Update sets columns of every record that the queries select, and returns how many
// records. Each record is changed atomically, and only if it is still selected at that
// moment. The records together are not changed atomically; in a transaction they are.
// OrderBy, Limit and Offset choose among the records first, so fewer than the Limit are
// changed when one of them is no longer selected at its turn.
//
// After an error, the records that were counted are changed; in a transaction, none,
// because the transaction ends with the error.
//
// Errors: ErrMissingWhere without a condition or All. ErrInvalid for a column or a
// value that does not fit, and for the primary key, which never changes. ErrUnique when
// another record has a unique value. A *PartialError, which wraps one of these, when
// some records were changed before it.
func (m *Model[T]) Update(ctx context.Context, set Set, q ...Query) (int, error) {
	return m.change(ctx, "Update", q, func(s *session[T]) (change[T], error) {
		assign, err := s.assignments(set)
		columns := make([]string, len(assign))
		for i, a := range assign {
			columns[i] = a.Name
		}
		return s.patch(columns, func(doc []byte) ([]byte, error) { return document.Patch(doc, s.withUpdateTime(assign)) }), err
	})
}

// change makes a call that changes the records that queries select.
func (m *Model[T]) change(ctx context.Context, call string, q []Query, made func(s *session[T]) (change[T], error)) (n int, err error) {
	err = m.call(ctx, operation{name: call}, func(s *session[T]) error {
		c, err := made(s)
		if err == nil {
			n, err = s.modify(ctx, q, c)
		}
		return err
	})
	return n, err
}

// assignments are the members that an Update writes into documents.
func (s *session[T]) assignments(set Set) ([]document.Member, error) {
	out := make([]document.Member, 0, len(set)+1)
	for _, name := range slices.Sorted(maps.Keys(set)) {
		col, err := s.settable(name)
		if err != nil {
			return nil, err
		}
		raw, err := value.ToJSON(set[name], col.Type)
		if err == nil && col.ZeroNull && string(raw) == "null" {
			err = errors.New("cannot be set to null: the Go field is not a pointer")
		}
		if err != nil {
			return nil, errs.Invalidf(s.name, col.Name, "%v", err)
		}
		out = append(out, document.Member{Name: col.Name, Raw: raw})
	}
	if len(out) == 0 {
		return nil, errs.Invalidf(s.name, "", "nothing to set; give Update at least one column")
	}
	return out, nil
}

func (s *session[T]) settable(name string) (schema.Column, error) {
	at, err := s.records.Def.Resolve(name)
	if err != nil {
		return schema.Column{}, err
	}
	col := s.records.Def.Columns[at]
	if col.PrimaryKey {
		return col, errs.Invalidf(s.name, col.Name, "is the primary key and cannot change; create a record with the new key and destroy the old one")
	}
	return col, nil
}

// withUpdateTime adds the model's updatedAt time to the members that are set, unless it
// is among them.
func (s *session[T]) withUpdateTime(set []document.Member) []document.Member {
	for _, col := range s.records.Def.Columns {
		if col.Role == schema.UpdatedAt && !slices.ContainsFunc(set, func(s document.Member) bool { return s.Name == col.Name }) {
			set = append(slices.Clip(set), document.Member{Name: col.Name, Raw: value.OfTime(now()).AppendJSON(nil)})
		}
	}
	return set
}

// Increment adds amounts to number columns of every record that the queries select, and
// returns how many records. A negative amount subtracts, and null counts as zero. A sum
// that does not fit the column is ErrInvalid. Otherwise it is like Update.
func (m *Model[T]) Increment(ctx context.Context, by Set, q ...Query) (int, error) {
	return m.change(ctx, "Increment", q, func(s *session[T]) (change[T], error) {
		sums, err := s.increments(by)
		if err != nil {
			return change[T]{}, err
		}
		positions, columns := make([]int, len(sums)), make([]string, len(sums))
		for i, sum := range sums {
			positions[i], columns[i] = sum.position, sum.column
		}
		fields := document.NewFields(s.records.Def, positions...)
		return s.patch(columns, func(doc []byte) ([]byte, error) {
			vals, err := fields.Read(doc)
			if err != nil {
				return nil, err
			}
			var set []document.Member
			for _, by := range sums {
				sum, err := value.Add(vals.At(by.position), by.amount, s.records.Def.Columns[by.position].Type)
				if err != nil {
					return nil, errs.Invalidf(s.name, by.column, "%v", err)
				}
				set = append(set, document.Member{Name: by.column, Raw: sum.AppendJSON(nil)})
			}
			return document.Patch(doc, s.withUpdateTime(set))
		}), nil
	})
}

type increment struct {
	column   string
	position int
	amount   value.Value
}

func (s *session[T]) increments(by Set) ([]increment, error) {
	var out []increment
	for _, name := range slices.Sorted(maps.Keys(by)) {
		col, err := s.settable(name)
		if err != nil {
			return nil, err
		}
		amount, err := value.CoerceAmount(by[name], col.Type)
		if err != nil {
			return nil, errs.Invalidf(s.name, col.Name, "%v", err)
		}
		out = append(out, increment{column: col.Name, position: s.records.Def.Position(col.Name), amount: amount})
	}
	if len(out) == 0 {
		return nil, errs.Invalidf(s.name, "", "nothing to increment; give Increment at least one column")
	}
	return out, nil
}

// Destroy deletes every record that the queries select, and returns how many. A record
// that cannot be read can be destroyed by its primary key. After an error, the records
// that were counted are gone; in a transaction, none.
//
// Errors: ErrMissingWhere without a condition or All. A *PartialError when some records
// were deleted before the error.
func (m *Model[T]) Destroy(ctx context.Context, q ...Query) (int, error) {
	return m.change(ctx, "Destroy", q, func(*session[T]) (change[T], error) {
		return change[T]{next: func(store.Message) (state[T], error) { return state[T]{}, nil }}, nil
	})
}

// Truncate deletes every record of the model, including those that cannot be read, and
// removes what crashed writers left in the indexes. Records that are created meanwhile
// may stay. Automatic ids go on counting. Inside a transaction it is ErrInvalid.
func (m *Model[T]) Truncate(ctx context.Context) error {
	return m.call(ctx, operation{name: "Truncate", outside: true}, func(s *session[T]) error {
		return maintenance.Truncate(ctx, m.db.store, s.records.Def)
	})
}
