package commit

import (
	"context"
	"errors"
	"fmt"
	syncatomic "sync/atomic"

	"github.com/natsorm/natsorm/internal/document"
	"github.com/natsorm/natsorm/internal/errs"
	"github.com/natsorm/natsorm/internal/layout"
	"github.com/natsorm/natsorm/internal/store"
	"github.com/natsorm/natsorm/internal/value"
	"github.com/natsorm/natsorm/internal/workers"
)

// Writer applies changes to the records of one model. It is safe for concurrent use.
type Writer struct {
	store   store.Store
	layout  layout.Layout
	entries entries
	stage   Stage // of a transaction; nil when each change is committed by itself

	trusted syncatomic.Uint64 // see Trust

	contended syncatomic.Bool // EnsureNew has met claims of others
}

// Together is how many changes a call that makes many of them has under way at the same
// time. A batch takes 1000 messages (store.MaxBatch): 256 records with two or three
// entries each.
const Together = 256

// Stage puts a plan into a transaction. It returns a revision for the record that
// holds until the transaction commits.
type Stage func(id value.Value, p *Plan) (uint64, error)

// NewWriter makes a Writer for the model of a layout. Each change is committed by itself.
func NewWriter(s store.Store, l layout.Layout) *Writer { return NewStagingWriter(s, l, nil) }

// NewStagingWriter makes a Writer whose changes go into a transaction. s is the bucket as
// the transaction sees it. With a nil stage it is NewWriter.
func NewStagingWriter(s store.Store, l layout.Layout, stage Stage) *Writer {
	w := &Writer{store: s, layout: l, stage: stage}
	w.entries = entriesOf(w)
	return w
}

// begin chooses the executor for a change. end must be called when the change is over:
// the store counts the changes that are under way, to know when sharing batches pays.
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

	// Assume is the record as the caller believes it to be, for example as a query has
	// found it. It saves reading the record; when it is wrong, the commit is refused and
	// the record is read. Nil: the record is read first. A Writer of a transaction
	// ignores it. Held is the footprint of Assume, or nil when the caller has not
	// computed it.
	Assume *store.Message
	Held   *layout.Footprint

	// Next makes the record's new document from cur, the record as it is. It may be
	// called several times, each time with what others have written meanwhile. An error
	// ends the change. ErrLeave ends it too, without being an error of the call.
	Next func(cur store.Message) (Draft, error)

	// Many says that the change is one of many that come at the same time.
	Many bool
}

// Draft is the new state of a record.
type Draft struct {
	Doc  []byte            // the new document; nil deletes the record
	Keys *layout.Footprint // the footprint of Doc; nil when the caller has not computed it

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

	Before store.Message // the record before it was written
	Tried  []byte        // with ErrUnknownOutcome: the document that may have been written over Before, if it is known
}

// Apply carries a change out: it reads the record, asks Next for its new document, and
// executes the plan, again and again while other writers change the record in between.
//
// It returns the error of Next, a *UniqueError, ErrInvalid for a document that does not
// fit the bucket or changes the primary key, ErrCorrupt when the present document cannot
// be read, or the store's error. ErrUnknownOutcome says that the answer to the commit
// was lost; ErrUnwritten, that surely nothing was changed and that the same call may
// succeed. A *NewerError says that a record has to do with it that a newer version of the model
// has written.
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
	replicable := func() bool { return w.stage == nil && w.store.Traits().Replicable }
	looked := guessed // how sure it is that cur is the record's last message
	for try := 1; ; try++ {
		// At this point cur is the record as it was read, or as the caller believes it to
		// be. No invariant depends on its being right: the commit is checked to be at
		// cur's revision.
		var draft Draft
		if err = w.newer(cur); err == nil {
			draft, err = ch.Next(cur)
		}
		if err == nil {
			err = w.fits(key, draft.Doc)
		}
		// No commit will check an error of Next. So before such an error ends the change,
		// the record is read with more certainty, and Next is asked again.
		if need := certainty(err); looked < need && replicable() {
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
			return Outcome{Written: true, Revision: revision, Before: cur}, nil
		// The refusal rests on reads of a leader that may have been replaced. It is only
		// believed after a barrier.
		case errors.Is(err, errs.ErrUnique) && looked < agreed && replicable():
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
		// The server refuses a whole batch when there is no room for all of it, and a message
		// also when it replaces one that is as large. So by themselves the writes may fit. A
		// change that needs new entries or claims does not.
		case errors.Is(err, errs.ErrFull) && len(plan.Entries)+len(plan.Claims) == 0:
			next := exec.oneByOne()
			if next == nil {
				return Outcome{}, w.failed(ch.ID, err)
			}
			exec = next
			continue
		// After other errors of the store nothing is cleaned up: the way to the server is
		// broken, or the commit may have been done. What was placed is harmless.
		case !errors.Is(err, store.ErrWrongRevision) && !errors.Is(err, store.ErrReplicable):
			return Outcome{Before: cur, Tried: draft.Doc}, w.failed(ch.ID, err)
		}
		// Another writer was faster, or has fenced the record, or Assume was wrong. Or the
		// bucket may have replicas by now: then the next plan has heads.
		if err := workers.Backoff(ctx, try); err != nil {
			return Outcome{}, w.failed(ch.ID, Untouched(fmt.Errorf("others kept changing it: %w", err)))
		}
		if cur, err = w.store.GetLatest(ctx, key); err != nil {
			return Outcome{}, w.failed(ch.ID, Untouched(err))
		}
		looked = guessed
	}
}

// How sure it is that what was read of a record is its last message. A leader that has
// been replaced and does not know it, or that has just been elected, may answer for a
// moment with an older one. For a change that commits that is enough: such a leader
// cannot commit alone, and the commit is checked. A change that ends because of what was
// read needs more.
const (
	guessed = iota // the leader, or the caller, said so
	seen           // it is at least as new as everything that this store has seen
	agreed         // it is at least as new as every write that any client was told is done
)

// certainty says how sure it must be what the record is, for an error of Change.Next to
// end the change. Leaving the record as it is needs less than telling the caller that
// the record exists, is missing, or has changed.
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

// look reads a record with at least the certainty sure.
func (w *Writer) look(ctx context.Context, key string, sure int) (store.Message, error) {
	if sure == agreed {
		if _, err := w.store.Revision(ctx, store.Agreed); err != nil {
			return store.Message{}, err
		}
	}
	return w.store.Get(ctx, key)
}

// failed adds the record's name to an error of the store.
func (w *Writer) failed(id value.Value, err error) error {
	return fmt.Errorf("natsorm: write %s %s: %w", w.layout.Model().Name, id.Text(), err)
}

// plan makes the plan from cur to draft. ErrInvalid when the new document does not fit
// the model or has another primary key; ErrCorrupt when cur cannot be read and is to be
// replaced.
func (w *Writer) plan(ch *Change, cur store.Message, draft Draft, owner []byte) (*Plan, error) {
	before, err := w.held(ch, cur)
	if err != nil && draft.Doc != nil {
		// Which entries and claims an unreadable document has is unknown, so the plan
		// cannot say what to release, and it is not replaced. Deleting the record is
		// allowed: it leaves stray entries and claims at worst.
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
	if err := layout.Fits(w.layout.Model(), before, after); err != nil && draft.Doc != nil {
		return nil, err
	}
	return w.MakePlan(cur, before, after, draft.Doc, owner), nil
}

// held is the footprint of the record as it was read, nil when there is none. ErrCorrupt
// when its document cannot be read.
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

// MakePlan is NewPlan, with the heads of the new entries.
func (w *Writer) MakePlan(cur store.Message, old, new *layout.Footprint, doc, owner []byte) *Plan {
	def := w.layout.Model()
	p := NewPlan(cur, old, new, doc, owner, cur.Schema > def.Reindexed() || def.Reindexed() == 0)
	if def.Changed() > 0 {
		p.Schema = def.Revision
	}
	p.Heads, p.Lone = w.heads(p.Entries)
	return p
}

// Ops returns the writes of several plans for one batch, with those of the lists that
// they change, which are read from the Writer's store. claimed and own are as for
// Plan.Ops.
func (w *Writer) Ops(ctx context.Context, plans []*Plan, claimed func(key string) uint64, own map[string]uint64) ([]store.Op, error) {
	return w.entries.ops(ctx, plans, claimed, own)
}

// fits refuses a document that is larger than the bucket takes, before anything is
// written: ErrInvalid.
func (w *Writer) fits(key string, doc []byte) error {
	if limit := w.store.Traits().MaxValue; len(doc) > limit {
		return errs.Invalidf(w.layout.Model().Name, "", "the record at key %s takes %d bytes, %s", key, len(doc), store.PayloadLimit(limit, "make it smaller, or "))
	}
	return nil
}

// fence rewrites a record as it was read. After that every writer that read cur, or an
// earlier message of the record, has its commit refused. ErrWrongRevision when the
// record is no longer at cur's revision: then a writer has committed, and is the fence.
func (w *Writer) fence(ctx context.Context, cur store.Message) error {
	return w.store.Write(ctx, FenceOp(cur))[0].Err
}

// FenceOp is the write of a fence: it repeats a record, or its delete marker, checked to
// be at the revision that was read. A live record carries the revision that it repeats,
// so that watchers and optimistic locks see no change.
func FenceOp(cur store.Message) store.Op {
	op := store.Op{Key: cur.Key, Conditional: true, Expect: cur.Revision, Settle: true}
	if cur.Live() {
		op.Value, op.Fence, op.Schema = cur.Value, cur.Version(), cur.Schema
	} else {
		op.Delete = true
	}
	return op
}
