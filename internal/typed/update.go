package typed

import (
	"errors"
	"maps"
	"slices"

	"github.com/natsorm/natsorm/internal/document"
	"github.com/natsorm/natsorm/internal/errs"
	"github.com/natsorm/natsorm/internal/schema"
	"github.com/natsorm/natsorm/internal/store"
	"github.com/natsorm/natsorm/internal/value"
)

// Setting is the change that sets columns.
func (s *Records) Setting(set map[string]any) (Change, error) {
	assign, err := s.assignments(set)
	columns := make([]string, len(assign))
	for i, a := range assign {
		columns[i] = a.Name
	}
	return s.patch(columns, func(doc []byte) ([]byte, error) { return document.Patch(doc, s.withUpdateTime(assign)) }), err
}

// assignments are the members that an Update writes into documents.
func (s *Records) assignments(set map[string]any) ([]document.Member, error) {
	out := make([]document.Member, 0, len(set)+1)
	for _, name := range slices.Sorted(maps.Keys(set)) {
		col, called, err := s.settable(name)
		if err != nil {
			return nil, err
		}
		raw, err := value.ToJSON(set[name], col.Type)
		if err == nil && col.ZeroNull && string(raw) == "null" {
			err = errors.New("cannot be set to null: the Go field is not a pointer; set a value, or make it one")
		}
		if err == nil && slices.ContainsFunc(out, func(m document.Member) bool { return m.Name == col.Name }) {
			err = errors.New("is set twice; name it once")
		}
		if err != nil {
			return nil, errs.Invalidf(s.Name, called, "%v", err)
		}
		out = append(out, document.Member{Name: col.Name, Raw: raw})
	}
	if len(out) == 0 {
		return nil, errs.Invalidf(s.Name, "", "nothing to set; give it at least one column")
	}
	return out, nil
}

// settable is the column that a caller means who may set it, and what he calls it.
func (s *Records) settable(name string) (col schema.Column, called string, err error) {
	at, err := s.Docs.Def.Resolve(name)
	if err != nil {
		return col, "", err
	}
	col = s.Docs.Def.Columns[at]
	if col.PrimaryKey {
		return col, "", errs.Invalidf(s.Name, col.Name, "is the primary key and cannot change; create a record with the new key and destroy the old one")
	}
	return col, s.Docs.Def.Called(at, name), nil
}

// withUpdateTime adds the model's updatedAt time to the members that are set, unless it
// is among them.
func (s *Records) withUpdateTime(set []document.Member) []document.Member {
	for _, col := range s.Docs.Def.Columns {
		if col.Role == schema.UpdatedAt && !slices.ContainsFunc(set, func(s document.Member) bool { return s.Name == col.Name }) {
			set = append(slices.Clip(set), document.Member{Name: col.Name, Raw: value.OfTime(now()).AppendJSON(nil)})
		}
	}
	return set
}

type increment struct {
	column   string
	called   string // what the caller calls it
	position int
	amount   value.Value
}

func (s *Records) increments(by map[string]any) ([]increment, error) {
	var out []increment
	for _, name := range slices.Sorted(maps.Keys(by)) {
		col, called, err := s.settable(name)
		if err != nil {
			return nil, err
		}
		amount, err := value.CoerceAmount(by[name], col.Type)
		if err == nil && slices.ContainsFunc(out, func(i increment) bool { return i.column == col.Name }) {
			err = errors.New("is set twice; name it once")
		}
		if err != nil {
			return nil, errs.Invalidf(s.Name, called, "%v", err)
		}
		out = append(out, increment{column: col.Name, called: called, position: s.Docs.Def.Position(col.Name), amount: amount})
	}
	if len(out) == 0 {
		return nil, errs.Invalidf(s.Name, "", "nothing to increment; give Increment at least one column")
	}
	return out, nil
}

// Incrementing is the change that adds amounts to number columns.
func (s *Records) Incrementing(by map[string]any) (Change, error) {
	sums, err := s.increments(by)
	if err != nil {
		return Change{}, err
	}
	positions, columns := make([]int, len(sums)), make([]string, len(sums))
	for i, sum := range sums {
		positions[i], columns[i] = sum.position, sum.column
	}
	fields := document.NewFields(s.Docs.Def, positions...)
	return s.patch(columns, func(doc []byte) ([]byte, error) {
		vals, err := fields.Read(doc)
		if err != nil {
			return nil, err
		}
		var set []document.Member
		for _, by := range sums {
			sum, err := value.Add(vals.At(by.position), by.amount, s.Docs.Def.Columns[by.position].Type)
			if err != nil {
				return nil, errs.Invalidf(s.Name, by.called, "%v", err)
			}
			set = append(set, document.Member{Name: by.column, Raw: sum.AppendJSON(nil)})
		}
		return document.Patch(doc, s.withUpdateTime(set))
	}), nil
}

// Destroying is the change that deletes a record.
func (s *Records) Destroying() Change {
	return Change{next: func(store.Message) (state, error) { return state{}, nil }}
}
