// Package query answers queries over the records of one model: it selects, sorts,
// limits, counts, groups and aggregates, and makes and reads cursors. It knows no
// network and no indexes: it asks a Source for the records that may be selected.
package query

import (
	"context"
	"iter"

	"github.com/natsorm/natsorm/internal/cond"
	"github.com/natsorm/natsorm/internal/plan"
	"github.com/natsorm/natsorm/internal/schema"
	"github.com/natsorm/natsorm/internal/store"
)

// Source is where the records of a model come from. It is safe for concurrent use.
type Source interface {
	// Model describes the records. It is always the same.
	Model() *schema.Definition

	// Candidates begins to find the records that may fulfil a query's condition. With
	// all, the caller is known to take every one; a caller who may stop early wants
	// the first ones soon, and the others not at all.
	Candidates(ctx context.Context, q plan.Query, all bool) (Candidates, error)

	// Get reads the records with these keys. each is called with the position of a key
	// and its record: not at the same time, in no particular order, and more than
	// once when an answer was incomplete; the last call for a key holds. A record that
	// is not there comes as a message that is not live, or not at all.
	Get(ctx context.Context, keys []string, each func(i int, m store.Message)) error

	// Count is how many records there are.
	Count(ctx context.Context) (int, error)
}

// Candidates are records among which are all that fulfil a condition.
type Candidates struct {
	// Batches divides the candidates. It is ranged over once. A key comes once. After
	// a *CorruptError the sequence goes on; every other error is its last element.
	Batches iter.Seq2[Batch, error]

	// Filter is what is still to be checked on each candidate; nil is nothing.
	Filter *cond.Bound

	// Workers is how many batches are worth working on at the same time, when that is
	// more than there are cores: reading them is waiting.
	Workers int

	// Order is what the candidates are sorted by, batch after batch; nil promises
	// nothing. Where it begins with a query's Order, the query is answered without
	// sorting, and Batches is broken off when there are enough: so such a source pays
	// attention to the query's Limit and After, and to all. (With Lookups it is not
	// relied upon: what Since adds comes last.)
	Order []plan.Sort

	// Lookups is set by a source that reads a record after it has found its key; see
	// there.
	Lookups Lookups
}

// Batch is some of the candidates: records, or the keys of records still to be read.
type Batch struct {
	Records []store.Message
	Keys    []string // for Source.Get; nil when Records are given

	// Inline batches are worked on before the next one is asked for, because they may
	// be enough, or because no other follows.
	Inline bool
}

// Lookups are how a source found candidates whose records are read later. In between,
// a value may go from a record that the lookups have found to one that they have not:
// the first is read without the value, and the second not at all. So when a candidate
// is dropped that was written after AsOf, Since gives what has come under the lookups.
type Lookups interface {
	// AsOf is a revision that the bucket had when the lookups were made, or earlier. It
	// is 0 while nothing was looked up.
	AsOf() uint64

	// Since looks for what was written after AsOf, leaving out the keys that were seen,
	// and sets AsOf to a revision of now. It is nil when nothing came.
	Since(ctx context.Context, seen func(key string) bool) (iter.Seq2[Batch, error], error)
}
