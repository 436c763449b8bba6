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
	mu    sync.Mutex
	m     store.Message
	reads atomic.Int64
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

// handle is a handle whose models are the definitions themselves.
func handle(a *catalogue.Announcements, def *schema.Definition) *catalogue.Handle[*schema.Definition] {
	return catalogue.NewHandle(a, def, def, func(def *schema.Definition) (*schema.Definition, error) { return def, nil })
}

func TestHandleFollowsTheCatalogue(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	var epoch atomic.Uint64
	bucket := &document{}
	heard := catalogue.Listen(bucket, epoch.Load)
	first := person(schema.Native)
	first.Columns[1].ZeroNull = true
	bucket.write(t, first)
	h := handle(heard, first)
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
	if current() != first || bucket.reads.Load() != 0 {
		t.Errorf("the catalogue was read %d times, and nothing was heard", bucket.reads.Load())
	}

	wider := person(schema.Native)
	wider.Columns = append(wider.Columns, schema.Column{Name: "name", Type: value.String})
	heard.Hear(bucket.write(t, wider))
	heard.Hear([]byte("{")) // not a document
	if current() != first || bucket.reads.Load() != 0 {
		t.Error("a column more is nothing to a handle")
	}

	epoch.Add(1) // what was said meanwhile may not have been heard
	for range 2 {
		if current() != first || bucket.reads.Load() != 1 {
			t.Errorf("after an outage the catalogue was read %d times", bucket.reads.Load())
		}
	}

	heard.Hear(bucket.write(t, person(schema.Sequelize)))
	if now := current(); now.Layout != schema.Sequelize || !now.Columns[1].ZeroNull || current() != now {
		t.Errorf("after a move the handle has %+v", now)
	}
}

// While records are being moved, a handle waits.
func TestHandleWaits(t *testing.T) {
	t.Parallel()
	bucket := &document{}
	heard := catalogue.Listen(bucket, func() uint64 { return 1 })
	first := person(schema.Native)
	bucket.write(t, first)
	h := handle(heard, first)

	moving := person(schema.Native)
	moving.Moving = &schema.Moving{To: schema.Sequelize, Paused: true}
	heard.Hear(bucket.write(t, moving))
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
	for before := bucket.reads.Load(); bucket.reads.Load() < before+4; { // some wait
		time.Sleep(time.Millisecond)
	}
	heard.Hear(bucket.write(t, person(schema.Sequelize)))
	wg.Wait()

	late := handle(heard, moving) // one that was read before the move, and made after it
	if now, err := late.Current(context.Background()); err != nil || now.Layout != schema.Sequelize {
		t.Errorf("a handle that comes late has %+v, %v", now, err)
	}
}
