// Package flow bounds how many bytes are under way to a client on one connection.
//
// A server drops a connection for which too much waits, by default 64 MB, or what waits
// longer than 10 seconds: with everything on it, for all who share it. Readers ask for much
// at once, because little at once is slow. So those who read at the same time share a
// Window: the more there are, the less each asks for, and when nothing is left the next one
// waits until what another has asked for has come. A window grows while what was asked for
// comes at once, and shrinks when it takes long.
//
// It is what TCP does with its windows, one level above.
package flow

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
)

const (
	// A window for messages that are there begins with firstSize bytes, and has between
	// leastSize and mostSize. With followSize, for messages that are yet to be written, it is
	// less than the server's 64 MB, because single messages, and the first parts of answers,
	// are not counted.
	firstSize, leastSize, mostSize = 8 << 20, 2 << 20, 32 << 20
	followSize                     = 12 << 20

	// A reader that waited no longer than soon for what it asked for lets the window grow,
	// and one that waited longer than late halves it, as often as that.
	soon, late = 100 * time.Millisecond, time.Second

	// portion is the part of what is free that one request gets.
	portion = 4

	// patience is how long a reader waits while nothing that others have asked for comes.
	// They may have it and not read on, so that nothing is under way.
	patience = 2 * time.Second
)

// ErrDone says that the wait for a share was ended from outside.
var ErrDone = errors.New("no longer waited for")

// Flow is what the readers of one connection share.
type Flow struct {
	Scans   Window // for messages that are there
	Follows Window // for messages that are yet to be written

	users int // guarded by flows.mu
}

var flows = struct {
	mu sync.Mutex
	of map[*nats.Conn]*Flow
}{of: map[*nats.Conn]*Flow{}}

// Of returns what the readers of a connection share. release must be called in the end.
func Of(nc *nats.Conn) (f *Flow, release func()) {
	flows.mu.Lock()
	defer flows.mu.Unlock()
	f = flows.of[nc]
	if f == nil {
		f = &Flow{Scans: Window{size: firstSize, free: firstSize}, Follows: Window{size: followSize, free: followSize, fixed: true}}
		flows.of[nc] = f
	}
	f.users++
	return f, sync.OnceFunc(func() {
		flows.mu.Lock()
		defer flows.mu.Unlock()
		if f.users--; f.users == 0 {
			delete(flows.of, nc)
		}
	})
}

// Window is a number of bytes that may be under way. It is safe for concurrent use.
type Window struct {
	mu         sync.Mutex
	size, free int  // free is below 0 while more is under way than should be
	fixed      bool // the size stays: how long messages are waited for says nothing of the connection
	shrank     time.Time
	given      uint64          // how often something was given back
	waiting    []chan struct{} // who waits, in order; the first one is told when something was given back
}

// Take takes between least and most bytes, a share of what is free; Give gives them back.
// Where less than least is free it waits for others, in the order of the calls. While they
// give nothing back for two seconds nothing that they asked for is under way, and it does not
// wait for them any more. The error is ctx's, or
// ErrDone when done is closed.
func (w *Window) Take(ctx context.Context, least, most int, done <-chan struct{}) (int, error) {
	w.mu.Lock()
	if len(w.waiting) == 0 && w.fits(least) {
		defer w.mu.Unlock()
		return w.share(least, most), nil
	}
	told, seen := make(chan struct{}, 1), w.given
	w.waiting = append(w.waiting, told)
	w.mu.Unlock()
	t := time.NewTimer(patience)
	defer t.Stop()
	for {
		still := false
		var err error
		select {
		case <-told:
		case <-t.C:
			still = true
		case <-done:
			err = ErrDone
		case <-ctx.Done():
			err = ctx.Err()
		}
		w.mu.Lock()
		still = still && w.given == seen
		if err != nil || still || w.waiting[0] == told && w.fits(least) {
			w.waiting = slices.DeleteFunc(w.waiting, func(c chan struct{}) bool { return c == told })
			if still { // nothing is under way any more: they have it, and do not read on
				w.free = w.size
			}
			n := 0
			if err == nil {
				n = w.share(least, most)
			}
			w.next()
			w.mu.Unlock()
			return n, err
		}
		if w.given != seen {
			seen = w.given
			t.Reset(patience)
		}
		w.mu.Unlock()
	}
}

// TryTake is Take that does not wait: it takes nothing, 0, where less than least is free.
func (w *Window) TryTake(least, most int) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.waiting) > 0 || !w.fits(least) {
		return 0
	}
	return w.share(least, most)
}

// Share is Take that does not wait, and takes least where less is free.
func (w *Window) Share(least, most int) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.share(least, most)
}

// Give gives n bytes back that were taken. came is how many bytes have come, and waited how
// long their reader waited for them; they move the size of the window.
func (w *Window) Give(n, came int, waited time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case w.fixed:
	case waited > late && time.Since(w.shrank) > late:
		w.resize(max(w.size/2, leastSize))
		w.shrank = time.Now()
	case waited <= soon && came > 0:
		w.resize(min(w.size+came, mostSize))
	}
	w.free = min(w.free+n, w.size)
	w.given++
	w.next()
}

// UnderWay is how much is taken.
func (w *Window) UnderWay() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.size - w.free
}

func (w *Window) resize(size int) {
	w.free += size - w.size
	w.size = size
}

// fits reports whether so much is free, or everything: what is larger than the window is
// under way alone.
func (w *Window) fits(n int) bool { return w.free >= min(n, w.size) }

func (w *Window) share(least, most int) int {
	n := max(least, min(w.free/portion, most))
	w.free -= n
	return n
}

// next tells the first one that waits to look again.
func (w *Window) next() {
	if len(w.waiting) == 0 {
		return
	}
	select {
	case w.waiting[0] <- struct{}{}:
	default: // it has not looked yet
	}
}
