package alter

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"github.com/natsorm/natsorm/internal/codec"
	"github.com/natsorm/natsorm/internal/commit"
	"github.com/natsorm/natsorm/internal/document"
	"github.com/natsorm/natsorm/internal/errs"
	"github.com/natsorm/natsorm/internal/records"
	"github.com/natsorm/natsorm/internal/store"
)

// Rewrite is the change that lets f change each record. f gets the record's columns, hidden ones
// too, as package codec reads them into a map. It is called by one goroutine at a time, and may
// be called several times for one record.
func Rewrite(f func(record map[string]any) error) Change {
	w := &rewriting{f: f}
	return Change{name: "rewrite", do: func(ctx context.Context, r *Run) (Planned, error) { return r.pass(ctx, w) }}
}

// rewriting is the change that a function of the caller makes of each record.
type rewriting struct {
	f func(record map[string]any) error

	mu sync.Mutex // held while f runs, which is the caller's and may not be safe for concurrent use
}

func (w *rewriting) found(ctx context.Context, m *records.Model, r store.Message) ([]byte, error) {
	r, err := m.View(ctx, r)
	if err != nil {
		return nil, err
	}
	return w.again(m, r)
}

// again makes the new document of a record: the members that f has changed get their new
// values, and those that it has taken out go. The others keep their values byte for byte, also
// members that the model does not know.
func (w *rewriting) again(m *records.Model, before store.Message) ([]byte, error) {
	c := codec.NewRecord[map[string]any](m.Def, m.Def)
	var r map[string]any
	if err := c.Decode(before, &r); err != nil {
		return nil, err
	}
	was, err := c.Encode(&r) // f may change what is in a JSON column in its place
	if err != nil {
		return nil, errs.Corrupt(m.Def.Name, before.Key, err)
	}
	if err := w.call(r); err != nil {
		return nil, fmt.Errorf("the function of Rewrite refused it: %w", err)
	}
	now, err := c.Encode(&r)
	if err != nil {
		return nil, err
	}
	differ := document.Diff(was, now)
	if len(differ) == 0 {
		return nil, commit.ErrLeave
	}
	raws, err := document.Raw(now, differ)
	if err != nil {
		return nil, err
	}
	var set []document.Member
	var gone []string
	for i, name := range differ {
		if raws[i] == nil {
			gone = append(gone, name)
		} else {
			set = append(set, document.Member{Name: name, Raw: raws[i]})
		}
	}
	if key := m.Def.Key().Name; slices.Contains(differ, key) {
		return nil, errs.Invalidf(m.Def.Name, key, "the primary key cannot change, and the function of Rewrite has changed it; create a record with the new one and destroy the old")
	}
	doc, err := document.Without(before.Value, gone)
	if err == nil {
		doc, err = document.Patch(doc, set)
	}
	return doc, errs.Corrupt(m.Def.Name, before.Key, err)
}

// call calls f, in a goroutine in which the caller could not recover from its panic.
func (w *rewriting) call(r map[string]any) (err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%w: it panics: %v", errs.ErrInvalid, p)
		}
	}()
	return w.f(r)
}
