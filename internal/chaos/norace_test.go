//go:build !race

package chaos

// raceEnabled says that the race detector makes everything slow.
const raceEnabled = false
