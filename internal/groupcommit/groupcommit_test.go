package groupcommit_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/natsorm/natsorm/internal/bucket"
	"github.com/natsorm/natsorm/internal/errs"
	"github.com/natsorm/natsorm/internal/groupcommit"
	"github.com/natsorm/natsorm/internal/store"
	"github.com/natsorm/natsorm/internal/testbed"
)

func TestMain(m *testing.M) { testbed.Main(m) }

// gate is a bucket whose batches wait until they are let through.
type gate struct {
	*bucket.Bucket
	arrived chan struct{}              // gets one for each batch that waits
	open    chan struct{}              // lets one batch through, or all when it is closed
	refuse  func(ops []store.Op) error // nil, or what a batch is refused with

	mu      sync.Mutex
	batches [][]string // the keys of each
}

func (g *gate) Batch(ctx context.Context, b store.Batch) (uint64, error) {
	keys := make([]string, len(b.Ops))
	for i, op := range b.Ops {
		keys[i] = op.Key
	}
	g.mu.Lock()
	g.batches = append(g.batches, keys)
	g.mu.Unlock()
	g.arrived <- struct{}{}
	select {
	case <-g.open:
	case <-ctx.Done():
		return 0, ctx.Err()
	}
	if g.refuse != nil {
		if err := g.refuse(b.Ops); err != nil {
			return 0, err
		}
	}
	return g.Bucket.Batch(ctx, b)
}

// world is a group on a bucket behind a gate.
type world struct {
	*testing.T
	ctx   context.Context
	gate  *gate
	group *groupcommit.Group
	calls sync.WaitGroup
}

func begin(t *testing.T, opts groupcommit.Options) *world {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	b, err := bucket.Open(ctx, testbed.StartServer(t).Connect(t), bucket.Config{Bucket: "b", Storage: jetstream.MemoryStorage, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	w := &world{T: t, ctx: ctx, gate: &gate{Bucket: b, arrived: make(chan struct{}, 1000), open: make(chan struct{})}}
	if opts.Go == nil {
		opts.Go = func(task func()) bool { go task(); return true }
	}
	if opts.GiveUp == 0 {
		opts.GiveUp = time.Minute
	}
	if opts.Grace == 0 {
		opts.Grace = time.Minute
	}
	w.group = groupcommit.New(w.gate, opts)
	return w
}

// answer is what became of a call.
type answer struct {
	revision uint64
	err      error
}

// call begins a call, and returns when it is under way or in the queue.
func (w *world) call(ctx context.Context, ops ...store.Op) <-chan answer {
	w.Helper()
	out := make(chan answer, 1)
	waiting, batches := w.group.Waiting(), w.sent()
	w.calls.Go(func() {
		revision, err := w.group.Do(ctx, ops)
		out <- answer{revision, err}
	})
	w.until(func() bool { return w.group.Waiting() > waiting || len(w.sent()) > len(batches) })
	return out
}

// hold lets a call's batch come to the gate, so that those that follow wait for it.
func (w *world) hold() <-chan answer {
	w.Helper()
	out := w.call(w.ctx, put("held"))
	<-w.gate.arrived
	return out
}

func (w *world) until(is func() bool) {
	w.Helper()
	for !is() {
		if err := testbed.Wait(w.ctx, time.Millisecond/10); err != nil {
			w.Fatal(err)
		}
	}
}

func (w *world) sent() [][]string {
	w.gate.mu.Lock()
	defer w.gate.mu.Unlock()
	return slices.Clone(w.gate.batches)
}

// done fails the test unless a call has written its last key with the revision that it
// returned.
func (w *world) done(call <-chan answer, last string) {
	w.Helper()
	a := <-call
	if a.err != nil {
		w.Errorf("the write of %s: %v", last, a.err)
		return
	}
	m, err := w.gate.Get(w.ctx, last)
	if err != nil || m.Revision != a.revision || !m.Live() {
		w.Errorf("%s is at revision %d, %v; the call returned %d", last, m.Revision, err, a.revision)
	}
}

func (w *world) absent(key string) {
	w.Helper()
	if m, err := w.gate.Get(w.ctx, key); err != nil || m.Revision != 0 {
		w.Errorf("%s is there: %+v, %v", key, m, err)
	}
}

func put(key string) store.Op { return store.Op{Key: key, Value: []byte(key)} }

// create writes a key that must not be there.
func create(key string) store.Op {
	return store.Op{Key: key, Value: []byte(key), Conditional: true}
}

var staged = groupcommit.Options{Staged: true}

// Calls that come while a batch is under way share the next one, and each gets its own
// revision.
func TestCallsShareABatch(t *testing.T) {
	t.Parallel()
	w := begin(t, staged)
	first := w.hold()
	var calls []<-chan answer
	for i := range 20 {
		calls = append(calls, w.call(w.ctx, put(fmt.Sprint("a.", i)), create(fmt.Sprint("b.", i))))
	}
	close(w.gate.open)
	w.done(first, "held")
	for i, c := range calls {
		w.done(c, fmt.Sprint("b.", i))
	}
	if got := w.sent(); len(got) != 2 || len(got[1]) != 40 || got[1][0] != "a.0" || got[1][39] != "b.19" {
		t.Errorf("the batches were %v", got)
	}
}

// Where the server does not work on one batch at a time, four are under way.
func TestBatchesUnderWay(t *testing.T) {
	t.Parallel()
	w := begin(t, groupcommit.Options{})
	var calls []<-chan answer
	for i := range 4 {
		calls = append(calls, w.call(w.ctx, put(fmt.Sprint(i))))
		<-w.gate.arrived
	}
	for i := 4; i < 10; i++ {
		calls = append(calls, w.call(w.ctx, put(fmt.Sprint(i))))
	}
	if n := w.group.Waiting(); n != 6 {
		t.Errorf("%d wait", n)
	}
	close(w.gate.open)
	for i, c := range calls {
		w.done(c, fmt.Sprint(i))
	}
	if got := w.sent(); len(got) < 5 || len(got) > 8 {
		t.Errorf("the batches were %v", got)
	}
}

// A share whose condition does not hold fails by itself.
func TestARefusedShareFailsAlone(t *testing.T) {
	t.Parallel()
	w := begin(t, staged)
	if _, err := w.gate.Bucket.Batch(w.ctx, store.Batch{Ops: []store.Op{put("taken"), put("known")}}); err != nil {
		t.Fatal(err)
	}
	known, err := w.gate.Get(w.ctx, "known")
	if err != nil {
		t.Fatal(err)
	}
	first := w.hold()
	one := w.call(w.ctx, create("one"))
	refused := w.call(w.ctx, put("unwritten"), create("taken"))
	two := w.call(w.ctx, store.Op{Key: "known", Value: []byte("2"), Conditional: true, Expect: known.Revision})
	free := w.call(w.ctx, put("free"))
	close(w.gate.open)
	w.done(first, "held")
	w.done(one, "one")
	w.done(two, "known")
	w.done(free, "free")
	if a := <-refused; !errors.Is(a.err, store.ErrWrongRevision) || a.revision != 0 {
		t.Errorf("the call whose key was taken got revision %d, %v", a.revision, a.err)
	}
	w.absent("unwritten")
	want := [][]string{{"held"}, {"one", "unwritten", "taken", "known", "free"}, {"one", "known", "free"}}
	if got := w.sent(); !slices.EqualFunc(got, want, slices.Equal) {
		t.Errorf("the batches were %v", got)
	}
}

// When the conditions hold each time that they are looked at, and the batch is refused
// all the same, each share is sent by itself in the end.
func TestSharesThatAreRefusedTogetherGoAlone(t *testing.T) {
	t.Parallel()
	w := begin(t, staged)
	w.gate.refuse = func(ops []store.Op) error {
		if len(ops) > 1 {
			return fmt.Errorf("contended: %w", store.ErrWrongRevision)
		}
		return nil
	}
	first := w.hold()
	one, two := w.call(w.ctx, create("one")), w.call(w.ctx, create("two"))
	close(w.gate.open)
	w.done(first, "held")
	w.done(one, "one")
	w.done(two, "two")
	both := []string{"one", "two"}
	if got := w.sent(); !slices.EqualFunc(got, [][]string{{"held"}, both, both, both, {"one"}, {"two"}}, slices.Equal) {
		t.Errorf("the batches were %v", got)
	}
}

// A server that takes less than it says gets halves.
func TestABatchThatIsTooLargeIsDivided(t *testing.T) {
	t.Parallel()
	w := begin(t, staged)
	w.gate.refuse = func(ops []store.Op) error {
		if len(ops) > 2 {
			return store.ErrBatchTooLarge
		}
		return nil
	}
	first := w.hold()
	var calls []<-chan answer
	for i := range 5 {
		calls = append(calls, w.call(w.ctx, put(fmt.Sprint(i))))
	}
	large := w.call(w.ctx, put("x"), put("y"), put("z"))
	close(w.gate.open)
	w.done(first, "held")
	for i, c := range calls {
		w.done(c, fmt.Sprint(i))
	}
	if a := <-large; !errors.Is(a.err, store.ErrBatchTooLarge) {
		t.Errorf("one share that is too large got revision %d, %v", a.revision, a.err)
	}
	w.absent("x")
}

// A share that the user of the connection may not write does not keep others from being
// written, and they do not get its error.
func TestAShareWithoutPermission(t *testing.T) {
	t.Parallel()
	w := begin(t, staged)
	w.gate.refuse = func(ops []store.Op) error {
		if slices.ContainsFunc(ops, func(op store.Op) bool { return op.Key == "secret" }) {
			return fmt.Errorf("refused: %w", errs.ErrPermission)
		}
		return nil
	}
	first := w.hold()
	one, secret, two := w.call(w.ctx, put("one")), w.call(w.ctx, put("secret")), w.call(w.ctx, put("two"))
	close(w.gate.open)
	w.done(first, "held")
	w.done(one, "one")
	w.done(two, "two")
	if a := <-secret; !errors.Is(a.err, errs.ErrPermission) {
		t.Errorf("the share without permission got revision %d, %v", a.revision, a.err)
	}
	w.absent("secret")
}

// What does not fit into a batch goes into the next one, in its turn.
func TestBatchesAreBounded(t *testing.T) {
	t.Parallel()
	w := begin(t, staged)
	first := w.hold()
	many := func(name string) (ops []store.Op) {
		for i := range 400 {
			ops = append(ops, put(fmt.Sprint(name, ".", i)))
		}
		return ops
	}
	a, b, c, d := w.call(w.ctx, many("a")...), w.call(w.ctx, many("b")...), w.call(w.ctx, many("c")...), w.call(w.ctx, put("small"))
	close(w.gate.open)
	w.done(first, "held")
	w.done(a, "a.399")
	w.done(b, "b.399")
	w.done(c, "c.399")
	w.done(d, "small")
	var sizes []int
	for _, keys := range w.sent() {
		sizes = append(sizes, len(keys))
	}
	if !slices.Equal(sizes, []int{1, 801, 400}) {
		t.Errorf("the batches had %v messages", sizes)
	}
}

// A key is in a batch once, and its writes are done in the order in which they came;
// only bumps of a key go together.
func TestWritesOfOneKey(t *testing.T) {
	t.Parallel()
	w := begin(t, staged)
	first := w.hold()
	write := func(key, value string) store.Op { return store.Op{Key: key, Value: []byte(value)} }
	bump := store.Op{Key: "head"}
	calls := []<-chan answer{
		w.call(w.ctx, write("k", "1"), bump),
		w.call(w.ctx, write("k", "2"), write("l", "2")),
		w.call(w.ctx, bump, put("other")),
		w.call(w.ctx, write("l", "3")), // not before the one that waits for k
		w.call(w.ctx, write("k", "3")),
	}
	close(w.gate.open)
	w.done(first, "held")
	for i, c := range calls {
		if a := <-c; a.err != nil {
			t.Errorf("call %d: %v", i, a.err)
		}
	}
	want := [][]string{{"held"}, {"k", "head", "head", "other"}, {"k", "l"}, {"l", "k"}}
	if got := w.sent(); !slices.EqualFunc(got, want, slices.Equal) {
		t.Errorf("the batches were %v", got)
	}
	for _, key := range []string{"k", "l"} {
		if m, err := w.gate.Get(w.ctx, key); err != nil || string(m.Value) != "3" {
			t.Errorf("the last value of %s is %s, %v", key, m.Value, err)
		}
	}
}

// A call that ends while it waits has written nothing.
func TestACallIsWithdrawnByItsContext(t *testing.T) {
	t.Parallel()
	w := begin(t, staged)
	first := w.hold()
	ctx, cancel := context.WithCancel(w.ctx)
	gone, stays := w.call(ctx, put("gone")), w.call(w.ctx, put("stays"))
	cancel()
	if a := <-gone; !errors.Is(a.err, errs.ErrUnwritten) || !errors.Is(a.err, context.Canceled) {
		t.Errorf("the call that ended got revision %d, %v", a.revision, a.err)
	}
	close(w.gate.open)
	w.done(first, "held")
	w.done(stays, "stays")
	w.absent("gone")
}

// A call that ends while its batch is under way waits a little for the answer.
func TestACallThatEndsUnderWay(t *testing.T) {
	t.Parallel()
	for _, answered := range []bool{true, false} {
		t.Run(fmt.Sprint("answered ", answered), func(t *testing.T) {
			t.Parallel()
			opts := groupcommit.Options{Grace: time.Minute}
			if !answered {
				opts.Grace = time.Millisecond
			}
			w := begin(t, opts)
			ctx, cancel := context.WithCancel(w.ctx)
			call := w.call(ctx, put("k"))
			<-w.gate.arrived
			cancel()
			if answered {
				close(w.gate.open)
				w.done(call, "k")
				return
			}
			if a := <-call; !errors.Is(a.err, store.ErrUnknown) || !errors.Is(a.err, context.Canceled) || errors.Is(a.err, errs.ErrUnwritten) {
				t.Errorf("without an answer it got revision %d, %v", a.revision, a.err)
			}
			close(w.gate.open) // it is written all the same
			w.until(func() bool {
				m, err := w.gate.Get(w.ctx, "k")
				return err == nil && m.Live()
			})
		})
	}
}

// A batch is looked after as long as the most patient of its callers, or for GiveUp.
func TestABatchIsGivenUp(t *testing.T) {
	t.Parallel()
	w := begin(t, groupcommit.Options{Staged: true, GiveUp: time.Millisecond})
	a := <-w.call(context.Background(), put("k"))
	if !errors.Is(a.err, context.DeadlineExceeded) {
		t.Errorf("a call without a deadline got revision %d, %v", a.revision, a.err)
	}
	w.absent("k")
	patient := w.call(w.ctx, put("patient")) // which has a minute
	<-w.gate.arrived                         // that of k
	<-w.gate.arrived
	if err := testbed.Wait(w.ctx, 20*time.Millisecond); err != nil { // longer than GiveUp
		t.Fatal(err)
	}
	close(w.gate.open)
	w.done(patient, "patient")
}

// After Close nothing is begun, and nothing stays in the queue.
func TestAClosedBucket(t *testing.T) {
	t.Parallel()
	w := begin(t, groupcommit.Options{Go: func(func()) bool { return false }})
	for range 10 {
		if _, err := w.group.Do(w.ctx, []store.Op{put("k")}); !errors.Is(err, store.ErrClosed) {
			t.Errorf("got %v", err)
		}
	}
	if n := w.group.Waiting(); n != 0 {
		t.Errorf("%d wait for nobody", n)
	}
	if got := w.sent(); len(got) != 0 {
		t.Errorf("sent %v", got)
	}
}

// Under load nothing is lost, and batches grow.
func TestManyCallers(t *testing.T) {
	t.Parallel()
	w := begin(t, staged)
	close(w.gate.open)
	const callers, each = 32, 20
	var wg sync.WaitGroup
	for c := range callers {
		wg.Go(func() {
			for i := range each {
				key := fmt.Sprint("k.", c, ".", i)
				revision, err := w.group.Do(w.ctx, []store.Op{create(key), {Key: "head"}})
				if m, e := w.gate.Get(w.ctx, key); err != nil || e != nil || m.Revision != revision-1 {
					t.Errorf("%s: %v, %v, at %d and not %d", key, err, e, m.Revision, revision-1)
				}
			}
		})
	}
	wg.Wait()
	if n := len(w.sent()); n > callers*each/2 {
		t.Errorf("%d calls took %d batches", callers*each, n)
	}
}
