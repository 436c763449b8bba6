package bucket_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/natsorm/natsorm/internal/bucket"
	"github.com/natsorm/natsorm/internal/testbed"
)

// A bucket is opened again and again just after its stream was deleted, which was the only
// one of its account. The server then removes the directory of the account's streams beside
// its making of the next one, which fails now and then.
func TestRemadeWhileTheServerCleansUp(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	nc := testbed.StartServer(t).Connect(t)
	js, err := jetstream.New(nc)
	must(t, err)
	for range 200 {
		b, err := bucket.Open(ctx, nc, bucket.Config{Bucket: "b", Storage: jetstream.FileStorage})
		must(t, err)
		b.Close()
		must(t, js.DeleteStream(ctx, "KV_b"))
	}
}

// A server that cannot make the files of a bucket is not asked for ever, and the error says
// where to look.
func TestNoFilesForABucket(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var dir string
	nc := testbed.StartServer(t, func(o *server.Options) { dir = filepath.Join(o.StoreDir, "jetstream") }).Connect(t)
	must(t, os.RemoveAll(dir))
	must(t, os.WriteFile(dir, nil, 0o600)) // where a directory should be
	_, err := bucket.Open(ctx, nc, bucket.Config{Bucket: "b", Storage: jetstream.FileStorage})
	if err == nil || !strings.Contains(err.Error(), "store directory") || ctx.Err() != nil {
		t.Errorf("opened with %v", err)
	}
}
