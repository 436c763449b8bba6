// Package commit is the write protocol: it changes a record together with its
// index entries and unique claims, so that no lookup ever misses a record and no
// two records ever share a unique value, whoever crashes and whenever. It can do
// that one key at a time, or in batches, both on the same records at once.
//
// # Invariants
//
// They hold at every instant:
//
//   - I1: a live record has its entry in every index. (Entries without a record
//     may exist; readers check the record and drop them.)
//   - I2: a live record owns the claim of each of its unique values.
//
// # Executors
//
// Writer.Apply reads a record, asks for its new document, and makes a Plan. The
// plan is carried out by
//
//   - phased: one write after the other, steps 2 to 4 below;
//   - atomic: all of them in one batch, by itself or shared with other changes,
//     which is phased without a gap;
//   - listed: for layouts whose entries are lists, see below;
//   - staged: into a transaction, see package txn.
//
// Which one is the store's choice (store.BeginChange), and that of the layout: entries
// (entries.go) is what differs between keyed entries, of one record each, and lists.
// Repairs and the building of an index go by it too.
//
// # Steps
//
// A write of record X:
//
//  1. Read X at revision r. A create assumes that there is none and reads only
//     when it loses.
//  2. Together: put the entries that X will need and did not, unconditionally,
//     and take the claims, checked; and observe the revisions of the entries
//     and claims that X will no longer need. Observe before the commit, never
//     after: what is observed later may already be another writer's.
//  3. Commit: write X, checked to be at r. When that is lost, start again.
//  4. Remove what X no longer needs, each checked to be at the revision
//     observed in 2. Losing here is harmless: someone else needs it.
//
// In a batch, entries are removed without having been observed: another writer that needs one
// must have read X after the batch, or loses its commit. Claims are observed all
// the same: while a unique index is being built, X can have a value whose claim is
// another record's.
//
// On a bucket with replicas every new entry comes with its head, which guards the
// lookups of transactions. A head comes after its entry and before the commit: in a
// batch behind the entries, otherwise when they are acknowledged (newEntries).
//
// # Lists
//
// In some layouts an entry is a list of all the records with a value. A list is
// written as it was read and changed, checked to be at that revision, so no writer
// drops another's record. In a batch the lists that X joins and leaves are written
// with X. One after the other, X joins before its commit, by a write even when it is
// in the list already; after the commit it leaves a list that is as it was observed in
// step 2, and any other only behind a fence, because a writer that read X meanwhile
// may count on it. Changes of one Writer that have a list in common take turns.
//
// The models of all this are in spec/.
//
// # Fences
//
// An entry or a claim whose record does not hold its value may belong to a
// writer between steps 2 and 3. To judge it, its record is rewritten unchanged,
// or its delete marker is, checked (Writer.fence). Every writer that read the
// record earlier now loses its commit. Only after that may the claim be taken
// or the entry removed, checked to be at the revision seen before the fence.
// Fences carry the revision that they repeat, so that they do not look like
// changes to watchers and to optimistic locks.
//
// # What a crash leaves
//
//   - of a batch: nothing.
//   - in step 2: entries and claims without a record. Readers drop the entries;
//     the next writer that wants a claim fences its owner and takes it.
//   - after step 3: entries and claims that the record no longer needs; the
//     same holds for them.
//
// Check with Repair removes both.
//
// # Rejected
//
//   - One key per value with an array of ids: a hot key under compare-and-set,
//     bounded by the payload limit.
//   - Removing old entries before the commit: a crash in between leaves a
//     record that lookups miss.
//   - Locks: a crashed holder blocks others until a timeout, and a slow one
//     writes after it.
package commit
