// Package storetest holds an implementation of store.Store to every promise of the
// port.
package storetest

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/natsorm/natsorm/internal/errs"
	"github.com/natsorm/natsorm/internal/store"
)

// Subject is the implementation under test, on a bucket.
type Subject struct {
	// Store returns the store under test: the same one each time, or, of Frozen
	// stores, one that has not read yet.
	Store func() store.Store

	// Writer writes to the same bucket. It may be another session.
	Writer store.Store

	// Close ends a store, and Ended is what its calls return then.
	Close func(store.Store)
	Ended error

	// What the store does not do. The suite holds it to refusing that.

	// Refuses is the calls that it answers with errs.ErrInvalid.
	Refuses Calls
	// Frozen: it shows one state of the bucket, as a transaction's view does. Nothing
	// is written after any revision, and reads may fail with errs.ErrConflict when
	// others have written what they read.
	Frozen bool
	// Unbounded: its Read answers for any number of keys, so it has no
	// ErrTooMany.
	Unbounded bool
}

// Calls is a set of the port's calls.
type Calls uint

// The calls that an implementation may refuse.
const (
	Writes    Calls = 1 << iota // Write and Batch
	Read                        // Read, Exact
	Feeds                       // Feed
	Revisions                   // Last, and Revision of Whole
)

// test is one promise under test, on keys of its own.
type test struct {
	*Subject
	testing.TB
	ctx    context.Context
	prefix string
}

// Run runs the suite. Each promise is a test that runs in parallel, with a subject
// that open makes; several may be on one bucket, because each has keys of its own.
func Run(t *testing.T, open func(t testing.TB) *Subject) {
	for _, promise := range []struct {
		name    string
		hold    func(*test)
		refused Calls // without them there is nothing to hold the store to
	}{
		{"get", get, 0},
		{"get many", getMany, 0},
		{"lookup", lookup, 0},
		{"lookup too many", lookupTooMany, 0},
		{"match", match, 0},
		{"read", read, Read},
		{"scan", scan, 0},
		{"scan after a revision", scanAfter, 0},
		{"scan under writers", scanUnderWriters, 0},
		{"scan with repeats", scanWithRepeats, 0},
		{"count", count, 0},
		{"count under writers", countUnderWriters, 0},
		{"size", size, 0},
		{"changes", changes, 0},
		{"last", last, Revisions},
		{"revisions", revisions, Revisions},
		{"checked writes", checkedWrites, Writes},
		{"independent writes", independentWrites, Writes},
		{"loose writes", looseWrites, Writes},
		{"large values", largeValues, Writes},
		{"batch", batch, Writes},
		{"guards", guards, Writes},
		{"guard of everything", guardOfEverything, Writes},
		{"batch limits", batchLimits, Writes},
		{"share", share, Writes},
		{"purge", purge, Writes},
		{"fences", fences, 0},
		{"feed", feed, Feeds},
		{"feed after a revision", feedAfter, Feeds},
		{"session", session, Writes},
		{"other sessions", otherSessions, 0},
		{"ended context", endedContext, 0},
		{"closed", closed, 0},
		{"ways", ways, 0},
		{"refusals", refusals, 0},
	} {
		t.Run(promise.name, func(t *testing.T) {
			t.Parallel()
			s := open(t)
			if s.Refuses&promise.refused != 0 {
				return // refusals holds it to that
			}
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			t.Cleanup(cancel)
			promise.hold(&test{Subject: s, TB: t, ctx: ctx, prefix: fmt.Sprint("t", tests.Add(1))})
		})
	}
}

// tests counts the tests of this process, so that each has keys of its own.
var tests atomic.Int64

func (t *test) key(rest ...any) string {
	k := t.prefix
	for _, r := range rest {
		k += "." + fmt.Sprint(r)
	}
	return k
}

// reader is a store that sees all that Writer has written.
func (t *test) reader() store.Store {
	t.Helper()
	s := t.Store()
	t.ok(store.CatchUp(t.ctx, s))
	return s
}

func (t *test) ok(err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func (t *test) is(err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Fatalf("%v, want %v", err, want)
	}
}

// write writes through Writer, and returns the last revision.
func (t *test) write(ops ...store.Op) uint64 {
	t.Helper()
	return t.writeTo(t.Writer, ops...)
}

func (t *test) writeTo(s store.Store, ops ...store.Op) (revision uint64) {
	t.Helper()
	for i, r := range s.Write(t.ctx, ops...) {
		if r.Err != nil {
			t.Fatalf("write %s: %v", ops[i].Key, r.Err)
		}
		revision = r.Revision
	}
	return revision
}

func (t *test) put(key, value string) uint64 {
	t.Helper()
	return t.write(store.Op{Key: key, Value: []byte(value)})
}

func (t *test) remove(key string) uint64 {
	t.Helper()
	return t.write(store.Op{Key: key, Delete: true})
}

// fill writes n keys, whose values are their numbers.
func (t *test) fill(n int, under ...any) (keys []string) {
	t.Helper()
	ops := make([]store.Op, n)
	for i := range ops {
		ops[i] = store.Op{Key: t.key(append(under, i)...), Value: fmt.Append(nil, i)}
		keys = append(keys, ops[i].Key)
	}
	for chunk := range slices.Chunk(ops, store.MaxBatch) {
		_, err := t.Writer.Batch(t.ctx, store.Batch{Ops: chunk})
		t.ok(err)
	}
	return keys
}

// expect compares messages by key with what they must be.
func (t *test) expect(what string, got map[string]store.Message, want map[string]string) {
	t.Helper()
	values := map[string]string{}
	for key, m := range got {
		values[key] = string(m.Value)
		if m.Deleted {
			values[key] = deleted
		}
		if m.Key != key || m.Revision == 0 {
			t.Errorf("%s: %+v of key %s", what, m, key)
		}
	}
	if !maps.Equal(values, want) {
		t.Fatalf("%s: %v, want %v", what, values, want)
	}
}

// deleted stands for the value of a delete marker.
const deleted = "a delete marker"

// byKey maps messages by key. Each key may come once.
func (t *test) byKey(found []store.Message) map[string]store.Message {
	t.Helper()
	out := map[string]store.Message{}
	for _, m := range found {
		if _, twice := out[m.Key]; twice {
			t.Fatalf("%s comes twice", m.Key)
		}
		out[m.Key] = m
	}
	return out
}

// conflicted reports whether a read failed only because others wrote what it reads,
// which it may in a Frozen store.
func (t *test) conflicted(err error) bool {
	t.Helper()
	if t.Frozen && errors.Is(err, errs.ErrConflict) {
		return true
	}
	t.ok(err)
	return false
}

// collect reads a stream to its end.
func (t *test) collect(messages func(func(store.Message, error) bool)) (found []store.Message, err error) {
	for m, err := range messages {
		if err != nil {
			return nil, err
		}
		found = append(found, m)
	}
	return found, nil
}

func (t *test) scan(s store.Store, pattern string, opts store.ScanOptions) map[string]store.Message {
	t.Helper()
	found, err := t.collect(s.Scan(t.ctx, pattern, opts))
	t.ok(err)
	return t.byKey(found)
}
