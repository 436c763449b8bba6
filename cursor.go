package natsorm

import (
	"context"
	"errors"
	"fmt"

	"github.com/natsorm/natsorm/internal/codec"
	"github.com/natsorm/natsorm/internal/plan"
	"github.com/natsorm/natsorm/internal/query"
	"github.com/natsorm/natsorm/internal/typed"
)

// Cursor returns a text that marks the place of a record in the order of the queries.
// [After] with that text, and with the same conditions and OrderBy, begins behind the
// place. Most often the record is the last one of a page:
//
//	page, err := users.FindAll(ctx, adults, byAge, natsorm.Limit(20))
//	next, err := users.Cursor(page[len(page)-1], adults, byAge)
//	page, err = users.FindAll(ctx, adults, byAge, natsorm.Limit(20), natsorm.After(next))
//
// [Model.FindPage] does this by itself.
//
// The place is made of values, not of a position. So records that are created or
// destroyed between two pages do not repeat or hide others, even when last itself is
// destroyed. Limit and Offset do not matter, nor does the order of the conditions; but
// a condition that depends on the present time must be the same in every call. A cursor
// can be part of a URL, and stays valid as long as the columns of OrderBy keep their
// types, also when columns are renamed. It is not secret: whoever decodes it sees the values.
//
// If last was read with Select, give that Select here too, and let it have the primary
// key and the columns of OrderBy.
//
// Errors: ErrInvalid without OrderBy, without a primary key in last, and for a record
// that was read with Select when that is not given.
func (m *reads[T]) Cursor(last *T, q ...Query) (string, error) {
	return m.cursor(typed.Box(last), q)
}

func (m *model) cursor(last any, q []Query) (string, error) {
	s := m.core.Last()
	bound, spec, err := bind(s, q, query.ForRead)
	if err != nil {
		return "", err
	}
	if last == nil {
		return "", s.NilRecord()
	}
	if err := query.NeedsOrder(s.Docs.Def, bound); err != nil {
		return "", err
	}
	if s.Codec.Version(last) == codec.Partial && spec.Select == nil {
		return "", fmt.Errorf("%w: a cursor of a record that was read with Select needs that Select too; FindPage needs neither", ErrInvalid)
	}
	doc, err := s.Codec.Encode(last)
	if err != nil {
		return "", err
	}
	return query.MakeCursor(s.Docs.Def, bound, doc, spec.Select)
}

// FindPage reads one page of records, as FindAll does, and returns the cursor of the
// next page, which is to be given to After. The cursor of the last page is empty.
//
//	page, next, err := users.FindPage(ctx, adults, byAge, natsorm.Limit(20), natsorm.After(cursor))
//
// With an ordered index of the columns of OrderBy, a page is read from where the cursor is, and takes as
// long as every other page. Without one, every page reads all records that the conditions select;
// then the use of After is that no record repeats or is missed when others come and go.
//
// Errors: those of FindAll. ErrInvalid without OrderBy or Limit, and for an Offset together
// with a cursor, because it would skip records of every page; ErrCursor for a cursor of
// another query.
func (m *reads[T]) FindPage(ctx context.Context, q ...Query) (page []*T, next string, err error) {
	err = m.read(ctx, "FindPage", q, query.ForRead, func(s *session, bound plan.Query, spec query.Spec) (err error) {
		if bound.Offset > 0 && bound.After != nil {
			return fmt.Errorf("%w: FindPage with Offset and a cursor: the offset would skip %d records of every page; leave it out", ErrInvalid, bound.Offset)
		}
		found, after, corrupt, err := query.Page(ctx, s.Source(), bound, s.Decoder(spec))
		if page, next = nil, after; err != nil {
			return err
		}
		page = typed.UnboxAll[T](found)
		return errors.Join(corrupt...)
	})
	if page, err = readable(page, err); page == nil {
		next = ""
	}
	return page, next, err
}
