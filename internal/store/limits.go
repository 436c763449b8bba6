package store

import "fmt"

// Limits of the server by which callers divide what they ask of a bucket.
const (
	// MaxMatches is how many keys one request is answered for. ErrTooMany when its
	// patterns match more.
	MaxMatches = 1024

	// MaxPatternBytes is how many bytes of keys and patterns surely fit into one
	// request.
	MaxPatternBytes = 256 << 10
)

// PayloadLimit is the end of a message about a value that is larger than MaxValue.
// instead is what to do other than to raise the limit, and ends with "or ", or is
// empty.
func PayloadLimit(limit int, instead string) string {
	return fmt.Sprintf("and the server's payload limit leaves %d; %sraise max_payload", limit, instead)
}
