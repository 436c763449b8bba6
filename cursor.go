package natsorm

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/natsorm/natsorm/internal/codec"
	"github.com/natsorm/natsorm/internal/cond"
	"github.com/natsorm/natsorm/internal/document"
	"github.com/natsorm/natsorm/internal/errs"
	"github.com/natsorm/natsorm/internal/exec"
	"github.com/natsorm/natsorm/internal/plan"
	"github.com/natsorm/natsorm/internal/store"
	"github.com/natsorm/natsorm/internal/value"
)

// A cursor is URL-safe base64 of a version byte, eight bytes of the SHA-256 of
// the query it belongs to, and a JSON array: the values of the order's columns
// in the record it was made of.
const (
	cursorVersion = 1
	cursorQuery   = 8
)

// Cursor is the place of a record among those that the queries select: After,
// given with the same conditions and OrderBy, begins behind it. Make it of the
// last record of a page.
//
//	page, err := users.FindAll(ctx, adults, byAge, natsorm.Limit(20))
//	next, err := users.Cursor(page[len(page)-1], adults, byAge)
//	page, err = users.FindAll(ctx, adults, byAge, natsorm.Limit(20), natsorm.After(next))
//
// [Model.FindPage] does that by itself. The place is that of the values, so records that are created or destroyed
// between two pages, even last itself, neither repeat nor hide others. Limit and
// Offset do not matter, nor the order of conditions; one relative to the present
// must be the same in every call. A cursor is text for URLs, valid as long as the
// columns of OrderBy keep their types; it shows their values to whoever decodes
// it. ErrInvalid without OrderBy, or without the primary key. A record that was
// read with Select must have the columns of OrderBy and the primary key, and the
// Select is given here too: fields it left out would count as zero.
func (m *Model[T]) Cursor(last *T, q ...Query) (string, error) {
	query, spec, err := m.bind(q, forRead)
	if err != nil {
		return "", err
	}
	if last == nil {
		return "", m.nilRecord()
	}
	if err := m.needsOrder(query); err != nil {
		return "", err
	}
	if m.codec.Version(last) == codec.Partial && spec.selects == nil {
		return "", fmt.Errorf("%w: a cursor of a record that was read with Select needs that Select too; FindPage needs neither", ErrInvalid)
	}
	for _, s := range query.Order {
		if name := m.exec.Def.Columns[s.Column].Name; spec.selects != nil && !slices.Contains(spec.selects, name) {
			return "", fmt.Errorf("%w: a cursor needs column %s, which Select leaves out", ErrInvalid, name)
		}
	}
	doc, err := m.codec.Encode(last)
	if err != nil {
		return "", err
	}
	return m.cursorOf(doc, query)
}

// cursorOf is the cursor of the place of a document.
func (m *Model[T]) cursorOf(doc []byte, query plan.Query) (string, error) {
	by, err := m.exec.SortValues(query.Order, doc)
	if err != nil {
		return "", document.Invalid(m.name(), err)
	}
	for i, s := range query.Order {
		if s.Column == m.exec.Def.PrimaryKey() && by[i].IsNull() {
			return "", errs.Invalidf(m.name(), m.exec.Def.Key().Name, "is the primary key, and a cursor needs its value")
		}
	}
	sum := m.fingerprint(query)
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

// needsOrder is the error for a query without a place for records.
func (m *Model[T]) needsOrder(q plan.Query) error {
	if len(q.Order) > 0 {
		return nil
	}
	return fmt.Errorf("%w: pages need OrderBy, so that records have a place; OrderBy(%q) is the least", ErrInvalid, m.exec.Def.Key().Name)
}

// FindPage is FindAll of one page, and the cursor of the next one, to be given to
// After; it is empty on the last page. OrderBy and a Limit are needed. The
// records of a page are read again for the next one, as all that the conditions
// select: what After saves is not time, but repeated and missing records when
// others come and go.
//
//	page, next, err := users.FindPage(ctx, adults, byAge, natsorm.Limit(20), natsorm.After(cursor))
//
// Errors are FindAll's, ErrCursor, and ErrInvalid without OrderBy or Limit.
func (m *Model[T]) FindPage(ctx context.Context, q ...Query) (page []*T, next string, err error) {
	m, leave, err := m.enterToRead(ctx)
	if err != nil {
		return nil, "", err
	}
	defer leave()
	query, spec, err := m.bind(q, forRead)
	if err != nil {
		return nil, "", err
	}
	if err := m.needsOrder(query); err != nil {
		return nil, "", err
	}
	if query.Limit < 1 {
		return nil, "", fmt.Errorf("%w: FindPage needs a Limit of at least 1, the size of a page", ErrInvalid)
	}
	size := query.Limit
	if size < math.MaxInt {
		query.Limit++ // one more says that there is a next page
	}
	type placed struct {
		v   *T
		doc []byte
	}
	decode := m.decoder(spec)
	page = []*T{}
	var last placed
	var corrupt []error
	more := false
	for p, err := range exec.Select(ctx, m.exec, query, true, func(e store.Message) (placed, error) {
		v, err := decode(e)
		return placed{v, e.Value}, err
	}) {
		switch {
		case errors.Is(err, ErrCorrupt):
			corrupt = append(corrupt, err)
		case err != nil:
			return nil, "", err
		case len(page) == size:
			more = true
		default:
			page, last = append(page, p.v), p
		}
	}
	if more {
		if next, err = m.cursorOf(last.doc, query); err != nil {
			return nil, "", err
		}
	}
	return page, next, errors.Join(corrupt...)
}

// readCursor is the values that a cursor of this query holds.
func (m *Model[T]) readCursor(text string, q plan.Query) ([]value.Value, error) {
	if len(q.Order) == 0 {
		return nil, fmt.Errorf("%w: After needs the OrderBy that its cursor was made with", ErrInvalid)
	}
	unknown := fmt.Errorf("%w %q: Cursor and FindPage make them", ErrCursor, clip(text))
	raw, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil || len(raw) < 1+cursorQuery {
		return nil, unknown
	}
	if raw[0] != cursorVersion {
		return nil, fmt.Errorf("%w %q: it has version %d, which this natsorm does not know; begin with the first page", ErrCursor, clip(text), raw[0])
	}
	sum := m.fingerprint(q)
	if string(raw[1:1+cursorQuery]) != string(sum[:cursorQuery]) {
		return nil, fmt.Errorf("%w %q: it is of another query; the model, its conditions and OrderBy must be those it was made with", ErrCursor, clip(text))
	}
	var list []json.RawMessage
	if err := json.Unmarshal(raw[1+cursorQuery:], &list); err != nil || len(list) != len(q.Order) {
		return nil, unknown
	}
	out := make([]value.Value, len(list))
	for i, s := range q.Order {
		if out[i], err = value.FromJSON(list[i], m.exec.Def.Columns[s.Column].Type); err != nil {
			return nil, unknown
		}
	}
	return out, nil
}

// fingerprint tells queries apart whose records have different places.
func (m *Model[T]) fingerprint(q plan.Query) [sha256.Size]byte {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n", m.name())
	if q.Filter != nil {
		b.WriteString(q.Filter.Canonical(m.exec.Def))
	} else {
		b.WriteString("all")
	}
	for _, s := range q.Order {
		col := m.exec.Def.Columns[s.Column]
		fmt.Fprintf(&b, "\n%s %s %v", cond.ColumnText(col.Name), col.Type, s.Desc)
	}
	return sha256.Sum256([]byte(b.String()))
}

// clip bounds what an error quotes of a caller's text.
func clip(text string) string {
	const most = 40
	if len(text) > most {
		return text[:most] + "…"
	}
	return text
}
