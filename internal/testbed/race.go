//go:build race

package testbed

// race says that the race detector makes everything slow.
const race = true
