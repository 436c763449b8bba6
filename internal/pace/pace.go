// Package pace knows how long the answers of servers take: after how long one is overdue, and
// whether that is because a server has stalled or because all have too much to do; and which
// answer counts when a request was sent several times. It has no clock, and sends nothing.
package pace

import (
	"sync"
	"time"
)

const (
	// An answer is not overdue before floor, so that a pause of a busy server or client is
	// not taken for a stall. unknown is for one who has had no answer yet.
	floor   = 50 * time.Millisecond
	unknown = 100 * time.Millisecond
)

// Pace is how long answers take: a running mean and a running mean deviation, as TCP
// measures round trips. Only answers that came count.
type Pace struct {
	mu              sync.Mutex
	mean, deviation time.Duration

	// helped is a running mean over requests that were sent again: 1 when the answer came to
	// a later one, so that one before was lost; 0 when it came to the first one all the same.
	helped float64
}

// Again notes which of the requests sent for one answer, from 0, was answered.
func (p *Pace) Again(answered int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	won := 0.0
	if answered > 0 {
		won = 1
	}
	p.helped += (won - p.helped) / 8
}

// Stalled reports whether sending requests again gets answers that would not come
// otherwise.
func (p *Pace) Stalled() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.helped > 0.3
}

// Note notes how long an answer took.
func (p *Pace) Note(took time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.mean == 0 {
		p.mean, p.deviation = took, took/2
		return
	}
	off := took - p.mean
	p.mean += off / 8
	p.deviation += (max(off, -off) - p.deviation) / 4
}

// Delay is after how long an answer is overdue: most at the most.
func (p *Pace) Delay(most time.Duration) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.mean == 0 {
		return unknown
	}
	return min(max(p.mean+4*p.deviation, floor), most)
}
