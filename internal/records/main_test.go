package records_test

import (
	"testing"

	"github.com/natsorm/natsorm/internal/testbed"
)

// Whoever takes the value of a crashed process is patient first (see package commit): many tests wait,
// few work. Under the race detector they work for longer.
func TestMain(m *testing.M) { testbed.MainTogether(m, 32, 8) }
