package session

import (
	"context"
	"errors"
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
func (s *Session) Get(ctx context.Context, key string) (store.Message, error) {
	for { // as steady
		known := s.Now()
		var err error
		m := store.Message{Key: key}
		switch {
		case !known.Direct:
			m, err = s.getFromLeader(ctx, key)
		case known.Alone:
			m, err = s.Stream.Get(ctx, key)
		default:
			_, _, err = s.Multi(ctx, []string{key}, 0, func(got store.Message, _ bool) { m = got })
		}
		if s.Holds(known) && !errors.Is(err, errIndirect) {
			return m, err
		}
		if _, err := s.Look(ctx); err != nil {
			return store.Message{}, err
		}
	}
}

// GetLatest asks the stream's leader. Where there is no other server, the direct get asks
// the same one faster.
func (s *Session) GetLatest(ctx context.Context, key string) (m store.Message, err error) {
	for { // as steady
		known := s.Now()
		if known.Alone && known.Direct {
			m, err = s.Stream.Get(ctx, key)
		} else {
			m, err = s.getFromLeader(ctx, key)
		}
		if s.Holds(known) && !errors.Is(err, errIndirect) {
			return m, err
		}
		if _, err := s.Look(ctx); err != nil {
			return store.Message{}, err
		}
	}
}

func (s *Session) getFromLeader(ctx context.Context, key string) (store.Message, error) {
	m, err := s.LeaderLast(ctx, key)
	m.Key = key
	return m.Message, err
}

// GetEach asks in chunks of what the server takes at once, several under way.
func (s *Session) GetEach(ctx context.Context, keys []string, each func(i int, m store.Message)) error {
	again := false
	return s.Steady(ctx, func() error {
		for i := 0; again && i < len(keys); i++ {
			each(i, store.Message{Key: keys[i]}) // what was found may be absent now
		}
		again = true
		return s.getEach(ctx, keys, each)
	})
}

func (s *Session) getEach(ctx context.Context, keys []string, each func(i int, m store.Message)) error {
	if len(keys) == 0 {
		return nil
	}
	if len(keys) == 1 {
		m, err := s.Get(ctx, keys[0])
		if err == nil {
			each(0, m)
		}
		return err
	}
	unique, give := byKey(keys, each)
	if !s.Now().Direct {
		return s.LeaderEach(ctx, unique, give)
	}
	chunks := s.Chunks(unique)
	if len(chunks) == 1 {
		_, _, err := s.Multi(ctx, unique, 0, func(m store.Message, _ bool) { give(m) })
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
			_, _, err := s.Multi(ctx, chunk, 0, func(m store.Message, _ bool) {
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

// Chunks cuts keys where a request would get too large.
func (s *Session) Chunks(keys []string) [][]string {
	limit, most := s.Stream.MaxPayload()/multiPayload, store.MaxMatches
	if s.Replicable() {
		most-- // for the anchor
	}
	var out [][]string
	start, size := 0, 0
	for i, key := range keys {
		n := len(s.Stream.Prefix) + len(key) + 3
		if i > start && (i-start == most || size+n > limit) {
			out = append(out, keys[start:i])
			start, size = i, 0
		}
		size += n
	}
	return append(out, keys[start:])
}

// Multi gets the last messages of keys or patterns, and gives each to found as it
// comes; see wire.Stream.GetMany. On a Replicable bucket the answer is from a server
// that is as far as the session, and no limit holds. asOf is a revision that the
// server had reached, 0 when nothing was found and the bucket is not Replicable.
func (s *Session) Multi(ctx context.Context, keys []string, limit int, found func(m store.Message, repeated bool)) (rest int, asOf uint64, err error) {
	if s.Replicable() {
		asOf, err = s.multiCurrent(ctx, keys, false, func(m store.Message) { found(m, false) })
		return 0, asOf, err
	}
	return s.Stream.GetMany(ctx, keys, limit, found)
}

// multiCurrent is multi from a server that is as far as the session was when it was called,
// and lacks nothing. It asks for the anchor too, and so learns how far the server is even
// when it finds nothing. exact says that the answer has to be of one moment; otherwise keys
// that are written all the time may be of a later one.
func (s *Session) multiCurrent(ctx context.Context, keys []string, exact bool, found func(store.Message)) (asOf uint64, err error) {
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
		if _, asOf, err = s.Stream.State(ctx); err != nil {
			return err
		}
		return s.LeaderEach(ctx, keys, func(m store.Message) { keep(m, false) })
	}
	again, need := false, s.floor.Load()
	err = s.current(ctx, func() (err error) {
		got = got[:0]
		_, asOf, err = s.Stream.GetMany(ctx, with, 0, keep)
		switch {
		case err != nil:
			return err
		case asOf == 0: // nothing was found, not even the anchor
			if s.dropAnchor(ctx) != nil && s.leaderIsCurrent(ctx) {
				return leader() // it may not write
			}
			return wire.ErrBehind
		case asOf < min(need, s.floor.Load()): // which is less when the bucket was made anew
			return wire.ErrBehind
		}
		lacks, err := s.prove(ctx, keys, got, asOf, again)
		switch {
		case errors.Is(err, wire.ErrBehind), err == nil && exact && len(lacks) > 0:
			again, need = true, s.floor.Load()
			return wire.ErrBehind
		case err != nil:
			return err
		}
		if len(lacks) == 0 {
			return nil
		}
		for _, chunk := range s.Chunks(lacks) {
			if _, err := s.multiCurrent(ctx, chunk, false, func(m store.Message) { keep(m, false) }); err != nil {
				return err
			}
		}
		return nil
	}, leader)
	if err != nil {
		return 0, err
	}
	s.Saw(asOf)
	for _, m := range got {
		s.Saw(m.Revision)
		found(m)
	}
	return asOf, nil
}
