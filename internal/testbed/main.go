package testbed

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"testing"
	"time"
)

// Main runs the tests of a package, and fails when they leave a goroutine behind.
// It is all that a TestMain does:
//
//	func TestMain(m *testing.M) { testbed.Main(m) }
//
// It does not return. A process that NewCluster started becomes a node here.
//
// More tests run at the same time than there are processors, unless -parallel says otherwise: much
// of their time they wait for servers, disks and elections. Fewer do under the race detector,
// which keeps the processors busy, so that answers do not come too late.
func Main(m *testing.M) { MainTogether(m, 5, 2) }

// MainTogether is Main with a number of tests of its own: for each processor, each of them run at the
// same time, and race of them under the race detector.
func MainTogether(m *testing.M, each, race int) {
	beNode()
	flag.Parse()
	if Race {
		each = race
	}
	overlap(each)
	collectLess()
	code := m.Run()
	if left := leftBehind(leaveTime); code == 0 && len(left) > 0 {
		fmt.Printf("%d goroutines are left:\n%s\n", len(left), bytes.Join(left, []byte("\n\n")))
		code = 1
	}
	os.Exit(code)
}

// overlap lets each tests for each processor run at the same time, unless -parallel says otherwise.
func overlap(each int) {
	chosen := false
	flag.Visit(func(f *flag.Flag) { chosen = chosen || f.Name == "test.parallel" })
	if !chosen {
		_ = flag.Set("test.parallel", strconv.Itoa(each*runtime.GOMAXPROCS(0))) // which is a number
	}
}

// collectLess spends memory to save time, unless GOGC says otherwise: collecting
// garbage takes a third of what the servers and their clients in one process use.
func collectLess() {
	const plenty = 2 << 30
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(400)
		debug.SetMemoryLimit(plenty)
	}
}

// leaveTime is how long goroutines may take to end after the last test.
const leaveTime = 10 * time.Second

// leftBehind waits until all goroutines have ended but the caller's, the runtime's and
// those of package testing. When others are left after most, it returns their stacks.
func leftBehind(most time.Duration) [][]byte {
	ctx, cancel := context.WithTimeout(context.Background(), most)
	defer cancel()
	for {
		if left := others(); len(left) == 0 || Wait(ctx, Look) != nil {
			return left
		}
	}
}

// others returns the stacks of all goroutines that neither the runtime nor package testing
// has started, without the caller's.
func others() (left [][]byte) {
	buf := make([]byte, 16<<20)
	stacks := bytes.Split(buf[:runtime.Stack(buf, true)], []byte("\n\n"))
	for _, stack := range stacks[1:] { // the first one is this
		if !own(stack) {
			left = append(left, stack)
		}
	}
	return left
}

// own reports whether a goroutine is the runtime's or package testing's; or the clock that the
// stores of nats-server have in common, which goes on when a server was ended with a batch whose
// client was killed: 2.15.2 does not end the store of that.
func own(stack []byte) bool {
	for _, by := range []string{"created by runtime", "created by testing.", "created by os/signal.", "created by github.com/nats-io/nats-server/v2/server/ats."} {
		if bytes.Contains(stack, []byte("\n"+by)) {
			return true
		}
	}
	return false
}
