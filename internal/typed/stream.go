package typed

import (
	"context"
	"errors"
	"fmt"

	"github.com/natsorm/natsorm/internal/errs"
	"github.com/natsorm/natsorm/internal/keyset"
	"github.com/natsorm/natsorm/internal/plan"
	"github.com/natsorm/natsorm/internal/query"
	"github.com/natsorm/natsorm/internal/records"
)

// Stream is a read that delivers records before it has found all. When the schema changes
// meanwhile, what it has not found yet may be elsewhere: then it reads again by the new schema,
// and leaves out what it has delivered.
type Stream struct {
	by      *records.Model // the version of the model that it began with; nil before
	seen    *keyset.Set    // the keys of what it has delivered, by that version
	n       int            // how many records it has delivered
	Stopped bool           // the caller has enough
}

// item is a record that a stream delivers, with its key by the version that it began with.
type item struct {
	v   any
	key string
}

// Deliver gives yield what queries select and it has not had.
func (st *Stream) Deliver(ctx context.Context, s *Records, bound plan.Query, spec query.Spec, yield func(any, error) bool) error {
	again, limit := st.by != nil, bound.Limit
	revision := uint64(1) // before the start of seen: nothing comes twice
	switch {
	case st.Stopped || again && st.n == limit:
		return nil
	case !again:
		st.by, st.seen = s.Docs, keyset.New(revision)
	case st.n > 0 && bound.Offset > 0:
		return fmt.Errorf("%w: the schema of %s was changed while records were read with an Offset, which does not say any more where to go on; begin again", errs.ErrConflict, s.Name)
	default:
		revision++
		if limit >= 0 {
			bound.Limit += st.n
		}
	}
	decode := s.Decoder(spec)
	found := query.Select(ctx, s.Source(), bound, false, func(rec query.Record) (item, error) {
		v, err := decode(rec)
		r := item{v, rec.Key()}
		if again && err == nil {
			if f, err := s.Docs.Layout.Of(rec.Message().Value); err == nil {
				r.key = st.by.Layout.RecordKey(f.ID)
			}
		}
		return r, err
	})
	for r, err := range found {
		var corrupt *errs.CorruptError
		var typed *errs.TypeError
		switch {
		case errors.As(err, &corrupt):
			r.key = corrupt.Key
		case errors.As(err, &typed):
			r.key = typed.Key
		case err != nil:
			return err
		}
		// By another schema it may be at another key, or a part of what was there.
		if err := s.Moved(ctx); err != nil {
			return err
		}
		if !st.seen.First(r.key, revision) {
			continue
		}
		if st.Stopped = !yield(r.v, err); st.Stopped {
			return nil
		}
		if err == nil {
			if st.n++; st.n == limit {
				return nil
			}
		}
	}
	return nil
}
