package replica

import (
	"context"

	"github.com/natsorm/natsorm/internal/follow"
	"github.com/natsorm/natsorm/internal/row"
)

// reform is a table that is being brought into the form of a newer version of its model. That is done beside
// the table, which is read, and changes, meanwhile.
type reform struct {
	since map[string]struct{} // the keys whose rows have changed since it began
}

// renew gives a table the form of its model, if it has another one. The lock is held.
func (h *Hub) renew(t *table) {
	if !t.loaded || t.reform != nil || h.spawn == nil || t.def == nil || t.def.Revision == t.form.def.Revision {
		return
	}
	f := newForm(t.def)
	if t.form.like(f) && t.form.sameIndexes(f) {
		t.form = f.with(t.form)
		t.changed = true
		return
	}
	t.reform = &reform{since: map[string]struct{}{}}
	begun, was, same := t.reform, t.trees.copy(), t.form.like(f)
	if same {
		f = f.shaped(t.form)
	}
	h.spawn(func(ctx context.Context, _ *follow.Follower) {
		p := row.NewPacker(f.shape)
		rows := map[string]*row.Row{}
		was.each(func(r *row.Row) bool {
			if !same {
				r = f.again(p, r)
			}
			rows[r.Key()] = r
			return ctx.Err() == nil
		})
		c := newContents(f, rows)
		h.mu.Lock()
		defer h.mu.Unlock()
		if ctx.Err() != nil || t.reform != begun {
			return
		}
		for key := range begun.since {
			now := t.rows[key]
			if now != nil && !same {
				now = f.again(p, now)
			}
			c.set(key, c.rows[key], now)
		}
		t.contents, t.packer, t.reform, t.changed = c, p, nil, true
		h.renew(t) // once more, if the model has changed again
		h.publish()
	})
}
