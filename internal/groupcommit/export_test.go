package groupcommit

// Waiting is how many shares are in the queue.
func (g *Group) Waiting() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.queue)
}

const (
	Sharers = sharers
	PeakFor = peakFor
)
