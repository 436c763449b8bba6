package session

import (
	"context"
	"sync"

	"github.com/natsorm/natsorm/internal/keys"
	"github.com/natsorm/natsorm/internal/store"
	"github.com/natsorm/natsorm/internal/wire"
)

// What a replica's answer proves: see package bucket.

// fewDoubts is for how many keys and patterns the leader is asked about each at once: as many as
// are under way together (doubtsInFlight). For more it is asked first whether anything was written at all.
const (
	fewDoubts      = doubtsInFlight
	doubtsInFlight = 16
)

// prove reports whether the answer of a replica that had reached asOf can lack nothing, but
// for keys that it returns: these are to be read by themselves. Otherwise the error is
// wire.ErrBehind, and the session's floor is above what the answer may lack. asked are keys
// and patterns, found is what the answer has of them, and again says that an answer to the
// same question was doubted before.
func (s *Session) prove(ctx context.Context, asked []string, found []store.Message, asOf uint64, again bool) (lacks []string, err error) {
	if s.Isolates() { // no replica has answered
		return nil, nil
	}
	doubts := s.doubts(asked, found)
	if len(doubts) == 0 {
		return nil, nil
	}
	if len(doubts) > fewDoubts {
		if _, last, err := s.Stream.State(ctx); err != nil || last <= asOf {
			return nil, err
		}
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var first error
	var mu sync.Mutex
	var all sync.WaitGroup
	slots := make(chan struct{}, doubtsInFlight)
	for i, doubt := range doubts {
		check := func() {
			more, err := s.settleDoubt(ctx, doubt, found, asOf, again)
			mu.Lock()
			defer mu.Unlock()
			lacks = append(lacks, more...)
			if err != nil && first == nil {
				first = err
				cancel() // the others are in vain
			}
		}
		if i == len(doubts)-1 { // most often there is one
			check()
			break
		}
		slots <- struct{}{}
		all.Go(func() {
			defer func() { <-slots }()
			check()
		})
	}
	all.Wait()
	return lacks, first
}

// doubts are the keys and patterns of a question about which the answer may be wrong.
func (s *Session) doubts(asked []string, found []store.Message) (doubts []string) {
	var have map[string]bool
	for _, a := range asked {
		if keys.IsPattern(a) || s.Now().History { // of a key with history, an older revision may be left
			doubts = append(doubts, a)
			continue
		}
		if len(asked) == 1 {
			if len(found) == 0 {
				doubts = asked
			}
			return doubts
		}
		if have == nil {
			have = make(map[string]bool, len(found))
			for i := range found {
				have[found[i].Key] = true
			}
		}
		if !have[a] {
			doubts = append(doubts, a)
		}
	}
	return doubts
}

// settleDoubt asks the leader about one key or pattern.
//
// Of a key it asks for the last message. If there is none, or a delete marker that is not newer than the
// answer, the key is absent. A leader that was replaced and does not know it may answer too, as long as it
// has what the session has: it does not know whether the key was written since, but a key that was there
// all the time it has, in some revision.
//
// If nothing under a pattern was written since, nothing can be missing. A pattern that is written all
// the time has to do with less the second time: nothing is missing but those of the leader's keys that
// the answer does not have.
func (s *Session) settleDoubt(ctx context.Context, doubt string, found []store.Message, asOf uint64, again bool) (lacks []string, err error) {
	if !keys.IsPattern(doubt) && !s.Now().History {
		m, err := s.LeaderLast(ctx, doubt)
		if err == nil && (m.Live() || m.Revision > asOf) {
			err = wire.ErrBehind
		}
		return nil, err
	}
	if !again || s.Now().History {
		m, err := s.LeaderNext(ctx, doubt, asOf)
		if err == nil && m.Revision > 0 {
			err = wire.ErrBehind
		}
		return nil, err
	}
	have := make(map[string]bool, len(found)+1)
	have[anchorKey] = true // which was asked for besides
	for i := range found {
		have[found[i].Key] = true
	}
	return s.Missing(ctx, doubt, func(key string) bool { return have[key] })
}

// Missing returns those of the keys under a pattern that the leader has, and that the caller
// does not. wire.ErrBehind when the leader that has answered is behind the session, as one is
// that others have replaced.
func (s *Session) Missing(ctx context.Context, pattern string, has func(key string) bool) (missing []string, err error) {
	floor := s.floor.Load()
	last, err := s.Stream.Roll(ctx, pattern, func(key string) {
		if !has(key) {
			missing = append(missing, key)
		}
	})
	switch {
	case err != nil:
	case last < floor:
		err = wire.ErrBehind
	case len(missing) > 0:
		s.Saw(last)
	}
	return missing, err
}

// missingTogether is how many keys EachMissing gives at once.
const missingTogether = 1000

// EachMissing is Missing for many keys: it gives them in parts, some of them twice, and holds no
// more than one part.
func (s *Session) EachMissing(ctx context.Context, pattern string, has func(key string) bool, each func(missing []string) error) error {
	var part []string
	var failed error
	give := func() {
		if failed == nil && len(part) > 0 {
			failed = each(part)
		}
		part = part[:0]
	}
	_, err := s.Missing(ctx, pattern, func(key string) bool {
		if !has(key) {
			if part = append(part, key); len(part) == missingTogether {
				give()
			}
		}
		return true
	})
	if err == nil {
		give()
	}
	if failed != nil {
		err = failed
	}
	return err
}
