package bucket

import (
	"context"
	"errors"
	"time"

	"github.com/natsorm/natsorm/internal/keys"
	"github.com/natsorm/natsorm/internal/store"
	"github.com/natsorm/natsorm/internal/wire"
	"github.com/natsorm/natsorm/internal/workers"
)

// What follows a revision, and how it is read.
//
// The server has no cheap request for many messages that follow a revision: for a
// consumer, and for a batch of direct gets, it first looks at every key under the
// pattern. So few messages are read by their revisions, one request each, several under
// way. That takes as long as what was written, however large the bucket is. Many are read
// with a consumer.

const (
	// keysARevision is how many keys the server looks at, to make a consumer, in the time
	// of one request for a revision: 0.1 µs against 20 µs (see docs/design.md). The bounds
	// are for small buckets, where a consumer takes as long as 32 requests whatever it
	// finds, and for large ones: not all keys are under the pattern.
	keysARevision   = 200
	leastByRevision = 32
	mostByRevision  = 4096

	revisionsInFlight = 16 // requests for revisions that are under way

	// keysATry is how many keys the server looks at in the time of two requests: so it is
	// tried as often to find nothing that follows before everything is asked for.
	keysATry  = 5000
	tailBatch = 1000 // messages of the request for everything that follows

	// sizeFor is how long it is good enough to know how large the bucket was.
	sizeFor = 10 * time.Second
)

// byRevision reports whether so many revisions are best read one by one.
func (b *Bucket) byRevision(n uint64) bool {
	size, _, _ := b.Stream.Size()
	return n <= uint64(min(max(size/keysARevision, leastByRevision), mostByRevision))
}

// tip is a revision at or above that of every message that is there before the call.
// Now and then it takes the request that also says how large the bucket is.
func (b *Bucket) tip(ctx context.Context) (uint64, error) {
	if _, age, ok := b.Stream.Size(); !ok || age > sizeFor {
		return b.Sequence(ctx)
	}
	return b.Acknowledged(ctx)
}

// Changes reads until one request shows that it has everything, isolated from batches: a
// request for a single message can be answered while a batch is being written, and then
// finds some of its messages and not others.
func (b *Bucket) Changes(ctx context.Context, pattern string, revision uint64) (changes []store.Message, err error) {
	err = b.Steady(ctx, func() error {
		changes, err = b.changes(ctx, pattern, revision)
		return err
	})
	return changes, err
}

func (b *Bucket) changes(ctx context.Context, pattern string, revision uint64) (out []store.Message, err error) {
	t := tail{b: b, pattern: pattern, at: revision, each: func(m store.Message) bool {
		out = append(out, m)
		return true
	}}
	defer t.close()
	if err := t.read(ctx); err != nil {
		return nil, err
	}
	for {
		if t.at > revision { // otherwise nothing was written at all
			if err := t.finish(ctx); err != nil {
				return nil, err
			}
		}
		done, err := t.confirm(ctx)
		if err != nil {
			return nil, err
		}
		if done {
			return out, nil
		}
	}
}

// written reads what is there after a revision; see tail.
func (b *Bucket) written(ctx context.Context, pattern string, revision uint64, each func(store.Message) bool) (reached uint64, err error) {
	t := tail{b: b, pattern: pattern, at: revision, each: each}
	defer t.close()
	err = t.read(ctx)
	return t.at, err
}

// tail reads what follows a revision under a pattern, in rounds: each reads what was
// written during the one before. Few messages are read by their revisions. When these
// are many, or do not get fewer from round to round, a consumer reads them.
type tail struct {
	b       *Bucket
	pattern string
	at      uint64                      // how far it has read
	each    func(store.Message) bool    // gets each message; returns false to end
	ended   bool                        // each has returned false
	check   func(context.Context) error // ends the reading when what was just read cannot be trusted; or nil
	rest    func(context.Context) error // gives the keys that were not given, where something always follows; or nil

	c    *wire.Consumer
	own  bool   // c was made here
	lost bool   // a consumer was lost, and another one may be placed on the same server
	last uint64 // how many revisions the last round has read one by one
}

func (t *tail) close() {
	if t.own {
		t.c.Close()
		t.c, t.own = nil, false
	}
}

func (t *tail) checked(ctx context.Context, err error) error {
	if err == nil && t.check != nil {
		err = t.check(ctx)
	}
	return err
}

func (t *tail) give(m store.Message) {
	if m.Revision > t.at {
		t.at = m.Revision
		t.ended = !t.each(m)
	}
}

// read reads what is there. Whatever was written before was given, or has been
// overwritten or removed. With a consumer that is not sure: see Scan. finish makes it so.
func (t *tail) read(ctx context.Context) error {
	if t.c != nil {
		t.c.More()
		return t.drain(ctx)
	}
	if t.lost && t.b.canGoOn(ctx) {
		return t.pages(ctx)
	}
	tip, err := t.b.tip(ctx)
	if err != nil || tip <= t.at {
		return err
	}
	n := tip - t.at
	if t.b.byRevision(n) && (t.last == 0 || n <= t.last/2) {
		t.last = n
		return t.revisions(ctx, tip)
	}
	t.c, err = t.b.Stream.Consume(ctx, t.pattern, wire.ConsumerOptions{From: t.at + 1})
	if t.own = err == nil; t.own {
		err = t.drain(ctx)
	}
	if errors.Is(err, wire.ErrLost) && t.b.canGoOn(ctx) {
		t.lost = true
		return t.pages(ctx)
	}
	return err
}

// drain reads what the consumer has, and no more, however much is written meanwhile.
func (t *tail) drain(ctx context.Context) error {
	for came, most := 0, 0; !t.ended && t.c.Pending() > 0; came++ {
		if came == 1 { // before that it is a guess (More)
			most = 1 + t.c.Pending()
		}
		if came > 0 && came >= most {
			return nil
		}
		m, ok, err := t.c.Next(ctx)
		switch {
		case ok:
			t.give(m)
		case t.own && errors.Is(err, wire.ErrLost):
			t.close()
			if t.lost = true; !t.b.canGoOn(ctx) {
				return nil // what is missing follows
			}
			return t.pages(ctx)
		default:
			return err
		}
	}
	return nil
}

// canGoOn reports whether what a lost consumer has not delivered can be read without
// another one, which may be placed on the same server, if that has stalled.
func (b *Bucket) canGoOn(ctx context.Context) bool {
	known := b.Now()
	return !known.Alone && known.Direct && ctx.Err() == nil
}

// pages reads with direct gets, which any of several servers answers. They are slow for a
// narrow pattern.
func (t *tail) pages(ctx context.Context) error {
	for !t.ended {
		found, rest, err := t.b.Stream.NextMany(ctx, t.pattern, t.at, tailBatch)
		if err != nil {
			return err
		}
		for _, m := range found {
			if !t.ended {
				t.give(m)
			}
		}
		if len(found) == 0 || rest == 0 {
			return nil
		}
	}
	return nil
}

// revisions reads one by one up to a revision.
func (t *tail) revisions(ctx context.Context, upTo uint64) error {
	found := make([]store.Message, revisionsInFlight)
	for !t.ended && t.at < upTo {
		from, n := t.at+1, int(min(uint64(len(found)), upTo-t.at))
		clear(found)
		pool := workers.NewPool(ctx, n)
		for i := range n {
			pool.Do(func(ctx context.Context) (_ int, err error) {
				found[i], err = t.b.AtRevision(ctx, from+uint64(i))
				return 0, err
			})
		}
		_, err := pool.Wait()
		if err = t.checked(ctx, err); err != nil {
			return err
		}
		for _, m := range found[:n] {
			if m.Revision > 0 && !t.ended && keys.Matches(t.pattern, m.Key) {
				t.give(m)
			}
		}
		if !t.ended {
			t.at = from + uint64(n) - 1
		}
	}
	return nil
}

// finish reads on until a request shows that everything was given that was there at that
// moment. Such a request finds nothing that follows. Where writers are so many that it
// always finds something, one that gives all that follows takes its place: the server
// answers it with no write in between. It is not asked at once because then the server
// looks at every key under the pattern. Where that was too much for one answer, or no such
// request can be trusted, because other servers may answer it, rest takes its place, if there
// is one.
func (t *tail) finish(ctx context.Context) error {
	size, _, _ := t.b.Stream.Size()
	for tries := size / keysATry; !t.ended; tries-- {
		switch {
		case tries > 0:
		case t.rest != nil && tries < 0:
			if err := t.checked(ctx, t.rest(ctx)); !errors.Is(err, wire.ErrBehind) {
				return err
			}
		case t.b.Isolates():
			done, err := t.all(ctx)
			if err != nil || done {
				return err
			}
		}
		next, err := t.b.Following(ctx, t.pattern, t.at)
		if err = t.checked(ctx, err); err != nil || next.Revision == 0 {
			return err
		}
		if t.give(next); t.ended {
			return nil
		}
		if err := t.read(ctx); err != nil {
			return err
		}
	}
	return nil
}

// all reads everything that follows with one request. done is false when that is too
// much for an answer.
func (t *tail) all(ctx context.Context) (done bool, err error) {
	found, rest, err := t.b.Stream.NextMany(ctx, t.pattern, t.at, tailBatch)
	if err = t.checked(ctx, err); err != nil {
		return false, err
	}
	for _, m := range found {
		if !t.ended {
			t.give(m)
		}
	}
	return rest == 0 || t.ended, nil
}

// confirm looks, isolated from batches, whether everything was given.
func (t *tail) confirm(ctx context.Context) (done bool, err error) {
	if t.b.Isolates() {
		return t.all(ctx)
	}
	if _, err := t.b.Whole(ctx); err != nil {
		return false, err
	}
	next, err := t.b.Following(ctx, t.pattern, t.at)
	t.give(next)
	return err == nil && next.Revision == 0, err
}
