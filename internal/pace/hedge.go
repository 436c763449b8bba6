package pace

import "time"

// more is how many requests are sent at the same time at most.
const more = 4

// Copies is how many requests are sent after the n-th delay, from 0. With a third of them
// lost the answer is missing after one delay in 1 of 3 cases, after two in 1 of 9, after
// three in 1 of 81, after four in 1 of 6,561: where only one were sent each time a read of
// a thousand would wait for six.
//
// That is for a server that has stalled. Where all are slow because they have too much to
// do, more copies would be more to do: then it is one each time.
func Copies(n int, stalled bool) int {
	if n == 0 || !stalled {
		return 1
	}
	return min(1<<(n-1), more)
}

// Hedge is a request that was sent several times. The first one to be answered is chosen,
// and the replies to the others are passed over. When its replies stop coming, the next one
// that is answered takes its place, and its replies come from the first one on.
type Hedge struct {
	Sent   []time.Time // when
	Silent bool        // the chosen one is overdue
	Nobody int         // how many no server has taken

	chosen int          // -1 while none is answered
	left   map[int]bool // those that were chosen before: their replies are lost
}

// NewHedge is one of which nothing was sent yet.
func NewHedge() *Hedge { return &Hedge{chosen: -1} }

// Chooses reports whether a reply to the n-th request counts. first says that it is the
// first one that counts of that request.
func (h *Hedge) Chooses(n int) (counts, first bool) {
	switch {
	case n == h.chosen:
		h.Silent = false
		return true, false
	case h.left[n], h.chosen >= 0 && !h.Silent:
		return false, false
	}
	if h.chosen >= 0 {
		if h.left == nil {
			h.left = map[int]bool{}
		}
		h.left[h.chosen] = true
	}
	h.chosen, h.Silent = n, false
	return true, true
}
