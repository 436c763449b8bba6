// Package batch is how many messages a reader of a stream asks for at a time:
// the rule that package wire reads by, and that package plan counts requests
// with. It is pure.
package batch

// A request asks for twice as many messages as the one before, up to Most or,
// with large ones, Bytes. Two are under way, so that one is answered while the
// other's messages are read: that bounds memory.
const (
	First = 16      // messages, at least, of the first request: they may be large
	Most  = 8192    // messages
	Bytes = 4 << 20 // in total, though never fewer than two messages
)

// Next is the size of the request after one of this size, when the messages so
// far have this many bytes.
func Next(size, messages, bytes int) int {
	size = min(2*size, Most)
	for size > 2 && messages > 0 && bytes/messages > Bytes/size {
		size /= 2
	}
	return size
}

// Requests is how many requests it takes to read this many messages, which have
// this many bytes on average.
func Requests(messages, bytes int) int {
	n := 0
	for size, asked := First/2, 0; asked < messages; n++ {
		size = Next(size, min(asked, 1), bytes)
		asked += size
	}
	return n
}
