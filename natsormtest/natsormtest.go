// Package natsormtest gives a test a database of its own, and proves at its
// end that the database is sound.
package natsormtest

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/natsorm/natsorm"
	"github.com/natsorm/natsorm/embedded"
)

// checkTimeout bounds the proof at the end of a test.
const checkTimeout = time.Minute

// New opens a database on a server of its own, in memory. When the test ends,
// it fails the test if Check finds an index that disagrees with its records,
// or if a consumer is left on the server, and closes everything.
func New(t testing.TB) *natsorm.DB {
	t.Helper()
	srv, err := embedded.Start(embedded.Config{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatalf("natsormtest: %v", err)
	}
	t.Cleanup(func() { srv.Close() })
	return Open(t, srv, "test")
}

// Open opens a bucket on a server for a test, which ends as with New. The test
// may close the DB itself.
func Open(t testing.TB, srv *embedded.Server, bucket string) *natsorm.DB {
	t.Helper()
	open := func() *natsorm.DB {
		db, err := srv.Open(context.Background(), natsorm.Config{Bucket: bucket})
		if err != nil {
			t.Fatalf("natsormtest: %v", err)
		}
		return db
	}
	db := open()
	t.Cleanup(func() {
		stopped(t, db)
		db.Close()
		after := open() // what is there once the test's own handle is gone
		defer after.Close()
		Prove(t, after)
	})
	return db
}

// stopped fails the test when a Watcher of its DB was not stopped. Closing the DB, which is
// still open then, would stop it.
func stopped(t testing.TB, db *natsorm.DB) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), checkTimeout)
	defer cancel()
	if n, err := left(ctx, db); err == nil && n > 0 { // an error: the test has closed it, or its server
		t.Errorf("natsormtest: %d consumers are left on the server; stop every Watcher", n)
	}
}

// left is how many consumers stay on the server.
func left(ctx context.Context, db *natsorm.DB) (n int, err error) {
	n, err = consumers(ctx, db)
	for end := time.Now().Add(removalTime); err == nil && n > 0 && time.Now().Before(end); { // a cluster may be about to remove one
		<-time.After(10 * time.Millisecond)
		n, err = consumers(ctx, db)
	}
	return n, err
}

// Prove fails the test when an index of db disagrees with its records, or when
// a consumer is left on the server.
func Prove(t testing.TB, db *natsorm.DB) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), checkTimeout)
	defer cancel()
	report, err := db.Check(ctx)
	if err != nil {
		t.Errorf("natsormtest: %v", err)
		return
	}
	if !report.Clean() {
		t.Errorf("natsormtest: an index disagrees with its records:\n%s", report)
	}
	if n, err := left(ctx, db); err != nil {
		t.Errorf("natsormtest: %v", err)
	} else if n > 0 {
		t.Errorf("natsormtest: %d consumers are left on the server; stop every Watcher", n)
	}
}

// removalTime is how long a consumer's removal may take on a busy cluster.
const removalTime = 5 * time.Second

// consumers is how many the bucket's stream has.
func consumers(ctx context.Context, db *natsorm.DB) (int, error) {
	status, err := db.KV().Status(ctx)
	if err != nil {
		return 0, err
	}
	if s, ok := status.(interface{ StreamInfo() *jetstream.StreamInfo }); ok {
		return s.StreamInfo().State.Consumers, nil
	}
	return 0, nil
}
