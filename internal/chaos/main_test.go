package chaos

import (
	"flag"
	"fmt"
	"os"
	"runtime"
	"testing"
	"time"
)

var (
	longForm   = flag.Bool("chaos.long", false, "run every workload for -chaos.duration, with 16 clients and more, and every fault")
	duration   = flag.Duration("chaos.duration", 0, "how long each workload runs under faults; defaults to a few seconds, with -chaos.long to 2m")
	faultNames = flag.String("chaos.faults", "", "the faults to inject, joined by commas; defaults to those of the workload, with -chaos.long to all but pause-leader")
	slow       = flag.Bool("chaos.slow-elections", false, "leave the servers' election timeouts at 4 to 9 s, as outside of tests")
	verbose    = flag.Bool("chaos.verbose", false, "debug lines in the servers' logs; see -chaos.keep")
	keep       = flag.String("chaos.keep", "", "a directory, outside of the tree, for the servers' files, which then stay")
)

func TestMain(m *testing.M) {
	NodeMain()
	flag.Parse()
	code := m.Run()
	if code == 0 {
		code = leaks()
	}
	os.Exit(code)
}

// leaks is the exit code for the goroutines that are left.
func leaks() int {
	const allowed = 4 // of the runtime and of package testing
	for end := time.Now().Add(5 * time.Second); runtime.NumGoroutine() > allowed; runtime.Gosched() {
		if time.Now().After(end) {
			buf := make([]byte, 1<<20)
			fmt.Printf("goroutines are left:\n%s\n", buf[:runtime.Stack(buf, true)])
			return 1
		}
	}
	return 0
}
