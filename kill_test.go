package natsorm_test

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/natsorm/natsorm"
	"github.com/natsorm/natsorm/embedded"
	"github.com/natsorm/natsorm/internal/testsize"
	"github.com/natsorm/natsorm/natsormtest"
)

// killDir tells a copy of the test binary to be the process that is killed.
const killDir = "NATSORM_TEST_KILL_DIR"

// TestBeKilled is not a test but the process that TestKill kills: it writes, and
// says what was acknowledged.
func TestBeKilled(t *testing.T) {
	dir := os.Getenv(killDir)
	if dir == "" {
		t.Skip("runs as a process of TestKill")
	}
	ctx := t.Context()
	srv := must[*embedded.Server](t)(embedded.Start(embedded.Config{Dir: dir}))
	db := must[*natsorm.DB](t)(srv.Open(ctx, natsorm.Config{Bucket: "kill"}))
	accounts := define[account](t, db)
	var mu sync.Mutex
	say := func(format string, args ...any) {
		mu.Lock()
		defer mu.Unlock()
		fmt.Printf(format+"\n", args...)
	}
	last := must[int](t)(accounts.Count(ctx))
	say("ready")
	for w := range 8 {
		go func() {
			for i := 0; ; i++ {
				id := 1_000_000*(w+1) + 1000*last + i
				switch err := error(nil); w {
				case 0: // two at once, or neither
					err = db.Transaction(ctx, func(ctx context.Context) error {
						if err := accounts.Create(ctx, &account{ID: id, Number: strconv.Itoa(id), Owner: "pair"}); err != nil {
							return err
						}
						return accounts.Create(ctx, &account{ID: -id, Number: strconv.Itoa(-id), Owner: "pair"})
					})
					if err == nil {
						say("wrote %d", id)
						say("wrote %d", -id)
					}
				default:
					if err = accounts.Create(ctx, &account{ID: id, Number: strconv.Itoa(id), Owner: "one"}); err == nil {
						say("wrote %d", id)
					}
				}
			}
		}()
	}
	<-time.After(time.Minute) // it is killed long before
}

// A process with an embedded server that syncs always is killed while it writes,
// again and again: what it said was written is there, and the indexes agree.
func TestKill(t *testing.T) {
	t.Parallel()
	kills := testsize.Pick(3, 8, 50)
	dir := filepath.Join(t.TempDir(), "data")
	acknowledged := map[int]bool{}
	for kill := range kills {
		cmd := exec.Command(os.Args[0], "-test.run=^TestBeKilled$", "-test.v")
		cmd.Env = append(os.Environ(), killDir+"="+dir)
		out, err := cmd.StdoutPipe()
		ok(t, err)
		ok(t, cmd.Start())
		lines := bufio.NewScanner(out)
		wrote, most := 0, 20+kill*3 // writes until it is killed
		for lines.Scan() {
			id, ok := strings.CutPrefix(lines.Text(), "wrote ")
			if !ok {
				continue
			}
			if n, err := strconv.Atoi(id); err == nil {
				acknowledged[n] = true
			}
			if wrote++; wrote == most {
				cmd.Process.Kill() // and read what it had said
			}
		}
		_ = cmd.Wait()
		if wrote < most {
			t.Fatalf("the process ended by itself after %d writes", wrote)
		}
	}
	srv := must[*embedded.Server](t)(embedded.Start(embedded.Config{Dir: dir}))
	defer srv.Close()
	ctx := within(t)
	db := must[*natsorm.DB](t)(srv.Open(ctx, natsorm.Config{Bucket: "kill"}))
	defer db.Close()
	accounts := define[account](t, db)
	there := map[int]bool{}
	for a, err := range accounts.Each(ctx) {
		ok(t, err)
		there[a.ID] = true
	}
	lost := 0
	for id := range acknowledged {
		if !there[id] {
			lost++
		}
	}
	halves := 0
	for a, err := range accounts.Each(ctx, natsorm.Eq("owner", "pair")) {
		ok(t, err)
		if !there[-a.ID] {
			halves++
		}
	}
	t.Logf("%d kills, %d acknowledged, %d there", kills, len(acknowledged), len(there))
	if lost > 0 || halves > 0 {
		t.Errorf("%d acknowledged records are lost, %d transactions are there by half", lost, halves)
	}
	if report := must[natsorm.Report](t)(db.Check(ctx)); !report.Clean() {
		t.Errorf("after the last kill:\n%s", report)
	}
	natsormtest.Prove(t, db)
}
