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
	Schema   uint64    // of a record, the revision of the catalogue's document that its writer knew; 0: not said
	Time     time.Time // when the server stored it; Feed sets it, and Scan where it is known
	Batched  bool      // of a Feed: it is in a batch, and is not the batch's last
	Again    bool      // it corrects what a scan has delivered, or may repeat it; see ScanOptions
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
	Brief       bool          // with Purge: no write depends on the delete marker, so it may go after BriefFor
	Conditional bool          // only if the key's last revision is Expect
	Expect      uint64        // 0: only if the key has none, not even a delete marker's
	Fence       uint64        // the write repeats the value of this revision; see Message
	Schema      uint64        // the writer knew this revision of the catalogue's document; see Message
	TTL         time.Duration // in whole seconds, after which the server removes the message; 0 for never

	// Lone says that the write is right only where the bucket is not Replicable (Traits).
	// Otherwise it is ErrReplicable.
	Lone bool

	// Settle asks for certainty. When the answer is lost, the store finds out
	// whether the write was done, and sends it again if not. That takes the server
	// some memory for the duplicate window.
	Settle bool

	// Loose says that the write may be done twice, and that nobody asks for its revision: that of
	// its Result may be another one's of the same call. Many such writes take a lone server a
	// third less time, because their answers have one subject. One whose answer is lost is sent
	// again; a conditional one may then be ErrWrongRevision because it was done.
	Loose bool
}

// Result is the answer to a write: the revision it got, or why it was not done.
type Result struct {
	Revision uint64
	Err      error
}
