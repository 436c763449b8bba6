package natsorm

import (
	"context"
	"errors"
	"fmt"

	"github.com/natsorm/natsorm/internal/codec"
	"github.com/natsorm/natsorm/internal/plan"
	"github.com/natsorm/natsorm/internal/query"
)

// Cursor says which place a record has in the order of the queries: After, given with
// the same conditions and OrderBy, begins behind it. Make it of the last record of a
// page.
//
//	page, err := users.FindAll(ctx, adults, byAge, natsorm.Limit(20))
//	next, err := users.Cursor(page[len(page)-1], adults, byAge)
//	page, err = users.FindAll(ctx, adults, byAge, natsorm.Limit(20), natsorm.After(next))
//
// [Model.FindPage] does that by itself. A place is made of values: records that are
// created or destroyed between two pages, even last itself, neither repeat nor hide
// others. Limit and Offset do not matter, nor does the order of the conditions; a
// condition that depends on the present time must be the same in every call. A cursor
// is text for URLs, valid as long as the columns of OrderBy keep their types; whoever
// decodes it sees their values.
//
// ErrInvalid without OrderBy, or without the primary key. A record that was read with
// Select must have the columns of OrderBy and the primary key, and the Select is given
// here too: fields that it left out would count as zero.
func (m *Model[T]) Cursor(last *T, q ...Query) (string, error) {
	s := m.last()
	bound, spec, err := s.bind(q, query.ForRead)
	if err != nil {
		return "", err
	}
	if last == nil {
		return "", m.nilRecord()
	}
	if err := query.NeedsOrder(s.records.Def, bound); err != nil {
		return "", err
	}
	if m.codec.Version(last) == codec.Partial && spec.Select == nil {
		return "", fmt.Errorf("%w: a cursor of a record that was read with Select needs that Select too; FindPage needs neither", ErrInvalid)
	}
	doc, err := m.codec.Encode(last)
	if err != nil {
		return "", err
	}
	return query.MakeCursor(s.records.Def, bound, doc, spec.Select)
}

// FindPage is FindAll of one page, and the cursor of the next one, to be given to
// After; it is empty on the last page. OrderBy and a Limit are needed. Every page
// reads all records that the conditions select: what After saves is not time, but
// repeated and missing records when others come and go.
//
//	page, next, err := users.FindPage(ctx, adults, byAge, natsorm.Limit(20), natsorm.After(cursor))
//
// Errors are FindAll's, ErrCursor, and ErrInvalid without OrderBy or Limit.
func (m *Model[T]) FindPage(ctx context.Context, q ...Query) (page []*T, next string, err error) {
	err = m.read(ctx, "FindPage", q, query.ForRead, func(s *session[T], bound plan.Query, spec query.Spec) error {
		found, cursor, corrupt, err := query.Page(ctx, s.records.Source(), bound, s.decoder(spec))
		if err != nil {
			return err
		}
		page, next = append([]*T{}, found...), cursor
		return errors.Join(corrupt...)
	})
	return page, next, err
}
