package query

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/natsorm/natsorm/internal/cond"
	"github.com/natsorm/natsorm/internal/document"
	"github.com/natsorm/natsorm/internal/errs"
	"github.com/natsorm/natsorm/internal/plan"
	"github.com/natsorm/natsorm/internal/schema"
	"github.com/natsorm/natsorm/internal/value"
)

// ErrCursor says that a text is not a cursor, or is one of another query. It is
// ErrInvalid.
var ErrCursor = fmt.Errorf("%w cursor", errs.ErrInvalid)

// A cursor is a place in the order of one query. It is URL-safe base64 of three parts: a
// version byte; the first eight bytes of the query's fingerprint, so that it is not used
// for another query; and a JSON array with the values that a record has in the columns
// of the order.
const (
	cursorVersion = 1
	cursorQuery   = 8 // bytes of the fingerprint
)

// MakeCursor makes the cursor of a document's place in a query's order. selected are the
// columns that the document has, nil for all. ErrInvalid when the query has no order, or
// when the document lacks a column of it.
func MakeCursor(def *schema.Definition, q plan.Query, doc []byte, selected []string) (string, error) {
	if err := NeedsOrder(def, q); err != nil {
		return "", err
	}
	for _, s := range q.Order {
		if name := def.Columns[s.Column].Name; selected != nil && !slices.Contains(selected, name) {
			return "", fmt.Errorf("%w: a cursor needs column %s, which Select leaves out", errs.ErrInvalid, name)
		}
	}
	vals, err := document.NewFields(def, sortColumns(q.Order)...).Read(doc)
	if err != nil {
		return "", document.Invalid(def.Name, err)
	}
	by := placeOf(def, q.Order, vals)
	for i, s := range q.Order {
		if s.Column == def.PrimaryKey() && by[i].IsNull() {
			return "", errs.Invalidf(def.Name, def.Key().Name, "is the primary key, and a cursor needs its value")
		}
	}
	sum := fingerprint(def, q)
	raw := append([]byte{cursorVersion}, sum[:cursorQuery]...)
	raw = append(raw, '[')
	for i, v := range by {
		if i > 0 {
			raw = append(raw, ',')
		}
		raw = v.AppendJSON(raw)
	}
	return base64.RawURLEncoding.EncodeToString(append(raw, ']')), nil
}

// NeedsOrder is ErrInvalid for a query without an order, in which records have no place;
// otherwise nil.
func NeedsOrder(def *schema.Definition, q plan.Query) error {
	if len(q.Order) > 0 {
		return nil
	}
	return fmt.Errorf("%w: pages need OrderBy, so that records have a place; OrderBy(%q) is the least", errs.ErrInvalid, def.Key().Name)
}

// Page reads a page of q.Limit records at once. next is the cursor of the next page, and
// empty on the last one. unreadable are the errors of records that cannot be read; they
// are not in the page. ErrInvalid when the query has no order or no limit.
func Page[V any](ctx context.Context, src Source, q plan.Query, decode func(Record) (V, error)) (page []V, next string, unreadable []error, err error) {
	def := src.Model()
	if err := NeedsOrder(def, q); err != nil {
		return nil, "", nil, err
	}
	if q.Limit < 1 {
		return nil, "", nil, fmt.Errorf("%w: FindPage needs a Limit of at least 1, the size of a page", errs.ErrInvalid)
	}
	size := q.Limit
	if size < math.MaxInt {
		q.Limit++ // a record beyond the page says that there is a next one
	}
	type item struct {
		v      V
		record Record
	}
	page = []V{} // not nil, when it is empty
	var last Record
	more := false
	for r, err := range Select(ctx, src, q, true, func(r Record) (item, error) {
		v, err := decode(r)
		return item{v, r}, err
	}) {
		switch {
		case errs.Unreadable(err):
			unreadable = append(unreadable, err)
		case err != nil:
			return nil, "", nil, err
		case len(page) == size:
			more = true
		default:
			page, last = append(page, r.v), r.record
		}
	}
	if more {
		if next, err = MakeCursor(def, q, last.Message().Value, nil); err != nil {
			return nil, "", nil, err
		}
	}
	return page, next, unreadable, nil
}

// readCursor reads a cursor of this query: the values of the order's columns at its
// place. ErrCursor when the text is not a cursor, has another version, or belongs to
// another query.
func readCursor(def *schema.Definition, text string, q plan.Query) ([]value.Value, error) {
	if len(q.Order) == 0 {
		return nil, fmt.Errorf("%w: After needs the OrderBy that its cursor was made with", errs.ErrInvalid)
	}
	unknown := fmt.Errorf("%w %q: Cursor and FindPage make them", ErrCursor, Clip(text))
	raw, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil || len(raw) < 1+cursorQuery {
		return nil, unknown
	}
	if raw[0] != cursorVersion {
		return nil, fmt.Errorf("%w %q: it has version %d, which this natsorm does not know; begin with the first page", ErrCursor, Clip(text), raw[0])
	}
	if !fits(def, q, raw[1:1+cursorQuery]) {
		return nil, fmt.Errorf("%w %q: it is of another query; the model, its conditions and OrderBy must be those it was made with", ErrCursor, Clip(text))
	}
	var list []json.RawMessage
	if err := json.Unmarshal(raw[1+cursorQuery:], &list); err != nil || len(list) != len(q.Order) {
		return nil, unknown
	}
	out := make([]value.Value, len(list))
	for i, s := range q.Order {
		if out[i], err = value.FromJSON(list[i], def.Columns[s.Column].Type); err != nil {
			return nil, unknown
		}
	}
	return out, nil
}

// fits reports whether a cursor has the fingerprint of a query, by the names that its columns have,
// or by names that they had when the cursor was made.
func fits(def *schema.Definition, q plan.Query, of []byte) bool {
	columns := sortColumns(q.Order)
	if q.Filter != nil {
		columns = q.Filter.Columns(columns)
	}
	for d := range def.Namings(columns) {
		if sum := fingerprint(d, q); bytes.Equal(sum[:cursorQuery], of) {
			return true
		}
	}
	return false
}

// fingerprint is a hash of what a record's place depends on: the model, the condition,
// and the order with its types and directions. Limit and offset do not change places.
func fingerprint(def *schema.Definition, q plan.Query) [sha256.Size]byte {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n", def.Name)
	if q.Filter != nil {
		b.WriteString(q.Filter.Canonical(def))
	} else {
		b.WriteString("all")
	}
	for _, s := range q.Order {
		col := def.Columns[s.Column]
		fmt.Fprintf(&b, "\n%s %s %v", cond.ColumnText(col.Name), col.Type, s.Desc)
	}
	return sha256.Sum256([]byte(b.String()))
}
