package building

import (
	"cmp"
	"hash/maphash"
	"slices"
	"strings"

	"github.com/natsorm/natsorm/internal/errs"
	"github.com/natsorm/natsorm/internal/schema"
	"github.com/natsorm/natsorm/internal/value"
)

// duplicates gathers the records that share values which a unique index does not allow. The first
// groups and keys are kept; of the others 16 bytes for each record, so that they can be counted.
type duplicates struct {
	def     *schema.Definition
	listed  map[string]*errs.DuplicateGroup // by the claim's key
	order   []string                        // of listed
	keys    int                             // how many keys are listed
	seed    maphash.Seed
	groups  distinct
	records distinct
}

func newDuplicates(def *schema.Definition) *duplicates {
	return &duplicates{def: def, listed: map[string]*errs.DuplicateGroup{}, seed: maphash.MakeSeed()}
}

func (d *duplicates) any() bool { return len(d.order) > 0 }

// add notes that a record has the value of a claim that another one has.
func (d *duplicates) add(claim string, taken *errs.UniqueError, record string) {
	g := d.listed[claim]
	if g == nil && len(d.listed) < errs.MaxDuplicateGroups {
		g = &errs.DuplicateGroup{Columns: taken.Columns, Value: taken.Value}
		d.listed[claim], d.order = g, append(d.order, claim)
	}
	d.groups.add(maphash.String(d.seed, claim))
	for _, key := range []string{taken.Owner, record} {
		d.records.add(maphash.Comparable(d.seed, [2]string{claim, key}))
		if g != nil && d.keys < errs.MaxDuplicateKeys && !slices.Contains(g.Keys, key) {
			g.Keys, d.keys = append(g.Keys, key), d.keys+1
		}
	}
}

// err is what was found; nil for nothing.
func (d *duplicates) err() error {
	if !d.any() {
		return nil
	}
	e := &errs.DuplicatesError{Model: d.def.Name, TotalGroups: d.groups.count(), TotalRecords: d.records.count()}
	numbers := d.def.Key().Type != value.String
	for _, claim := range d.order {
		g := d.listed[claim]
		slices.SortFunc(g.Keys, func(a, b string) int {
			if !numbers {
				return cmp.Compare(a, b)
			}
			if minus := strings.HasPrefix(a, "-"); minus != strings.HasPrefix(b, "-") {
				return cmp.Compare(a, b) // it is before all digits
			} else if minus {
				a, b = b, a
			}
			return cmp.Or(cmp.Compare(len(a), len(b)), cmp.Compare(a, b))
		})
		e.Groups = append(e.Groups, *g)
	}
	slices.SortFunc(e.Groups, func(a, b errs.DuplicateGroup) int {
		return cmp.Or(slices.Compare(a.Columns, b.Columns), cmp.Compare(a.Value, b.Value))
	})
	return e
}

// distinct counts different hashes. It keeps 8 bytes for each, and those that came since it was last
// put in order.
type distinct struct {
	hashes []uint64
	sorted int // how many of them are in order, and different
}

func (d *distinct) add(h uint64) {
	if d.hashes = append(d.hashes, h); len(d.hashes) > 2*d.sorted+1024 {
		d.count()
	}
}

func (d *distinct) count() int {
	slices.Sort(d.hashes)
	d.hashes = slices.Compact(d.hashes)
	d.sorted = len(d.hashes)
	return d.sorted
}
