// Package txn is transactions over any records of a bucket: reads that agree with
// each other, and writes that are done together, or not at all.
//
// A transaction is optimistic. It takes no locks: it notes the revision of
// everything it reads, keeps what it writes to itself, and commits with one batch
// whose conditions say that all of it is still as it was read. When it is not,
// the function runs again.
//
// # What is read
//
// Every request is answered as of one instant, and says at which revision of the
// bucket that was. The first one's is the transaction's instant. A later answer
// in which nothing is newer is as of that instant too. One in which something is
// newer moves the instant: all that was read before is read again, and if none of
// it has changed, it is also as of the instant of that. So at any time, what the
// function has seen is one state of the bucket, which existed; it never sees half
// of what another transaction wrote, not even in a run that will not commit, and
// one that only reads needs no commit.
//
// A scan of more keys than one request reads takes several; what was written under
// its pattern meanwhile is read as well, until nothing follows.
//
// Its own writes are laid over the answers (View), with the index entries and the
// claims that go with them, so that queries by any path see them.
//
// # What guards it
//
// At the commit, the conditions of the batch take the place of a last look:
//
//   - A key that was looked at, also one that was missing, and a record that an
//     index led to and that did not fulfil the rest of the condition, is guarded by
//     its own revision.
//   - An index lookup is guarded by the last revision under its pattern, so that an
//     entry that is new since is noticed: no phantoms. On a replicated bucket the
//     server does not see writes under way through a pattern: of 593 commits, 98
//     overtook one. There every write that adds an entry also writes a head, one of
//     256 keys of the index, and the head is guarded. Removed entries need no
//     guard: the record that had one was read.
//   - A scan is guarded by its pattern on one server, and on a replicated bucket by
//     the last revision of all: then any other write makes it run again.
//   - So is what has more conditions than a batch takes messages.
//
// # Unique values
//
// They are judged at the commit, by what the records are then: two records can
// exchange theirs. The claim of a record that no longer holds the value is taken,
// and the record is rewritten unchanged in the same batch, as a fence: see package
// commit.
//
// # Rejected
//
//   - Locks, and intents in the records: a crashed holder blocks others.
//   - A whole-bucket condition for everything: one writer at a time.
//   - Validation before the batch instead of conditions in it: a write can come
//     between.
package txn
