package wire

import (
	"context"
	"sync/atomic"

	"github.com/nats-io/nats.go"
)

// Usage adds up what calls cost. It is safe for concurrent use.
type Usage struct {
	Requests atomic.Int64 // how many requests were sent; one with many replies counts once
	Keys     atomic.Int64 // how many messages were received, delete markers included
	Bytes    atomic.Int64 // the size of those messages: keys, headers and values
}

type usageKey struct{}

// Measured returns a context whose calls add what they cost to u.
func Measured(ctx context.Context, u *Usage) context.Context {
	return context.WithValue(ctx, usageKey{}, u)
}

// usageOf returns the Usage that a context was measured with, or nil.
func usageOf(ctx context.Context) *Usage {
	u, _ := ctx.Value(usageKey{}).(*Usage)
	return u
}

func (u *Usage) asked() {
	if u != nil {
		u.Requests.Add(1)
	}
}

func (u *Usage) got(msgs ...*nats.Msg) {
	if u == nil {
		return
	}
	bytes := 0
	for _, m := range msgs {
		bytes += m.Size()
	}
	u.Keys.Add(int64(len(msgs)))
	u.Bytes.Add(int64(bytes))
}
