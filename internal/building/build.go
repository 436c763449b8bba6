package building

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/natsorm/natsorm/internal/catalogue"
	"github.com/natsorm/natsorm/internal/commit"
	"github.com/natsorm/natsorm/internal/keys"
	"github.com/natsorm/natsorm/internal/layout"
	"github.com/natsorm/natsorm/internal/schema"
	"github.com/natsorm/natsorm/internal/store"
)

// Options is how a build goes on. The zero value is as fast as others let it.
type Options struct {
	Rate     int                   // the most records in a second; 0 for no limit
	Progress func(done, total int) // nil, or called by one goroutine at a time
	Paused   func()                // nil, or called when the build finds that it is paused
	Logger   *slog.Logger          // nil, or told of that

	MarkEvery time.Duration // how often the build marks how far it has come; defaults to markEvery
}

// build is the building of indexes of one model.
type build struct {
	Options
	store   *counting
	def     *schema.Definition // with no other indexes than those that are built
	layout  layout.Layout
	writer  *commit.Writer
	pace    *pace
	marks   *marks // nil: the build is not marked
	total   int
	done    int
	failing *duplicates
}

// Run builds indexes of a model that are in state Building. It goes on at the mark of an earlier
// build of them, and is paused when the model's builds are. When other programs have built them
// meanwhile, it ends too. No mark is left then.
//
// A *errs.DuplicatesError when records share a value that a unique index does not allow. When
// the build is paused until ctx ends, the error says so.
func Run(ctx context.Context, s store.Store, def *schema.Definition, indexes []schema.Index, o Options) error {
	b, err := newBuild(s, def, indexes, o)
	if err != nil || len(indexes) == 0 { // another program has found that the records do not allow them
		return err
	}
	b.marks = &marks{store: b.store, model: def.Name, def: def, indexes: indexes, own: catalogue.NewMark(s, def, indexes), paused: b.paused, every: cmp.Or(o.MarkEvery, markEvery)}
	return b.run(ctx)
}

// paused tells that the build is.
func (b *build) paused() {
	if b.Paused != nil {
		b.Paused()
	}
	if b.Logger != nil {
		b.Logger.Warn("natsorm: Define waits, because the building of indexes is paused; DB.ResumeBuild ends that", "model", b.def.Name)
	}
}

// Again gives every record its entries and claims in all indexes, ready or not. It is not
// marked, and nothing pauses it.
func Again(ctx context.Context, s store.Store, def *schema.Definition) error {
	b, err := newBuild(s, def, def.Indexes, Options{})
	if err == nil {
		err = b.run(ctx)
	}
	return err
}

func newBuild(s store.Store, def *schema.Definition, indexes []schema.Index, o Options) (*build, error) {
	only := *def
	only.Indexes = indexes
	l, err := layout.New(&only)
	if err != nil {
		return nil, err
	}
	counted := &counting{Store: s}
	b := &build{Options: o, store: counted, def: &only, layout: l, writer: commit.NewWriter(counted, l), failing: newDuplicates(&only)}
	b.pace = newPace(o.Rate, b.writer.Listed())
	return b, nil
}

func (b *build) run(ctx context.Context) error {
	ended, err := b.all(ctx)
	if err == nil && !ended && b.marks != nil && b.marks.there && !b.marks.denied {
		err = catalogue.EndBuild(ctx, b.store, b.def.Name)
	}
	switch {
	case err != nil:
		return fmt.Errorf("natsorm: build the indexes of %s: %w", b.def.Name, err)
	case ended:
		return nil
	}
	return b.failing.err()
}

// all builds until every record was seen.
func (b *build) all(ctx context.Context) (ended bool, err error) {
	if b.marks != nil {
		if err := b.marks.begin(ctx); err != nil {
			return false, err
		}
		b.done = b.marks.own.Done
	}
	if err := store.CatchUp(ctx, b.store); err != nil {
		return false, err
	}
	if b.marks != nil || b.Progress != nil {
		if b.total, err = b.store.Count(ctx, keys.Records(b.def.Name), store.About); err != nil {
			return false, err
		}
	}
	b.tell()
	scan, stop := context.WithCancel(ctx)
	r := b.read(scan)
	defer r.wait()
	defer stop()
	for {
		next, err := r.next(ctx, b.pace.size())
		if err != nil || next.read == 0 && next.size() == 0 {
			return false, err
		}
		if err := b.pace.before(ctx, next.size()); err != nil {
			return false, err
		}
		if err := b.round(ctx, next.records); err != nil {
			return false, err
		}
		b.done += next.read
		b.tell()
		if b.marks != nil {
			held := b.pace.held()
			if ended, err := b.marks.reached(ctx, next.upTo, b.done, b.total, b.failing.any()); err != nil || ended {
				return ended, err
			}
			held()
		}
		if err := b.pace.after(ctx, b.store, b.store.since()); err != nil {
			return false, err
		}
	}
}

func (b *build) tell() {
	b.total = max(b.total, b.done)
	if b.Progress != nil {
		b.Progress(b.done, b.total)
	}
}

// grainSize is how many records the scan hands over together.
const grainSize = 64

// portion is records that the scan has read.
type portion struct {
	records []*layout.Footprint
	read    int    // how many records were read for it, those that need nothing too
	passed  int    // how many of them have writers that knew the indexes
	work    int    // as how many records it counts: one with many entries counts as several
	upTo    uint64 // the revision of the last one of them
}

// size is how much work it is. A record that comes again, corrected, is not read once more. One
// that is passed over is none: writers that are faster than a build would make it go on for ever.
func (p portion) size() int { return max(p.read-p.passed, p.work) }

// recordEntries is how many entries of one record count as one record.
const recordEntries = 16

// knew reports whether the writer of a record knew the indexes, so that it has what it needs.
func (b *build) knew(m store.Message) bool {
	before := b.def.Reindexed()
	return b.marks != nil && before > 0 && m.Schema > before && m.Schema <= b.def.Revision
}

// reader reads the records of the model, ahead of those who use them.
type reader struct {
	portions chan portion
	ended    chan struct{}
	err      error // why it ended, when portions is closed
}

// read begins to scan. A record that a replica delivered in an older state comes once more, as it is.
func (b *build) read(ctx context.Context) *reader {
	grain := grainSize
	if b.Rate > 0 {
		grain = min(grain, b.pace.size())
	}
	r := &reader{portions: make(chan portion, max(1, b.pace.most()/grain)), ended: make(chan struct{})}
	after := uint64(0)
	if b.marks != nil {
		after = b.marks.own.UpTo
	}
	go func() {
		defer close(r.ended)
		defer close(r.portions)
		var now portion
		send := func() bool {
			select {
			case r.portions <- now:
				now = portion{upTo: now.upTo}
				return true
			case <-ctx.Done():
				r.err = ctx.Err()
				return false
			}
		}
		for m, err := range b.store.Scan(ctx, keys.Records(b.def.Name), store.ScanOptions{Again: true, After: after, Gentle: true}) {
			if err != nil {
				r.err = err
				return
			}
			knew := b.knew(m) || commit.Newer(b.layout, m) // the writer of one of a newer version of the model knew the indexes
			if !m.Again {
				now.upTo = max(now.upTo, m.Revision)
				now.read++
				if knew {
					now.passed++
				}
			}
			// One that cannot be read has no entries, and Check names it.
			if m.Live() && !knew {
				if f, err := layout.At(b.layout, m.Key, m.Value); err == nil {
					now.records = append(now.records, &f)
					now.work += 1 + len(f.Entries)/recordEntries
				}
			}
			if now.size() >= grain && !send() {
				return
			}
		}
		if now.read > 0 || now.size() > 0 {
			send()
		}
	}()
	return r
}

// wait waits until the scan has ended, as it does with its context.
func (r *reader) wait() { <-r.ended }

// next is about so many records; none when there are no more.
func (r *reader) next(ctx context.Context, size int) (sum portion, err error) {
	for sum.size() < size {
		select {
		case p, ok := <-r.portions:
			if !ok {
				if r.err != nil {
					return portion{}, r.err
				}
				return sum, nil
			}
			sum.records, sum.upTo = append(sum.records, p.records...), p.upTo
			sum.read, sum.passed, sum.work = sum.read+p.read, sum.passed+p.passed, sum.work+p.work
		case <-ctx.Done():
			return portion{}, ctx.Err()
		}
	}
	return sum, nil
}

// counting is the bucket, and counts what the build writes there.
type counting struct {
	store.Store
	wrote atomic.Int64
}

func (c *counting) Write(ctx context.Context, ops ...store.Op) []store.Result {
	results := c.Store.Write(ctx, ops...)
	n := 0
	for _, r := range results {
		if r.Err == nil {
			n++
		}
	}
	c.wrote.Add(int64(n))
	return results
}

// since is how many messages were written since it was last asked for.
func (c *counting) since() int { return int(c.wrote.Swap(0)) }
