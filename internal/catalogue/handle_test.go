package catalogue_test

import (
	"context"
	"encoding/json"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/natsorm/natsorm/internal/catalogue"
	"github.com/natsorm/natsorm/internal/errs"
	"github.com/natsorm/natsorm/internal/keys"
	"github.com/natsorm/natsorm/internal/schema"
	"github.com/natsorm/natsorm/internal/store"
	"github.com/natsorm/natsorm/internal/value"
)

// document is a bucket that has one document of the catalogue, and counts how often it
// is read.
type document struct {
	store.Store
	replicable bool
	mu         sync.Mutex
	m          store.Message
	fail       error // of the next reads of the catalogue's revision
	reads      atomic.Int64
	looks      atomic.Int64 // at the catalogue's revision
	agreed     atomic.Int64
}

func (d *document) GetLatest(context.Context, string) (store.Message, error) {
	d.reads.Add(1)
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.m, nil
}

// write puts a definition there, and returns its document.
func (d *document) write(t *testing.T, def *schema.Definition) []byte {
	t.Helper()
	raw, err := json.Marshal(def)
	if err != nil {
		t.Fatal(err)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.m = store.Message{Key: keys.Schema(def.Name), Value: raw, Revision: d.m.Revision + 1}
	return raw
}

func person(layout string) *schema.Definition {
	return &schema.Definition{
		Format: schema.Format, Name: "Person", Layout: layout, Shards: 16,
		Columns: []schema.Column{{Name: "id", Type: value.Int, PrimaryKey: true}, {Name: "age", Type: value.Int}},
	}
}

func (d *document) Last(context.Context, string) (uint64, error) {
	d.looks.Add(1)
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.m.Revision, d.fail
}

func (d *document) Revision(context.Context, store.Certainty) (uint64, error) {
	d.agreed.Add(1)
	return 0, nil
}

func (d *document) Traits() store.Traits { return store.Traits{Replicable: d.replicable} }

// read is the definition that is there now.
func (d *document) read(t *testing.T) *schema.Definition {
	t.Helper()
	def, _, err := catalogue.Read(t.Context(), d, "Person")
	if err != nil {
		t.Fatal(err)
	}
	d.reads.Store(0)
	return def
}

// knowledge of a bucket, which ends with the test.
func knowledge(t *testing.T, d *document) *catalogue.Knowledge {
	k := catalogue.NewKnowledge(d, func() uint64 { return 0 }, nil)
	t.Cleanup(k.Close)
	return k
}

// handle is a handle whose models are the definitions themselves.
func handle(k *catalogue.Knowledge, def *schema.Definition) *catalogue.Handle[*schema.Definition] {
	return catalogue.NewHandle(k, 0, def, def, func(def *schema.Definition) (*schema.Definition, error) { return def, nil })
}

func TestHandleFollowsTheCatalogue(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	bucket := &document{}
	bucket.write(t, person(schema.Native))
	k := knowledge(t, bucket)
	first := bucket.read(t)
	first.Columns[1].ZeroNull = true
	h := handle(k, first)
	current := func() *schema.Definition {
		t.Helper()
		def, err := h.Current(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if h.Last() != def {
			t.Error("Last is not what Current has returned")
		}
		return def
	}
	for range 3 {
		if current() != first {
			t.Error("another version, and nothing has changed")
		}
	}
	if reads, looks := bucket.reads.Load(), bucket.looks.Load(); reads != 0 || looks != 1 {
		t.Errorf("the document was read %d times, the catalogue's revision %d times", reads, looks)
	}

	wider := person(schema.Native)
	wider.Columns = append(wider.Columns, schema.Column{Name: "name", Type: value.String})
	k.Hear([]byte("{")) // not a document
	k.Hear(bucket.write(t, wider))
	now := current()
	if len(now.Columns) != 3 || !now.Columns[1].ZeroNull || now.Revision != 2 {
		t.Errorf("after a column more the handle has %+v", now)
	}
	if used, err := h.Settle(ctx, first); err != nil || used != now {
		t.Errorf("a call that used the first version: %+v, %v", used, err)
	}
	if used, err := h.Settle(ctx, now); err != nil || used != now {
		t.Errorf("a call that used the present version: %+v, %v", used, err)
	}
}

// What nobody has told is noticed when what is known has grown old, before a call begins
// and after it has its answer, and by itself while there are calls.
func TestKnowledgeGrowsOld(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	bucket := &document{}
	bucket.write(t, person(schema.Native))
	first := bucket.read(t)
	h := handle(knowledge(t, bucket), first)
	if now, err := h.Current(ctx); err != nil || now != first {
		t.Fatal(err)
	}
	began := time.Now()
	bucket.write(t, person(schema.Sequelize))
	for time.Since(began) < catalogue.Young { // a call each time
		now, err := h.Current(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if now != first {
			return
		}
		time.Sleep(time.Millisecond)
	}
	t.Errorf("unnoticed for %v", time.Since(began))
}

// A server that does not answer makes knowledge old, and then nothing is believed.
func TestOldKnowledgeIsNotBelieved(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	bucket := &document{}
	bucket.write(t, person(schema.Native))
	first := bucket.read(t)
	h := handle(knowledge(t, bucket), first)
	if _, err := h.Current(ctx); err != nil {
		t.Fatal(err)
	}
	down := store.Unavailable(errors.New("down"))
	bucket.mu.Lock()
	bucket.fail = down
	bucket.mu.Unlock()
	for end := time.Now().Add(2 * catalogue.Young); ; {
		_, err := h.Settle(ctx, first)
		if errors.Is(err, down) {
			break
		}
		if err != nil || time.Now().After(end) {
			t.Fatalf("%v", err)
		}
		time.Sleep(time.Millisecond)
	}
	if _, err := h.Current(ctx); !errors.Is(err, down) || !errors.Is(err, errs.ErrUnwritten) {
		t.Errorf("a call begins: %v", err)
	}
}

// Where there may be replicas, a majority of the servers is asked.
func TestKnowledgeIsOfTheMajority(t *testing.T) {
	t.Parallel()
	bucket := &document{replicable: true}
	bucket.write(t, person(schema.Native))
	h := handle(knowledge(t, bucket), bucket.read(t))
	if _, err := h.Current(t.Context()); err != nil || bucket.agreed.Load() != 1 {
		t.Errorf("asked %d times, %v", bucket.agreed.Load(), err)
	}
}

// While records are being moved, a handle waits.
func TestHandleWaits(t *testing.T) {
	t.Parallel()
	bucket := &document{}
	bucket.write(t, person(schema.Native))
	k := knowledge(t, bucket)
	first := bucket.read(t)
	h := handle(k, first)

	moving := person(schema.Native)
	moving.Moving = &schema.Moving{To: schema.Sequelize, Paused: true}
	k.Hear(bucket.write(t, moving))
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Millisecond)
	defer cancel()
	if _, err := h.Current(ctx); !errors.Is(err, errs.ErrUnwritten) || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("the wait ended with %v", err)
	}

	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			if now, err := h.Current(context.Background()); err != nil || now.Layout != schema.Sequelize {
				t.Errorf("%+v, %v", now, err)
			}
		})
	}
	for before := bucket.looks.Load(); bucket.looks.Load() < before+4; { // some wait
		time.Sleep(time.Millisecond)
	}
	k.Hear(bucket.write(t, person(schema.Sequelize)))
	wg.Wait()

	late := handle(k, moving) // one that was read before the move, and made after it
	if now, err := late.Current(context.Background()); err != nil || now.Layout != schema.Sequelize {
		t.Errorf("a handle that comes late has %+v, %v", now, err)
	}
}
