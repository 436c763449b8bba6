package migration_test

import (
	"context"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/natsorm/natsorm/internal/bucket"
	"github.com/natsorm/natsorm/internal/migration"
	"github.com/natsorm/natsorm/internal/store"
	"github.com/natsorm/natsorm/internal/testbed"
)

func TestMain(m *testing.M) { testbed.Main(m) }

// openBucket opens an empty bucket on a server of its own.
func openBucket(t *testing.T) (context.Context, *bucket.Bucket) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	t.Cleanup(cancel)
	b, err := bucket.Open(ctx, testbed.StartServer(t).Connect(t), bucket.Config{Bucket: "b", Storage: jetstream.MemoryStorage, Logger: slog.New(slog.DiscardHandler)})
	ok(t, err)
	t.Cleanup(b.Close)
	return ctx, b
}

func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func runner(s store.Store, lapse time.Duration) *migration.Runner {
	return &migration.Runner{Store: s, Lapse: lapse, Logger: slog.New(slog.DiscardHandler)}
}

// calls counts the calls of steps.
type calls struct {
	mu sync.Mutex
	of map[string]int
}

// steps makes steps that count their calls.
func (c *calls) steps(names ...string) (steps []migration.Step) {
	c.of = map[string]int{}
	for _, name := range names {
		steps = append(steps, migration.Step{Name: name, Up: func(context.Context) error {
			c.mu.Lock()
			defer c.mu.Unlock()
			c.of[name]++
			return nil
		}})
	}
	return steps
}

// records are what the bucket has of the steps.
func records(t *testing.T, ctx context.Context, s store.Store) []migration.Record {
	t.Helper()
	list, err := migration.List(ctx, s)
	ok(t, err)
	return list
}
