package commit

import (
	"slices"

	"github.com/natsorm/natsorm/internal/layout"
	"github.com/natsorm/natsorm/internal/store"
)

// Plan is everything that one write of one record does to the bucket. It does not say
// in which order, or in how many requests: that is the executor's choice.
type Plan struct {
	Record  string         // the record's key
	Expect  uint64         // its revision when it was read, 0 for none
	Doc     []byte         // the new document; nil deletes the record
	Entries []string       // entries to put: the record needs them and did not before
	Heads   []string       // the heads of Entries; only where the bucket may have replicas
	Lone    bool           // Heads were left out because the bucket has none, so the record is committed only there
	Claims  []layout.Claim // claims to take
	Owner   []byte         // what the claims hold
	Release []string       // entries and claims that the record no longer needs
	Schema  uint64         // the revision of the catalogue's document that the plan is by, where records say so

	after  *layout.Footprint // of Doc; empty when the record is deleted
	claims map[string]bool   // which of Release are claims
}

// NewPlan plans the change of cur, a record with footprint old, or nil when there is
// none, to doc with footprint new, or nil to delete the record. owner is what the
// record's claims hold.
//
// Entries and claims that both footprints have are left alone. They were put before the
// revision that this plan expects; and a writer that removes one commits or fences the
// record before, so that the commit of this plan is refused.
//
// That is so where cur was written by the schema that the plan is by, as sure says.
// Otherwise cur may lack what it needs, and everything is put and taken.
func NewPlan(cur store.Message, old, new *layout.Footprint, doc, owner []byte, sure bool) *Plan {
	if new == nil {
		new = &layout.Footprint{}
	}
	p := &Plan{Record: cur.Key, Expect: cur.Revision, Doc: doc, Owner: owner, after: new}
	if old == nil {
		old = &layout.Footprint{}
	}
	for _, e := range new.Entries {
		if !sure || !slices.Contains(old.Entries, e) {
			p.Entries = append(p.Entries, e)
		}
	}
	for _, c := range new.Claims {
		if !sure || !old.Holds(c.Key) {
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

// isClaim reports whether a key in Release is a claim's.
func (p *Plan) isClaim(key string) bool { return p.claims[key] }

// Claimed returns the keys of the claims in Release.
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

// newEntries returns the entries that the plan puts, with their heads.
func (p *Plan) newEntries() newEntries { return newEntries{keys: p.Entries, heads: p.Heads} }

// Ops returns the plan's writes for one batch, that of the record last. claimed returns
// the revision that a claim must have to be taken. The entries are keyed. own holds those claims in Release that
// name the record, with their revisions; claims that are not in it stay.
func (p *Plan) Ops(claimed func(key string) uint64, own map[string]uint64) []store.Op {
	ops := make([]store.Op, 0, len(p.Entries)+len(p.Heads)+len(p.Claims)+len(p.Release)+1)
	ops = p.newEntries().appendTo(ops)
	for _, c := range p.Claims {
		ops = append(ops, store.Op{Key: c.Key, Value: p.Owner, Conditional: true, Expect: claimed(c.Key)})
	}
	for _, key := range p.Release {
		if !p.isClaim(key) {
			ops = append(ops, store.Op{Key: key, Delete: true, Purge: true, Brief: true})
		} else if revision, ok := own[key]; ok {
			ops = append(ops, store.Op{Key: key, Delete: true, Purge: true, Conditional: true, Expect: revision})
		}
	}
	return append(ops, p.Commit())
}

// Commit is the write of the record, checked to be at Expect. The store settles it when
// its answer is lost.
func (p *Plan) Commit() store.Op {
	return store.Op{Key: p.Record, Value: p.Doc, Delete: p.Doc == nil, Conditional: true, Expect: p.Expect, Schema: p.Schema, Lone: p.Lone, Settle: true}
}
