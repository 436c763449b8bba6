package records

import (
	"context"

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

// newer is how a version of a model reads the records of a newer one.
type newer struct {
	by    *Model          // the newer one
	names *document.Names // from its names to the older one's
}

// View is a record, as it was read, in the names of this version of the model. Where the record was
// written by a newer version, that one is asked for first.
func (m *Model) View(ctx context.Context, r store.Message) (store.Message, error) {
	if !r.Live() {
		return r, nil
	}
	if commit.Newer(m.Layout, r) {
		names, err := m.namesOf(ctx, r.Schema)
		if err != nil {
			return r, err
		}
		r.Value = names.Apply(r.Value)
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

// namesOf leads from the names of a newer version, which has a revision of the catalogue's document or a
// later one, to those of m.
func (m *Model) namesOf(ctx context.Context, revision uint64) (*document.Names, error) {
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
	return m.namesIn(now), nil
}

// namesIn leads from the names of another version of the model, which may be newer, to those of m.
func (m *Model) namesIn(now *Model) *document.Names {
	if now == m {
		return nil
	}
	if n := m.newer.Load(); n != nil && n.by == now {
		return n.names
	}
	n := &newer{now, document.NamesFor(m.Def, now.Def)}
	m.newer.Store(n)
	return n.names
}

// viewed reports whether View may give a record another document than it has in the bucket.
func (m *Model) viewed(r store.Message) bool { return m.names != nil || commit.Newer(m.Layout, r) }
