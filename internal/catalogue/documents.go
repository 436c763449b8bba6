// Package catalogue keeps the models of a bucket, one JSON document for each, at
// _schema.<model>.
//
// It reads and writes the documents (documents.go), registers what programs declare
// (register.go), and tells handles which version of a model is in force (handle.go), by what
// the process knows of it (knowledge.go). It
// also gives out automatic ids from sequences (sequence.go).
package catalogue

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/natsorm/natsorm/internal/errs"
	"github.com/natsorm/natsorm/internal/keys"
	"github.com/natsorm/natsorm/internal/layout"
	"github.com/natsorm/natsorm/internal/schema"
	"github.com/natsorm/natsorm/internal/store"
	"github.com/natsorm/natsorm/internal/workers"
)

// Load reads a model that the catalogue has to have, with the revision at which Write can
// replace its document. ErrNotFound when the catalogue does not have it, ErrSchema when the
// name cannot be a model's or its document cannot be read.
func Load(ctx context.Context, s store.Store, name string) (*schema.Definition, uint64, error) {
	if err := keys.CheckName(name); err != nil {
		return nil, 0, fmt.Errorf("%w: model: %w", errs.ErrSchema, err)
	}
	def, revision, err := Read(ctx, s, name)
	switch {
	case err != nil:
	case def == nil:
		err = Missing(name)
	case def.Dropped:
		err = Dropped(name)
	}
	return def, revision, err
}

// Missing is the error for a model that the catalogue does not have; it is ErrNotFound.
func Missing(name string) error {
	return fmt.Errorf("%w: no model %q in the catalogue; define it first, with Define or DefineRecord", errs.ErrNotFound, name)
}

// Dropped is the error for a model that was dropped; it is errs.ErrDropped.
func Dropped(name string) error {
	return fmt.Errorf("%w: %s; to have a new one of that name, define it again, with Define or DefineRecord", errs.ErrDropped, name)
}

// Read reads a model from the catalogue, with the revision at which Write can replace its
// document. The definition is nil when there is none; the revision is then that of a
// delete marker, or 0. Of a model that was dropped it says so. ErrSchema when the document
// cannot be read.
func Read(ctx context.Context, s store.Store, name string) (*schema.Definition, uint64, error) {
	m, err := s.GetLatest(ctx, keys.Schema(name))
	if err != nil || !m.Live() {
		return nil, m.Revision, err
	}
	def, err := Decode(m)
	return def, m.Revision, err
}

// Write writes a model's document, and returns its revision, which def has then. store.ErrWrongRevision when
// the document is not at the revision expect: another program has changed it. The store
// settles the write when its answer is lost, so ErrWrongRevision is never the answer to a
// write that was done.
func Write(ctx context.Context, s store.Store, def *schema.Definition, expect uint64) (revision uint64, err error) {
	def.Format = def.FormatOf()
	raw, err := json.Marshal(def)
	if err != nil {
		return 0, err
	}
	res := s.Write(ctx, store.Op{Key: keys.Schema(def.Name), Value: raw, Conditional: true, Expect: expect, Settle: true})[0]
	if res.Err != nil {
		return 0, fmt.Errorf("natsorm: write %s to the catalogue: %w", def.Name, res.Err)
	}
	def.Revision = res.Revision
	return res.Revision, nil
}

// Decode reads a document of the catalogue. ErrSchema when it is not one, describes a
// model that is not valid, or has a format that this natsorm does not know.
func Decode(m store.Message) (*schema.Definition, error) {
	def := &schema.Definition{}
	if err := json.Unmarshal(m.Value, def); err != nil {
		return nil, fmt.Errorf("%w: catalogue key %s cannot be read: %w", errs.ErrSchema, m.Key, err)
	}
	def.Revision = m.Revision
	return def, def.Validate()
}

// List reads the whole catalogue, sorted by the models' names, without those that were
// dropped. ErrSchema when a document
// cannot be read, or its layout is not known.
func List(ctx context.Context, s store.Store) ([]*schema.Definition, error) {
	return list(ctx, s, false)
}

// ListReadable is List without the documents that would be an error.
func ListReadable(ctx context.Context, s store.Store) ([]*schema.Definition, error) {
	return list(ctx, s, true)
}

func list(ctx context.Context, s store.Store, readable bool) ([]*schema.Definition, error) {
	var out []*schema.Definition
	for m, err := range store.Match(ctx, s, keys.Schemas()) {
		if err != nil {
			return nil, err
		}
		def, err := Decode(m)
		if err == nil {
			_, err = layout.New(def)
		}
		if err != nil && readable || err == nil && def.Dropped {
			continue
		}
		if err != nil {
			return nil, err
		}
		out = append(out, def)
	}
	slices.SortFunc(out, func(a, b *schema.Definition) int { return strings.Compare(a.Name, b.Name) })
	return out, nil
}

// keepZeroNull copies into def what the catalogue does not keep of its columns and only
// this process knows: which Go fields have their zero value for null, and what they hold.
func keepZeroNull(def, from *schema.Definition) {
	for i := range def.Columns {
		at := from.Position(def.Columns[i].Name)
		for _, f := range def.Former {
			if at < 0 && f.Column == def.Columns[i].Name {
				at = from.Position(f.Name)
			}
		}
		if at >= 0 {
			known := from.Columns[at]
			def.Columns[i].ZeroNull, def.Columns[i].Holds, def.Columns[i].Elements = known.ZeroNull, known.Holds, known.Elements
		}
	}
}

// Alter changes the document of a model, again when another program has changed it in between.
// apply reports whether it has changed the definition, or why that cannot be. It returns the
// document as it is then. ErrNotFound when there is none.
func Alter(ctx context.Context, s store.Store, model string, apply func(*schema.Definition) (changed bool, err error)) (*schema.Definition, bool, error) {
	for try := 1; ; try++ {
		def, revision, err := Load(ctx, s, model)
		if err != nil {
			return nil, false, err
		}
		changed, err := apply(def)
		if err == nil && changed {
			err = def.Validate()
		}
		if err != nil || !changed {
			return def, false, err
		}
		_, err = Write(ctx, s, def, revision)
		if !errors.Is(err, store.ErrWrongRevision) {
			return def, true, err
		}
		if err := workers.Backoff(ctx, try); err != nil {
			return nil, false, err
		}
	}
}
