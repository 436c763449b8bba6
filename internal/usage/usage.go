// Package usage counts what calls cost in requests and bytes. A context carries the counter
// of a call to where requests are sent.
package usage

import (
	"context"
	"sync/atomic"

	"github.com/nats-io/nats.go"
)

// Usage adds up what calls cost. It is safe for concurrent use.
type Usage struct {
	Requests atomic.Int64 // how many requests were sent; one with many replies counts once
	Again    atomic.Int64 // how many of them had been sent before, and were not answered, or not in time
	Keys     atomic.Int64 // how many messages were received, delete markers included
	Bytes    atomic.Int64 // the size of those messages: keys, headers and values
}

type key struct{}

// Measured returns a context whose calls add what they cost to u.
func Measured(ctx context.Context, u *Usage) context.Context {
	return context.WithValue(ctx, key{}, u)
}

// Of returns the Usage that a context was measured with, or nil.
func Of(ctx context.Context) *Usage {
	u, _ := ctx.Value(key{}).(*Usage)
	return u
}

// Add adds what other calls cost.
func (u *Usage) Add(other *Usage) {
	if u == nil {
		return
	}
	u.Requests.Add(other.Requests.Load())
	u.Again.Add(other.Again.Load())
	u.Keys.Add(other.Keys.Load())
	u.Bytes.Add(other.Bytes.Load())
}

// Asked counts a request; again says that it was sent before.
func (u *Usage) Asked(again bool) {
	if u == nil {
		return
	}
	u.Requests.Add(1)
	if again {
		u.Again.Add(1)
	}
}

// Got counts messages.
func (u *Usage) Got(msgs ...*nats.Msg) {
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
