package natsorm_test

import (
	"context"
	"testing"
	"time"

	"github.com/natsorm/natsorm"
	"github.com/natsorm/natsorm/embedded"
	"github.com/natsorm/natsorm/internal/testbed"
	"github.com/natsorm/natsorm/internal/testsize"
	"github.com/natsorm/natsorm/natsormtest"
)

// user is the record of most tests.
type user struct {
	ID    int64   `json:"id"    orm:"primaryKey"`
	Name  string  `json:"name"  orm:"index"`
	Email string  `json:"email" orm:"unique"`
	Age   int     `json:"age"   orm:"index"`
	City  *string `json:"city"  orm:"index"`
	Bio   string  `json:"bio,omitempty"`
}

func TestMain(m *testing.M) { testbed.Main(m) }

// serve starts a server, which ends with the test.
func serve(t testing.TB, cfg embedded.Config) *embedded.Server {
	t.Helper()
	srv := must[*embedded.Server](t)(embedded.Start(cfg))
	t.Cleanup(func() { srv.Close() })
	return srv
}

// onFiles is a database whose server keeps it in files, where records are written
// phased; natsormtest.New is in memory, where they are written in batches.
func onFiles(t testing.TB) *natsorm.DB {
	t.Helper()
	return natsormtest.Open(t, serve(t, embedded.Config{Dir: t.TempDir(), Sync: embedded.SyncInterval}), "test")
}

// within is a context for one test, which has a deadline so that nothing hangs.
func within(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), testsize.Pick(2*time.Minute, 2*time.Minute, 10*time.Minute))
	t.Cleanup(cancel)
	return ctx
}

func define[T any](t testing.TB, db *natsorm.DB, opts ...natsorm.ModelOption) *natsorm.Model[T] {
	t.Helper()
	m, err := natsorm.Define[T](within(t), db, opts...)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func must[T any](t testing.TB) func(v T, err error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func ok(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func ptr[T any](v T) *T { return &v }
