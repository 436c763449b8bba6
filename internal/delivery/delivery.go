// Package delivery reads what JetStream says about a message that a consumer delivers.
package delivery

import (
	"strconv"
	"strings"
	"time"
)

// Delivery is what the server says about a message of a consumer, besides the message
// itself.
type Delivery struct {
	Revision uint64    // the message's sequence in the stream
	Consumer uint64    // its number among the consumer's messages, from 1
	At       time.Time // when the server stored it
	Pending  uint64    // how many messages are to come after it
}

// Parse reads the reply subject of a consumer's message, which JetStream makes of
// these tokens:
// $JS.ACK.[<domain>.<account>.]<stream>.<consumer>.<delivered>.<stream
// sequence>.<consumer sequence>.<time>.<pending>[.<random>]
func Parse(reply string) (d Delivery, ok bool) {
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
	return Delivery{Revision: nums[0], Consumer: nums[1], At: time.Unix(0, int64(nums[2])).UTC(), Pending: nums[3]}, true
}
