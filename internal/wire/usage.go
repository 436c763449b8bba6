package wire

import (
	"context"
	"sync/atomic"

	"github.com/nats-io/nats.go"
)

// Usage adds up what calls asked of the server. It is safe for concurrent use.
type Usage struct {
	Requests atomic.Int64 // sent; a request with many replies counts once
	Keys     atomic.Int64 // messages received, delete markers included
	Bytes    atomic.Int64 // of those messages: keys, headers and values
}

type usageKey struct{}

// Measured is a context whose calls count in u.
func Measured(ctx context.Context, u *Usage) context.Context {
	return context.WithValue(ctx, usageKey{}, u)
}

// usageOf is what the calls of a context count in, or nil.
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
