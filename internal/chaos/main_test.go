package chaos

import (
	"flag"
	"testing"

	"github.com/natsorm/natsorm/internal/testbed"
)

var (
	longForm   = flag.Bool("chaos.long", false, "run every workload for -chaos.duration, with 16 clients and more, and every fault")
	duration   = flag.Duration("chaos.duration", 0, "how long each workload runs under faults; defaults to a few seconds, with -chaos.long to 2m")
	faultNames = flag.String("chaos.faults", "", "the faults to inject, joined by commas; defaults to those of the workload, with -chaos.long to all but pause-leader")
	slow       = flag.Bool("chaos.slow-elections", false, "leave the servers' election timeouts at 4 to 9 s, as outside of tests")
	verbose    = flag.Bool("chaos.verbose", false, "debug lines in the servers' logs; see -chaos.keep")
	keep       = flag.String("chaos.keep", "", "a directory, outside of the tree, for the servers' files, which then stay")
)

func TestMain(m *testing.M) { testbed.Main(m) }
