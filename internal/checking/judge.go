package checking

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/natsorm/natsorm/internal/commit"
	"github.com/natsorm/natsorm/internal/layout"
	"github.com/natsorm/natsorm/internal/store"
	"github.com/natsorm/natsorm/internal/workers"
)

// question is what is suspected.
type question int

const (
	badRecord question = iota // that the record at key cannot be read, or is not at its key
	badIndex                  // that the entry or the claim at key cannot be read
	missing                   // that the record lacks the entry or the claim at key
	stray                     // that the record does not hold the value of the entry or the claim at key
)

// suspect is something that seems wrong. It is judged later: what writers are in the middle
// of is done by then.
type suspect struct {
	what        question
	key, record string
	revision    uint64 // of stray: that of the key, when it was scanned
	old         bool   // of missing: the record's writer did not know the schema that is in force
	at          uint64 // the place in the pass
}

const (
	// patience is how long a stray has been there at least when it is judged. Most writers
	// commit the record sooner.
	patience = 100 * time.Millisecond

	// patienceOld is how long one waits for the writer of a record who did not know that the
	// schema was changed: it looks when it has its answer, and gives the record what it lacks.
	patienceOld = 1500 * time.Millisecond

	// judgeTries is how often what others keep changing is looked at.
	judgeTries = 6

	// judged is how many suspects are judged together, and heldBytes about how many bytes of
	// records are held meanwhile, if they are large.
	judged    = 256
	heldBytes = 4 << 20
)

// suspect notes a suspect of the present pass, unless an earlier check has judged it.
func (c *checker) suspect(s suspect, at uint64) {
	if c.from.passed(c.pass, at) {
		return
	}
	now := time.Now()
	if len(c.suspects) == 0 {
		c.oldest = now
	}
	switch {
	case s.old:
		c.patience = max(c.patience, patienceOld)
	case s.what == stray:
		c.patience = max(c.patience, patience)
		if c.sweep != nil {
			c.patience = max(c.patience, c.sweep.Age)
		}
	}
	s.at, c.youngest = at, now
	c.suspects = append(c.suspects, s)
}

// finding is a problem, with what it takes to repair it.
type finding struct {
	Problem
	lacks  *layout.Footprint // of a missing entry or claim
	moves  *layout.Footprint // of a record that is not at its key
	broken store.Message     // the record or the index key that is wrong
	begun  bool              // its repair was begun
}

// judge decides about all suspects, and reports those that are problems.
func (c *checker) judge(ctx context.Context) error {
	if len(c.suspects) == 0 {
		return nil
	}
	if err := workers.Sleep(ctx, max(0, c.patience-time.Since(c.youngest))); err != nil {
		return err
	}
	slices.SortStableFunc(c.suspects, func(a, b suspect) int { return cmp.Compare(a.at, b.at) })
	for rest := c.suspects; len(rest) > 0; {
		n := min(judged, len(rest))
		for n < len(rest) && rest[n].at == rest[n-1].at { // so that the place is between two messages
			n++
		}
		if err := c.decide(ctx, rest[:n]); err != nil {
			return err
		}
		if at := rest[n-1].at; c.place.Pass == c.pass && c.place.At < at {
			c.place.At = at
		}
		rest = rest[n:]
	}
	c.suspects, c.patience = c.suspects[:0], 0
	return nil
}

// decide decides about some suspects.
//
// Everything is read once more, in an order in which a write in between can only clear a
// suspicion. Then the catalogue is read: when the model's document is still that by which
// it was judged, it was in force at the time of the reads. Otherwise all is judged again.
func (c *checker) decide(ctx context.Context, suspects []suspect) error {
	for try := 1; len(suspects) > 0; try++ {
		found, again, err := c.look(ctx, suspects)
		if err != nil {
			return err
		}
		if len(found) > 0 || c.sawNewer {
			changed, err := c.renew(ctx)
			if err != nil {
				return err
			}
			c.passNewer = c.passNewer || c.sawNewer && !changed
			if changed || c.sawNewer {
				c.sawNewer = false
				continue
			}
			if err := c.settle(ctx, found); err != nil {
				return err
			}
		}
		if try == judgeTries {
			return nil // others keep changing what is left, and see to it
		}
		if err := workers.Backoff(ctx, try); err != nil {
			return err
		}
		suspects = again
	}
	return nil
}

// look looks at suspects once more. again are those that others have changed meanwhile.
func (c *checker) look(ctx context.Context, suspects []suspect) (found []finding, again []suspect, err error) {
	var lacking, strays []suspect
	for _, s := range suspects {
		switch s.what {
		case missing:
			lacking = append(lacking, s)
		case stray:
			strays = append(strays, s)
		default:
			m, err := c.store.Get(ctx, s.key)
			if err != nil {
				return nil, nil, err
			}
			if f := c.unreadable(s, m); f != nil {
				found = append(found, *f)
			}
		}
	}
	lacks, again, err := c.lookMissing(ctx, lacking)
	if err != nil {
		return nil, nil, err
	}
	more, err := c.lookStray(ctx, strays)
	return slices.Concat(found, lacks, more), again, err
}

// unreadable judges a record, or an index key, as it was read.
func (c *checker) unreadable(s suspect, m store.Message) *finding {
	switch {
	case !m.Live():
	case s.what == badIndex:
		entry, claim := c.layout.IsEntry(s.key), c.layout.IsClaim(s.key)
		_, err := c.layout.Pointers(nil, m.Key, m.Value)
		if err == nil || !entry && !claim {
			return nil
		}
		kind := CorruptEntry
		if claim {
			kind = CorruptClaim
		}
		return &finding{Problem: Problem{Kind: kind, Key: m.Key, Detail: err.Error()}, broken: m}
	case c.newer(m):
	default:
		f, err := layout.At(c.layout, m.Key, m.Value)
		if errors.Is(err, layout.ErrMisplaced) && !f.ID.IsNull() {
			detail := fmt.Sprintf("primary key %s belongs at %q", f.ID.Text(), f.Record)
			return &finding{Problem: Problem{Kind: MisplacedKey, Key: m.Key, Record: m.Key, Detail: detail}, moves: &f, broken: m}
		}
		if err != nil {
			kind := CorruptRecord
			if errors.Is(err, layout.ErrMisplaced) {
				kind = MisplacedKey
			}
			return &finding{Problem: Problem{Kind: kind, Key: m.Key, Record: m.Key, Detail: err.Error()}, broken: m}
		}
	}
	return nil
}

// newer reports whether a record cannot be judged by the version that the check knows.
func (c *checker) newer(m store.Message) bool {
	if commit.Newer(c.layout, m) && !c.passNewer {
		c.sawNewer = true
		return true
	}
	return false
}

// state is a record as it was read, without its document.
type state struct {
	revision uint64
	keys     layout.Footprint
	good     bool // it is there, and can be read
}

func (c *checker) states(ctx context.Context, records []string) (map[string]state, error) {
	out := make(map[string]state, len(records))
	err := c.store.GetEach(ctx, records, func(i int, m store.Message) {
		s := state{revision: m.Revision}
		if m.Live() && !c.newer(m) {
			f, err := layout.At(c.layout, records[i], m.Value)
			s.keys, s.good = f, err == nil
		}
		out[records[i]] = s
	})
	return out, err
}

// leading is an entry or a claim as it was read: to which records it leads, of those that were asked
// for.
type leading struct {
	revision uint64
	live     bool
	owner    []byte // what a claim holds
	all      int    // how many records it leads to
	to       map[string]bool
	err      error // it cannot be read
}

// leads reads index keys, and finds out which of the records that are given for each they lead
// to.
func (c *checker) leads(ctx context.Context, of map[string][]string) (map[string]leading, error) {
	list := slices.Sorted(maps.Keys(of))
	out := make(map[string]leading, len(list))
	err := c.store.GetEach(ctx, list, func(i int, m store.Message) {
		key := list[i]
		l := leading{revision: m.Revision, live: m.Live()}
		if l.live {
			var to []string
			if to, l.err = c.layout.Pointers(nil, key, m.Value); l.err == nil {
				l.all, l.to = len(to), make(map[string]bool, min(len(to), len(of[key])))
				wanted := make(map[string]bool, len(of[key]))
				for _, r := range of[key] {
					wanted[r] = true
				}
				for _, r := range to {
					if wanted[r] {
						l.to[r] = true
					}
				}
			}
			if c.layout.IsClaim(key) {
				l.owner = slices.Clone(m.Value)
			}
		}
		out[key] = l
	})
	return out, err
}

func byKey(suspects []suspect) map[string][]string {
	out := map[string][]string{}
	for _, s := range suspects {
		out[s.key] = append(out[s.key], s.record)
	}
	return out
}

func recordsOf(suspects []suspect) []string {
	set := map[string]bool{}
	for _, s := range suspects {
		set[s.record] = true
	}
	return slices.Sorted(maps.Keys(set))
}

// lookMissing finds out which records really lack an entry or a claim.
//
// It reads the records, then the keys, then the records again. A record that has the same
// revision both times did not change in between, because each read is at least as new as
// the one before (store.Store). So it held the value at the instant at which the key was
// read, and invariant I1 or I2 says that the key had to lead to it. A record that has
// changed is looked at again.
func (c *checker) lookMissing(ctx context.Context, suspects []suspect) (found []finding, again []suspect, err error) {
	if len(suspects) == 0 {
		return nil, nil, nil
	}
	records := recordsOf(suspects)
	before, err := c.states(ctx, records)
	if err != nil {
		return nil, nil, err
	}
	have, err := c.leads(ctx, byKey(suspects))
	if err != nil {
		return nil, nil, err
	}
	after, err := c.states(ctx, records)
	if err != nil {
		return nil, nil, err
	}
	for _, s := range suspects {
		was, key := before[s.record], have[s.key]
		claim := c.layout.IsClaim(s.key)
		switch {
		case !was.good || !was.keys.Holds(s.key) || key.to[s.record] || c.awaits(s.key):
		case key.err != nil && !claim: // a corrupt entry, which is reported already
		case after[s.record].revision != was.revision:
			again = append(again, s)
		default:
			p, err := c.lacking(ctx, s, key)
			if err != nil {
				return nil, nil, err
			}
			f := finding{Problem: p}
			if p.Kind != DuplicateValue {
				f.lacks = was.keys.Only(s.key)
			}
			found = append(found, f)
		}
	}
	return found, again, nil
}

// lacking is the problem of a record to which an index key, as it was read, does not lead.
// It is a duplicate value when the key is a claim and its owner is known to hold the value
// too. Of an owner that cannot be read it is not known (commit.Holds says what follows for
// a writer): the claim is missing, and a repair is refused.
func (c *checker) lacking(ctx context.Context, s suspect, key leading) (Problem, error) {
	p := Problem{Kind: MissingEntry, Key: s.key, Record: s.record}
	if !c.layout.IsClaim(s.key) {
		return p, nil
	}
	p.Kind = MissingClaim
	if !key.live {
		return p, nil
	}
	p.Detail = fmt.Sprintf("the claim is of %s %s", c.def.Name, key.owner)
	owner, err := c.layout.ReadOwner(key.owner)
	if err != nil {
		return p, nil
	}
	m, err := c.store.GetLatest(ctx, c.layout.RecordKey(owner))
	if err != nil {
		return p, err
	}
	if m.Live() && !c.newer(m) {
		if f, err := c.layout.Of(m.Value); err == nil && f.Holds(s.key) {
			p.Kind = DuplicateValue
		}
	}
	return p, nil
}

// lookStray finds out to which records an entry or a claim leads that do not hold its value.
//
// It reads the keys first and the records after them. A record that does not hold the value
// then may have a writer that has put the entry and is about to commit. For a report that
// does not matter, because strays are harmless, and one that is old enough is most likely
// what it seems. A repair fences the record before it takes it out (take).
func (c *checker) lookStray(ctx context.Context, suspects []suspect) (found []finding, err error) {
	if len(suspects) == 0 {
		return nil, nil
	}
	have, err := c.leads(ctx, byKey(suspects))
	if err != nil {
		return nil, err
	}
	var left []suspect
	for _, s := range suspects {
		key := have[s.key]
		// Of one that was written since the scan, by a writer that is about to commit the record,
		// nothing is said. A list may have been written for others.
		if key.to[s.record] && (key.revision == s.revision || key.all > 1) {
			left = append(left, s)
		}
	}
	records := make([]string, len(left))
	for i, s := range left {
		records[i] = s.record
	}
	holds := make([]bool, len(left))
	err = c.store.GetEach(ctx, records, func(i int, m store.Message) { holds[i] = commit.Holds(c.layout, m, left[i].key) })
	if err != nil {
		return nil, err
	}
	for i, s := range left {
		kind := StrayEntry
		if c.layout.IsClaim(s.key) {
			// The record that lacks the claim has it in the report already.
			if kind = StrayClaim; c.lacked(s.key) {
				continue
			}
		}
		if !holds[i] { // a record that cannot be read is reported already
			found = append(found, finding{Problem: Problem{Kind: kind, Key: s.key, Record: s.record}})
		}
	}
	return found, nil
}
