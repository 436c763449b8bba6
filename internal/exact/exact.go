package exact

import (
	"context"
	"errors"
	"maps"
	"sync/atomic"
	"time"

	"github.com/natsorm/natsorm/internal/keys"
	"github.com/natsorm/natsorm/internal/layout"
	"github.com/natsorm/natsorm/internal/schema"
	"github.com/natsorm/natsorm/internal/store"
	"github.com/natsorm/natsorm/internal/workers"
)

const (
	// most is how many records, and how many entries, may have been written since a proof. With
	// more it is given up: looking at them takes longer than another proof.
	most = 4096

	// tries is how often a proof, or an answer, begins again because of what others write.
	tries = 3

	// forgetAfter is how long a proof may go unused. Beyond it, the delete marker of a key may
	// have gone before anybody looked.
	forgetAfter = store.BriefFor / 2

	// counters is how many counts are under way at a time.
	counters = 4
)

// Index is an index that gives each record one entry. It is safe for concurrent use.
type Index struct {
	entries string // the pattern of its entries
	records string // the pattern of the model's records
	layout  layout.Layout
	proof   atomic.Pointer[proof]
}

// proof says that at one revision all entries of the index were exact. It is not changed.
type proof struct {
	generation uint64            // the bucket's
	at         uint64            // the revision
	upTo       uint64            // what was written since is known at least up to this revision
	looked     time.Time         // when upTo was taken
	records    map[string]uint64 // the records that were written since, with their last revisions
	entries    map[string]mark   // the entries that were written since
}

// mark is the last message of an entry.
type mark struct {
	revision uint64
	live     bool
}

// Applies reports whether the entries of an index may prove something: each record has one, and
// there can be no writer that does not know the index.
func Applies(l layout.Layout, x schema.Index) bool {
	def := l.Model()
	return x.State == schema.Ready && l.OneEach(x) && max(x.Declared, def.Placed, def.Emptied, def.Born) == 0
}

// New is an index of a model to which Applies applies. Nothing is proven of it yet.
func New(l layout.Layout, x schema.Index) *Index {
	name := l.Model().Name
	return &Index{entries: keys.InIndex(name, x.Name), records: keys.Records(name), layout: l}
}

// Proven reports whether there is a proof.
func (x *Index) Proven() bool { return x.proof.Load() != nil }

// Prove tries to prove that the entries of the index are exact, and reports whether it could. It
// cannot when there is a superfluous entry, and while others write.
func (x *Index) Prove(ctx context.Context, s store.Store) (bool, error) {
	for range tries {
		t := s.Traits()
		if t.Replicable {
			return false, nil
		}
		began := time.Now()
		at, err := s.Revision(ctx, store.Acknowledged)
		if err != nil {
			return false, err
		}
		counts, err := count(ctx, s, []string{x.records, x.entries})
		if err != nil {
			return false, err
		}
		quiet := true
		for _, pattern := range []string{x.records, x.entries} {
			changes, err := s.Changes(ctx, pattern, at)
			if err != nil {
				return false, err
			}
			quiet = quiet && len(changes) == 0
		}
		switch {
		case !quiet || at == 0 || s.Traits().Generation != t.Generation:
			continue
		case counts[0] != counts[1]:
			return false, nil
		}
		x.proof.Store(&proof{generation: t.Generation, at: at, upTo: at, looked: began})
		return true, nil
	}
	return false, nil
}

// Forget gives up what was proven.
func (x *Index) Forget() { x.proof.Store(nil) }

// count counts the live keys under each pattern.
func count(ctx context.Context, s store.Store, patterns []string) ([]int, error) {
	counts := make([]int, len(patterns))
	pool := workers.NewPool(ctx, counters)
	for i, pattern := range patterns {
		pool.Do(func(ctx context.Context) (n int, err error) {
			counts[i], err = s.Count(ctx, pattern, store.Exactly)
			return 0, err
		})
	}
	_, err := pool.Wait()
	return counts, err
}

// Ask is a question to an index: how many entries lead to records that have some values.
type Ask struct {
	// Patterns are those of the entries, one for each answer. No entry is under two of them.
	Patterns []string

	// Entry is the key that a record's entry has under a pattern. Nil when the record's key does not
	// tell it: then the keys of all entries are read.
	Entry func(i int, record string) string

	// List reads the keys of the entries, where patterns do not tell them. There is one answer then.
	List func(ctx context.Context) ([]string, error)

	// Quiet says that an answer is of use only when nothing was written to the bucket since the
	// last one. Otherwise the server looks at all keys of the records and of the index, to find
	// what was.
	Quiet bool

	// All says that every entry of the index should be under a pattern. When one is not, there is
	// no answer.
	All bool
}

// Answer is the state at one moment.
type Answer struct {
	// Exact is how many records have the values of each pattern, besides the Suspects.
	Exact []int

	// Suspects are all other records that may have the values, as they were at the moment. They
	// are live.
	Suspects []store.Message
}

// errMoved says that what others write has made a try worthless.
var errMoved = errors.New("something was written meanwhile")

// Count answers by what was proven before. ok is false when nothing is proven any more, or others
// write too much.
func (x *Index) Count(ctx context.Context, s store.Store, ask Ask) (a Answer, ok bool, err error) {
	for range tries {
		p, err := x.advance(ctx, s, ask.Quiet)
		if p == nil || err != nil {
			return Answer{}, false, err
		}
		a, err := x.answer(ctx, s, ask, p)
		if err == nil {
			return a, s.Traits().Generation == p.generation, nil
		}
		if !errors.Is(err, errMoved) {
			return Answer{}, false, err
		}
	}
	return Answer{}, false, nil
}

// advance adds to a proof what was written since it was used last: first the entries, then the
// records. It is nil when there is no proof any more, or it has to be quiet and is not.
func (x *Index) advance(ctx context.Context, s store.Store, quiet bool) (*proof, error) {
	p, t, began := x.proof.Load(), s.Traits(), time.Now()
	if p == nil {
		return nil, nil
	}
	// The clock of the wall counts too: the other one may stand still while the machine sleeps.
	old := began.Sub(p.looked) > forgetAfter || began.Round(0).Sub(p.looked.Round(0)) > forgetAfter
	upTo, err := s.Revision(ctx, store.Acknowledged)
	if err != nil {
		return nil, err
	}
	if old || t.Replicable || t.Generation != p.generation || upTo < p.upTo {
		x.proof.CompareAndSwap(p, nil)
		return nil, nil
	}
	var entries, records []store.Message
	if upTo > p.upTo {
		if quiet {
			return nil, nil
		}
		if entries, err = s.Changes(ctx, x.entries, p.upTo); err != nil {
			return nil, err
		}
		if records, err = s.Changes(ctx, x.records, p.upTo); err != nil {
			return nil, err
		}
	}
	next := &proof{generation: p.generation, at: p.at, upTo: upTo, looked: began, records: p.records, entries: p.entries}
	if len(records) > 0 {
		if next.records = maps.Clone(p.records); next.records == nil {
			next.records = map[string]uint64{}
		}
		for _, m := range records {
			next.records[m.Key] = max(next.records[m.Key], m.Revision)
		}
	}
	if len(entries) > 0 {
		if next.entries = maps.Clone(p.entries); next.entries == nil {
			next.entries = map[string]mark{}
		}
		for _, m := range entries {
			if m.Revision > next.entries[m.Key].revision {
				next.entries[m.Key] = mark{m.Revision, m.Live()}
			}
		}
	}
	if len(next.records) > most || len(next.entries) > most {
		x.proof.CompareAndSwap(p, nil)
		return nil, nil
	}
	x.proof.CompareAndSwap(p, next) // otherwise another call has been faster, and what it knows is as good
	return next, nil
}

// answer makes one try: steps 3 to 5 of the package's comment. errMoved when it is worth nothing.
func (x *Index) answer(ctx context.Context, s store.Store, ask Ask, p *proof) (a Answer, err error) {
	touched, err := x.touched(p)
	if err != nil {
		return a, err
	}
	var suspects map[string]bool // those of touched that may have the values
	if ask.Entry != nil {
		a.Exact, suspects, err = x.counted(ctx, s, ask, p, touched)
	} else {
		a.Exact, suspects, err = x.listed(ctx, s, ask, p, touched)
	}
	if err != nil {
		return a, err
	}
	if a.Suspects, err = x.read(ctx, s, suspects, p); err != nil {
		return a, err
	}
	last, err := s.Revision(ctx, store.Acknowledged)
	if err != nil || last == p.upTo { // nothing was written at all
		return a, err
	}
	if ask.Quiet {
		return a, errMoved
	}
	among := ask.Patterns
	if ask.List != nil || ask.All || len(among) > 1 {
		among = []string{x.entries}
	}
	late, err := s.Changes(ctx, among[0], p.upTo)
	if err != nil {
		return a, err
	}
	for _, m := range late {
		if m.Revision > p.entries[m.Key].revision {
			return a, errMoved
		}
	}
	return a, nil
}

// touched are the records that were written since, and those of entries that were. None of their
// entries proves anything: one of them may be superfluous, and another one the record's.
func (x *Index) touched(p *proof) (map[string]bool, error) {
	out := make(map[string]bool, len(p.records)+len(p.entries))
	for record := range p.records {
		out[record] = true
	}
	var to []string
	for entry := range p.entries {
		var err error
		if to, err = x.layout.Pointers(to[:0], entry, nil); err != nil {
			return nil, err
		}
		out[to[0]] = true
	}
	return out, nil
}

// counted takes the number of the entries from the server, and subtracts those of records that were
// touched: their keys follow from those of the records.
func (x *Index) counted(ctx context.Context, s store.Store, ask Ask, p *proof, touched map[string]bool) (exact []int, suspects map[string]bool, err error) {
	if len(touched)*len(ask.Patterns) > most {
		x.proof.CompareAndSwap(p, nil)
		return nil, nil, errMoved
	}
	exact, suspects = make([]int, len(ask.Patterns)), map[string]bool{}
	type place struct {
		i      int
		record string
	}
	var look []string
	var at []place
	for record := range touched {
		for i := range ask.Patterns {
			key := ask.Entry(i, record)
			switch m := p.entries[key]; {
			case m.live:
				exact[i]--
				suspects[record] = true
			case m.revision == 0:
				look, at = append(look, key), append(at, place{i, record})
			}
		}
	}
	if len(look) > 0 {
		found, err := store.GetMany(ctx, s, look)
		if err != nil {
			return nil, nil, err
		}
		for j, m := range found {
			if m.Live() {
				exact[at[j].i]--
				suspects[at[j].record] = true
			}
		}
	}
	patterns := ask.Patterns
	if ask.All {
		patterns = append(patterns[:len(patterns):len(patterns)], x.entries)
	}
	counts, err := count(ctx, s, patterns)
	if err != nil {
		return nil, nil, err
	}
	sum := 0
	for i := range exact {
		sum += counts[i]
		if exact[i] += counts[i]; exact[i] < 0 {
			return nil, nil, errMoved
		}
	}
	if ask.All && sum != counts[len(counts)-1] {
		return nil, nil, errMoved // also because of values that are not asked for
	}
	return exact, suspects, nil
}

// listed reads the keys of the entries.
func (x *Index) listed(ctx context.Context, s store.Store, ask Ask, p *proof, touched map[string]bool) (exact []int, suspects map[string]bool, err error) {
	exact, suspects = make([]int, max(1, len(ask.Patterns))), map[string]bool{}
	var to []string
	note := func(i int, key string) error {
		if to, err = x.layout.Pointers(to[:0], key, nil); err != nil {
			return err
		}
		if touched[to[0]] {
			suspects[to[0]] = true
		} else {
			exact[i]++
		}
		return nil
	}
	if ask.List != nil {
		list, err := ask.List(ctx)
		for _, key := range list {
			if err == nil {
				err = note(0, key)
			}
		}
		return exact, suspects, err
	}
	for i, pattern := range ask.Patterns {
		for m, err := range s.Scan(ctx, pattern, store.ScanOptions{Keys: true}) {
			if err == nil {
				err = note(i, m.Key)
			}
			if err != nil {
				return nil, nil, err
			}
		}
	}
	return exact, suspects, nil
}

// read reads the records of suspects. errMoved when one was written after the moment up to which
// records are known.
func (x *Index) read(ctx context.Context, s store.Store, suspects map[string]bool, p *proof) ([]store.Message, error) {
	if len(suspects) == 0 {
		return nil, nil
	}
	asked := make([]string, 0, len(suspects))
	for record := range suspects {
		asked = append(asked, record)
	}
	found, err := store.GetMany(ctx, s, asked)
	if err != nil {
		return nil, err
	}
	live := found[:0]
	for _, m := range found {
		switch known := p.records[m.Key]; {
		case m.Revision > max(known, p.at):
			return nil, errMoved
		case m.Live():
			live = append(live, m)
		}
	}
	return live, nil
}
