package commit

import (
	"slices"

	"github.com/natsorm/natsorm/internal/layout"
	"github.com/natsorm/natsorm/internal/store"
)

// Plan is everything that one write of one record does to the bucket. It says
// nothing of how: see phased and atomic.
type Plan struct {
	Record  string // the record's key
	Expect  uint64 // its revision when it was read, 0 for none
	Doc     []byte // the new document; nil deletes the record
	Entries []string
	Heads   []string // of the entries; only on a replicated bucket
	Claims  []layout.Claim
	Owner   []byte // what the claims hold
	Release []string

	after *layout.Footprint // of Doc
}

// NewPlan plans the change from a record with footprint old, nil when there is
// none, to doc with footprint new, nil to delete it.
//
// Entries and claims that both have are left alone: whoever put them did so
// before the revision that this plan expects, and nobody who might remove them
// can commit without this commit failing.
func NewPlan(cur store.Entry, old, new *layout.Footprint, doc, owner []byte) *Plan {
	if new == nil {
		new = &layout.Footprint{}
	}
	p := &Plan{Record: cur.Key, Expect: cur.Revision, Doc: doc, Owner: owner, after: new}
	if old == nil {
		old = &layout.Footprint{}
	}
	for _, e := range new.Entries {
		if !slices.Contains(old.Entries, e) {
			p.Entries = append(p.Entries, e)
		}
	}
	for _, c := range new.Claims {
		if !old.Holds(c.Key) {
			p.Claims = append(p.Claims, c)
		}
	}
	for _, e := range old.Entries {
		if !slices.Contains(new.Entries, e) {
			p.Release = append(p.Release, e)
		}
	}
	for _, c := range old.Claims {
		if !new.Holds(c.Key) {
			p.Release = append(p.Release, c.Key)
		}
	}
	return p
}

// addHeads adds the heads of the plan's entries, each once.
func (p *Plan) addHeads(l *layout.Layout) {
	for _, e := range p.Entries {
		if head := l.HeadOf(e); !slices.Contains(p.Heads, head) {
			p.Heads = append(p.Heads, head)
		}
	}
}

// commit is the write of the record.
func (p *Plan) commit() store.Op {
	return store.Op{Key: p.Record, Value: p.Doc, Delete: p.Doc == nil, Check: true, Expect: p.Expect, Settle: true}
}
