package refusal

import (
	"fmt"
	"strings"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/natsorm/natsorm/internal/errs"
)

// Full makes errs.ErrFull of the server's error, if the stream has reached one of its limits.
func Full(stream string, maxBytes, maxMsgs int64, e *jetstream.APIError) error {
	limit, value, flag := "max_bytes", maxBytes, "--max-bytes"
	switch {
	case strings.Contains(e.Description, "maximum bytes exceeded"):
	case strings.Contains(e.Description, "maximum messages exceeded"):
		limit, value, flag = "max_msgs", maxMsgs, "--max-msgs"
	default:
		return e
	}
	was := ""
	if value > 0 { // else it was set since the last look
		was = fmt.Sprintf(" (%d)", value)
	}
	return fmt.Errorf("%w: stream %s has reached its %s%s; destroy records, or raise the limit (nats stream edit %s %s=…); where a deletion has this error too, its delete marker needs room: raise the limit, delete, and lower it again after an hour, when the markers are gone: %w",
		errs.ErrFull, stream, limit, was, stream, flag, e)
}

// The server's error codes for storage that is used up beyond the bucket. CodeResources is
// also that of a cluster that has too few servers.
const (
	CodeResources        = 10023
	CodeAccountResources = 10002
	codeMaxStreams       = 10027
	codeMemoryResources  = 10028
	codeStorageResources = 10047
)

// NoRoom makes errs.ErrFull of the server's error, if the server or the account has no room
// for a stream or its messages.
func NoRoom(stream string, e *jetstream.APIError) error {
	switch e.ErrorCode {
	case CodeResources, codeMemoryResources, codeStorageResources:
		return fmt.Errorf("%w: the server has no room left for stream %s: all that JetStream may use there is used, or promised to streams (max_file_store and max_mem_store; by default 3/4 of the disk that was free, and of the memory, when the server started); raise it, remove other streams, or start the server again when its disk has more room: %w", errs.ErrFull, stream, e)
	case CodeAccountResources:
		return fmt.Errorf("%w: the account has no room left for stream %s: all that it may use of JetStream is used, or promised to streams; raise the account's limits of JetStream (max_file, max_mem), or remove other streams: %w", errs.ErrFull, stream, e)
	case codeMaxStreams:
		return fmt.Errorf("%w: the account may have no more streams, and so no stream %s: raise its limit (max_streams), remove another stream, or use a bucket that is there: %w", errs.ErrFull, stream, e)
	}
	return e
}
