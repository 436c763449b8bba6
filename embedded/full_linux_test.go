package embedded_test

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/natsorm/natsorm"
	"github.com/natsorm/natsorm/embedded"
)

// small mounts a file system of so many bytes. That takes a right which root has, and
// most others have not.
func small(t *testing.T, size string) string {
	t.Helper()
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size="+size); err != nil {
		t.Skipf("a small file system cannot be mounted: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	return dir
}

type page struct {
	ID   int    `json:"id" orm:"primaryKey"`
	Text string `json:"text"`
}

// A disk that has become full is an error that says so, at once, and so is a server that
// has used up what it may use. What was acknowledged can still be read, and is there after
// a restart with more room.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	for what, sync := range map[string]embedded.Sync{"synced": embedded.SyncAlways, "not synced": embedded.SyncInterval} {
		for _, by := range []string{"others", "itself"} {
			t.Run(what+" by "+by, func(t *testing.T) {
				t.Parallel()
				dir := small(t, "6m")
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				var heard log
				cfg := embedded.Config{Dir: filepath.Join(dir, "data"), Sync: sync, Logger: slog.New(slog.NewTextHandler(&heard, nil))}
				start := func() (*embedded.Server, *natsorm.DB, *natsorm.Model[page]) {
					srv, err := embedded.Start(cfg)
					if err != nil {
						t.Fatal(err)
					}
					t.Cleanup(func() { srv.Close() }) // before the file system goes
					db, err := srv.Open(ctx, natsorm.Config{Bucket: "b"})
					if err != nil {
						t.Fatal(err)
					}
					t.Cleanup(func() { db.Close() })
					pages, err := natsorm.Define[page](ctx, db)
					if err != nil {
						t.Fatal(err)
					}
					return srv, db, pages
				}
				srv, db, pages := start()
				other := filepath.Join(dir, "other")
				if by == "others" { // the server believes that there are 4.5 MB for it
					if err := os.WriteFile(other, make([]byte, 4<<20), 0o600); err != nil {
						t.Fatal(err)
					}
				}
				text, kept, failures := strings.Repeat("x", 100_000), 0, 0
				for i := 0; failures < 3; i++ {
					err := pages.Create(ctx, &page{ID: i, Text: text})
					switch {
					case err == nil && failures == 0:
						kept++
					case !errors.Is(err, natsorm.ErrFull), by == "others" && !strings.Contains(err.Error(), "no space left on device"):
						t.Fatalf("record %d: %v", i, err)
					case failures > 0 && errors.Is(err, natsorm.ErrUnknownOutcome):
						t.Errorf("record %d was sent to a server that takes nothing: %v", i, err)
					default:
						failures++
					}
				}
				err := db.Transaction(ctx, func(ctx context.Context) error { return pages.Create(ctx, &page{ID: 2000, Text: text}) })
				if !errors.Is(err, natsorm.ErrFull) || natsorm.SafeToRetry(err) {
					t.Errorf("a transaction: %v, safe to retry %v", err, natsorm.SafeToRetry(err))
				}
				if by == "others" { // a bucket that needs no disk goes on
					memory, err := srv.Open(ctx, natsorm.Config{Bucket: "memory", Storage: jetstream.MemoryStorage})
					if err != nil {
						t.Fatal(err)
					}
					others, err := natsorm.Define[page](ctx, memory)
					if err == nil {
						err = others.Create(ctx, &page{ID: 1})
					}
					if err := errors.Join(err, memory.Close()); err != nil {
						t.Errorf("a bucket in memory: %v", err)
					}
				}
				if n, err := pages.Count(ctx); n < kept || n > kept+1 || err != nil {
					t.Errorf("%d records are there, %d were acknowledged: %v", n, kept, err)
				}
				if all, err := pages.FindAll(ctx); len(all) < kept || err != nil {
					t.Errorf("%d records are read, %d were acknowledged: %v", len(all), kept, err)
				}
				if by == "others" {
					heard.mu.Lock()
					for _, want := range []string{"no space left on device", "the disk of the embedded server is full"} {
						if !strings.Contains(heard.text.String(), want) {
							t.Errorf("the log does not say %q: %s", want, heard.text.String())
						}
					}
					heard.mu.Unlock()
					if err := os.Remove(other); err != nil {
						t.Fatal(err)
					}
				}
				if by == "others" && sync == embedded.SyncInterval { // it takes writes again when it is made anew
					js, err := jetstream.New(db.Conn())
					if err != nil {
						t.Fatal(err)
					}
					if err := js.DeleteKeyValue(ctx, "b"); err != nil {
						t.Fatal(err)
					}
					anew, err := srv.Open(ctx, natsorm.Config{Bucket: "b"})
					if err != nil {
						t.Fatal(err)
					}
					pages, err := natsorm.Define[page](ctx, anew)
					if err == nil {
						err = pages.Create(ctx, &page{ID: 1, Text: text})
					}
					if err := errors.Join(err, anew.Close()); err != nil {
						t.Errorf("made anew: %v", err)
					}
					kept = 1
				}
				if err := db.Close(); err != nil {
					t.Error(err)
				}
				srv.Close()
				if by == "others" {
					srv, db, pages = start()
					if n, err := pages.Count(ctx); n < kept || err != nil {
						t.Errorf("%d records are there after a restart, %d were acknowledged: %v", n, kept, err)
					}
					if err := pages.Create(ctx, &page{ID: 1000}); err != nil {
						t.Errorf("with room: %v", err)
					}
					if report, err := db.Check(ctx); err != nil || !report.Clean() {
						t.Errorf("%v %s", err, report)
					}
					db.Close()
					srv.Close()
				}
			})
		}
	}
}
