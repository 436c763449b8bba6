package natsormtest_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/natsorm/natsorm"
	"github.com/natsorm/natsorm/internal/testbed"
	"github.com/natsorm/natsorm/natsormtest"
)

func TestMain(m *testing.M) { testbed.Main(m) }

// recorder is a test whose failures are wanted.
type recorder struct {
	testing.TB
	cleanups []func()
	failed   []string
}

func (r *recorder) Helper()          {}
func (r *recorder) Cleanup(f func()) { r.cleanups = append(r.cleanups, f) }
func (r *recorder) Errorf(format string, args ...any) {
	r.failed = append(r.failed, fmt.Sprintf(format, args...))
}

// end runs what was to be done at the end, and returns the failures.
func (r *recorder) end() string {
	for i := len(r.cleanups) - 1; i >= 0; i-- {
		r.cleanups[i]()
	}
	return strings.Join(r.failed, "\n")
}

type item struct {
	ID   int    `json:"id" orm:"primaryKey"`
	Name string `json:"name" orm:"index"`
}

// A test fails at its end when a watcher was not stopped, or an index disagrees with its
// records, and only then.
func TestProof(t *testing.T) {
	t.Parallel()
	for what, c := range map[string]struct {
		do   func(ctx context.Context, db *natsorm.DB, items *natsorm.Model[item]) error
		want string
	}{
		"sound": {func(ctx context.Context, _ *natsorm.DB, items *natsorm.Model[item]) error {
			w, err := items.Watch(ctx)
			if err == nil {
				w.Stop()
			}
			return err
		}, ""},
		"closed": {func(_ context.Context, db *natsorm.DB, _ *natsorm.Model[item]) error { return db.Close() }, ""},
		"watched": {func(ctx context.Context, _ *natsorm.DB, items *natsorm.Model[item]) error {
			_, err := items.Watch(context.WithoutCancel(ctx))
			return err
		}, "stop every Watcher"},
		"written past natsorm": {func(ctx context.Context, db *natsorm.DB, _ *natsorm.Model[item]) error {
			_, err := db.KV().PutString(ctx, "item.shard_2.2", `{"id":2,"name":"x"}`)
			return err
		}, "an index disagrees"},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			if testing.Short() && what == "watched" {
				t.Skip("natsormtest waits five seconds for the watcher")
			}
			r := &recorder{TB: t}
			db := natsormtest.New(r)
			items, err := natsorm.Define[item](t.Context(), db)
			if err == nil {
				err = items.Create(t.Context(), &item{ID: 1, Name: "a"})
			}
			if err == nil {
				err = c.do(t.Context(), db, items)
			}
			if err != nil {
				t.Error(err)
			}
			if got := r.end(); !strings.Contains(got, c.want) || c.want == "" && got != "" {
				t.Errorf("it fails with %q, want %q", got, c.want)
			}
		})
	}
}
