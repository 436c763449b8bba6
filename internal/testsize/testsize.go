// Package testsize says how much a test does. Each test that grows with a number,
// of rounds, of records or of seconds, has three forms:
//
//   - short, with go test -short: for a first answer;
//   - normal: what go test ./... runs, also with -race;
//   - long, with NATSORM_LONG=1 in the environment: as many as .ci/run wants to see.
//
// A test proves the same in each of them.
package testsize

import (
	"os"
	"testing"
	"time"
)

// Env is the environment variable that selects the long form.
const Env = "NATSORM_LONG"

// Pick is what is for the form that runs. With -short it is short, whatever the
// environment says.
func Pick[N any](short, normal, long N) N {
	switch {
	case testing.Short():
		return short
	case os.Getenv(Env) == "1":
		return long
	default:
		return normal
	}
}

// Breathe is called between two calls by one who makes them beside what is tested, for as long as
// that takes. In the long form it returns at once. In the others it waits a little: so the changes come
// all the while, and leave the processors to the tests that run at the same time.
func Breathe() {
	if d := Pick(2*time.Millisecond, time.Millisecond, 0); d > 0 {
		time.Sleep(d)
	}
}
