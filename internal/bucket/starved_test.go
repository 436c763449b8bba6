package bucket_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nuid"

	"github.com/natsorm/natsorm/internal/bucket"
	"github.com/natsorm/natsorm/internal/store"
	"github.com/natsorm/natsorm/internal/testbed"
	"github.com/natsorm/natsorm/internal/usage"
)

// kinds are the buckets that are read: on a single server, there without direct gets, and on three
// servers. Each call of one opens a new bucket.
func kinds(t *testing.T) map[string]func(t *testing.T) *bucket.Bucket {
	cluster := testbed.StartCluster(t)
	return map[string]func(t *testing.T) *bucket.Bucket{
		"one server": func(t *testing.T) *bucket.Bucket {
			return onServer(t, bucket.Config{Storage: jetstream.MemoryStorage})
		},
		"no direct gets": func(t *testing.T) *bucket.Bucket {
			b := onServer(t, bucket.Config{Storage: jetstream.MemoryStorage})
			b.ForgoDirect(t)
			return b
		},
		"three servers": func(t *testing.T) *bucket.Bucket {
			cfg := bucket.Config{Bucket: "starved-" + nuid.Next(), Storage: jetstream.MemoryStorage, Replicas: testbed.ClusterSize}
			return openOn(t, cfg, func() (*nats.Conn, error) { return nats.Connect(cluster.Nodes[1].URL()) })
		},
	}
}

// Where writers are so many that something always follows what was read, a read ends all the
// same, after a number of requests that does not depend on them; and it lacks nothing that
// is there all the while. On one server, and on several.
func TestReadsBesideManyWriters(t *testing.T) {
	t.Parallel()
	for name, open := range kinds(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := open(t)
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
			defer cancel()
			const stay, writers, most = 200, 12, 1000
			for i := range stay {
				put(t, b, fmt.Sprint("k.", i), "")
			}
			stop := make(chan struct{})
			var working, begun sync.WaitGroup
			begun.Add(writers)
			for w := range writers {
				working.Go(func() {
					for n := 0; ; n++ {
						// Each writes its part of the keys that stay, again and again, and others that come and go.
						op := store.Op{Key: fmt.Sprint("k.", (n*writers+w)%stay)}
						if n%4 == 3 {
							op = store.Op{Key: fmt.Sprint("k.", 1000+w*100+n%40), Delete: n%8 == 7}
						}
						if err := b.Write(ctx, op)[0].Err; err != nil {
							t.Error(err)
							return
						}
						if n == 10 {
							begun.Done()
						}
						select {
						case <-stop:
							return
						default:
						}
					}
				})
			}
			begun.Wait()
			for kind, read := range map[string]func(context.Context) ([]string, error){
				"scan": func(ctx context.Context) (keys []string, err error) {
					for m, err := range b.Scan(ctx, "k.*", store.ScanOptions{}) {
						if err != nil {
							return nil, err
						}
						keys = append(keys, m.Key)
					}
					return keys, nil
				},
				"read": func(ctx context.Context) (keys []string, err error) {
					a, err := b.Read(ctx, store.Lookup{Patterns: []string{"k.*"}})
					for _, m := range a.Messages {
						keys = append(keys, m.Key)
					}
					return keys, err
				},
			} {
				for range 10 {
					var used usage.Usage
					got, err := read(usage.Measured(ctx, &used))
					if err != nil {
						t.Fatalf("%s: %v", kind, err)
					}
					seen := map[string]bool{}
					for _, key := range got {
						if seen[key] {
							t.Errorf("%s: %s comes twice", kind, key)
						}
						seen[key] = true
					}
					for i := range stay {
						if key := fmt.Sprint("k.", i); !seen[key] {
							t.Errorf("%s: %s is missing", kind, key)
						}
					}
					if n := used.Requests.Load() - used.Again.Load(); n > most {
						t.Errorf("%s: it took %d requests", kind, n)
					}
				}
			}
			close(stop)
			working.Wait()
		})
	}
}

// A scan ends although its reader is slower than those who write what it reads: each message that it
// gets finds two more written. It lacks nothing that is there all the while.
func TestScanOfASlowReader(t *testing.T) {
	t.Parallel()
	for name, open := range kinds(t) {
		for _, repeats := range []bool{false, true} {
			t.Run(fmt.Sprint(name, "/repeats ", repeats), func(t *testing.T) {
				t.Parallel()
				const stay, most = 50, 200 * 50
				b := open(t)
				for i := range stay {
					put(t, b, fmt.Sprint("k.", i), "")
				}
				seen, came, written := map[string]int{}, 0, 0
				for m, err := range b.Scan(t.Context(), "k.*", store.ScanOptions{Repeats: repeats}) {
					if err != nil {
						t.Fatal(err)
					}
					seen[m.Key]++
					if came++; came > most {
						t.Fatalf("%d messages have come, of %d keys, and it goes on", came, len(seen))
					}
					for range 2 { // one that stays, and a new one
						put(t, b, fmt.Sprint("k.", written%stay), "")
						put(t, b, fmt.Sprint("k.", stay+written), "")
						written++
					}
				}
				for i := range stay {
					if n := seen[fmt.Sprint("k.", i)]; n == 0 || n > 1 && !repeats {
						t.Errorf("k.%d comes %d times", i, n)
					}
				}
			})
		}
	}
}
