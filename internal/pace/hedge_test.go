package pace

import (
	"slices"
	"testing"
)

// The replies of one that is only slow still count, as long as no other has answered.
func TestChoosing(t *testing.T) {
	t.Parallel()
	h := NewHedge()
	step := func(n int, counts, first bool) {
		t.Helper()
		if c, f := h.Chooses(n); c != counts || f != first {
			t.Errorf("a reply to request %d: counts %v, first %v", n, c, f)
		}
	}
	step(1, true, true)
	step(0, false, false) // 1 was faster
	step(1, true, false)
	h.Silent = true
	step(1, true, false) // it goes on
	step(0, false, false)
	h.Silent = true
	step(0, true, true)
	h.Silent = true
	step(1, false, false) // some of its replies were passed over
}

// Each wait without an answer sends more requests than the one before, so a third of them
// may be lost and few reads wait long.
func TestCopies(t *testing.T) {
	t.Parallel()
	var got []int
	for n := range 6 {
		got = append(got, Copies(n, true))
		if Copies(n, false) != 1 {
			t.Errorf("where all are slow, %d requests", Copies(n, false))
		}
	}
	if want := []int{1, 1, 2, 4, 4, 4}; !slices.Equal(got, want) {
		t.Errorf("%v requests, not %v", got, want)
	}
}
