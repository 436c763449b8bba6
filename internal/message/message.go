// Package message says how what is in a bucket stands in a message of its stream: the headers
// that a write gets, and what the headers of a message that was read say of it.
package message

import "time"

// Headers of a message in a bucket.
const (
	Expect        = "Nats-Expected-Last-Subject-Sequence"
	ExpectSubject = "Nats-Expected-Last-Subject-Sequence-Subject" // whose, if not the message's own
	ExpectLast    = "Nats-Expected-Last-Sequence"                 // the stream's
	TTL           = "Nats-TTL"
	Rollup        = "Nats-Rollup"
	Operation     = "KV-Operation" // DEL or PURGE, as every KV client writes it
	Reason        = "Nats-Marker-Reason"
	ID            = "Nats-Msg-Id"
	BatchID       = "Nats-Batch-Id"
	BatchSequence = "Nats-Batch-Sequence"
	BatchCommit   = "Nats-Batch-Commit"
	Fence         = "Natsorm-Fence"  // a fence's original revision
	Schema        = "Natsorm-Schema" // the revision of the catalogue's document that the writer of a record knew
)

// MarkerTTL is how long a delete marker stays. No request may be in flight for longer. If they
// stayed forever, a bucket would only ever grow.
const MarkerTTL = time.Hour
