//go:build race

package natsorm_test

// raceEnabled says that the race detector makes everything slow.
const raceEnabled = true
