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

	after  *layout.Footprint // of Doc
	claims map[string]bool   // which of Release are claims
}

// NewPlan plans the change from a record with footprint old, nil when there is
// none, to doc with footprint new, nil to delete it.
//
// Entries and claims that both have are left alone: whoever put them did so
// before the revision that this plan expects, and nobody who might remove them
// can commit without this commit failing.
func NewPlan(cur store.Message, old, new *layout.Footprint, doc, owner []byte) *Plan {
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
			if p.claims == nil {
				p.claims = map[string]bool{}
			}
			p.claims[c.Key] = true
		}
	}
	return p
}

// isClaim tells claims from entries among what the plan releases.
func (p *Plan) isClaim(key string) bool { return p.claims[key] }

// Claimed are the claims among what the plan releases.
func (p *Plan) Claimed() (out []string) {
	for _, key := range p.Release {
		if p.isClaim(key) {
			out = append(out, key)
		}
	}
	return out
}

// After is the footprint of the new document.
func (p *Plan) After() *layout.Footprint { return p.after }

// newEntries are the entries that the plan adds.
func (p *Plan) newEntries() newEntries { return newEntries{keys: p.Entries, heads: p.Heads} }

// Ops are the plan's writes in one step, that of the record last. claimed is the
// revision at which a claim is taken, and own are the claims among what it
// releases that are the record's, with their revisions.
func (p *Plan) Ops(claimed func(key string) uint64, own map[string]uint64) []store.Op {
	ops := make([]store.Op, 0, len(p.Entries)+len(p.Heads)+len(p.Claims)+len(p.Release)+1)
	ops = p.newEntries().appendTo(ops)
	for _, c := range p.Claims {
		ops = append(ops, store.Op{Key: c.Key, Value: p.Owner, Conditional: true, Expect: claimed(c.Key)})
	}
	for _, key := range p.Release {
		if !p.isClaim(key) {
			ops = append(ops, store.Op{Key: key, Delete: true, Purge: true})
		} else if revision, ok := own[key]; ok {
			ops = append(ops, store.Op{Key: key, Delete: true, Purge: true, Conditional: true, Expect: revision})
		}
	}
	return append(ops, p.Commit())
}

// Commit is the write of the record.
func (p *Plan) Commit() store.Op {
	return store.Op{Key: p.Record, Value: p.Doc, Delete: p.Doc == nil, Conditional: true, Expect: p.Expect, Settle: true}
}
