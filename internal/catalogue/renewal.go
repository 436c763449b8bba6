package catalogue

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/natsorm/natsorm/internal/errs"
	"github.com/natsorm/natsorm/internal/schema"
)

// A bucket can be deleted and made anew under its name, while programs use models of it
// through handles. The new bucket has no catalogue, or one that others have written. So a
// call that writes asks before it begins whether its model is defined in the bucket that
// is there now. When the bucket turns out to be another one while the call runs, it defines
// the model again before it returns: then whatever the call has written has its entries
// and claims, those of indexes among them that the new catalogue has and the call did not
// know of.

// renewal is what a handle knows of that.
type renewal struct {
	defined atomic.Uint64 // the generation of the bucket in which the model was surely defined

	asked   atomic.Uint64 // counts the calls of Renew
	mu      sync.Mutex
	covered uint64 // those calls up to this number need nothing any more
}

// Defined reports whether the model was defined in the bucket that is there now, as far as
// it is known that there is another.
func (h *Handle[M]) Defined() bool { return h.renewal.defined.Load() == h.from.generation() }

// Renew defines the model again in the bucket that is there now. define is given the
// version that was in force, and returns what the catalogue has of it then; it gives their
// entries and claims to all records that are there. Calls at the same time share that;
// what has begun before a call does not count for it.
//
// The error is define's, with what to do.
func (h *Handle[M]) Renew(ctx context.Context, define func(context.Context, *schema.Definition) (*schema.Definition, error)) error {
	ticket := h.renewal.asked.Add(1)
	h.renewal.mu.Lock()
	defer h.renewal.mu.Unlock()
	for h.renewal.covered < ticket {
		begun, generation := h.renewal.asked.Load(), h.from.generation()
		def, err := define(ctx, h.last.Load().def)
		if err != nil {
			return fmt.Errorf("natsorm: the bucket was deleted and made anew; define %s in it again: %w", h.last.Load().def.Name, err)
		}
		h.known.def.Store(def)
		if _, err := h.take(); err != nil {
			return err
		}
		if generation == h.from.generation() {
			h.renewal.defined.Store(generation)
			h.renewal.covered = begun
		}
	}
	return nil
}

// Moved is the error of a call that wrote records by one version of a model when the
// bucket that was made anew has another placement; nil when both have the same. It is
// ErrSchema.
func Moved(wrote, now *schema.Definition) error {
	if placement(wrote) == placement(now) {
		return nil
	}
	return fmt.Errorf("%w: the bucket was deleted and made anew while the call ran, and has %s in layout %s; what the call wrote is in layout %s, where nobody finds it: make the call again", errs.ErrSchema, now.Name, placement(now), placement(wrote))
}
