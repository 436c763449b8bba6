package store

import "time"

// Message is the last message of a key.
type Message struct {
	Key      string
	Value    []byte
	Revision uint64    // its stream sequence; 0 when the key is absent
	Deleted  bool      // a delete marker
	Expired  bool      // a delete marker that the server left when a TTL ran out
	Fence    uint64    // of a fence, the revision whose value it repeats; see package commit
	Time     time.Time // when the server stored it; Feed sets it, and Scan where it is known
	Again    bool      // it corrects what a scan has delivered; see ScanOptions
}

// Live reports whether the key has a value.
func (m Message) Live() bool { return m.Revision != 0 && !m.Deleted }

// Version is the revision that wrote the value: the message's own, or of a fence
// the one that it repeats.
func (m Message) Version() uint64 {
	if m.Fence != 0 {
		return m.Fence
	}
	return m.Revision
}

// Op is one write.
type Op struct {
	Key         string
	Value       []byte
	Delete      bool          // writes a delete marker
	Purge       bool          // with Delete: the key's history goes too
	Conditional bool          // only if the key's last revision is Expect
	Expect      uint64        // 0: only if the key has none, not even a delete marker's
	Fence       uint64        // the write repeats the value of this revision; see Message
	TTL         time.Duration // in whole seconds, after which the server removes the message; 0 for never

	// Settle asks for certainty. When the answer is lost, the store finds out
	// whether the write was done, and sends it again if not. That takes the server
	// some memory for the duplicate window.
	Settle bool
}

// Result is the answer to a write: the revision it got, or why it was not done.
type Result struct {
	Revision uint64
	Err      error
}
