package txn

import (
	"context"
	"errors"
	"strings"

	"github.com/natsorm/natsorm/internal/store"
)

// maxRead is how many keys and patterns one request asks for; one is the anchor.
const maxRead = 1000

// read reads keys and patterns as of the transaction's instant, and notes what is
// to be guarded. ErrTooMany when it is too much for one request.
func (t *Tx) read(ctx context.Context, patterns []string) ([]store.Entry, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if err := t.usable(); err != nil {
		return nil, err
	}
	found, asOf, err := t.store.Read(ctx, patterns)
	if err != nil {
		return nil, err
	}
	newest := uint64(0)
	byKey := make(map[string]store.Entry, len(found))
	for _, e := range found {
		newest = max(newest, e.Revision)
		byKey[e.Key] = e
	}
	for _, p := range patterns {
		if isPattern(p) {
			if err := t.noteSpan(p, lastUnder(p, found), false); err != nil {
				return nil, err
			}
			continue
		}
		e, ok := byKey[p]
		if !ok {
			e = store.Entry{Key: p}
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
	return found, t.agree(ctx, asOf, newest)
}

// agree makes an answer, in which newest is the newest, agree with what was read
// before.
func (t *Tx) agree(ctx context.Context, asOf, newest uint64) error {
	switch {
	case t.asOf == 0 && newest <= asOf:
		t.asOf = asOf
		return nil
	case t.asOf != 0 && newest <= t.asOf:
		return nil
	}
	_, err := t.revalidate(ctx)
	return err
}

// noteKey notes a key as it was read; with guard, to be guarded by itself.
func (t *Tx) noteKey(e store.Entry, guard bool) error {
	if known, ok := t.entries[e.Key]; ok && known.Revision != e.Revision {
		return t.conflict(e.Key)
	}
	t.entries[e.Key] = e
	if guard {
		t.keys[e.Key] = e.Revision
	}
	return nil
}

func (t *Tx) noteSpan(pattern string, last uint64, large bool) error {
	if known, ok := t.ranges[pattern]; ok && known.last != last {
		return t.conflict(pattern)
	}
	t.ranges[pattern] = &span{last: last, large: large}
	return nil
}

// revalidate reads again all that was read, and ends the run when any of it has
// changed. Otherwise all of it is as it was at the revision that it returns, which
// becomes the transaction's instant.
func (t *Tx) revalidate(ctx context.Context) (uint64, error) {
	start, err := t.store.Sequence(ctx)
	if err != nil {
		return 0, err
	}
	var ask []string
	size := 0
	flush := func() error {
		if len(ask) == 0 {
			return nil
		}
		found, _, err := t.store.Read(ctx, ask)
		if errors.Is(err, store.ErrTooMany) {
			// The patterns have got more keys than one request reads, or all of them
			// together have: one by one, by their last revision.
			for _, p := range ask {
				if err := t.unchanged(ctx, p); err != nil {
					return err
				}
			}
			ask, size = ask[:0], 0
			return nil
		}
		if err != nil {
			return err
		}
		byKey := make(map[string]uint64, len(found))
		for _, e := range found {
			byKey[e.Key] = e.Revision
		}
		for _, p := range ask {
			if isPattern(p) {
				if lastUnder(p, found) != t.ranges[p].last {
					return t.conflict(p)
				}
			} else if byKey[p] != t.keys[p] {
				return t.conflict(p)
			}
		}
		ask, size = ask[:0], 0
		return nil
	}
	for pattern, s := range t.ranges {
		if s.large {
			if err := t.unchanged(ctx, pattern); err != nil {
				return 0, err
			}
			continue
		}
		ask = append(ask, pattern)
		if err := flush(); err != nil { // by itself: what it matches is not known
			return 0, err
		}
	}
	for key := range t.keys {
		ask = append(ask, key)
		if size += len(key); len(ask) == maxRead || size > maxReadBytes {
			if err := flush(); err != nil {
				return 0, err
			}
		}
	}
	if err := flush(); err != nil {
		return 0, err
	}
	t.asOf = start
	return start, nil
}

// maxReadBytes bounds the keys of a request, which the payload limit bounds.
const maxReadBytes = 256 << 10

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

// scan reads everything under a pattern that has too many keys for one request. It
// is as of one instant if nothing was written under it meanwhile.
func (t *Tx) scan(ctx context.Context, pattern string) ([]store.Entry, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if err := t.usable(); err != nil {
		return nil, err
	}
	start, err := t.store.Revision(ctx)
	if err != nil {
		return nil, err
	}
	var found []store.Entry
	for e, err := range t.store.Scan(ctx, pattern, store.ScanOptions{Again: true}) {
		switch {
		case err != nil:
			return nil, err
		case e.Revision > start, e.Again:
			return nil, t.conflict(e.Key)
		}
		found = append(found, e)
	}
	last, err := t.store.Last(ctx, pattern)
	if err != nil {
		return nil, err
	}
	if last > start {
		return nil, t.conflict(pattern)
	}
	if err := t.noteSpan(pattern, last, true); err != nil {
		return nil, err
	}
	for _, e := range found {
		if err := t.noteKey(e, false); err != nil {
			return nil, err
		}
	}
	return found, t.agree(ctx, start, last)
}

// isPattern tells patterns from keys, which have no such characters.
func isPattern(s string) bool { return strings.ContainsAny(s, "*>") }

// lastUnder is the last revision under a pattern among entries.
func lastUnder(pattern string, found []store.Entry) (last uint64) {
	for _, e := range found {
		if matches(pattern, e.Key) {
			last = max(last, e.Revision)
		}
	}
	return last
}

// matches reports whether a key matches a pattern.
func matches(pattern, key string) bool {
	for {
		p, pRest, pMore := strings.Cut(pattern, ".")
		k, kRest, kMore := strings.Cut(key, ".")
		switch {
		case p == ">":
			return true
		case p != "*" && p != k, pMore != kMore && pRest != ">":
			return false
		case !pMore || !kMore:
			return pMore == kMore
		}
		pattern, key = pRest, kRest
	}
}
