package checking

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/natsorm/natsorm/internal/errs"
	"github.com/natsorm/natsorm/internal/keys"
	"github.com/natsorm/natsorm/internal/layout"
	"github.com/natsorm/natsorm/internal/schema"
	"github.com/natsorm/natsorm/internal/store"
)

// Swept is what a sweep took.
type Swept struct {
	Entries   int // index entries, or records in lists, that no record needed
	Claims    int // unique values that no record held
	Leftovers int // keys of indexes, layouts and models that are gone
}

// Add adds what another sweep took.
func (s *Swept) Add(t Swept) {
	s.Entries, s.Claims, s.Leftovers = s.Entries+t.Entries, s.Claims+t.Claims, s.Leftovers+t.Leftovers
}

// Way is how a sweep goes on.
type Way struct {
	Age  time.Duration                              // how long a stray has to be seen before it is taken
	Pace func(context.Context, time.Duration) error // called again and again with the time that was worked since; may wait
	May  func(context.Context) error                // called when an entry was read, before it is taken; its error ends the sweep
}

// Sweep takes what crashed writers of a model have left, and reads only the index for that.
// What it takes is of two kinds, and for each there is a rule by which it is safe, whoever
// stalls for however long:
//
//   - Strays: entries and claims whose record does not hold the value. They may be those of a
//     writer that is about to commit. They are taken as a repair does it, behind a fence
//     (checker.take). The age only spares writers the work of beginning again.
//   - Leftovers: keys that are natsorm's by their form, and belong to no index of the model.
//     The bucket's revision is taken first, and then the model's document is read. What is at or
//     below the revision was written before the document was read, in which no such index is.
//     Whoever declares it later writes its keys again, whether they are there or not, at a
//     higher revision; and each is deleted only at the revision at which it was seen.
func Sweep(ctx context.Context, s store.Store, def *schema.Definition, way Way) (Swept, error) {
	o := Options{Mend: Strays, Examples: 1}
	c := &checker{store: s, o: o, findings: newFindings(def.Name, &o), sweep: &sweep{Way: way}}
	err := c.use(def)
	if err == nil {
		err = c.sweepAll(ctx)
	}
	out := Swept{c.report.Counts[StrayEntry].Repaired, c.report.Counts[StrayClaim].Repaired, c.sweep.taken}
	if errors.Is(err, errPaused) || errors.Is(err, errMoved) || errors.Is(err, errs.ErrDropped) { // the next sweep finds what is left
		return out, nil
	}
	if err != nil {
		err = fmt.Errorf("natsorm: sweep %s: %w", def.Name, err)
	}
	return out, err
}

// sweep is what a checker needs that sweeps.
type sweep struct {
	Way
	upTo   uint64          // what is above it is not judged to be a leftover
	others []layout.Layout // those that the model does not have
	gone   []store.Message // leftovers that are to be removed
	taken  int
}

func (c *checker) sweepAll(ctx context.Context) error {
	var err error
	if c.sweep.upTo, err = c.store.Revision(ctx, store.Acknowledged); err != nil {
		return err
	}
	if _, err := c.renew(ctx); err != nil {
		return err
	}
	for _, step := range []struct {
		pass pass
		ours func(string) bool
	}{{lookEntries, c.isEntry}, {lookClaims, c.isClaim}, {lookHeads, c.isHead}} {
		err := c.read(ctx, step.pass, func(ctx context.Context, batch []store.Scanned) error {
			c.sweep.others = otherLayouts(c.def)
			err := c.lookIndex(ctx, batch, step.ours)
			if err == nil {
				err = c.sweep.flush(ctx, c.store)
			}
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// isHead is false for every head: none leads to a record.
func (c *checker) isHead(string) bool { return false }

// otherLayouts are the layouts that a model does not have, unless it is being moved to one of
// them, or from it.
func otherLayouts(def *schema.Definition) (out []layout.Layout) {
	if def.Moving != nil {
		return nil
	}
	for _, name := range []string{schema.Native, schema.Sequelize} {
		other := *def
		other.Layout = name
		if name == schema.Sequelize { // it has no others, so none of them is left of it
			other.Indexes = slices.DeleteFunc(slices.Clone(def.Indexes), func(x schema.Index) bool {
				return x.Unique || x.Ordered || x.Fold || len(x.Columns) > 1 || x.Elements != ""
			})
		}
		if l, err := layout.New(&other); err == nil && name != def.Layout {
			out = append(out, l)
		}
	}
	return out
}

// leftover takes an index key that is none of the model's, if it once was.
func (s *sweep) leftover(c *checker, m store.Scanned) {
	if m.Revision > s.upTo {
		return
	}
	for _, l := range s.others {
		if l.Owns(m.Key) && !c.layout.Owns(m.Key) {
			if _, err := l.Pointers(nil, m.Key, m.Value); err == nil && (lists(l) || len(m.Value) == 0 || l.IsClaim(m.Key)) {
				s.take(c, m.Message)
			}
			return
		}
	}
	if form(c.def, m.Message, c.layout) {
		s.take(c, m.Message)
	}
}

func (s *sweep) take(c *checker, m store.Message) {
	s.gone = append(s.gone, m)
}

func (s *sweep) flush(ctx context.Context, to store.Store) error {
	taken, err := store.Remove(ctx, to, s.gone...)
	s.taken += taken
	s.gone = s.gone[:0]
	return err
}

// form reports whether a key has the form that an entry, a claim or a head of an index has that the
// model does not have: its name is that of columns which the model has, or had.
func form(def *schema.Definition, m store.Message, l layout.Layout) bool {
	if keys.IsHead(def.Name, m.Key) {
		index, _, _ := strings.Cut(m.Key[len(keys.Heads(def.Name))-1:], ".")
		return !knows(def, index, false) && columnsOf(def, keys.Unfolded(index)) > 0
	}
	unique := keys.IsClaim(def.Name, m.Key)
	index, tokens := keys.IndexOf(def.Name, m.Key, unique)
	if index == "" || knows(def, index, unique) {
		return false
	}
	n := columnsOf(def, keys.Unfolded(index))
	switch {
	case n == 0:
		return false
	case keys.IsOrderedName(index):
		return !lists(l) && keys.IsOrderedEntry(def.Name, m.Key, n) && len(m.Value) == 0
	case unique:
		_, err := l.ReadOwner(m.Value)
		return tokens == n && err == nil
	case !lists(l):
		return tokens == n+1 && len(m.Value) == 0
	}
	_, err := l.Pointers(nil, m.Key, m.Value)
	return tokens == n && err == nil
}

// lists reports whether all records with a value share an entry.
func lists(l layout.Layout) bool { return l.EntryKeys(2) == 1 }

// knows reports whether the model has an index of the name, or one that is being dropped.
func knows(def *schema.Definition, name string, unique bool) bool {
	for _, x := range def.Dropping {
		if x.Name == name && x.Unique == unique {
			return true
		}
	}
	return def.Index(name, unique) >= 0
}

// columnsOf is how many columns an index of the name would have; 0 when it is not made of the names
// of columns that the model has, or had.
func columnsOf(def *schema.Definition, index string) int {
	name, each := keys.EachOf(index)
	_, former := def.FormerName(name)
	if former || def.Position(name) >= 0 {
		return 1
	}
	if each { // it is of one column
		return 0
	}
	if first, last, ok := strings.Cut(index, "/"); ok {
		n := columnsOf(def, first)
		if columnsOf(def, last) != 1 || n == 0 && first != "" {
			return 0
		}
		return n + 1
	}
	for i, r := range index {
		if r == '-' && columnsOf(def, index[:i]) == 1 {
			if n := columnsOf(def, index[i+1:]); n > 0 {
				return 1 + n
			}
		}
	}
	return 0
}
