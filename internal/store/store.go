// Package store is the port to JetStream: the few things that natsorm asks of
// a bucket, each one request or one stream of replies. Keys are without the
// bucket's subject prefix. Everything above is written against Store, so that
// a fault-injecting one can stand in its place.
package store

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/natsorm/natsorm/internal/errs"
)

// Store reads and writes one bucket. It is safe for concurrent use.
type Store interface {
	// Get is the last message of a key, whether live, deleted or absent. On a
	// replicated bucket it may be behind what was acknowledged.
	Get(ctx context.Context, key string) (Message, error)

	// GetLatest is Get from the leader, which is not behind unless it is cut off from
	// the others and does not know it yet. Whoever writes what follows from it
	// checks the revision.
	GetLatest(ctx context.Context, key string) (Message, error)

	// GetMany is Get of many keys, in their order.
	GetMany(ctx context.Context, keys []string) ([]Message, error)

	// GetEach is GetMany for callers that work on entries as they come: each is
	// called with the position of a key and its entry, not at the same time, in
	// no particular order, and more than once when a reply was lost or the answer
	// came in several parts. Absent keys may be left out.
	GetEach(ctx context.Context, keys []string, each func(i int, e Message)) error

	// Lookup is the live entries under the patterns, from one request, or a few
	// when the patterns do not fit into one; with most, about that many, and how
	// many keys were left out. asOf is a revision that the bucket had reached, 0 when
	// that is not known. ErrTooMany when a request's patterns match more than the
	// server answers for, 1024 keys.
	Lookup(ctx context.Context, patterns []string, most int) (found []Message, rest int, asOf uint64, err error)

	// Match streams every live entry under the patterns, in no particular
	// order: few of them from one request, many as Scan does.
	Match(ctx context.Context, patterns []string) iter.Seq2[Message, error]

	// Scan streams every live entry under a pattern. A key that is live from
	// before the scan until after it is seen exactly once; one that comes, goes
	// or changes meanwhile, at most once. Breaking off frees everything.
	Scan(ctx context.Context, pattern string, opts ScanOptions) iter.Seq2[Message, error]

	// Count is how many live entries Scan would deliver.
	Count(ctx context.Context, pattern string) (int, error)

	// Size is about the number of keys under a pattern, delete markers included:
	// while some are written, it may miss those. It costs two requests, and the
	// server less than a tenth of a scan.
	Size(ctx context.Context, pattern string) (int, error)

	// Feed follows the keys under a pattern; see Feed.
	Feed(ctx context.Context, pattern string) (Feed, error)

	// Read is the last message of every key that matches, delete markers too, and
	// a revision that the bucket had reached: without those that are newer, the
	// answer is as of that revision. ErrTooMany as for Lookup.
	Read(ctx context.Context, patterns []string) (found []Message, asOf uint64, err error)

	// Last is the last revision under a pattern, delete markers included, or 0;
	// from the leader.
	Last(ctx context.Context, pattern string) (uint64, error)

	// CatchUp lets the reads that follow see what the leader has now. Only a
	// replicated bucket takes a request for it.
	CatchUp(ctx context.Context) error

	// Barrier lets the reads that follow see all that anyone was told is written
	// before the call. On a replicated bucket it takes a write.
	Barrier(ctx context.Context) error

	// Write sends independent writes together and waits for every answer.
	Write(ctx context.Context, ops ...Op) []Result

	// Batch does all of a batch's writes, with nothing between them, or none. It
	// returns the first one's revision; the others follow it by one each.
	// ErrWrongRevision when a condition does not hold, ErrBatchTooLarge,
	// ErrNoBatches.
	Batch(ctx context.Context, b Batch) (first uint64, err error)

	// Share is Batch for writes that may be in one batch with those of other calls;
	// one whose conditions do not hold fails alone. It returns the last op's
	// revision.
	Share(ctx context.Context, ops []Op) (revision uint64, err error)

	// Writes is how a change of one record is written that comes alone: Atomic or
	// Phased.
	Writes() Way

	// BeginChange is how a change of one record is best written now; with many, it
	// is one of many that come together. EndChange ends it.
	BeginChange(many bool) Way
	EndChange()

	// Revision is one that every message acknowledged before the call is up to. As
	// after Whole, reads that follow are at least as new.
	Revision(ctx context.Context) (uint64, error)

	// Since is every live entry under a pattern that was written after a
	// revision, as of one instant during the call.
	Since(ctx context.Context, pattern string, revision uint64) ([]Message, error)

	// Changes is the last messages of the keys under a pattern that were written
	// after a revision, delete markers too, as of one instant during the call; in
	// their order, and perhaps earlier ones of the same keys before them.
	Changes(ctx context.Context, pattern string, revision uint64) ([]Message, error)

	// Replicated reports whether several servers keep the bucket. One of them may
	// be behind what was acknowledged to others; it is never asked twice by what
	// this store has written or seen.
	Replicated() bool

	// Whole is the last revision that the bucket ever had, at an instant at which no
	// batch was half done. Reads that follow are at least as new.
	Whole(ctx context.Context) (uint64, error)

	// MaxValue is the largest value that can be written, in bytes.
	MaxValue() int
}

// ScanOptions is what the reader of a scan knows, to make it and later calls
// cheaper.
type ScanOptions struct {
	Want    int  // entries that will be enough, so that the server sends few more; 0 for all
	Counted bool // the pattern is one that Count is asked for

	Keys bool // values are not needed

	// Again delivers a key once more that came as it was before what the session
	// has seen, because a replica was behind: as it is now, or as a delete marker.
	// Such entries say so.
	Again bool
}

// Message is the last message of a key.
type Message struct {
	Key      string
	Value    []byte
	Revision uint64    // its stream sequence; 0 when the key is absent
	Deleted  bool      // a delete marker
	Expired  bool      // a delete marker that the server left when a TTL ran out
	Fence    uint64    // of a fence, the revision whose value it repeats; see package commit
	Time     time.Time // when the server stored it; only Scan and Feed set it

	Again bool // it corrects what a scan has delivered; see ScanOptions
	// What only reads from the leader set:
	id         string  // the write's message id
	replaced   *uint64 // the revision that it expected
	unfinished bool    // its batch goes on behind it
}

// Live reports whether the key has a value.
func (e Message) Live() bool { return e.Revision != 0 && !e.Deleted }

// Version is the revision that wrote the value, which a fence repeats.
func (e Message) Version() uint64 {
	if e.Fence != 0 {
		return e.Fence
	}
	return e.Revision
}

// Op is one write.
type Op struct {
	Key         string
	Value       []byte
	Delete      bool
	Purge       bool   // with Delete: the key's history goes too
	Conditional bool   // only if the key's last revision is Expect
	Expect      uint64 // 0: only if it has none, not even a delete marker
	Fence       uint64 // marks a rewrite of this revision; see Entry
	TTL         time.Duration

	// Settle asks for certainty: when the answer is lost, the outcome is found
	// out, and a write that was not done is sent again. It takes the server some
	// memory for the duplicate window.
	Settle bool
}

// Way is a way to write a record with its index entries and claims.
type Way int

const (
	Phased Way = iota // one write after the other
	Atomic            // in a batch
	Shared            // in a batch with others
)

// Result is the answer to a write: the revision it got, or why it was not done.
type Result struct {
	Revision uint64
	Err      error
}

// Feed delivers the entries under a pattern: first those that are there, then
// every change, in order. It is for one goroutine.
type Feed interface {
	// Next waits for the next event. After an error the feed is dead.
	Next(ctx context.Context) (Event, error)
	// Close frees the consumer on the server.
	Close()
}

// Event is what a feed delivers.
type Event struct {
	Kind    EventKind
	Message Message // of Changed
}

// EventKind says what an Event is.
type EventKind int

const (
	// Changed: this is now a key's last message. Several writes of a key in
	// quick succession may arrive as the last of them.
	Changed EventKind = iota
	// CaughtUp: everything that was there has been delivered. It comes once
	// after the start and once after each Resync.
	CaughtUp
	// Resync: continuity was lost, by an outage longer than delete markers
	// live, or because the bucket was made anew. What is there now follows as
	// Changed events up to the next CaughtUp; keys not among them are gone.
	Resync
)

var (
	// ErrWrongRevision is why a checked write was not done.
	ErrWrongRevision = errors.New("wrong last revision")
	// ErrTooMany is the server's refusal to answer for so many keys at once.
	ErrTooMany = errors.New("too many results for one request")
	// ErrUnknown says that no answer came: the write may or may not be done.
	ErrUnknown = errors.New("sent, and not acknowledged")
	// ErrNoBatches says that the bucket takes no batches.
	ErrNoBatches = errors.New("the bucket's atomic publish is off")
	// ErrBatchTooLarge says that a batch exceeds MaxBatch, or MaxBatchBytes, or
	// what the server is set to take; nothing was written.
	ErrBatchTooLarge = errors.New("too many writes for one batch")
	// ErrTooLarge says that a value exceeds the payload limit; nothing was sent.
	ErrTooLarge = fmt.Errorf("%w: value exceeds the server's payload limit", errs.ErrInvalid)
	// ErrClosed is the answer of a store after Close.
	ErrClosed = errs.ErrClosed
)

// Transient reports whether an error comes from the way to the server, or from
// the end of a context: the same call may succeed another time.
func Transient(err error) bool {
	for _, target := range []error{
		errNoAnswer, errBusy, ErrUnknown, nats.ErrNoResponders, nats.ErrDisconnected, nats.ErrReconnectBufExceeded, context.DeadlineExceeded, context.Canceled,
	} {
		if errors.Is(err, target) {
			return true
		}
	}
	return false
}
