package alter

import (
	"context"
	"fmt"
	"sync/atomic"

	"github.com/natsorm/natsorm/internal/catalogue"
	"github.com/natsorm/natsorm/internal/commit"
	"github.com/natsorm/natsorm/internal/keys"
	"github.com/natsorm/natsorm/internal/records"
	"github.com/natsorm/natsorm/internal/store"
	"github.com/natsorm/natsorm/internal/workers"
)

// Handle knows which version of the model is in force.
type Handle = catalogue.Handle[*records.Model]

// rewriter makes the new documents of records. Its errors are commit.ErrLeave for one that stays
// as it is, and others. It may be called several times for one record, and by several goroutines.
type rewriter interface {
	// found makes the new document of a record as it is in the bucket.
	found(ctx context.Context, m *records.Model, r store.Message) ([]byte, error)

	// again makes that of a record that has changed since it was found. It has the names of m.
	again(m *records.Model, r store.Message) ([]byte, error)
}

// counts is what a pass has done, or would do.
type counts struct {
	read    atomic.Int64
	written atomic.Int64
}

// progressEvery is how many records are read between two reports of progress.
const progressEvery = 1000

// pass rewrites the records of a model.
type pass struct {
	store    store.Store
	handle   *Handle
	dry      bool                  // nothing is written
	progress func(done, total int) // called by one goroutine at a time
}

// run reads all records, and writes those that rewrite makes another document of. The first
// error ends it; what was written stays. Records that had another key when the pass ended
// than when it began may have been missed, so then there is another round.
func (p *pass) run(ctx context.Context, rewrite rewriter) (*counts, error) {
	n := &counts{}
	for {
		m, err := p.handle.Current(ctx)
		if err != nil {
			return n, err
		}
		if err := p.round(ctx, m, n, rewrite); err != nil {
			return n, err
		}
		now, err := p.handle.Current(ctx)
		if err != nil || now.SamePlacement(m) {
			return n, err
		}
	}
}

func (p *pass) round(ctx context.Context, m *records.Model, n *counts, rewrite rewriter) error {
	if err := store.CatchUp(ctx, p.store); err != nil {
		return err
	}
	total, err := p.store.Count(ctx, keys.Records(m.Def.Name), store.About)
	if err != nil {
		return err
	}
	n.read.Store(0)
	pool := workers.NewPool(ctx, commit.Together)
	for r, err := range p.store.Scan(pool.Ctx(), keys.Records(m.Def.Name), store.ScanOptions{Again: true}) {
		if err != nil {
			pool.Fail(err)
			break
		}
		if !r.Live() {
			continue
		}
		if !r.Again {
			if done := int(n.read.Add(1)); done%progressEvery == 0 {
				p.progress(done, max(done, total))
			}
		}
		pool.Do(func(ctx context.Context) (int, error) { return 1, p.record(ctx, m, r, n, rewrite) })
	}
	if _, err := pool.Wait(); err != nil {
		return err
	}
	done := int(n.read.Load())
	p.progress(done, done)
	return nil
}

// record rewrites one record, which was read as r. The new document is made before anything
// is sent, so that a record that stays as it is costs nothing more than the scan.
func (p *pass) record(ctx context.Context, m *records.Model, r store.Message, n *counts, rewrite rewriter) error {
	target, err := m.Found(r)
	if err != nil {
		if now, e := p.handle.Current(ctx); e == nil && !now.SamePlacement(m) {
			return nil // it was moved to its key in another layout, which the next round reads
		}
		return err
	}
	fail := func(err error) error { return fmt.Errorf("record %s: %w", target.ID.Text(), err) }
	doc, err := rewrite.found(ctx, m, r)
	if err == commit.ErrLeave {
		return nil
	}
	if err != nil {
		return fail(err)
	}
	if p.dry {
		n.written.Add(1)
		return nil
	}
	err = m.Write(ctx, target, records.Change{
		Next: func(before store.Message) (commit.Draft, error) {
			if !before.Live() {
				return commit.Draft{}, commit.ErrLeave
			}
			if before.Revision == r.Revision {
				return commit.Draft{Doc: doc}, nil
			}
			doc, err := rewrite.again(m, before)
			return commit.Draft{Doc: doc}, err
		},
		Done: func(uint64) { n.written.Add(1) },
	})
	if err != nil {
		return fail(err)
	}
	return nil
}
