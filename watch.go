package natsorm

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/natsorm/natsorm/internal/query"
	"github.com/natsorm/natsorm/internal/records"
	"github.com/natsorm/natsorm/internal/store"
)

// Op is what happened to a record.
type Op int

// The kinds of Change.
const (
	Created  Op = iota // After is set
	Updated            // Before and After are set
	Deleted            // Before is set
	Expired            // Before is set; the record's time to live ran out
	CaughtUp           // neither: with WithCurrent, all that was there has been delivered
	Resynced           // neither: the connection was lost for so long that single changes were missed; what they add up to has been delivered
)

func (o Op) String() string {
	switch o {
	case Created:
		return "created"
	case Updated:
		return "updated"
	case Deleted:
		return "deleted"
	case Expired:
		return "expired"
	case CaughtUp:
		return "caught up"
	case Resynced:
		return "resynced"
	default:
		return "unknown"
	}
}

// Change is one change of a record. Several quick updates of one record may
// arrive as one, from the first Before to the last After: the bucket keeps
// only Config.History revisions.
type Change[T any] struct {
	Op            Op
	Before, After *T
	Columns       []string  // of an update: the document's members that differ
	Revision      uint64    // that the change made; 0 when it went unseen during an outage
	Time          time.Time // when the server stored it
	Err           error     // a document that cannot be read, in place of Before or After
}

// Watcher delivers changes until it is stopped. Stop it: it holds a consumer on
// the server.
type Watcher[T any] struct {
	changes chan Change[T]
	cancel  context.CancelFunc
	done    chan struct{}

	mu  sync.Mutex
	err error
}

// Columns lets a Watch deliver an update only when one of these columns
// differs. Creations and deletions are always delivered.
func Columns(columns ...string) Query {
	columns = slices.Clone(columns)
	return queryFunc(func(s *query.Spec) {
		if len(columns) == 0 {
			s.Fail(fmt.Errorf("%w: Columns without columns", ErrInvalid))
		}
		s.Columns = append(s.Columns, columns...)
	})
}

// WithCurrent lets a Watch begin with the records that are there, as Created
// changes, followed by one CaughtUp.
func WithCurrent() Query { return queryFunc(func(s *query.Spec) { s.Current = true }) }

// watchBuffer is how many changes wait for a slow reader before the watch stops
// reading the bucket, where later ones may overwrite each other.
const watchBuffer = 256

// Watch follows the records that the queries select: it delivers a change when
// the record fulfilled the condition before it or does so after it. Columns
// and WithCurrent narrow and widen that.
//
// Watch returns once it is in place: every change acknowledged after that is
// seen, with Before as it was. For that it holds every document of the model
// in memory, or of one record when the condition is its primary key.
//
// The watch ends with ctx, Stop, or the DB. It survives reconnects.
func (m *Model[T]) Watch(ctx context.Context, q ...Query) (w *Watcher[T], err error) {
	err = m.call(ctx, operation{name: "Watch", reads: true, outside: true}, func(s *session[T]) (err error) {
		w, err = s.watch(ctx, q)
		return err
	})
	return w, err
}

func (s *session[T]) watch(ctx context.Context, q []Query) (*Watcher[T], error) {
	bound, spec, err := s.bind(q, query.ForWatch)
	if err != nil {
		return nil, err
	}
	var columns []string
	for _, name := range spec.Columns {
		at, err := s.records.Def.Resolve(name)
		if err != nil {
			return nil, err
		}
		columns = append(columns, s.records.Def.Columns[at].Name)
	}
	feed, err := s.records.Watch(ctx, bound.Filter, columns, spec.Current)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(s.db.life, cancel)
	w := &Watcher[T]{changes: make(chan Change[T], watchBuffer), cancel: cancel, done: make(chan struct{})}
	if !s.db.spawn(func() {
		defer close(w.done)
		defer close(w.changes)
		defer cancel()
		defer stop()
		defer feed.Close()
		w.fail(s.deliver(ctx, feed, w.changes))
	}) {
		stop()
		cancel()
		feed.Close()
		return nil, ErrClosed
	}
	return w, nil
}

// deliver passes changes on until ctx ends.
func (s *session[T]) deliver(ctx context.Context, feed *records.Watch, out chan<- Change[T]) error {
	for {
		c, err := feed.Next(ctx)
		if err != nil {
			return err
		}
		select {
		case out <- s.changeOf(c):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (s *session[T]) changeOf(c records.WatchChange) Change[T] {
	out := Change[T]{Op: ops[c.Kind], Columns: c.Columns, Revision: c.Revision, Time: c.Time}
	out.Before = s.changed(c.Before, &out.Err)
	out.After = s.changed(c.After, &out.Err)
	return out
}

var ops = map[records.WatchKind]Op{
	records.Created: Created, records.Updated: Updated, records.Deleted: Deleted,
	records.Expired: Expired, records.CaughtUp: CaughtUp, records.Resynced: Resynced,
}

// changed is a change's record; nil when there is none, or it cannot be read, which
// problem then says.
func (s *session[T]) changed(e store.Message, problem *error) *T {
	if !e.Live() {
		return nil
	}
	v, err := s.decode(e)
	if err != nil {
		*problem = errors.Join(*problem, err)
		return nil
	}
	return v
}

// fail keeps why the watch ended, unless it was told to.
func (w *Watcher[T]) fail(err error) {
	if errors.Is(err, context.Canceled) || errors.Is(err, ErrClosed) {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.err = err
}

// Changes delivers the changes, in the order in which the server stored them.
// It is closed when the watch ends. Read it steadily: it buffers 256 changes,
// and of those beyond that, several of one record may arrive as one.
func (w *Watcher[T]) Changes() <-chan Change[T] { return w.changes }

// Err is why the watch ended by itself: nil while it goes on, and when it was
// stopped.
func (w *Watcher[T]) Err() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.err
}

// Stop ends the watch, and returns when nothing of it is left, here or on the
// server. It may be called more than once.
func (w *Watcher[T]) Stop() {
	w.cancel()
	<-w.done
	for range w.changes { // what nobody has read
	}
}
