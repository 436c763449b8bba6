// Package testsize says how much a test does. Each test that grows with a number,
// of rounds, of records or of seconds, has three forms:
//
//   - short, with go test -short: for a first answer in half a minute;
//   - normal: what go test ./... runs, also with -race, all of it in two minutes;
//   - long, with NATSORM_LONG=1 in the environment: as many as .ci/run wants to see.
//
// A test proves the same in each of them.
package testsize

import (
	"os"
	"testing"
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
