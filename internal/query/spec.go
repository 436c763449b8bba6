package query

import (
	"fmt"
	"slices"
	"strings"

	"github.com/natsorm/natsorm/internal/cond"
	"github.com/natsorm/natsorm/internal/errs"
	"github.com/natsorm/natsorm/internal/plan"
	"github.com/natsorm/natsorm/internal/schema"
)

// Spec collects what the query options of one call say, in the caller's names. Nothing
// in it was checked against a model.
type Spec struct {
	Conditions []cond.Node // all of them must be true
	All        bool        // the caller said that every record is meant
	Order      []string    // columns, with "-" before those that descend
	Limit      int         // how many records at the most; negative for no limit
	Offset     int         // how many records to skip first
	After      string      // a cursor; empty for the beginning
	Select     []string    // columns to decode; nil for all

	Columns []string // for Watch: updates of other columns are not delivered; nil for all
	Current bool     // for Watch: it begins with the records that are there
	Analyze bool     // for Explain: the query is run too

	Err error // the first mistake
}

// NewSpec is the Spec of a call without options: every record.
func NewSpec() Spec { return Spec{Limit: -1} }

// Fail notes a mistake; the first one stays.
func (s *Spec) Fail(err error) {
	if s.Err == nil {
		s.Err = err
	}
}

// Use is the kind of call that a query is for.
type Use int

const (
	ForRead    Use = iota // returns records
	ForTotal              // counts or adds up
	ForGroups             // groups: order, limit and offset are those of the groups
	ForChange             // changes records: the query must say which
	ForWatch              // follows changes
	ForExplain            // explains what ForRead would do
)

// check returns the first mistake in a Spec. That is Err; or ErrInvalid for an option
// that has no meaning for this use; or ErrMissingWhere when a change does not say which
// records it means.
func (s *Spec) check(use Use) error {
	if s.Err != nil {
		return s.Err
	}
	for _, o := range []struct {
		given bool
		what  string
		uses  []Use
		where string
	}{
		{s.Columns != nil || s.Current, "Columns and WithCurrent are", []Use{ForWatch}, "Watch"},
		{s.Order != nil || s.Limit >= 0 || s.Offset > 0, "OrderBy, Limit and Offset are", []Use{ForRead, ForTotal, ForGroups, ForChange, ForExplain}, "calls that read or change records, not for Watch"},
		{s.After != "", "After is", []Use{ForRead, ForTotal, ForExplain}, "calls that read records"},
		{s.Select != nil, "Select is", []Use{ForRead, ForExplain}, "calls that return records"},
		{s.Analyze, "Analyze is", []Use{ForExplain}, "Explain"},
	} {
		if o.given && !slices.Contains(o.uses, use) {
			return fmt.Errorf("%w: %s for %s", errs.ErrInvalid, o.what, o.where)
		}
	}
	constant, _ := cond.Node{Op: cond.And, Kids: s.Conditions}.Constant()
	if use == ForChange && constant && !s.All {
		return fmt.Errorf("%w: say which records, or natsorm.All() for every one", errs.ErrMissingWhere)
	}
	return nil
}

// Bind checks a Spec for its use, and resolves it against a model. In s it replaces the
// columns of Select by their exact names. Its errors are those of check, and ErrInvalid
// for a column or a value that does not fit the model; ErrCursor for a text that is not a
// cursor of this query.
func Bind(def *schema.Definition, s *Spec, use Use) (plan.Query, error) {
	if err := s.check(use); err != nil {
		return plan.Query{}, err
	}
	out := plan.Query{Limit: s.Limit, Offset: s.Offset}
	var err error
	if out.Filter, err = bindFilter(def, s); err != nil {
		return out, err
	}
	if use == ForGroups {
		out.Limit, out.Offset = -1, 0 // those of the groups are not those of the records
		return out, nil
	}
	if out.Order, err = bindOrder(def, s.Order); err != nil {
		return out, err
	}
	if s.After != "" {
		if out.After, err = readCursor(def, s.After, out); err != nil {
			return out, err
		}
	}
	for i, name := range s.Select {
		at, err := def.Resolve(name)
		if err != nil {
			return out, err
		}
		s.Select[i] = def.Columns[at].Name
	}
	return out, nil
}

// bindFilter resolves a Spec's conditions against a model; nil when there are none.
func bindFilter(def *schema.Definition, s *Spec) (*cond.Bound, error) {
	if len(s.Conditions) == 0 {
		return nil, nil
	}
	return cond.Bind(cond.Node{Op: cond.And, Kids: s.Conditions}, def)
}

// bindOrder resolves the columns of an order against a model. A column that is named
// twice counts once. The primary key is added at the end, so that no two records have the
// same place.
func bindOrder(def *schema.Definition, names []string) ([]plan.Sort, error) {
	if len(names) == 0 {
		return nil, nil
	}
	var out []plan.Sort
	add := func(s plan.Sort) {
		if !slices.ContainsFunc(out, func(o plan.Sort) bool { return o.Column == s.Column }) {
			out = append(out, s)
		}
	}
	for _, name := range names {
		column, desc := strings.CutPrefix(name, "-")
		if def.Position(name) >= 0 { // a name that itself begins with "-"
			column, desc = name, false
		}
		at, err := def.Resolve(column)
		if err != nil {
			return nil, fmt.Errorf("%w (OrderBy(%q): one column each; \"-\" before it descends)", err, Clip(name))
		}
		if col := def.Columns[at]; !col.Type.Ordered() {
			return nil, errs.Invalidf(def.Name, col.Name, "has type %s, which has no order for OrderBy", col.Type)
		}
		add(plan.Sort{Column: at, Desc: desc})
	}
	add(plan.Sort{Column: def.PrimaryKey()})
	return out, nil
}

// Clip cuts a caller's text to 40 bytes, for an error to quote.
func Clip(text string) string {
	const most = 40
	if len(text) > most {
		return text[:most] + "…"
	}
	return text
}
