package natsorm

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"sync"
	"time"

	"github.com/natsorm/natsorm/internal/query"
	"github.com/natsorm/natsorm/internal/records"
	"github.com/natsorm/natsorm/internal/store"
	"github.com/natsorm/natsorm/internal/typed"
	"github.com/natsorm/natsorm/internal/workers"
)

// Op says what happened to a record.
type Op int

// The kinds of Change.
const (
	Created  = Op(records.Created)  // After is set
	Updated  = Op(records.Updated)  // Before and After are set, and both fulfil the condition
	Entered  = Op(records.Entered)  // an update, after which the record fulfils the condition: only After does
	Left     = Op(records.Left)     // an update, after which the record does not fulfil the condition any more: only Before does
	Deleted  = Op(records.Deleted)  // Before is set
	Expired  = Op(records.Expired)  // Before is set; the record's time to live ran out
	CaughtUp = Op(records.CaughtUp) // neither is set; all records that WithCurrent asked for have been delivered
	Resynced = Op(records.Resynced) // neither is set; changes were missed while the connection was lost, and their combined effect has been delivered
)

func (o Op) String() string {
	switch o {
	case Created:
		return "created"
	case Updated:
		return "updated"
	case Entered:
		return "entered"
	case Left:
		return "left"
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

// Change is one change of a record. Several quick updates of one record may arrive as
// one change, from the first Before to the last After, because the bucket keeps only
// Config.History revisions.
type Change[T any] struct {
	Op            Op
	Before, After *T
	Columns       []string  // of Updated, Entered and Left: the members of the document that differ
	Revision      uint64    // the record's new revision; 0 when the change was missed during an outage
	Time          time.Time // when the server stored the change
	Err           error     // set when Before or After cannot be read, and is therefore nil
}

// Watcher delivers changes until it is stopped. It holds a consumer on the server, so
// do stop it.
type Watcher[T any] struct {
	changes chan Change[T]
	cancel  context.CancelFunc
	done    chan struct{}

	mu  sync.Mutex
	err error
}

// Columns makes a Watch deliver an Updated only when one of these columns differs. All other changes are
// delivered in any case.
func Columns(columns ...string) Query {
	columns = slices.Clone(columns)
	return queryFunc(func(s *query.Spec) {
		if len(columns) == 0 {
			s.Fail(fmt.Errorf("%w: Columns without columns; name at least one, or leave it out", ErrInvalid))
		}
		s.Columns = append(s.Columns, columns...)
	})
}

// WithCurrent makes a Watch begin with the records that exist, as Created changes,
// followed by one CaughtUp.
func WithCurrent() Query { return queryFunc(func(s *query.Spec) { s.Current = true }) }

// watchBuffer is how many changes wait for a slow reader, and watchBytes how many bytes
// their documents have, but for the last one. Beyond that the watch stops reading the
// bucket, where a later change may then overwrite an earlier one.
const (
	watchBuffer = 256
	watchBytes  = 8 << 20
)

// Watch follows the records that the queries select. It delivers a change when the
// record fulfilled the condition before the change, or fulfils it after. An update that lets a record
// fulfil it is Entered, and one after which it does so no more is Left. Columns makes
// it deliver fewer updates; WithCurrent makes it begin with the records that exist.
//
// Once Watch has returned, no change that is acknowledged later is missed, and each has
// Before as it was. For that, the Watcher holds every document of the model in memory,
// or a single one when the condition is on the primary key.
//
// A watch ends with ctx, by Stop, or when the DB is closed. It survives reconnects.
// Inside a transaction, Watch is ErrInvalid.
func (m *Model[T]) Watch(ctx context.Context, q ...Query) (w *Watcher[T], err error) {
	err = m.call(ctx, operation{Name: "Watch", Reads: true, Outside: true}, func(s *session) (err error) {
		if w != nil { // the schema was changed while it began: it begins again
			w.Stop()
		}
		w, err = watch[T](ctx, s, q)
		return err
	})
	if err != nil && w != nil {
		w.Stop()
		w = nil
	}
	return w, err
}

// feedOf is the watch of the records that queries select.
func feedOf(ctx context.Context, s *session, q []Query) (*records.Watch, error) {
	bound, spec, err := bind(s, q, query.ForWatch)
	if err != nil {
		return nil, err
	}
	var columns []string
	for _, name := range spec.Columns {
		at, err := s.Docs.Def.Resolve(name)
		if err != nil {
			return nil, err
		}
		columns = append(columns, s.Docs.Def.Columns[at].Name)
	}
	return s.Docs.Watch(ctx, bound.Filter, columns, spec.Current)
}

// watch makes a Watcher of a feed.
func watch[T any](ctx context.Context, s *session, q []Query) (*Watcher[T], error) {
	feed, err := feedOf(ctx, s, q)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(s.Model.DB.Life, cancel)
	w := &Watcher[T]{changes: make(chan Change[T]), cancel: cancel, done: make(chan struct{})}
	if !s.Model.DB.Tasks.Go(func() {
		defer close(w.done)
		defer close(w.changes)
		defer cancel()
		defer stop()
		defer feed.Close()
		w.fail(workers.Queue(ctx, w.changes, watchBuffer, watchBytes, func(ctx context.Context) (Change[T], int, error) {
			c, err := feed.Next(ctx)
			if err != nil {
				return Change[T]{}, 0, err
			}
			return changeOf[T](s, c), len(c.Before.Value) + len(c.After.Value), nil
		}))
	}) {
		stop()
		cancel()
		feed.Close()
		return nil, ErrClosed
	}
	return w, nil
}

func changeOf[T any](s *session, c records.WatchChange) Change[T] {
	out := Change[T]{Op: Op(c.Kind), Columns: c.Columns, Revision: c.Revision, Time: c.Time}
	out.Before = typed.Unbox[T](decodeState(s, c.Before, &out.Err))
	out.After = typed.Unbox[T](decodeState(s, c.After, &out.Err))
	return out
}

// decodeState is a record before or after a change. It is nil when there is none, and
// when it cannot be read, which is then added to problem.
func decodeState(s *session, e store.Message, problem *error) any {
	if !e.Live() {
		return nil
	}
	v, err := s.Decode(e)
	if err != nil {
		*problem = errors.Join(*problem, err)
		return nil
	}
	return v
}

// fail keeps the error that ended the watch, unless the watch was stopped.
func (w *Watcher[T]) fail(err error) {
	if errors.Is(err, context.Canceled) || errors.Is(err, ErrClosed) {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.err = err
}

// Changes delivers the changes in the order in which the server stored them, and is
// closed when the watch ends. Read it steadily: at most 256 changes, or 8 MiB of documents,
// wait for the reader, whichever comes first; of later ones, several of one record may arrive
// as one. What still waits when the context ends is dropped.
func (w *Watcher[T]) Changes() <-chan Change[T] { return w.changes }

// All yields the same changes as Changes, until the watch ends; Err says then why. The watch goes on when the loop
// ends before. Use one of the two: a change is delivered once.
func (w *Watcher[T]) All() iter.Seq[Change[T]] {
	return func(yield func(Change[T]) bool) {
		for c := range w.changes {
			if !yield(c) {
				return
			}
		}
	}
}

// Err says why the watch ended by itself. It is nil while the watch goes on, and after
// Stop.
func (w *Watcher[T]) Err() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.err
}

// Stop ends the watch. When it returns, nothing of the watch is left, in the process or
// on the server. It may be called more than once.
func (w *Watcher[T]) Stop() {
	w.cancel()
	<-w.done
	for range w.changes { // drops the changes that nobody has read
	}
}
