package commit

import (
	"context"
	"errors"
	"fmt"

	"github.com/natsorm/natsorm/internal/document"
	"github.com/natsorm/natsorm/internal/errs"
	"github.com/natsorm/natsorm/internal/layout"
	"github.com/natsorm/natsorm/internal/store"
	"github.com/natsorm/natsorm/internal/value"
	"github.com/natsorm/natsorm/internal/workers"
)

// Writer applies changes to the records of one model.
type Writer struct {
	store   store.Store
	layout  layout.Layout
	entries entries
	stage   Stage // nil when changes are committed one by one
}

// Together is how many changes a call that makes many has under way: what fits into a
// batch, with an entry or two each.
const Together = 256

// Stage takes a plan into a transaction, and returns a revision for the record
// that stands until the transaction commits.
type Stage func(id value.Value, p *Plan) (uint64, error)

// NewWriter is a Writer for a model.
func NewWriter(s store.Store, l layout.Layout) *Writer { return NewStagingWriter(s, l, nil) }

// NewStagingWriter is a Writer whose changes go into a transaction; s is the
// bucket as the transaction sees it.
func NewStagingWriter(s store.Store, l layout.Layout, stage Stage) *Writer {
	w := &Writer{store: s, layout: l, stage: stage}
	w.entries = entriesOf(w)
	return w
}

// begin is the executor for a change; end ends it.
func (w *Writer) begin(ch *Change) (x executor, end func()) {
	if w.stage != nil {
		return &staged{stage: w.stage, id: ch.ID}, func() {}
	}
	way, end := w.store.BeginChange(ch.Many)
	return w.entries.executor(way), end
}

// Change is a change to one record.
type Change struct {
	ID value.Value // its primary key

	// Assume is what the caller believes the record to be, when it has a reason
	// to; a wrong belief costs a try. Otherwise the record is read. Held is the
	// footprint of Assume, where the caller has taken it.
	Assume *store.Message
	Held   *layout.Footprint

	// Next makes the record's new document from its present message. It may be
	// called several times, with what others have written meanwhile. An error ends
	// the change, and ErrLeave does so without being one.
	Next func(cur store.Message) (Draft, error)

	// Many says that the change is one of many that come together.
	Many bool
}

// Draft is what a change makes of a record.
type Draft struct {
	Doc  []byte            // nil deletes the record
	Keys *layout.Footprint // of Doc, where the caller has taken it

	// SameKeys says that Doc has the same footprint as the record now: its primary key
	// and all indexed columns are unchanged.
	SameKeys bool
}

// ErrLeave is what Change.Next returns to leave the record as it is.
var ErrLeave = errors.New("leave the record")

// Outcome is what a change did.
type Outcome struct {
	Written  bool   // false when Next said ErrLeave
	Revision uint64 // the record's new revision
}

// Apply carries a change out. It returns what Change.Next returned, a
// *UniqueError, or the store's error; ErrUnknownOutcome when the answer to the
// commit was lost.
func (w *Writer) Apply(ctx context.Context, ch Change) (Outcome, error) {
	key := w.layout.RecordKey(ch.ID)
	owner := w.layout.Owner(ch.ID)
	var cur store.Message
	var err error
	if ch.Assume != nil && w.stage == nil {
		cur = *ch.Assume
		cur.Key = key
	} else if cur, err = w.store.GetLatest(ctx, key); err != nil {
		return Outcome{}, w.failed(ch.ID, Untouched(err))
	}
	exec, end := w.begin(&ch)
	defer end()
	replicated := w.stage == nil && w.store.Traits().Replicated
	looked := guessed
	for try := 1; ; try++ {
		draft, err := ch.Next(cur)
		if err == nil {
			err = w.fits(key, draft.Doc)
		}
		if need := certainty(err); replicated && looked < need {
			if cur, err = w.look(ctx, key, need); err != nil {
				return Outcome{}, w.failed(ch.ID, Untouched(err))
			}
			looked = need
			continue
		}
		if err != nil {
			exec.abandon(ctx, cur)
			if errors.Is(err, ErrLeave) {
				return Outcome{}, nil
			}
			return Outcome{}, err
		}
		plan, err := w.plan(&ch, cur, draft, owner)
		if err != nil {
			exec.abandon(ctx, cur)
			return Outcome{}, err
		}
		revision, err := exec.execute(ctx, plan)
		switch {
		case err == nil:
			return Outcome{Written: true, Revision: revision}, nil
		case errors.Is(err, errs.ErrUnique) && replicated && looked < agreed:
			if cur, err = w.look(ctx, key, agreed); err != nil {
				return Outcome{}, w.failed(ch.ID, Untouched(err))
			}
			looked = agreed
			continue
		case errors.Is(err, errs.ErrUnique):
			exec.abandon(ctx, cur)
			return Outcome{}, err
		case errors.Is(err, store.ErrNoBatches), errors.Is(err, store.ErrBatchTooLarge): // switched off, or limited by the server
			next := exec.oneByOne()
			if next == nil {
				return Outcome{}, w.failed(ch.ID, err)
			}
			exec = next
			continue
		case !errors.Is(err, store.ErrWrongRevision):
			return Outcome{}, w.failed(ch.ID, err)
		}
		if err := workers.Backoff(ctx, try); err != nil {
			return Outcome{}, w.failed(ch.ID, Untouched(fmt.Errorf("others kept changing it: %w", err)))
		}
		if cur, err = w.store.GetLatest(ctx, key); err != nil {
			return Outcome{}, w.failed(ch.ID, Untouched(err))
		}
		looked = guessed
	}
}

// How sure it is that a record is as it was read. A leader that others have replaced,
// or that has just become it, may say for a moment what was. A change that commits
// needs to know no better, for the leader cannot commit it alone; one that ends
// because of what was read does.
const (
	guessed = iota // the leader said so
	seen           // it has all that this store has seen
	agreed         // and all that anybody was told is written
)

// certainty is how sure it must be for an error of Change.Next to end the change: to
// leave a record needs less than to say that it is there, or not, or another one.
func certainty(err error) int {
	switch {
	case err == nil:
		return guessed
	case errors.Is(err, ErrLeave):
		return seen
	case errors.Is(err, errs.ErrExists), errors.Is(err, errs.ErrNotFound), errors.Is(err, errs.ErrConflict):
		return agreed
	}
	return guessed
}

// look reads a record to be so sure.
func (w *Writer) look(ctx context.Context, key string, sure int) (store.Message, error) {
	if sure == agreed {
		if _, err := w.store.Revision(ctx, store.Agreed); err != nil {
			return store.Message{}, err
		}
	}
	return w.store.Get(ctx, key)
}

// failed names the record in an error of the store.
func (w *Writer) failed(id value.Value, err error) error {
	return fmt.Errorf("natsorm: write %s %s: %w", w.layout.Model().Name, id.Text(), err)
}

func (w *Writer) plan(ch *Change, cur store.Message, draft Draft, owner []byte) (*Plan, error) {
	before, err := w.held(ch, cur)
	if err != nil && draft.Doc != nil {
		// What an unreadable document has in the indexes is unknown, so it cannot
		// be replaced. Deleting it leaves stray entries at worst.
		return nil, err
	}
	after := draft.Keys
	switch {
	case draft.SameKeys:
		after = before
	case draft.Doc != nil && after == nil:
		f, err := w.layout.Of(draft.Doc)
		if err != nil {
			return nil, document.Invalid(w.layout.Model().Name, err)
		}
		after = &f
	}
	if after != nil && after.Record != cur.Key {
		return nil, errs.Invalidf(w.layout.Model().Name, w.layout.Model().Key().Name, "the primary key cannot change from %s to %s; create a record with the new one and destroy the old", ch.ID.Text(), after.ID.Text())
	}
	return w.MakePlan(cur, before, after, draft.Doc, owner), nil
}

// held is the footprint of a record as it is; nil when there is none. ErrCorrupt when
// it cannot be told.
func (w *Writer) held(ch *Change, cur store.Message) (*layout.Footprint, error) {
	if !cur.Live() {
		return nil, nil
	}
	if ch.Held != nil && ch.Assume != nil && ch.Assume.Revision == cur.Revision {
		return ch.Held, nil
	}
	f, err := layout.At(w.layout, cur.Key, cur.Value)
	if err != nil {
		return nil, errs.Corrupt(w.layout.Model().Name, cur.Key, err)
	}
	return &f, nil
}

// MakePlan is NewPlan with the heads of the entries.
func (w *Writer) MakePlan(cur store.Message, old, new *layout.Footprint, doc, owner []byte) *Plan {
	p := NewPlan(cur, old, new, doc, owner)
	p.Heads = w.heads(p.Entries)
	return p
}

// Ops are the writes of several plans in one batch, with the lists that they change as
// the writer's store has them; claimed and own are as for Plan.Ops.
func (w *Writer) Ops(ctx context.Context, plans []*Plan, claimed func(key string) uint64, own map[string]uint64) ([]store.Op, error) {
	return w.entries.ops(ctx, plans, claimed, own)
}

// fits refuses a document over the payload limit before anything is written.
func (w *Writer) fits(key string, doc []byte) error {
	if limit := w.store.Traits().MaxValue; len(doc) > limit {
		return errs.Invalidf(w.layout.Model().Name, "", "the record at key %s takes %d bytes, %s", key, len(doc), store.PayloadLimit(limit, "make it smaller, or "))
	}
	return nil
}

// fence makes every writer of the record that read it before cur lose its
// commit. It fails with ErrWrongRevision when the record is no longer at cur.
func (w *Writer) fence(ctx context.Context, cur store.Message) error {
	return w.store.Write(ctx, FenceOp(cur))[0].Err
}

// FenceOp rewrites a record unchanged, or its delete marker.
func FenceOp(cur store.Message) store.Op {
	op := store.Op{Key: cur.Key, Conditional: true, Expect: cur.Revision, Settle: true}
	if cur.Live() {
		op.Value, op.Fence = cur.Value, cur.Version()
	} else {
		op.Delete = true
	}
	return op
}
