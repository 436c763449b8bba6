package bench

import (
	"context"
	"flag"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

var layoutRecords = flag.Int("layouts.records", 100_000, "number of records of BenchmarkLayouts")

// BenchmarkLayouts measures, by hand, what other layouts of a bucket in streams would give
// on files: as it is; with index entries and claims in a stream of their own; with
// compression; and encrypted, which makes the server use blocks of 2 MB and not of 8. It
// prints a table. Each row begins with a server that has just started.
//
//	go test -run xxx -bench Layouts -benchtime 1x -timeout 1h -layouts.records 1000000 .
func BenchmarkLayouts(b *testing.B) {
	for b.Loop() {
		layouts(b)
	}
}

func layouts(b *testing.B) {
	ctx := context.Background()
	n := *layoutRecords
	out := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(out, "%d records\tfilled in\ton disk\tten lookups, cold\ta hundred more\trecords by a consumer\thot value by a consumer\tall keys by a consumer\t\n", n)
	for _, v := range []struct {
		name     string
		entries  string // the stream of entries and claims
		server   benchServer
		compress jetstream.StoreCompression
	}{
		{name: "as it is", entries: "RECORDS"},
		{name: "entries apart", entries: "ENTRIES"},
		{name: "compressed", entries: "RECORDS", compress: jetstream.S2Compression},
		{name: "encrypted", entries: "RECORDS", server: benchServer{Key: "secret"}},
	} {
		v.server.Dir = dir(b)
		url, stop := startServer(b, v.server)
		js := connectTo(b, url)
		start := time.Now()
		fillStreams(b, ctx, js, n, v.entries, v.compress)
		filled := time.Since(start)
		js.Conn().Close()
		stop()

		url, stop = startServer(b, v.server)
		js = connectTo(b, url)
		r := rand.New(rand.NewPCG(1, 2))
		timed := func(f func() error) time.Duration {
			start := time.Now()
			check(b, f())
			return time.Since(start)
		}
		lookups := func(times int) time.Duration {
			return timed(func() error {
				for range times {
					if err := lookUp(ctx, js, v.entries, "RECORDS", "", orderAt(1+r.IntN(n/10)*10, n).State); err != nil {
						return err
					}
				}
				return nil
			})
		}
		read := func(name, subject string) time.Duration {
			return timed(func() error {
				stream, err := js.Stream(ctx, name)
				if err != nil {
					return err
				}
				return consume(ctx, stream, subject)
			})
		}
		cold, more := lookups(10), lookups(100)
		records, hot := read("RECORDS", "order.*.*"), read(v.entries, "order.index.state.open.*")
		all := read("RECORDS", ">")
		if v.entries != "RECORDS" {
			all += read(v.entries, ">")
		}
		fmt.Fprintf(out, "%s\t%v\t%d MB\t%v\t%v\t%v\t%v\t%v\t\n", v.name, filled.Round(time.Second), size(b, v.server.Dir)>>20,
			cold.Round(time.Millisecond), more.Round(time.Millisecond), records.Round(time.Millisecond), hot.Round(time.Millisecond), all.Round(time.Millisecond))
		js.Conn().Close()
		stop()
	}
	check(b, out.Flush())
	b.ReportMetric(0, "ns/op")
}

func connectTo(b *testing.B, url string) jetstream.JetStream {
	nc, err := nats.Connect(url)
	check(b, err)
	js, err := jetstream.New(nc, jetstream.WithPublishAsyncMaxPending(4096))
	check(b, err)
	return js
}

// fillStreams writes the keys of natsorm's layout: of each record itself, an index entry and a
// claim.
func fillStreams(b *testing.B, ctx context.Context, js jetstream.JetStream, n int, entries string, compress jetstream.StoreCompression) {
	streams := map[string][]string{"RECORDS": nil}
	for shard := range 16 {
		streams["RECORDS"] = append(streams["RECORDS"], fmt.Sprintf("order.shard_%d.*", shard))
	}
	streams[entries] = append(streams[entries], "order.index.>", "order.unique.>")
	for name, subjects := range streams {
		_, err := js.CreateStream(ctx, jetstream.StreamConfig{
			Name: name, Subjects: subjects, MaxMsgsPerSubject: 1, Storage: jetstream.FileStorage, AllowDirect: true, Discard: jetstream.DiscardNew, Compression: compress,
		})
		check(b, err)
	}
	for i := range n {
		o := orderAt(i, n)
		id := strconv.Itoa(i)
		doc := fmt.Appendf(nil, `{"id":%d,"ref":%q,"state":%q,"total":%d,"note":%q}`, o.ID, o.Ref, o.State, o.Total, o.Note)
		for subject, value := range map[string][]byte{
			"order.index.state." + o.State + "." + id: nil,
			"order.unique.ref." + o.Ref:               []byte(id),
			fmt.Sprintf("order.shard_%d.%d", i%16, i): doc,
		} {
			_, err := js.PublishAsync(subject, value)
			check(b, err)
		}
		if i%1000 == 999 {
			<-js.PublishAsyncComplete()
		}
	}
	<-js.PublishAsyncComplete()
}

// size is how many bytes the files under a directory have.
func size(b *testing.B, dir string) (bytes int64) {
	check(b, filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err == nil {
			bytes += info.Size()
		}
		return err
	}))
	return bytes
}
