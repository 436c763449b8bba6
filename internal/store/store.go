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
	"time"
)

// Store reads and writes one bucket. It is safe for concurrent use.
//
// What one store writes and sees is a session: no read shows a state older than one
// that the session has seen or written, except for Scan, which says how. On a
// Replicable bucket, what others have written may be missing until Revision has asked how
// far the bucket is.
//
// Errors of the way to the server are Transient. A call whose context has ended
// returns the context's error, which is too.
type Store interface {
	// Get returns the last message of a key, which may be live, a delete marker, or
	// absent. An absent key is a Message with the key and no revision.
	Get(ctx context.Context, key string) (Message, error)

	// GetLatest is Get from the leader, which is at least as new. A leader that is cut
	// off from the other servers answers what it has until it notices, so a caller that
	// writes because of the answer makes its write conditional on the revision.
	GetLatest(ctx context.Context, key string) (Message, error)

	// GetEach is Get of many keys, for callers that work on messages as they come. It
	// calls each with the position of a key and its message: one call at a time, in no
	// particular order, and again for a key whose answer had to be asked for again.
	// The last call for a position counts. Absent keys may be left out.
	GetEach(ctx context.Context, keys []string, each func(i int, m Message)) error

	// Read returns the messages under keys and patterns, in one request, or a few where
	// they do not fit into one. ErrTooMany when a request's patterns match more keys
	// than the server answers for, MaxMatches.
	Read(ctx context.Context, l Lookup) (Answer, error)

	// Scan streams the live messages under a pattern. A key that is live from before
	// the scan until after it comes exactly once, also when it is overwritten
	// meanwhile; one that appears or disappears, at most once. On a Replicable bucket a
	// replica that is behind the session may serve it: nothing is left out then, but a
	// message may be older than the session has seen it, and its key be deleted by now.
	// Who minds asks for corrections (ScanOptions.Again), or calls Current. Breaking out
	// of the stream frees everything.
	Scan(ctx context.Context, pattern string, opts ScanOptions) iter.Seq2[Message, error]

	// Count returns the number of keys under a pattern.
	Count(ctx context.Context, pattern string, p Precision) (int, error)

	// Changes returns the last message of every key under a pattern that was written
	// after a revision, delete markers included, as all of them were at one moment
	// during the call. They are in the order of their revisions; earlier messages of
	// the same keys may come before them.
	Changes(ctx context.Context, pattern string, revision uint64) ([]Message, error)

	// Last returns the last revision under a pattern, delete markers included, from
	// the leader; 0 when there is none.
	Last(ctx context.Context, pattern string) (uint64, error)

	// Feed follows keys; see Feed.
	Feed(ctx context.Context, o FeedOptions) (Feed, error)

	// Revision returns how far the bucket is, to be as certain as asked for. Reads that
	// follow are at least as new.
	Revision(ctx context.Context, c Certainty) (uint64, error)

	// Write sends independent writes together and waits for all answers. A result has
	// the write's revision, or why it was not done: ErrWrongRevision for a conditional
	// write, ErrUnknown when the answer was lost, errs.ErrFull when the bucket is full. All
	// results are ErrTooLarge when one value is too large: then nothing was sent.
	Write(ctx context.Context, ops ...Op) []Result

	// Batch does all of a batch's writes with nothing between them, or none. It returns
	// the revision of the first op; each next one has the next revision.
	// ErrWrongRevision when a condition does not hold, ErrUnknown, ErrTooLarge,
	// ErrBatchTooLarge, ErrNoBatches, errs.ErrFull.
	Batch(ctx context.Context, b Batch) (first uint64, err error)

	// BeginChange begins a change of one record, and says how it is best written now;
	// many says that it is one of many that come together. The caller ends it with end.
	BeginChange(many bool) (way Way, end func())

	// Traits says what the bucket is like now.
	Traits() Traits
}

// Purger is a Store that can remove many keys at once. A transaction's view cannot, nor can
// stores that stand for a part of a bucket.
type Purger interface {
	Store

	// Purge removes every message under a pattern whose revision is at most upTo, delete
	// markers too. It leaves no markers, so no feed and no Changes tells of it: nor does a Scan that
	// began on a replica that was behind, which needs After to leave out what is gone. Reads of other
	// kinds see that it is done once the session has seen what was written later.
	// ErrNoPurge when the bucket does not allow it; then, and after any other error, some may be gone.
	Purge(ctx context.Context, pattern string, upTo uint64) error
}

// Lookup is what Read is asked for.
type Lookup struct {
	Patterns []string // keys, and patterns

	// Limit is about how many messages are enough; 0 for all.
	Limit int

	// Exact asks for one answer that shows the bucket at one revision, delete markers
	// included: every message up to Answer.Revision was the last of its key at that
	// revision, and a newer one says that something was written meanwhile. It has no
	// Limit, and is ErrTooMany also when the patterns do not fit into one request.
	Exact bool
}

// Answer is what Read found.
type Answer struct {
	Messages []Message // the live ones; if Exact, also delete markers
	Left     int       // how many keys a Limit has left out
	Revision uint64    // a revision that the bucket had reached; 0 when that is not known

	// Torn says that the answer took several requests, so that its parts are from several
	// moments. All of them are after Revision, which is not 0 then.
	Torn bool
}

// Precision is how exact a Count is.
type Precision int

const (
	// Exactly counts the live keys: those that a Scan would deliver.
	Exactly Precision = iota
	// About also counts delete markers, and may miss keys that are being written. It
	// takes two requests, and the server a tenth of the time of a scan.
	About
)

// Certainty is what a revision that the bucket has reached is sure to cover.
type Certainty int

const (
	// Leader: what the leader has. Where the bucket is not Replicable all reads have that,
	// so it takes no request, and the revision is 0. A leader that was replaced and does not know
	// it has what it had.
	Leader Certainty = iota
	// Acknowledged: every write that was acknowledged before the call; the revision may
	// be in the middle of a batch.
	Acknowledged
	// Whole: every write that was acknowledged before the call; and no batch was half
	// written at that revision.
	Whole
	// Agreed: every write that anyone was told is done before the call, also when the
	// leader was replaced and does not know it. On a Replicable bucket it takes a write,
	// which calls at the same time share. The revision is 0.
	Agreed
)

// Traits is what a bucket is like.
type Traits struct {
	// Replicable: several servers keep the bucket, or may keep it at any time from now on
	// without that the store notices. A change that relies on its being false says so
	// (Op.Lone, Batch.Lone), and a scan (ScanOptions.Current); then they are refused once it
	// is true. Once it is true it stays true.
	Replicable bool

	// Created is when the bucket was made. With that, its revisions are told from those of
	// another bucket of its name.
	Created time.Time

	// Generation changes when the bucket turns out to be another one, made anew or put back.
	Generation uint64

	MaxValue int // the largest value that can be written, in bytes
	Writes   Way // how a change of one record is written that comes alone: Atomic or Phased
}

// ScanOptions is what the reader of a scan knows that makes the scan, or later
// calls, cheaper.
type ScanOptions struct {
	Want    int  // messages that will be enough, so that few more are sent; 0 for all
	Counted bool // Count is called for this pattern too, and may reuse what the scan learns
	Keys    bool // values are not needed, and may be left out

	// After leaves out the messages at this revision and below it. What the scan delivers
	// besides corrections is in the order of the revisions, so a later scan can go on where
	// this one has come to. A transaction's view has no order, and may deliver them all the same.
	After uint64

	// Gentle says that the reader is in no hurry: requests are small, so that others are
	// served in between.
	Gentle bool

	// Current says that the values are of use only if they are as new as the session. Where
	// the bucket is Replicable (Traits) the scan is ErrReplicable; in the middle, too, when
	// it becomes so.
	Current bool

	// Again asks for corrections. On a Replicable bucket the scan may be served by
	// a replica that was behind what the session had seen. A key that was delivered
	// as it was then is delivered once more, with Message.Again set: as it is now,
	// or as a delete marker.
	Again bool

	// Repeats says that the reader bears with messages of keys that have come already, so that
	// the scan need not remember which have: it takes the same memory then, however many keys
	// there are. A message that may be of such a key has Message.Again; where a replica that is
	// behind serves the scan, others may be too. Want, Current and Again do not go with it.
	Repeats bool
}

// Way is a way to write a record with its index entries and claims.
type Way int

const (
	Phased Way = iota // one write after the other
	Atomic            // in a batch
	Shared            // in a batch with others: Batch.Shared
)
