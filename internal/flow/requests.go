package flow

import "time"

// Requests are those of one reader for messages that have not all come yet. The server
// works on them in their order. The zero value has none. It is for one goroutine.
type Requests struct {
	open    []request // the oldest first
	asked   int
	bytes   int           // that came since one of them ended
	waiting time.Duration // for them
}

// request is for messages, and took bytes of a window, if it is not nil.
type request struct {
	messages, bytes int
	window          *Window
}

// Open is how many they are, and Asked for how many messages that have not come.
func (r *Requests) Open() int  { return len(r.open) }
func (r *Requests) Asked() int { return r.asked }

// Add adds a request for messages, for which bytes of a window were taken. The window is nil
// for messages that are too small to count.
func (r *Requests) Add(messages, bytes int, w *Window) {
	r.open = append(r.open, request{messages, bytes, w})
	r.asked += messages
}

// Came notes a message, and how long the reader waited for it.
func (r *Requests) Came(bytes int, waited time.Duration) {
	r.bytes += bytes
	r.waiting += waited
	r.Less(1)
}

// Less notes that n messages are no longer to come: they came, or their request ended
// without them. What a request took is given back when none of its messages is to come.
func (r *Requests) Less(n int) {
	r.asked = max(0, r.asked-n)
	for len(r.open) > 0 && (r.asked == 0 || n >= r.open[0].messages) {
		ended := r.open[0]
		n -= ended.messages
		if ended.window != nil {
			ended.window.Give(ended.bytes, r.bytes, r.waiting)
		}
		r.open, r.bytes, r.waiting = r.open[1:], 0, 0
	}
	if len(r.open) > 0 {
		r.open[0].messages -= max(n, 0)
	}
}

// Refused notes that the server did not take the last one.
func (r *Requests) Refused() {
	if len(r.open) == 0 {
		return
	}
	last := r.open[len(r.open)-1]
	r.open, r.asked = r.open[:len(r.open)-1], r.asked-last.messages
	if last.window != nil {
		last.window.Give(last.bytes, 0, 0)
	}
}

// End ends all of them.
func (r *Requests) End() { r.Less(r.asked) }
