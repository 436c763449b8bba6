// Package txn is transactions over any records of a bucket: reads that agree with
// each other, and writes that are done together, or not at all.
//
// A transaction is optimistic: it takes no locks. It notes the revision of everything
// that it reads and keeps what it writes to itself. It commits with one batch, whose
// conditions say that everything is still as it was read. When the server refuses the
// batch because something has changed, the function runs again (Runner).
//
// # What is read
//
// The answer to a request shows the bucket at one revision, and says at which. The
// revision of the first answer is the transaction's instant. A later answer in which
// no message is newer than the instant shows the same state. When a message is newer,
// the instant moves: everything that was read before is read again, and if nothing of
// it has changed, everything holds at the revision of the new answer. So what a
// function has seen is, at any time, one state that the bucket really had. It never
// sees half of what another transaction wrote, not even in a run that will not commit,
// and a transaction that only reads has nothing to commit.
//
// A scan of more keys than one request answers takes several requests. What was written
// under its pattern in the meantime is then read as well, until nothing follows.
//
// A record that a replica in memory has (Offer) is taken as the answer to a request that was made some time
// ago: at the revision up to which the replica has everything.
//
// The transaction's own writes are laid over the answers (View), with the index entries
// and claims that go with them. So queries see them, whatever path they take.
//
// # What guards it
//
// At the commit, the conditions of the batch take the place of a last look:
//
//   - A key that was read is guarded by its own revision: also a key that was missing,
//     and a record that an index led to and that did not fulfil the condition.
//   - An index lookup is guarded by the last revision under its pattern, so that an
//     entry that was added since is noticed: no phantoms. With replicas the server does
//     not see writes that are under way through a pattern: 98 of 593 commits overtook
//     one. So where the bucket has replicas or may get them (store.Traits.Replicable)
//     every write that adds an entry also writes a head, one of 256 keys of the index,
//     and the lookup guards the head too. Each of the two is enough in its place: the
//     head where all writers know that there may be replicas, the pattern on one server,
//     where some may know that there are none, and write no heads (spec/transaction.pml,
//     MIXED). A lookup that was made before the bucket became Replicable has no head to
//     guard; the bucket's last revision guards it.
//   - A scan is guarded by its pattern on one server. Where the bucket is Replicable it
//     is guarded by the bucket's last revision: any other write makes it run again.
//   - A transaction with more conditions than a batch has messages (store.MaxBatch) is
//     guarded by the bucket's last revision too.
//
// # Unique values
//
// They are judged at the commit, by what the records will then be: so two records can
// exchange theirs. When a claim belongs to a record that does not hold the value, the
// transaction takes the claim and rewrites that record unchanged in the same batch, as
// a fence: see package commit.
//
// # Rejected
//
//   - Locks, and intents in the records: a holder that crashed blocks others.
//   - One condition on the whole bucket for everything: one writer at a time.
//   - Validation before the batch instead of conditions in it: another write can come
//     in between.
package txn
