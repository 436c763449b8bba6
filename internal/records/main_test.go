package records_test

import (
	"flag"
	"testing"

	"github.com/natsorm/natsorm/internal/testbed"
)

// together is how many tests run at the same time. Whoever takes the value of a
// crashed process is patient first (see package commit): many wait, few work. Under the race detector
// they work for longer.
func together() string {
	if testbed.Race {
		return "16"
	}
	return "32"
}

func TestMain(m *testing.M) {
	flag.Parse()
	if f := flag.Lookup("test.parallel"); f.Value.String() == f.DefValue {
		_ = f.Value.Set(together()) // a number
	}
	testbed.Main(m)
}
