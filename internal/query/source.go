package query

import (
	"context"
	"iter"

	"github.com/natsorm/natsorm/internal/cond"
	"github.com/natsorm/natsorm/internal/plan"
	"github.com/natsorm/natsorm/internal/row"
	"github.com/natsorm/natsorm/internal/schema"
	"github.com/natsorm/natsorm/internal/store"
	"github.com/natsorm/natsorm/internal/value"
)

// Source is where the records of a model come from. It is safe for concurrent use.
type Source interface {
	// Model describes the records. It is always the same.
	Model() *schema.Definition

	// Candidates begins to find the records that may fulfil a query's condition. With
	// all, the caller will take every one. Without it the caller may stop early: it wants
	// the first ones soon, and the others not at all.
	Candidates(ctx context.Context, q plan.Query, all bool) (Candidates, error)

	// InMemory reports whether nothing is read to find records: they come as rows, and finding them neither
	// waits nor has to be ended.
	InMemory() bool

	// View is a record that was read as Model describes it: with the names that its columns
	// have there. A record may have been written by another version of the model.
	View(ctx context.Context, m store.Message) (store.Message, error)

	// Count is the number of records of the model.
	Count(ctx context.Context) (int, error)

	// Counted counts the records that a query selects without reading them, as they are at one moment.
	// ok is false when that cannot be done, or does not pay; then the engine reads them.
	Counted(ctx context.Context, q plan.Query) (n int, ok bool, err error)

	// Grouped does the same with the groups into which all records of the model are divided by columns. Of
	// others it does not know the group: they are records as they are at that moment. When ok is false there
	// are neither.
	Grouped(ctx context.Context, columns []int) (groups []Tally, others []store.Message, ok bool, err error)

	// SawGroups tells the source which values the records have in these columns, each once, because it was
	// not able to answer Grouped.
	SawGroups(columns []int, values [][]value.Value)
}

// Tally is how many records have some values.
type Tally struct {
	By      []value.Value // as records are read, with the zero that null stands for
	Records int
}

// Candidates are records among which are all that fulfil a condition.
type Candidates struct {
	// Chunks yields the candidates. It is ranged over once, and each key comes once.
	// After a *CorruptError the sequence goes on; any other error is its last element.
	Chunks iter.Seq2[Chunk, error]

	// Few are the candidates instead of Chunks, of a source in memory: so few that they are worked on as
	// they come.
	Few iter.Seq[*row.Row]

	// Get reads the records with the keys of a chunk. It calls each with the position of a key
	// and its record: one call at a time, in no particular order. A key comes again when
	// an answer was incomplete; its last call counts. A record that is not there comes
	// as a message that is not live, or not at all. Nil where no chunk has keys.
	Get func(ctx context.Context, keys []string, each func(i int, m store.Message)) error

	// Filter is what is still to be checked on each candidate; nil: nothing.
	Filter *cond.Bound

	// Workers is how many chunks to work on at the same time. It counts when it is
	// larger than the number of cores: reading records is mostly waiting.
	Workers int

	// Order is what the candidates are sorted by, also from one chunk to the next; nil:
	// nothing is promised. When the query's Order is its beginning, the query is answered
	// without sorting, and the engine stops ranging over Chunks when it has enough. So a
	// source with an order heeds the query's Limit and After, and all. The engine does
	// not use Order together with Lookups, because what was Written since comes last.
	Order []plan.Sort

	// Lookups is set by a source that finds keys first and reads the records later.
	Lookups Lookups
}

// Chunk is some of the candidates: records, or the keys of records still to be read.
type Chunk struct {
	Records []store.Message
	Rows    []*row.Row // records in memory, as Model describes them; nil when Records or Keys are given
	Keys    []string   // for Candidates.Get; nil when Records are given

	// Settled reports whether a record with these values, in the columns of the query's order, comes
	// before all candidates of the chunks that follow, as far as they are as they were when they were
	// found. The engine takes no more chunks when that is so of all that it needs. Nil: it is not known
	// of any. Chunks that have it are Inline.
	Settled func(by []value.Value) bool

	// chosen are records that the engine has chosen, instead of all the above.
	chosen []Record

	// Inline says that the chunk is worked on before the next one is asked for, because
	// it may be enough, or because no other follows.
	Inline bool
}

// Lookups are the lookups that found candidates whose records are read later. In
// between, a value may go from a record that the lookups have found to one that they
// have not. Then the first is read without the value, and the second is not read at all.
// The same can happen between two lookups, and where candidates come in an order, a record may
// have left its place for another one's. So when a candidate is dropped that was
// written after AsOf, or any is in an order, or when there were several lookups, the engine asks
// for what may have been Written since.
type Lookups interface {
	// AsOf is a revision that the bucket had when the lookups were made, or before. It
	// is 0 while nothing was looked up.
	AsOf() uint64

	// Several reports whether the lookups were made at several moments. It is asked when
	// all candidates were given.
	Several() bool

	// Written returns records of the model as they all are at one moment: at least those that
	// the lookups lead to then, and that were written after AsOf.
	Written(ctx context.Context) ([]store.Message, error)
}
