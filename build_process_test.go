package natsorm_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/natsorm/natsorm"
	"github.com/natsorm/natsorm/embedded"
	"github.com/natsorm/natsorm/internal/testsize"
)

// buildURL tells a copy of the test binary to be a process that builds indexes.
const buildURL = "NATSORM_TEST_BUILD_URL"

// builtItem is the record of those tests. Its indexes are declared by options.
type builtItem struct {
	ID    int64    `json:"id" orm:"primaryKey"`
	Name  string   `json:"name"`
	Email string   `json:"email"`
	Tags  []string `json:"tags,omitempty"`
}

var builtIndexes = []natsorm.ModelOption{natsorm.Index("name"), natsorm.Unique("email"), natsorm.Ordered("email"), natsorm.Ordered("name", "email"), natsorm.Index("tags")}

// TestBeBuilding is not a test but a process of TestBuildKilled: it builds, and says how far it is.
func TestBeBuilding(t *testing.T) {
	url := os.Getenv(buildURL)
	if url == "" {
		t.Skip("runs as a process of TestBuildKilled")
	}
	db := must[*natsorm.DB](t)(natsorm.Open(t.Context(), natsorm.Config{Servers: []string{url}, Bucket: "killed"}))
	defer db.Close()
	_, err := natsorm.Define[builtItem](t.Context(), db, append(builtIndexes, natsorm.BuildRate(2000),
		natsorm.BuildProgress(func(done, _ int) { fmt.Println("at", done) }))...)
	ok(t, err)
	fmt.Println("built")
}

// indexKeys are the keys of a model's entries and claims, with what they hold.
func indexKeys(t *testing.T, db *natsorm.DB) map[string]string {
	t.Helper()
	out := map[string]string{}
	for _, kind := range []string{"index", "unique"} {
		w, err := db.KV().Watch(within(t), "builtItem."+kind+".>")
		ok(t, err)
		for e := range w.Updates() {
			if e == nil {
				break
			}
			out[e.Key()] = string(e.Value())
		}
		ok(t, w.Stop())
	}
	return out
}

// Processes that build indexes are killed, each at a random moment, and the next one goes on. In the
// end the indexes have the keys that they have when nobody is killed, the bucket is sound, and no
// mark is left.
func TestBuildKilled(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("each kill takes a process")
	}
	kills := testsize.Pick(0, 4, 50)
	const records = 3000
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	srv := serve(t, embedded.Config{Port: -1})
	fill := func(bucket string) *natsorm.DB {
		db := must[*natsorm.DB](t)(srv.Open(within(t), natsorm.Config{Bucket: bucket}))
		t.Cleanup(func() { db.Close() })
		items := define[builtItem](t, db)
		all := make([]*builtItem, records)
		for i := range all {
			all[i] = &builtItem{ID: int64(i), Name: fmt.Sprint("n", i%7), Email: fmt.Sprint("e", i), Tags: []string{"all", fmt.Sprint("t", i%10)}}
		}
		ok(t, items.BulkCreate(within(t), all))
		return db
	}
	quiet := fill("quiet")
	define[builtItem](t, quiet, builtIndexes...)
	want := indexKeys(t, quiet)
	if n := len(want); n < 6*records+records/50 || n > 6*records+records/20 { // with two elements, and samples twice
		t.Fatalf("an undisturbed build makes %d keys", len(want))
	}
	db := fill("killed")
	resumed, ended := 0, 0
	// A build that is killed early has no mark yet, so it may take more kills until one goes on at a mark.
	killed := 0
	for killed < kills || resumed == 0 && killed < 10*kills {
		from, built := buildAndKill(t, srv, time.Duration(r.Int64N(int64(900*time.Millisecond))))
		if from > 0 {
			resumed++
		}
		if !built {
			killed++
			continue
		}
		ended++
		if got := indexKeys(t, db); !maps.Equal(got, want) {
			t.Fatalf("after %d kills the indexes have %d keys, and not the %d of an undisturbed build", killed, len(got), len(want))
		}
		ok(t, db.Alter(within(t), "builtItem", natsorm.DropIndex("name"), natsorm.DropIndex("email"), natsorm.DropIndex("name", "email"), natsorm.DropIndex("tags")))
	}
	define[builtItem](t, db, builtIndexes...)
	t.Logf("%d processes were killed, %d went on at a mark, %d built all", killed, resumed, ended)
	if resumed == 0 {
		t.Error("no process went on at a mark")
	}
	if got := indexKeys(t, db); !maps.Equal(got, want) {
		t.Errorf("in the end the indexes have %d keys, and not the %d of an undisturbed build", len(got), len(want))
	}
	if report := must[natsorm.Report](t)(db.Check(within(t))); !report.Clean() {
		t.Errorf("in the end:\n%s", report)
	}
	if _, err := db.KV().Get(within(t), "_build.builtItem"); err == nil {
		t.Error("the mark is left")
	}
}

// buildAndKill runs such a process, and kills it after a time that begins when it builds. from is where it
// began; built says that it had come to its end before.
func buildAndKill(t *testing.T, srv *embedded.Server, after time.Duration) (from int, built bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(within(t), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, os.Args[0], "-test.run=^TestBeBuilding$", "-test.v")
	cmd.Env = append(os.Environ(), buildURL+"="+srv.URL())
	out := must[io.ReadCloser](t)(cmd.StdoutPipe())
	ok(t, cmd.Start())
	from = -1
	var all []string
	for scan := bufio.NewScanner(out); scan.Scan(); {
		line := scan.Text()
		all = append(all, line)
		if text, is := strings.CutPrefix(line, "at "); is && from < 0 {
			if _, err := fmt.Sscan(text, &from); err != nil {
				t.Fatal(err)
			}
			time.AfterFunc(after, func() { _ = cmd.Process.Kill() })
		}
		built = built || line == "built"
	}
	_ = cmd.Wait()
	if from < 0 && built { // the process before was killed when it had built all, and had not said so yet
		return 0, true
	}
	if from < 0 {
		t.Fatalf("the process built nothing:\n%s", strings.Join(all, "\n"))
	}
	return from, built
}
