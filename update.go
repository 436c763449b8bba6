package natsorm

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/natsorm/natsorm/internal/maintenance"
	"github.com/natsorm/natsorm/internal/query"
	"github.com/natsorm/natsorm/internal/typed"
)

// Set gives values to columns by their names: new values for Update, amounts for
// Increment.
type Set map[string]any

// Assignment is a value for a column whose type the compiler knows; see [TypedColumn.Set].
type Assignment struct {
	column string
	value  any
}

// Set gives a value to the column, for [Assign].
func (c TypedColumn[V]) Set(v V) Assignment {
	if c.err != nil {
		return Assignment{value: badAssignment{c.err}}
	}
	return Assignment{c.name, v}
}

// Assign makes a Set of assignments to typed columns:
//
//	users.Update(ctx, natsorm.Assign(age.Set(31), city.Set("Oslo")), natsorm.Eq("id", 7))
//
// A column that comes twice makes the call that runs it return ErrInvalid.
func Assign(a ...Assignment) Set {
	set := make(Set, len(a))
	for i, one := range a {
		_, bad := one.value.(badAssignment)
		if _, twice := set[one.column]; twice && !bad {
			one.value, bad = badAssignment{fmt.Errorf("%w: Assign sets %q twice", ErrInvalid, one.column)}, true
		}
		if bad { // under a name that no column has, in the order of the mistakes
			one.column = fmt.Sprintf("\x00%08d", i)
		}
		set[one.column] = one.value
	}
	return set
}

// badAssignment stands in a Set for a mistake, which the call that runs it returns.
type badAssignment struct{ err error }

// mistake is the first mistake of Assign.
func (set Set) mistake() error {
	for _, name := range slices.Sorted(maps.Keys(set)) {
		if bad, ok := set[name].(badAssignment); ok {
			return bad.err
		}
	}
	return nil
}

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
	return m.change(ctx, "Update", q, func(s *session) (typed.Change, error) { return setting(s, set) })
}

// UpdateOne sets columns of the first record that the queries select, atomically, and
// returns it as it is then. It is changed only at a moment when it is selected: of many
// calls that take one record out of a state, one succeeds.
//
// Errors: ErrNotFound when no record is selected. ErrConflict when the queries ask for a
// primary key or a unique value, and the record that has it does not fulfil the rest of
// them; then the record is as it was. ErrInvalid for a Limit of more than one. ErrCorrupt
// when the only ones that are selected cannot be read. Those of Update.
func (m *Model[T]) UpdateOne(ctx context.Context, set Set, q ...Query) (v *T, err error) {
	err = m.call(ctx, operation{Name: "UpdateOne"}, func(s *session) error {
		c, err := setting(s, set)
		if err != nil {
			return err
		}
		bound, spec, err := bind(s, q, query.ForChange)
		if err == nil && bound.Limit > 1 {
			err = fmt.Errorf("%w: UpdateOne with Limit(%d): it changes one record; leave Limit out, or use Update", ErrInvalid, bound.Limit)
		}
		if err == nil {
			var changed any
			changed, err = s.UpdateOne(ctx, bound, spec.IfRevision, c)
			v = typed.Unbox[T](changed)
		}
		return err
	})
	return v, err
}

// setting is the change that a Set makes.
func setting(s *session, set Set) (typed.Change, error) {
	if err := set.mistake(); err != nil {
		return typed.Change{}, err
	}
	return s.Setting(set)
}

// change makes a call that changes the records that queries select.
func (m *model) change(ctx context.Context, call string, q []Query, made func(s *session) (typed.Change, error)) (n int, err error) {
	err = m.call(ctx, operation{Name: call}, func(s *session) error {
		c, err := made(s)
		if err != nil {
			return err
		}
		bound, spec, err := bind(s, q, query.ForChange)
		if err == nil {
			n, err = s.Modify(ctx, bound, spec.IfRevision, c)
		}
		return err
	})
	return n, err
}

// Increment adds amounts to number columns of every record that the queries select, and
// returns how many records. A negative amount subtracts, and null counts as zero. A sum
// that does not fit the column is ErrInvalid. Otherwise it is like Update.
func (m *Model[T]) Increment(ctx context.Context, by Set, q ...Query) (int, error) {
	return m.change(ctx, "Increment", q, func(s *session) (typed.Change, error) {
		if err := by.mistake(); err != nil {
			return typed.Change{}, err
		}
		return s.Incrementing(by)
	})
}

// Destroy deletes every record that the queries select, and returns how many. A record
// that cannot be read can be destroyed by its primary key. After an error, the records
// that were counted are gone; in a transaction, none.
//
// Errors: ErrMissingWhere without a condition or All. A *PartialError when some records
// were deleted before the error.
func (m *Model[T]) Destroy(ctx context.Context, q ...Query) (int, error) {
	return m.change(ctx, "Destroy", q, func(s *session) (typed.Change, error) { return s.Destroying(), nil })
}

// Truncate deletes every record of the model, including those that cannot be read, and
// removes what crashed writers left in the indexes. Records that are created meanwhile
// may stay. Automatic ids go on counting. Inside a transaction it is ErrInvalid.
//
// The records of a large model, of more than about 4,000, go all at once, with the server's
// purge. Other calls of the model wait meanwhile, in all programs: for a second and a half,
// and the time of the purge, which is about 2 µs for each record and each index entry. In that
// time the server answers nobody on this bucket, for one index or for the records at a
// time. Nothing stays of such records in the stream. A watch delivers their deletion, with
// the revision 0. If the program dies in between, another one that uses the model goes on
// after 10 seconds. Where the connection's user may not purge, the keys are deleted one by one.
func (m *Model[T]) Truncate(ctx context.Context) error {
	return m.call(ctx, operation{Name: "Truncate", Outside: true}, func(s *session) error {
		return maintenance.Truncate(ctx, m.core.DB.Bucket, s.Docs.Def)
	})
}
