package pace

import (
	"testing"
	"time"
)

const most = 500 * time.Millisecond

// An answer is overdue after what answers take, and never before the floor.
func TestPace(t *testing.T) {
	t.Parallel()
	noted := func(took time.Duration, n int) time.Duration {
		var p Pace
		for range n {
			p.Note(took)
		}
		return p.Delay(most)
	}
	for name, c := range map[string]struct{ got, least, most time.Duration }{
		"no answer yet":     {noted(0, 0), unknown, unknown},
		"fast answers":      {noted(200*time.Microsecond, 50), floor, floor},
		"slow answers":      {noted(100*time.Millisecond, 50), 100 * time.Millisecond, 150 * time.Millisecond},
		"very slow answers": {noted(5*time.Second, 50), most, most},
	} {
		if c.got < c.least || c.got > c.most {
			t.Errorf("%s: %v, not from %v to %v", name, c.got, c.least, c.most)
		}
	}
}

// Servers that are all slow are told from one that has stalled by which request is
// answered.
func TestSlowIsNotStalled(t *testing.T) {
	t.Parallel()
	var p Pace
	step := func(answered int, times int, stalled bool) {
		t.Helper()
		for range times {
			p.Again(answered)
		}
		if p.Stalled() != stalled {
			t.Errorf("after %d answers to request %d: stalled %v", times, answered, p.Stalled())
		}
	}
	step(0, 100, false)
	step(1, 3, true) // soon
	step(2, 100, true)
	step(0, 20, false)
}
