package bucket

import (
	"context"
	"slices"
	"sync"

	"github.com/natsorm/natsorm/internal/store"
	"github.com/natsorm/natsorm/internal/wire"
)

const (
	maxInFlight  = 4 // requests for many keys of one call under way
	multiPayload = 2 // a request's keys take at most one n-th of the payload limit
)

// Get gets a message directly, from whichever server answers that is as far as the
// session.
func (b *Bucket) Get(ctx context.Context, key string) (store.Message, error) {
	if !b.direct {
		return b.GetLatest(ctx, key)
	}
	if b.replicated {
		m := store.Message{Key: key}
		_, _, err := b.multi(ctx, []string{key}, 0, func(got store.Message, _ bool) { m = got })
		return m, err
	}
	return b.stream.Get(ctx, key)
}

// GetLatest asks the stream's leader. With one replica there is no other server,
// and the direct get asks the same one faster.
func (b *Bucket) GetLatest(ctx context.Context, key string) (store.Message, error) {
	if !b.replicated && b.direct {
		return b.Get(ctx, key)
	}
	m, err := b.leaderLast(ctx, key)
	m.Key = key
	return m.Message, err
}

// GetEach asks in chunks of what the server takes at once, several under way.
func (b *Bucket) GetEach(ctx context.Context, keys []string, each func(i int, m store.Message)) error {
	if len(keys) <= 1 || !b.direct {
		for i, key := range keys {
			m, err := b.Get(ctx, key)
			if err != nil {
				return err
			}
			each(i, m)
		}
		return nil
	}
	unique, give := byKey(keys, each)
	chunks := b.chunks(unique)
	if len(chunks) == 1 {
		_, _, err := b.multi(ctx, unique, 0, func(m store.Message, _ bool) { give(m) })
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var mu sync.Mutex
	slots := make(chan struct{}, maxInFlight)
	done := make(chan error, len(chunks))
	for _, chunk := range chunks {
		slots <- struct{}{}
		go func() {
			defer func() { <-slots }()
			_, _, err := b.multi(ctx, chunk, 0, func(m store.Message, _ bool) {
				mu.Lock()
				defer mu.Unlock()
				give(m)
			})
			done <- err
		}()
	}
	var err error
	for range chunks {
		if e := <-done; err == nil && e != nil {
			err = e
			cancel() // the others are in vain
		}
	}
	return err
}

// byKey is the different ones of some keys, and a function that calls each with every
// position of a message's key.
func byKey(keys []string, each func(i int, m store.Message)) (unique []string, give func(store.Message)) {
	first := make(map[string]int, len(keys))
	for i, key := range keys {
		if _, ok := first[key]; !ok {
			first[key] = i
		}
	}
	if len(first) == len(keys) {
		return keys, func(m store.Message) { each(first[m.Key], m) }
	}
	unique = make([]string, 0, len(first))
	for i, key := range keys {
		if first[key] == i {
			unique = append(unique, key)
		}
	}
	return unique, func(m store.Message) {
		for i, key := range keys {
			if key == m.Key {
				each(i, m)
			}
		}
	}
}

// chunks cuts keys where a request would get too large.
func (b *Bucket) chunks(keys []string) [][]string {
	limit, most := b.stream.MaxPayload()/multiPayload, store.MaxMatches
	if b.replicated {
		most-- // for the anchor
	}
	var out [][]string
	start, size := 0, 0
	for i, key := range keys {
		n := len(b.stream.Prefix) + len(key) + 3
		if i > start && (i-start == most || size+n > limit) {
			out = append(out, keys[start:i])
			start, size = i, 0
		}
		size += n
	}
	return append(out, keys[start:])
}

// multi gets the last messages of keys or patterns, and gives each to found as it
// comes; see wire.Stream.GetMany. On a replicated bucket the answer is from a server
// that is as far as the session, and no limit holds. asOf is a revision that the
// server had reached, 0 when nothing was found and the bucket is not replicated.
func (b *Bucket) multi(ctx context.Context, keys []string, limit int, found func(m store.Message, repeated bool)) (rest int, asOf uint64, err error) {
	if b.replicated {
		asOf, err = b.multiCurrent(ctx, keys, func(m store.Message) { found(m, false) })
		return 0, asOf, err
	}
	return b.stream.GetMany(ctx, keys, limit, found)
}

// multiCurrent is multi from a server that is as far as the session. It asks for
// the anchor too, and so learns how far the server is even when it finds nothing.
func (b *Bucket) multiCurrent(ctx context.Context, keys []string, found func(store.Message)) (asOf uint64, err error) {
	wanted := slices.Contains(keys, anchorKey)
	with := keys
	if !wanted {
		with = append(slices.Clip(keys), anchorKey)
	}
	var got []store.Message
	keep := func(m store.Message, repeated bool) {
		if repeated {
			got = slices.DeleteFunc(got, func(old store.Message) bool { return old.Key == m.Key })
		}
		if m.Key != anchorKey || wanted {
			got = append(got, m)
		}
	}
	leader := func() (err error) {
		got = got[:0]
		if _, asOf, err = b.stream.State(ctx); err != nil {
			return err
		}
		return b.leaderEach(ctx, keys, func(m store.Message) { keep(m, false) })
	}
	err = b.current(ctx, func() (err error) {
		got = got[:0]
		floor := b.floor.Load()
		_, asOf, err = b.stream.GetMany(ctx, with, 0, keep)
		switch {
		case err != nil:
			return err
		case asOf == 0: // nothing was found, not even the anchor
			if b.dropAnchor(ctx) != nil && b.leaderIsCurrent(ctx) {
				return leader() // it may not write
			}
			return wire.ErrBehind
		case asOf < floor:
			return wire.ErrBehind
		}
		return nil
	}, leader)
	if err != nil {
		return 0, err
	}
	b.saw(asOf)
	for _, m := range got {
		b.saw(m.Revision)
		found(m)
	}
	return asOf, nil
}
