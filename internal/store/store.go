// Package store is the port: what natsorm asks of a bucket, whoever keeps it.
// Package bucket keeps one on JetStream; package fault (store/fault) is a twin
// that fails on demand; a transaction's view (package txn) is a third. Package
// storetest holds all of them to what is promised here.
//
// Keys are dotted tokens, without the bucket's subject prefix. In a pattern, *
// stands for one token and > at the end for one or more.
package store

import (
	"context"
	"iter"
)

// Store reads and writes one bucket. It is safe for concurrent use.
//
// What one store writes and sees is a session: no read shows a state older than
// one that the session has seen or written. What others have written may be
// missing on a replicated bucket until CatchUp, Barrier, Revision or Whole.
//
// Errors of the way to the server are Transient. A call whose context has ended
// returns the context's error, which is too.
type Store interface {
	// Get returns the last message of a key, which may be live, a delete marker,
	// or absent. An absent key is a Message with the key and no revision.
	Get(ctx context.Context, key string) (Message, error)

	// GetLatest is Get from the leader, which is at least as new. A leader that is
	// cut off from the other servers answers what it has until it notices, so
	// whoever writes because of the answer checks the revision.
	GetLatest(ctx context.Context, key string) (Message, error)

	// GetMany is Get of many keys, in their order.
	GetMany(ctx context.Context, keys []string) ([]Message, error)

	// GetEach is GetMany for callers that work on messages as they come. It calls
	// each with the position of a key and its message: one call at a time, in no
	// particular order, and again for a key whose answer had to be asked for again.
	// The last call for a position counts. Absent keys may be left out.
	GetEach(ctx context.Context, keys []string, each func(i int, m Message)) error

	// Lookup returns the live messages under the patterns, in one request, or a few
	// when the patterns do not fit into one. With limit, it may stop after about
	// that many, and rest is how many keys it left out. asOf is a revision that
	// the bucket had reached, or 0 when that is not known. ErrTooMany when a
	// request's patterns match more keys than the server answers for, 1024.
	Lookup(ctx context.Context, patterns []string, limit int) (found []Message, rest int, asOf uint64, err error)

	// Match streams the live messages under the patterns, in no particular order:
	// a few with one request, many as Scan does.
	Match(ctx context.Context, patterns []string) iter.Seq2[Message, error]

	// Read returns the last message of every key under the patterns, delete markers
	// included, and a revision that the bucket had reached. All messages up to
	// that revision were the last of their keys at it; newer ones say that something
	// was written meanwhile. ErrTooMany as for Lookup.
	Read(ctx context.Context, patterns []string) (found []Message, asOf uint64, err error)

	// Scan streams the live messages under a pattern. A key that is live from before
	// the scan until after it comes exactly once, also when it is overwritten
	// meanwhile; one that appears or disappears, at most once. To stop early frees
	// everything.
	Scan(ctx context.Context, pattern string, opts ScanOptions) iter.Seq2[Message, error]

	// Count returns the number of live keys under a pattern: what Scan would deliver.
	Count(ctx context.Context, pattern string) (int, error)

	// Size returns about the number of keys under a pattern, delete markers
	// included; keys that are being written may be missing. It takes two requests,
	// and the server a tenth of the time of a scan.
	Size(ctx context.Context, pattern string) (int, error)

	// Changes returns the last message of every key under a pattern that was
	// written after a revision, delete markers included, as all of them were at one
	// moment during the call. They are in the order of their revisions; earlier
	// messages of the same keys may come before them.
	Changes(ctx context.Context, pattern string, revision uint64) ([]Message, error)

	// Since is the live ones among the last messages of Changes.
	Since(ctx context.Context, pattern string, revision uint64) ([]Message, error)

	// Last returns the last revision under a pattern, delete markers included, from
	// the leader; 0 when there is none.
	Last(ctx context.Context, pattern string) (uint64, error)

	// Feed follows the keys under a pattern; see Feed.
	Feed(ctx context.Context, pattern string) (Feed, error)

	// CatchUp makes the reads that follow at least as new as the leader. Only on a
	// replicated bucket it takes a request.
	CatchUp(ctx context.Context) error

	// Barrier makes the reads that follow at least as new as every write that
	// anyone was told is done before the call, also when the leader has been
	// replaced and does not know it. On a replicated bucket it takes a write.
	Barrier(ctx context.Context) error

	// Revision returns a revision at or above every write acknowledged before the
	// call. Reads that follow are at least as new.
	Revision(ctx context.Context) (uint64, error)

	// Whole returns the last revision that the bucket ever had, at a moment at which
	// no batch was half written. Reads that follow are at least as new.
	Whole(ctx context.Context) (uint64, error)

	// Write sends independent writes together and waits for all answers. A result
	// has the write's revision, or why it was not done: ErrWrongRevision for a
	// checked write, ErrUnknown when the answer was lost. ErrTooLarge, of all
	// results, when a value is too large: then nothing was sent.
	Write(ctx context.Context, ops ...Op) []Result

	// Batch does all of a batch's writes with nothing between them, or none. It
	// returns the revision of the first op; each next one has the next revision.
	// ErrWrongRevision when a condition does not hold, ErrUnknown, ErrTooLarge,
	// ErrBatchTooLarge, ErrNoBatches.
	Batch(ctx context.Context, b Batch) (first uint64, err error)

	// Share is Batch for ops that may go in one batch with those of other calls. If
	// their conditions do not hold, only this call fails. It returns the revision of
	// its last op.
	Share(ctx context.Context, ops []Op) (revision uint64, err error)

	// Writes is how a change of one record is written that comes alone: Atomic or
	// Phased.
	Writes() Way

	// BeginChange begins a change of one record, and says how it is best written
	// now; many says that it is one of many that come together. EndChange ends it.
	BeginChange(many bool) Way
	EndChange()

	// Replicated reports whether several servers keep the bucket.
	Replicated() bool

	// MaxValue is the largest value that can be written, in bytes.
	MaxValue() int
}

// ScanOptions is what the reader of a scan knows that makes the scan, or later
// calls, cheaper.
type ScanOptions struct {
	Want    int  // messages that will be enough, so that few more are sent; 0 for all
	Counted bool // Count is called for this pattern too, and may reuse what the scan learns
	Keys    bool // values are not needed, and may be left out

	// Again asks for corrections. On a replicated bucket the scan may be served by
	// a replica that was behind what the session had seen. A key that was delivered
	// as it was then is delivered once more, with Message.Again set: as it is now,
	// or as a delete marker.
	Again bool
}

// Way is a way to write a record with its index entries and claims.
type Way int

const (
	Phased Way = iota // one write after the other
	Atomic            // in a batch
	Shared            // in a batch with others, by Share
)
