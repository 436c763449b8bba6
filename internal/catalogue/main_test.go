package catalogue_test

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/natsorm/natsorm/internal/bucket"
	"github.com/natsorm/natsorm/internal/testbed"
)

func TestMain(m *testing.M) { testbed.Main(m) }

// openBucket opens an empty bucket on a server of its own.
func openBucket(t *testing.T) (context.Context, *bucket.Bucket) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	b, err := bucket.Open(ctx, testbed.StartServer(t).Connect(t), bucket.Config{Bucket: "b", Storage: jetstream.MemoryStorage, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	return ctx, b
}
