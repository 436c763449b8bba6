package store

import (
	"fmt"
	"time"
)

// Limits of the server by which callers divide what they ask of a bucket.
const (
	// MaxMatches is how many keys one request is answered for. ErrTooMany when its
	// patterns match more.
	MaxMatches = 1024

	// MaxPatternBytes is how many bytes of keys and patterns surely fit into one
	// request.
	MaxPatternBytes = 256 << 10
)

// BriefFor is how long a delete marker stays at least that was written with Op.Brief.
const BriefFor = 5 * time.Minute

// PayloadLimit is the end of a message about a value that is larger than MaxValue.
// instead is what to do other than to raise the limit, and ends with "or ", or is
// empty.
func PayloadLimit(limit int, instead string) string {
	return fmt.Sprintf("and the server's limits leave %d; %sraise max_payload of the server (MaxPayload of an embedded one), or max_msg_size of the bucket if it has one", limit, instead)
}
