package store

import "context"

// FeedOptions is what a feed follows.
type FeedOptions struct {
	Pattern string

	// Beside is a key whose changes come too, in order with the others, once the feed has caught
	// up; "" for none.
	Beside string

	// After makes the feed begin with what was written after this revision, and leave out what was
	// there. Then it does not say CaughtUp before a Resync. 0: it begins with what is there.
	After uint64
}

// Feed delivers the messages under a pattern: first those that are there, then
// every change, in order. It is for one goroutine.
type Feed interface {
	// Next waits for the next event. When ctx ends first it returns ctx's error.
	// After an error the feed is of no more use.
	Next(ctx context.Context) (Event, error)
	// Close frees what the server holds for the feed.
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
	// Changed: this is now a key's last message. Of several writes of a key in
	// quick succession, only the last may come.
	Changed EventKind = iota
	// CaughtUp: everything that was there has been delivered. It comes once after
	// the start and once after each Resync.
	CaughtUp
	// Resync: continuity was lost, by an outage longer than delete markers live,
	// or because the bucket was deleted and made again. What is there now follows
	// as Changed events up to the next CaughtUp; other keys are gone.
	Resync
)
