package catalogue

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/natsorm/natsorm/internal/errs"
	"github.com/natsorm/natsorm/internal/keys"
	"github.com/natsorm/natsorm/internal/schema"
	"github.com/natsorm/natsorm/internal/store"
	"github.com/natsorm/natsorm/internal/workers"
)

// Build is what the bucket keeps of the building of a model's indexes, at keys.Build(model).
// It stands beside the model's document, and not in it, because it changes again and again:
// a document that changes makes transactions run again, and every program read it.
//
// It may be lost at any time. Then the next build begins from the start, and is not paused.
type Build struct {
	Format int   `json:"format"`
	Paused bool  `json:"paused,omitempty"` // nobody goes on with the build
	Mark   *Mark `json:"mark,omitempty"`
}

// buildFormat is the version of a Build's text.
const buildFormat = 1

// Mark says how far a build has come: every record whose last revision is not above UpTo has
// its entries and claims in these indexes. That stays true whatever others write: a record that
// is written again has a higher revision, and nobody removes the entries of one that is not. It
// ends with what removes entries of their own: the drop of an index or of the model, the removal
// of all records, another layout, another bucket. So a mark says which of each it is of.
type Mark struct {
	Bucket  time.Time   `json:"bucket"` // when the bucket was made: revisions of another one mean nothing here
	Born    uint64      `json:"born,omitempty"`
	Placed  uint64      `json:"placed,omitempty"`
	Emptied uint64      `json:"emptied,omitempty"`
	Layout  string      `json:"layout"`
	Indexes []MarkIndex `json:"indexes"`

	UpTo  uint64 `json:"upTo"`
	Done  int    `json:"done"`  // about how many records are done
	Total int    `json:"total"` // of about how many
}

// MarkIndex is an index of a Mark, by the members with which the model's document has it.
type MarkIndex struct {
	Name     string `json:"name"`
	Unique   bool   `json:"unique,omitempty"`
	Declared uint64 `json:"declared,omitempty"`
}

// NewMark is the mark of a build that has done nothing yet.
func NewMark(s store.Store, def *schema.Definition, indexes []schema.Index) Mark {
	m := Mark{Bucket: s.Traits().Created.UTC(), Born: def.Born, Placed: def.Placed, Emptied: def.Emptied, Layout: def.Layout}
	for _, x := range indexes {
		m.Indexes = append(m.Indexes, MarkIndex{x.Name, x.Unique, x.Declared})
	}
	return m
}

// For reports whether what m says of its indexes is true of all of those of another mark.
func (m *Mark) For(other *Mark) bool {
	return m.Bucket.Equal(other.Bucket) && m.Born == other.Born && m.Placed == other.Placed && m.Emptied == other.Emptied && m.Layout == other.Layout &&
		!slices.ContainsFunc(other.Indexes, func(x MarkIndex) bool { return !slices.Contains(m.Indexes, x) })
}

// Of is how far the build of one index of a model has come: about how many records are done, of
// how many. Both are 0 when nothing is known.
func (b Build) Of(s store.Store, def *schema.Definition, x schema.Index) (done, total int) {
	one := NewMark(s, def, []schema.Index{x})
	if b.Mark == nil || x.State != schema.Building || !b.Mark.For(&one) {
		return 0, 0
	}
	return b.Mark.Done, b.Mark.Total
}

// ReadBuild reads how far the building of a model's indexes has come, with the revision at
// which WriteBuild can replace it. What cannot be read, or is of a newer format, counts for
// nothing.
func ReadBuild(ctx context.Context, s store.Store, model string) (b Build, revision uint64, err error) {
	m, err := s.GetLatest(ctx, keys.Build(model))
	if err != nil || !m.Live() {
		return Build{}, m.Revision, err
	}
	if json.Unmarshal(m.Value, &b) != nil || b.Format > buildFormat {
		b = Build{}
	}
	return b, m.Revision, nil
}

// WriteBuild writes it, and returns its revision. store.ErrWrongRevision when it is not at the
// revision expect.
func WriteBuild(ctx context.Context, s store.Store, model string, b Build, expect uint64) (uint64, error) {
	b.Format = buildFormat
	raw, err := json.Marshal(b)
	if err != nil {
		return 0, err
	}
	res := s.Write(ctx, store.Op{Key: keys.Build(model), Value: raw, Conditional: true, Expect: expect, Settle: true})[0]
	if res.Err != nil {
		return 0, fmt.Errorf("natsorm: write how far the build of %s is: %w", model, res.Err)
	}
	return res.Revision, nil
}

// EndBuild removes it: there is nothing to build.
func EndBuild(ctx context.Context, s store.Store, model string) error {
	err := alterBuild(ctx, s, model, func(b *Build) bool {
		was := *b != Build{}
		*b = Build{}
		return was
	})
	if err != nil {
		return fmt.Errorf("natsorm: remove how far the build of %s was: %w", model, err)
	}
	return nil
}

// ForgetMark removes the mark of a model, whose entries are about to be removed, or have been.
// No build relies on that: a mark says what it is of. A build stays paused that is.
func ForgetMark(ctx context.Context, s store.Store, model string) error {
	return alterBuild(ctx, s, model, func(b *Build) bool {
		had := b.Mark != nil
		b.Mark = nil
		return had
	})
}

// Pause lets nobody build the model's indexes until Resume. ErrNotFound when none is being
// built.
func Pause(ctx context.Context, s store.Store, model string) error {
	def, _, err := Load(ctx, s, model)
	if err != nil {
		return err
	}
	if !def.Unbuilt() {
		return fmt.Errorf("%w: no index of %s is being built, so there is nothing to pause", errs.ErrNotFound, model)
	}
	return alterBuild(ctx, s, model, func(b *Build) bool {
		was := b.Paused
		b.Paused = true
		return !was
	})
}

// Resume ends a Pause, if there was one.
func Resume(ctx context.Context, s store.Store, model string) error {
	if _, _, err := Load(ctx, s, model); err != nil {
		return err
	}
	return alterBuild(ctx, s, model, func(b *Build) bool {
		was := b.Paused
		b.Paused = false
		return was
	})
}

// alterBuild changes what there is, again when others have changed it meanwhile. change reports
// whether it has changed anything.
func alterBuild(ctx context.Context, s store.Store, model string, change func(*Build) bool) error {
	for try := 1; ; try++ {
		b, revision, err := ReadBuild(ctx, s, model)
		if err != nil || !change(&b) {
			return err
		}
		if b == (Build{Format: b.Format}) {
			err = endBuildAt(ctx, s, model, revision)
		} else {
			_, err = WriteBuild(ctx, s, model, b, revision)
		}
		if !errors.Is(err, store.ErrWrongRevision) {
			return err
		}
		if err := workers.Backoff(ctx, try); err != nil {
			return err
		}
	}
}

func endBuildAt(ctx context.Context, s store.Store, model string, revision uint64) error {
	return s.Write(ctx, store.Op{Key: keys.Build(model), Delete: true, Purge: true, Conditional: true, Expect: revision, Settle: true})[0].Err
}

// BuildOf is ReadBuild for a model that may have nothing to build.
func BuildOf(ctx context.Context, s store.Store, def *schema.Definition) (b Build, err error) {
	if def.Unbuilt() {
		b, _, err = ReadBuild(ctx, s, def.Name)
	}
	return b, err
}
