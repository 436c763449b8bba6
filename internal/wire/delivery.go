package wire

import (
	"strconv"
	"strings"
	"time"
)

// delivery is what the server says about a message of a consumer, besides the message
// itself.
type delivery struct {
	revision uint64    // the message's sequence in the stream
	consumer uint64    // its number among the consumer's messages, from 1
	at       time.Time // when the server stored it
	pending  uint64    // how many messages are to come after it
}

// parseDelivery reads the reply subject of a consumer's message, which JetStream makes of
// these tokens:
// $JS.ACK.[<domain>.<account>.]<stream>.<consumer>.<delivered>.<stream
// sequence>.<consumer sequence>.<time>.<pending>[.<random>]
func parseDelivery(reply string) (d delivery, ok bool) {
	const short = 9
	skip := 5
	switch n := strings.Count(reply, ".") + 1; {
	case n == short:
	case n >= short+2:
		skip += 2
	default:
		return d, false
	}
	for range skip {
		_, reply, _ = strings.Cut(reply, ".")
	}
	var nums [4]uint64
	for i := range nums {
		var token string
		token, reply, _ = strings.Cut(reply, ".")
		n, err := strconv.ParseUint(token, 10, 64)
		if err != nil {
			return d, false
		}
		nums[i] = n
	}
	return delivery{revision: nums[0], consumer: nums[1], at: time.Unix(0, int64(nums[2])).UTC(), pending: nums[3]}, true
}
