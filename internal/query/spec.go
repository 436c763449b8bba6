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

	Having     []cond.Node // for groups: all of them must be true of a group
	IfRevision *uint64     // for writes: the revision that a record must have; nil for any
	OnConflict []string    // for ForUpsert: the columns of a unique index; nil for the primary key

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
	ForCreate             // creates records: there are only options of writes
	ForSave               // writes a record over the one that has its key
	ForUpsert             // writes a record over another, or creates it
)

// option is an option of a call, and the uses in which it has a meaning.
type option struct {
	given func(*Spec) bool
	what  string
	uses  []Use
	where string
}

var options = []option{
	{func(s *Spec) bool { return s.Columns != nil || s.Current }, "Columns and WithCurrent are", []Use{ForWatch}, "Watch"},
	{func(s *Spec) bool { return s.Order != nil || s.Limit >= 0 || s.Offset > 0 }, "OrderBy, Limit and Offset are", []Use{ForRead, ForTotal, ForGroups, ForChange, ForExplain}, "calls that read or change records, not for Watch"},
	{func(s *Spec) bool { return s.After != "" }, "After is", []Use{ForRead, ForTotal, ForExplain}, "calls that read records"},
	{func(s *Spec) bool { return s.Select != nil }, "Select is", []Use{ForRead, ForExplain}, "calls that return records"},
	{func(s *Spec) bool { return s.Analyze }, "Analyze is", []Use{ForExplain}, "Explain"},
	{func(s *Spec) bool { return s.Having != nil }, "Having is", []Use{ForGroups}, "GroupBy"},
	{func(s *Spec) bool { return s.IfRevision != nil }, "IfRevision is", []Use{ForChange, ForSave, ForUpsert}, "Save, Upsert, Update, UpdateOne, Increment and Destroy"},
	{func(s *Spec) bool { return s.OnConflict != nil }, "OnConflict is", []Use{ForUpsert}, "Upsert"},
}

// Check returns the first mistake in a Spec. That is Err; or ErrInvalid for an option
// that has no meaning for this use; or ErrMissingWhere when a change does not say which
// records it means.
func (s *Spec) Check(use Use) error {
	if s.Err != nil {
		return s.Err
	}
	for _, o := range options {
		if o.given(s) && !slices.Contains(o.uses, use) {
			return fmt.Errorf("%w: %s for %s", errs.ErrInvalid, o.what, o.where)
		}
	}
	if use == ForChange && !s.All {
		if constant, _ := (cond.Node{Op: cond.And, Kids: s.Conditions}).Constant(); constant {
			return fmt.Errorf("%w: say which records, or natsorm.All() for every one", errs.ErrMissingWhere)
		}
	}
	return nil
}

// Bind checks a Spec for its use, and resolves it against a model. In s it replaces the
// columns of Select by their exact names. Its errors are those of Check, and ErrInvalid
// for a column or a value that does not fit the model; ErrCursor for a text that is not a
// cursor of this query.
func Bind(def *schema.Definition, s *Spec, use Use) (plan.Query, error) {
	if err := s.Check(use); err != nil {
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
