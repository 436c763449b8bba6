package bucket_test

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/natsorm/natsorm/embedded"
	"github.com/natsorm/natsorm/internal/bucket"
	"github.com/natsorm/natsorm/internal/store"
)

// Whole must not name a revision in the middle of a batch that is being written,
// though single messages of it can be read already.
func TestWholeIsNotInABatch(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	must := func(t *testing.T, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	srv, err := embedded.Start(embedded.Config{})
	must(t, err)
	t.Cleanup(func() { srv.Close() })
	for _, direct := range []bool{true, false} {
		t.Run(fmt.Sprint("direct=", direct), func(t *testing.T) {
			t.Parallel()
			open := func() *bucket.Bucket {
				nc, err := srv.Connect()
				must(t, err)
				s, err := bucket.Open(ctx, nc, bucket.Config{Bucket: fmt.Sprint("direct-", direct), Logger: slog.New(slog.DiscardHandler), Storage: jetstream.MemoryStorage})
				must(t, err)
				t.Cleanup(func() { s.Close(); nc.Close() })
				return s
			}
			writer, reader := open(), open()
			if !direct {
				reader.ForgoDirect(t)
			}
			const size, batches = 100, 200
			ops := make([]store.Op, size)
			var mu sync.Mutex
			first := map[uint64]bool{} // of the batches
			done := make(chan error, 1)
			go func() {
				for i := range batches {
					for j := range ops {
						ops[j] = store.Op{Key: fmt.Sprint("k.", i%2, ".", j)}
					}
					at, err := writer.Batch(ctx, store.Batch{Ops: ops})
					if err != nil {
						done <- err
						return
					}
					mu.Lock()
					first[at] = true
					mu.Unlock()
				}
				done <- nil
			}()
			var seen []uint64
			for working := true; working; {
				select {
				case err := <-done:
					must(t, err)
					working = false
				default:
				}
				at, err := reader.Revision(ctx, store.Whole)
				must(t, err)
				seen = append(seen, at)
			}
			for _, at := range seen {
				for begin := range first {
					if begin <= at && at < begin+size-1 {
						t.Fatalf("%d is in the batch from %d on", at, begin)
					}
				}
			}
			t.Logf("%d looks at %d batches", len(seen), batches)
		})
	}
}
