package bucket

import (
	"context"
	"fmt"

	"github.com/natsorm/natsorm/internal/store"
)

// tailBatch is how many messages one request for the last part of a scan asks for.
const tailBatch = 1000

// after reads the messages under a pattern that follow a revision, at most n.
// more is true when others may follow these. With direct get it is one isolated
// request; without, one message at a time, from the leader. Only the leader of a
// replicated bucket knows that nothing follows, so it is asked in the end.
func (b *Bucket) after(ctx context.Context, pattern string, revision uint64, n int) (found []store.Message, more bool, err error) {
	if b.direct {
		found, more, err = b.afterDirect(ctx, pattern, revision, n)
		if err != nil || len(found) > 0 {
			return found, more || b.replicated, err
		}
		if !b.replicated {
			return nil, false, nil
		}
	}
	return b.afterLeader(ctx, pattern, revision)
}

// follows reports whether there is a message under a pattern after a revision,
// in one isolated request.
func (b *Bucket) follows(ctx context.Context, pattern string, revision uint64) (bool, error) {
	_, ok, err := b.stream.Next(ctx, pattern, revision)
	return ok, err
}

func (b *Bucket) afterDirect(ctx context.Context, pattern string, revision uint64, n int) (found []store.Message, more bool, err error) {
	// For a batch the server first counts what is pending, which takes as long
	// as the pattern has keys; most often nothing follows, and no count is needed.
	if more, err := b.follows(ctx, pattern, revision); err != nil || !more {
		return nil, false, err
	}
	found, rest, err := b.stream.NextMany(ctx, pattern, revision, n)
	if err != nil {
		return nil, false, fmt.Errorf("natsorm: get what follows revision %d: %w", revision, err)
	}
	return found, len(found) > 0 && rest > 0, nil
}

// afterOne reads the message that follows a revision.
func (b *Bucket) afterOne(ctx context.Context, pattern string, revision uint64) (found []store.Message, more bool, err error) {
	if !b.direct || b.replicated { // only the leader knows that nothing follows
		return b.afterLeader(ctx, pattern, revision)
	}
	m, ok, err := b.stream.Next(ctx, pattern, revision)
	if err != nil || !ok {
		return nil, false, err
	}
	return []store.Message{m}, true, nil
}

// afterLeader reads from the leader the message that follows a revision.
func (b *Bucket) afterLeader(ctx context.Context, pattern string, revision uint64) (found []store.Message, more bool, err error) {
	m, err := b.leaderNext(ctx, pattern, revision)
	if err != nil || m.Revision == 0 {
		return nil, false, err
	}
	return []store.Message{m}, true, nil
}

// changesSingles is how many messages Changes reads one by one before it asks for
// batches, for which the server counts the keys under the pattern.
const changesSingles = 256

// Changes reads on until nothing follows: all that was written until that moment
// has then been read.
func (b *Bucket) Changes(ctx context.Context, pattern string, revision uint64) ([]store.Message, error) {
	var out []store.Message
	for more := true; more; {
		var found []store.Message
		var err error
		if len(out) < changesSingles {
			found, more, err = b.afterOne(ctx, pattern, revision)
		} else {
			found, more, err = b.after(ctx, pattern, revision, tailBatch)
		}
		if err != nil {
			return nil, err
		}
		if len(found) == 0 && !more {
			if found, err = b.confirm(ctx, pattern, revision); err != nil {
				return nil, err
			}
			more = len(found) > 0
		}
		for _, m := range found {
			revision = m.Revision
			out = append(out, m)
		}
		more = more || len(found) > 0
	}
	return out, nil
}

// confirm looks once more whether nothing follows, isolated from batches. A request
// for a single message can be answered while a batch is being written, and then
// finds some of its messages and not others.
func (b *Bucket) confirm(ctx context.Context, pattern string, revision uint64) (found []store.Message, err error) {
	if b.direct && !b.replicated {
		found, _, err = b.stream.NextMany(ctx, pattern, revision, tailBatch)
		return found, err
	}
	if _, err := b.whole(ctx); err != nil {
		return nil, err
	}
	found, _, err = b.afterLeader(ctx, pattern, revision)
	return found, err
}

// Last asks for the last message under the pattern.
func (b *Bucket) Last(ctx context.Context, pattern string) (uint64, error) {
	m, err := b.leaderLast(ctx, pattern)
	return m.Revision, err
}
