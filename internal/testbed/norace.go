//go:build !race

package testbed

// Race says that the race detector makes everything slow.
const Race = false
