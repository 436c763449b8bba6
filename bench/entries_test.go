package bench

import (
	"context"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/natsorm/natsorm"
)

var entryRecords = flag.Int("entries", 0, "how many records TestEntryCosts fills a model of each kind of index with; it is skipped without this")

// entryKind is a kind of index of the model of TestEntryCosts.
type entryKind struct {
	name    string
	each    int // how many entries or claims a record has, without samples
	indexes []natsorm.IndexSchema
}

var entryKinds = []entryKind{
	{name: "no index", each: 1},
	{name: "index of text", each: 1, indexes: []natsorm.IndexSchema{{Columns: []string{"name"}}}},
	{name: "unique, of text", each: 1, indexes: []natsorm.IndexSchema{{Columns: []string{"name"}, Unique: true}}},
	{name: "index of text, folded", each: 1, indexes: []natsorm.IndexSchema{{Columns: []string{"name"}, Fold: true}}},
	{name: "unique, of text, folded", each: 1, indexes: []natsorm.IndexSchema{{Columns: []string{"name"}, Unique: true, Fold: true}}},
	{name: "ordered, of an integer", each: 1, indexes: []natsorm.IndexSchema{{Columns: []string{"level"}, Ordered: true}}},
	{name: "ordered, of a time", each: 1, indexes: []natsorm.IndexSchema{{Columns: []string{"at"}, Ordered: true}}},
	{name: "ordered, of text", each: 1, indexes: []natsorm.IndexSchema{{Columns: []string{"name"}, Ordered: true}}},
	{name: "ordered, of text and a time", each: 1, indexes: []natsorm.IndexSchema{{Columns: []string{"state", "at"}, Ordered: true}}},
	{name: "elements, three a record", each: 3, indexes: []natsorm.IndexSchema{{Columns: []string{"tags"}, Elements: natsorm.String}}},
}

// schema is the model of the kind: all have the same columns, so that all records are as large.
func (k entryKind) schema(at int) natsorm.Schema {
	return natsorm.Schema{Name: fmt.Sprint("m", at), Columns: []natsorm.ColumnSchema{
		{Name: "id", Type: natsorm.Int, PrimaryKey: true}, {Name: "name", Type: natsorm.String}, {Name: "state", Type: natsorm.String},
		{Name: "level", Type: natsorm.Int}, {Name: "at", Type: natsorm.Time}, {Name: "tags", Type: natsorm.JSON},
	}, Indexes: k.indexes}
}

// entryRecord is a record whose values all depend on n, and differ for different n but for the state and the tags.
func entryRecord(id, n int) natsorm.Record {
	return natsorm.Record{
		"id": id, "name": fmt.Sprintf("User-%07d", n), "state": []string{"open", "done", "new"}[n%3], "level": n,
		"at": time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC).Add(time.Duration(n) * time.Second), "tags": []string{fmt.Sprintf("tag%d", n%100), fmt.Sprintf("kind%d", n%10), "all"},
	}
}

// TestEntryCosts measures what an entry of each kind of index costs: bytes in the stream, on disk, and of the live
// heap of a server that has them, each beside a model without an index; and how long a create, and an
// update of the indexed value, take beside those of a model without an index, in the same run.
func TestEntryCosts(t *testing.T) {
	if *entryRecords == 0 {
		t.Skip("needs -entries")
	}
	for _, storage := range []jetstream.StorageType{jetstream.MemoryStorage, jetstream.FileStorage} {
		t.Run(storage.String(), func(t *testing.T) {
			table := tabwriter.NewWriter(os.Stdout, 0, 8, 2, ' ', 0)
			fmt.Fprintln(table, "kind\tstream\tdisk\theap\tfor each\tcreate\tof 32 writers\tupdate")
			times := entryTimes(t, storage)
			var without [3]float64
			for i, k := range entryKinds {
				have := entryBytes(t, storage, i)
				if i == 0 {
					without = have
				}
				fmt.Fprint(table, k.name)
				for n := range have {
					bytes := have[n]
					if i > 0 {
						bytes -= without[n]
					}
					fmt.Fprintf(table, "\t%.0f", bytes/float64(*entryRecords*k.each))
				}
				what := "entry, with its part of samples"
				if i == 0 {
					what = "record"
				}
				fmt.Fprintf(table, "\t%s", what)
				for n := range times[i] {
					if i == 0 {
						fmt.Fprintf(table, "\t%v", times[i][n].Round(time.Microsecond))
					} else {
						fmt.Fprintf(table, "\t%.2f", float64(times[i][n])/float64(times[0][n]))
					}
				}
				fmt.Fprintln(table)
			}
			check(t, table.Flush())
		})
	}
}

// entryBytes fills a bucket of its own, and returns what its stream has, its directory, and the server's live heap.
func entryBytes(t *testing.T, storage jetstream.StorageType, at int) (out [3]float64) {
	ctx := context.Background()
	dir := t.TempDir()
	url, heap, stop := startWatched(t, benchServer{Dir: dir})
	before := heap()
	db, err := natsorm.Open(ctx, natsorm.Config{Servers: []string{url}, Bucket: "entries", Storage: storage})
	check(t, err)
	m, err := natsorm.DefineRecord(ctx, db, entryKinds[at].schema(at))
	check(t, err)
	for from := 0; from < *entryRecords; from += 10_000 {
		batch := make([]*natsorm.Record, min(10_000, *entryRecords-from))
		for i := range batch {
			r := entryRecord(from+i, from+i)
			batch[i] = &r
		}
		check(t, m.BulkCreate(ctx, batch))
	}
	status, err := db.KV().Status(ctx)
	check(t, err)
	out[0] = float64(status.Bytes())
	check(t, db.Close())
	out[2] = float64(heap() - before)
	stop()
	check(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() || !strings.HasSuffix(path, ".blk") {
			return err
		}
		info, err := d.Info()
		if err == nil {
			out[1] += float64(info.Size())
		}
		return err
	}))
	return out
}

// entryTimes is the median time of a create alone, of a create with 32 writers (the time of all, for each
// record), and of an update alone that changes every value, and two elements of the list, for each kind, in turn.
func entryTimes(t *testing.T, storage jetstream.StorageType) (out [][3]time.Duration) {
	ctx := context.Background()
	url, stop := startServer(t, benchServer{Dir: t.TempDir()})
	defer stop()
	db, err := natsorm.Open(ctx, natsorm.Config{Servers: []string{url}, Bucket: "times", Storage: storage})
	check(t, err)
	defer db.Close()
	models := make([]*natsorm.Model[natsorm.Record], len(entryKinds))
	for i, k := range entryKinds {
		models[i], err = natsorm.DefineRecord(ctx, db, k.schema(i))
		check(t, err)
	}
	const rounds, alone, writers, together = 21, 40, 32, 640
	took := make([][3][]time.Duration, len(models))
	for round := range rounds {
		for i, m := range models {
			base := round * 100_000
			timed := func(n, step int, do func(j int) error) {
				began := time.Now()
				for j := range n {
					check(t, do(j))
				}
				took[i][step] = append(took[i][step], time.Since(began)/time.Duration(n))
			}
			timed(alone, 0, func(j int) error {
				r := entryRecord(base+j, base+j)
				return m.Create(ctx, &r)
			})
			began := time.Now()
			var wg sync.WaitGroup
			for w := range writers {
				wg.Go(func() {
					for j := w; j < together; j += writers {
						r := entryRecord(base+1000+j, base+1000+j)
						if err := m.Create(ctx, &r); err != nil {
							t.Error(err)
						}
					}
				})
			}
			wg.Wait()
			took[i][1] = append(took[i][1], time.Since(began)/together)
			timed(alone, 2, func(j int) error {
				r := entryRecord(base+j, base+50_051+j)
				return m.Save(ctx, &r)
			})
		}
	}
	for i := range took {
		var medians [3]time.Duration
		for n := range medians {
			slices.Sort(took[i][n])
			medians[n] = took[i][n][len(took[i][n])/2]
		}
		out = append(out, medians)
	}
	return out
}
