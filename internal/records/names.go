package records

import (
	"context"
	"fmt"

	"github.com/natsorm/natsorm/internal/commit"
	"github.com/natsorm/natsorm/internal/document"
	"github.com/natsorm/natsorm/internal/store"
)

// A column can be renamed, or dropped, while programs use it. Each version of a model has names
// for the members of records. A record may have been written by another version: by an older one,
// whose names the catalogue keeps (schema.Former); or by a newer one, which its message says
// (store.Message.Schema). So every record that is read is brought into the names of the version
// that reads it, and every document that is written has the names of the version that writes it.
// spec/alter.pml is the model of it.
//
// The type of a column can change to a wider one (schema.Conversion), whose values have the same JSON. A
// version that knows the column in the former type may meet a value that it cannot read, of a newer
// version. Then its call is made again by that one. What is written while the column is being
// converted fits both types. spec/convert.pml is the model of that.

// newer is how a version of a model reads the records of a newer one.
type newer struct {
	by    *Model          // the newer one
	names *document.Names // from its names to the older one's
	types *document.Types // columns that the older one knows in a narrower type
}

// from is the document of a record of the newer version in the names and types of the older one. With
// ErrReplaced it has a value that the older one cannot read.
func (n *newer) from(key string, doc []byte) ([]byte, error) {
	if n == nil {
		return doc, nil
	}
	doc = n.names.Apply(doc)
	out, err := n.types.NarrowRecord(n.by.Def.Name, key, doc)
	if err != nil {
		return doc, fmt.Errorf("%w: %v", ErrReplaced, err)
	}
	return out, nil
}

// View is a record, as it was read, in the names of this version of the model. Where the record was
// written by a newer version, that one is asked for first. ErrReplaced for a value that only that one
// can read; the record has the names of m all the same.
func (m *Model) View(ctx context.Context, r store.Message) (store.Message, error) {
	if !r.Live() {
		return r, nil
	}
	if commit.Newer(m.Layout, r) {
		n, err := m.newerOf(ctx, r.Schema)
		if err != nil {
			return r, err
		}
		doc, err := n.from(r.Key, r.Value)
		if err != nil {
			r.Value = m.names.Apply(doc)
			return r, err
		}
		r.Value = doc
	}
	r.Value = m.names.Apply(r.Value)
	return r, nil
}

// Named is the document of a record, as it was read, with the names that columns have by this version
// of the model, or by a newer one that the record was written by.
func (m *Model) Named(ctx context.Context, r store.Message) ([]byte, error) {
	if commit.Newer(m.Layout, r) && m.fence != nil {
		now, err := m.fence.Since(ctx, r.Schema)
		if err != nil {
			return nil, err
		}
		m = now
	}
	return m.names.Apply(r.Value), nil
}

// newerOf leads from a newer version, which has a revision of the catalogue's document or a later one, to
// m. It is nil when there is nothing to do.
func (m *Model) newerOf(ctx context.Context, revision uint64) (*newer, error) {
	if m.stale != nil {
		return nil, m.stale(ctx, revision)
	}
	if m.fence == nil {
		return nil, nil
	}
	now, err := m.fence.Since(ctx, revision)
	if err != nil {
		return nil, err
	}
	return m.in(now), nil
}

// in leads from another version of the model, which may be newer, to m.
func (m *Model) in(now *Model) *newer {
	if now == m {
		return nil
	}
	if n := m.newer.Load(); n != nil && n.by == now {
		return n
	}
	n := &newer{now, document.NamesFor(m.Def, now.Def), document.TypesFor(m.Def, now.Def)}
	m.newer.Store(n)
	return n
}

// Misread is the error of a record that could not be read, as View has returned it: an *errs.TypeError when
// it was written by a newer version that has another type, and otherwise err.
func (m *Model) Misread(r store.Message, err error) error {
	if n := m.newer.Load(); n != nil && commit.Newer(m.Layout, r) {
		if _, e := n.types.NarrowRecord(m.Def.Name, r.Key, r.Value); e != nil {
			return e
		}
	}
	return err
}

// fits is an errs.ErrInvalid for a document, to be written, whose values do not have both types of a
// column that is being converted.
func (m *Model) fits(doc []byte) error {
	if err := m.both.Widen(doc); err != nil {
		return fmt.Errorf("%w; Alter is converting the column: write what fits both types until that has ended", document.Invalid(m.Def.Name, err))
	}
	return nil
}

// misfits is an errs.ErrInvalid for a document, in the names of m, that was written by an older version and
// that has a value of a column's former type only.
func (m *Model) misfits(was *Model, doc []byte) error {
	if err := m.fits(doc); err != nil {
		return err
	}
	n := was.in(m)
	if err := n.types.Widen(n.names.Apply(doc)); err != nil {
		return fmt.Errorf("%w; Alter has converted the column", document.Invalid(m.Def.Name, err))
	}
	return nil
}

// viewed reports whether View may give a record another document than it has in the bucket.
func (m *Model) viewed(r store.Message) bool { return m.names != nil || commit.Newer(m.Layout, r) }
