package bench

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/natsorm/natsorm"
)

var removed = flag.Int("remove", 0, "how many records TestRemoval removes at once; it is skipped without this")

// TestRemoval truncates and drops a model of many records on files, while a writer of another
// model writes. It reports how long that takes, the writer's slowest write, and what the first
// reads afterwards take as a multiple of those of a new model; and fails when the records were
// not removed at once, or the disk was not given back.
func TestRemoval(t *testing.T) {
	if *removed == 0 {
		t.Skip("needs -remove")
	}
	ctx := context.Background()
	dir := t.TempDir()
	url, stop := startServer(t, benchServer{Dir: dir})
	defer stop()
	db, err := natsorm.Open(ctx, natsorm.Config{Servers: []string{url}, Bucket: "removal"})
	check(t, err)
	defer db.Close()
	other, err := natsorm.Define[ticket](ctx, db, natsorm.Name("Other"))
	check(t, err)
	for _, way := range []string{"Truncate", "DropModel"} {
		tickets, err := natsorm.Define[ticket](ctx, db)
		check(t, err)
		began := time.Now()
		batch := make([]*ticket, 0, 10_000)
		for i := range *removed {
			batch = append(batch, &ticket{ID: int64(i), Client: fmt.Sprint(i % 200_000), State: fmt.Sprint(i % 4), Team: fmt.Sprint(i % 50), Text: strings.Repeat("x", 100)})
			if len(batch) == cap(batch) || i == *removed-1 {
				check(t, tickets.BulkCreate(ctx, batch))
				batch = batch[:0]
			}
		}
		t.Logf("%d records are created in %v, and take %d MB", *removed, time.Since(began).Round(time.Millisecond), onDisk(t, dir)>>20)
		var slowest atomic.Int64
		ended, done := make(chan struct{}), make(chan int)
		go func() {
			for i := 0; ; i++ {
				select {
				case <-ended:
					done <- i
					return
				default:
				}
				began := time.Now()
				if _, err := other.Upsert(ctx, &ticket{ID: int64(i % 1000), Client: "c", State: fmt.Sprint(i % 4)}); err != nil {
					t.Error(err)
				}
				slowest.Store(max(slowest.Load(), int64(time.Since(began))))
			}
		}()
		began = time.Now()
		if way == "Truncate" {
			check(t, tickets.Truncate(ctx))
		} else {
			check(t, db.DropModel(ctx, "ticket"))
		}
		took := time.Since(began)
		close(ended)
		t.Logf("%s takes %v; beside it %d writes of another model, the slowest %v", way, took.Round(time.Millisecond), <-done, time.Duration(slowest.Load()).Round(time.Millisecond))
		if way == "Truncate" {
			fresh, err := natsorm.Define[ticket](ctx, db, natsorm.Name("Fresh"))
			check(t, err)
			for name, read := range map[string]func(m *natsorm.Model[ticket]) (int, error){
				"FindAll": func(m *natsorm.Model[ticket]) (int, error) { all, err := m.FindAll(ctx); return len(all), err },
				"Count":   func(m *natsorm.Model[ticket]) (int, error) { return m.Count(ctx) },
				"lookup": func(m *natsorm.Model[ticket]) (int, error) {
					all, err := m.FindAll(ctx, natsorm.Eq("client", "7"))
					return len(all), err
				},
			} {
				var times [2]time.Duration
				for i, m := range []*natsorm.Model[ticket]{tickets, fresh} {
					began := time.Now()
					for range 20 {
						n, err := read(m)
						check(t, err)
						if n != 0 {
							t.Fatalf("%s finds %d", name, n)
						}
					}
					times[i] = time.Since(began) / 20
				}
				t.Logf("%s of the empty model takes %v, of a new one %v", name, times[0], times[1])
			}
		} else if _, err := tickets.Count(ctx); !errors.Is(err, natsorm.ErrNotFound) {
			t.Errorf("after the drop: %v", err)
		}
		for until := time.Now().Add(5 * time.Minute); ; time.Sleep(time.Second) { // the server gives blocks back every two
			left := onDisk(t, dir) >> 20
			if left < 64 {
				t.Logf("%d MB are left on disk", left)
				break
			}
			if time.Now().After(until) {
				t.Errorf("%d MB are left on disk after five minutes", left)
				break
			}
		}
	}
}

// onDisk is how many bytes the files under a folder have.
func onDisk(t testing.TB, dir string) (n int64) {
	check(t, filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		if info, err := d.Info(); err == nil && !d.IsDir() {
			n += info.Size()
		}
		return nil
	}))
	return n
}
