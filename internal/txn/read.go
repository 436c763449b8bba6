package txn

import (
	"context"
	"errors"
	"maps"
	"slices"
	"time"

	"github.com/natsorm/natsorm/internal/keys"
	"github.com/natsorm/natsorm/internal/store"
)

// maxRead is how many keys and patterns one request asks for, beside the anchor.
const maxRead = store.MaxMatches - 1

// read reads keys and patterns at the transaction's instant, and notes what is to be
// guarded. ErrTooMany when they are too much for one request.
func (t *Tx) read(ctx context.Context, patterns []string) ([]store.Message, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if err := t.usable(); err != nil {
		return nil, err
	}
	if err := t.ensure(ctx); err != nil {
		return nil, err
	}
	answer, err := t.store.Read(ctx, store.Lookup{Patterns: patterns, Exact: true})
	if err != nil {
		return nil, err
	}
	found, newest := answer.Messages, uint64(0)
	byKey := make(map[string]store.Message, len(found))
	for _, e := range found {
		newest = max(newest, e.Revision)
		byKey[e.Key] = e
	}
	last := lastUnder(patterns, found)
	for _, p := range patterns {
		if keys.IsPattern(p) {
			if err := t.noteSpan(p, last[p], false); err != nil {
				return nil, err
			}
			continue
		}
		e, ok := byKey[p]
		if !ok {
			e = store.Message{Key: p}
		}
		if err := t.noteKey(e, true); err != nil {
			return nil, err
		}
	}
	for _, e := range found {
		if err := t.noteKey(e, false); err != nil {
			return nil, err
		}
	}
	return found, t.agree(ctx, answer.Revision, newest)
}

// agree makes an answer agree with what was read before: the answer shows the bucket at
// asOf, and its newest message has the revision newest.
func (t *Tx) agree(ctx context.Context, asOf, newest uint64) error {
	switch {
	case t.asOf == 0 && newest <= asOf:
		t.asOf, t.at = asOf, t.began
		return nil
	case t.asOf != 0 && newest <= t.asOf && time.Since(t.at) < trusted:
		return nil
	}
	t.unsure = true // what was read is noted, and might not agree
	return t.ensure(ctx)
}

// ensure finds out whether everything that was read agrees, after a call that failed
// before it knew.
func (t *Tx) ensure(ctx context.Context) error {
	if !t.unsure {
		return nil
	}
	_, err := t.revalidate(ctx)
	t.unsure = err != nil
	return err
}

// Offer notes a key as a replica in memory has it, which has everything up to the revision asOf. Whatever reads
// the key next is answered by that, without a request, and the commit guards it as any other. It is not noted
// when it might not agree with what was read before; then it is read as if nobody had offered it. Nor is it in a
// run after one that has lost: perhaps to what the replica does not have yet.
func (t *Tx) Offer(asOf uint64, e store.Message) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if err := t.usable(); err != nil {
		return err
	}
	if _, known := t.messages[e.Key]; known || t.unsure || t.again {
		return nil
	}
	switch {
	case t.asOf == 0:
		t.asOf, t.at = asOf, time.Time{} // it is not known how long ago that was, so an answer to come is not trusted
	case e.Revision > t.asOf || asOf < t.asOf: // otherwise it was the same at the instant
		return nil
	}
	return t.noteKey(e, true)
}

// Offered reports whether Offer may note anything.
func (t *Tx) Offered() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return !t.again && !t.unsure
}

// AsOf is the revision of the transaction's instant; 0 when nothing was read.
func (t *Tx) AsOf() uint64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.asOf
}

// noteKey notes a message as it was read. With guard, the commit guards its key by
// itself; otherwise a pattern guards it.
func (t *Tx) noteKey(e store.Message, guard bool) error {
	if known, ok := t.messages[e.Key]; ok && known.Revision != e.Revision {
		return t.conflict(e.Key)
	}
	t.messages[e.Key] = e
	if guard {
		t.keys[e.Key] = e.Revision
	}
	return nil
}

func (t *Tx) noteSpan(pattern string, last uint64, large bool) error {
	known, ok := t.ranges[pattern]
	if ok && known.last != last {
		return t.conflict(pattern)
	}
	t.ranges[pattern] = &span{last: last, large: large, headed: ok && known.headed}
	return nil
}

// headed notes that the heads of those patterns that are lookups were read with them.
func (t *Tx) headed(patterns []string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, p := range patterns {
		if s := t.ranges[p]; s != nil && keys.IsLookup(p) {
			s.headed = true
		}
	}
}

// trusted is how long after the transaction's instant an answer in which nothing is newer
// shows the same state. Later it might not: an entry may have been removed since, and its
// delete marker too.
const trusted = store.BriefFor / 2

// revalidate makes now the transaction's instant, if nothing that was read has changed, and
// returns its revision. Otherwise it ends the run.
//
// When the last instant is long ago, it looks twice. An index lookup may find its pattern
// unchanged because what came since has gone, and its markers too; and several requests
// look at different times. Between the two looks no marker goes. So what both find
// unchanged was so all the time between them.
func (t *Tx) revalidate(ctx context.Context) (uint64, error) {
	if time.Since(t.at) >= trusted {
		if _, err := t.look(ctx); err != nil {
			return 0, err
		}
	}
	return t.look(ctx)
}

// look reads again everything that was read, and ends the run when anything has
// changed. Otherwise all of it holds at the revision that it returns, which becomes the
// transaction's instant. The revision is taken before the reading: what is unchanged
// after it was unchanged at it.
func (t *Tx) look(ctx context.Context) (uint64, error) {
	now := time.Now()
	start, err := t.store.Revision(ctx, store.Whole)
	if err != nil {
		return 0, err
	}
	var ask []string
	size := 0
	add := func(p string) error {
		ask = append(ask, p)
		if size += len(p); len(ask) < maxRead && size < store.MaxPatternBytes {
			return nil
		}
		err := t.compare(ctx, ask, start)
		ask, size = ask[:0], 0
		return err
	}
	for _, pattern := range slices.Sorted(maps.Keys(t.ranges)) { // in one order, so that the same change is found each time
		if t.ranges[pattern].large {
			err = t.unchanged(ctx, pattern)
		} else {
			err = add(pattern)
		}
		if err != nil {
			return 0, err
		}
	}
	for _, key := range slices.Sorted(maps.Keys(t.keys)) {
		if err := add(key); err != nil {
			return 0, err
		}
	}
	if err := t.compare(ctx, ask, start); err != nil {
		return 0, err
	}
	t.asOf, t.at = start, now
	return start, nil
}

// compare reads keys and patterns again, in as many requests as it takes, and ends the
// run when one of them has changed. Each answer must be at least as new as start.
func (t *Tx) compare(ctx context.Context, ask []string, start uint64) error {
	if len(ask) == 0 {
		return nil
	}
	answer, err := t.store.Read(ctx, store.Lookup{Patterns: ask, Exact: true})
	switch {
	case errors.Is(err, store.ErrTooMany) && len(ask) == 1:
		return t.unchanged(ctx, ask[0])
	case errors.Is(err, store.ErrTooMany):
		half := len(ask) / 2
		if err := t.compare(ctx, ask[:half], start); err != nil {
			return err
		}
		return t.compare(ctx, ask[half:], start)
	case err != nil:
		return err
	case answer.Revision < start:
		return t.fail(errConflict) // the store promises otherwise
	}
	byKey := make(map[string]uint64, len(answer.Messages))
	for _, e := range answer.Messages {
		byKey[e.Key] = e.Revision
	}
	last := lastUnder(ask, answer.Messages)
	for _, p := range ask {
		if s := t.ranges[p]; s != nil && last[p] != s.last || s == nil && byKey[p] != t.keys[p] {
			return t.conflict(p)
		}
	}
	return nil
}

// unchanged asks for the last revision under a key or a pattern.
func (t *Tx) unchanged(ctx context.Context, pattern string) error {
	last, err := t.store.Last(ctx, pattern)
	if err != nil {
		return err
	}
	noted, ok := t.keys[pattern]
	if !ok {
		noted = t.ranges[pattern].last
	}
	if last != noted {
		return t.conflict(pattern)
	}
	return nil
}

// scan reads everything under a pattern that has too many keys for one request. Then it
// reads what was written meanwhile, until nothing follows: the revision at which nothing
// follows is the one that the scan shows.
//
// What a replica finds at or below the revision after was purged.
func (t *Tx) scan(ctx context.Context, pattern string, after uint64) ([]store.Message, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if err := t.usable(); err != nil {
		return nil, err
	}
	if err := t.ensure(ctx); err != nil {
		return nil, err
	}
	start, err := t.store.Revision(ctx, store.Acknowledged)
	if err != nil {
		return nil, err
	}
	at := map[string]int{}
	var all []store.Message
	put := func(e store.Message) {
		if i, ok := at[e.Key]; ok {
			all[i] = e
			return
		}
		at[e.Key] = len(all)
		all = append(all, e)
	}
	for e, err := range t.store.Scan(ctx, pattern, store.ScanOptions{Again: true, After: after}) {
		if err != nil {
			return nil, err
		}
		put(e)
	}
	var last uint64
	for {
		changes, err := t.store.Changes(ctx, pattern, start)
		if err != nil {
			return nil, err
		}
		for _, e := range changes {
			put(e)
			last = e.Revision
		}
		if len(changes) > 0 {
			break
		}
		if last, err = t.store.Last(ctx, pattern); err != nil {
			return nil, err
		}
		if last <= start {
			break // otherwise something was written since
		}
	}
	if err := t.noteSpan(pattern, last, true); err != nil {
		return nil, err
	}
	found := all[:0]
	for _, e := range all {
		if err := t.noteKey(e, false); err != nil {
			return nil, err
		}
		if e.Live() {
			found = append(found, e)
		}
	}
	return found, t.agree(ctx, max(start, last), last)
}

// lastUnder is the last revision of the messages under each pattern.
func lastUnder(patterns []string, found []store.Message) map[string]uint64 {
	m, last := keys.NewMatcher(patterns), map[string]uint64{}
	for _, e := range found {
		m.Each(e.Key, func(i int) { last[patterns[i]] = max(last[patterns[i]], e.Revision) })
	}
	return last
}
