// Package readsize decides how many messages a reader of a stream asks for with each
// request. Package store reads by this rule, and package plan counts requests with it
// before they are made, so both must agree. It is pure.
//
// Each request asks for twice as many messages as the one before, so that a short
// answer costs little and a long one needs few requests. The growth ends at Most
// messages, or earlier when they are large, at Bytes. The reader keeps two requests
// under way: the server answers one while the messages of the other are read. So the
// messages of at most two requests are in memory.
//
// The numbers are measured: with at most 2,048 messages a scan had 0.83 of the speed of
// kv.Watch, with 8,192 it has 0.97 (see docs/design.md).
package readsize

const (
	// First is the number of messages of the first request. It is small because
	// nothing is known of their size yet.
	First = 16
	// Most is the largest number of messages of a request.
	Most = 8192
	// Bytes is about how many bytes a request asks for at the most. The smallest
	// request is two messages, whatever their size.
	Bytes = 4 << 20
)

// Next is the number of messages of the request that follows one of size messages.
// messages and bytes are what was read so far, in total; their average is the expected
// size of a message. With messages 0 nothing is known of it.
func Next(size, messages, bytes int) int {
	size = min(2*size, Most)
	for size > 2 && messages > 0 && bytes/messages > Bytes/size {
		size /= 2
	}
	return size
}

// Requests is the number of requests that it takes to read this many messages, of bytes
// bytes each on average.
func Requests(messages, bytes int) int {
	n := 0
	for size, asked := First/2, 0; asked < messages; n++ {
		size = Next(size, min(asked, 1), bytes) // one message of average size, once there is any
		asked += size
	}
	return n
}
