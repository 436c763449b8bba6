package natsorm

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/natsorm/natsorm/internal/cond"
	"github.com/natsorm/natsorm/internal/document"
	"github.com/natsorm/natsorm/internal/plan"
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
// The place is that of the values, so records that are created or destroyed
// between two pages, even last itself, neither repeat nor hide others. Limit and
// Offset do not matter. A cursor is text for URLs, valid as long as the columns
// of OrderBy keep their types; it shows their values to whoever decodes it.
// ErrInvalid without OrderBy, or when Select left one of its columns, or the
// primary key, out.
func (m *Model[T]) Cursor(last *T, q ...Query) (string, error) {
	query, spec, err := m.bind(q, forRead)
	if err != nil {
		return "", err
	}
	if last == nil {
		return "", m.nilRecord()
	}
	if len(query.Order) == 0 {
		return "", fmt.Errorf("%w: a cursor needs OrderBy, so that records have a place; OrderBy(%q) is the least", ErrInvalid, m.exec.Def.Key().Name)
	}
	for _, s := range query.Order {
		if name := m.exec.Def.Columns[s.Column].Name; spec.selects != nil && !slices.Contains(spec.selects, name) {
			return "", fmt.Errorf("%w: a cursor needs column %s, which Select leaves out", ErrInvalid, name)
		}
	}
	doc, err := m.codec.encode(last)
	if err != nil {
		return "", err
	}
	by, err := m.exec.SortValues(query.Order, doc)
	if err != nil {
		return "", document.Fault(m.name(), err)
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

// readCursor is the values that a cursor of this query holds.
func (m *Model[T]) readCursor(text string, q plan.Query) ([]value.Value, error) {
	if len(q.Order) == 0 {
		return nil, fmt.Errorf("%w: After needs the OrderBy that its cursor was made with", ErrInvalid)
	}
	unknown := fmt.Errorf("%w: After(%q): not a cursor; Model.Cursor makes them", ErrInvalid, clip(text))
	raw, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil || len(raw) < 1+cursorQuery {
		return nil, unknown
	}
	if raw[0] != cursorVersion {
		return nil, fmt.Errorf("%w: After(%q): a cursor of version %d, which this natsorm does not know; begin with the first page", ErrInvalid, clip(text), raw[0])
	}
	sum := m.fingerprint(q)
	if string(raw[1:1+cursorQuery]) != string(sum[:cursorQuery]) {
		return nil, fmt.Errorf("%w: After(%q): a cursor of another query; the model, its conditions and OrderBy must be those it was made with", ErrInvalid, clip(text))
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
		b.WriteString(q.Filter.Text(m.exec.Def, 0))
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
