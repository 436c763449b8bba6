// Package commit is the write protocol: it changes a record together with its
// index entries and unique claims. Whatever crashes, and whenever, no lookup misses a
// record and no two records share a unique value. The writes go one key at a time or
// in batches, and writers of both kinds can work on the same record at the same time.
//
// # Invariants
//
// They hold at every instant:
//
//   - I1: a live record has its entry in every index. (An entry may exist without
//     its record: readers check the record and drop the entry.)
//   - I2: a live record owns the claim of each of its unique values.
//
// # Steps
//
// A write of record X:
//
//  1. Read X at revision r. A create assumes that there is no X, and reads it only
//     when its commit is refused.
//  2. At the same time: put the entries that X will need and did not need before,
//     without a condition; take the claims that it will need, each checked to be free;
//     and note the revisions of the entries and claims that X will no longer need.
//     These revisions are read before the commit, never after it: an entry that is
//     read later may already be another writer's.
//  3. Commit: write X, checked to be at r. When that is refused, start again.
//  4. Remove what X no longer needs, each key checked to be at the revision noted in
//     step 2. A removal that is refused is harmless: another writer needs that key.
//
// # Executors
//
// Writer.Apply reads a record, asks for its new document, and makes a Plan: all keys
// that the write touches. An executor carries the plan out. There are four:
//
//   - phased (phased.go): one write after the other, steps 2 to 4 above.
//   - atomic (atomic.go): all writes in one batch, which may carry other changes
//     too. It is phased without a gap between the steps.
//   - listed (listed.go): for layouts whose entries are lists, with or without
//     batches; see Lists below.
//   - staged (staged.go): into a transaction, see package txn.
//
// The store says whether the bucket takes batches (store.BeginChange). The layout
// says whether its entries are keyed, one key for each record, or lists. The
// interface entries (entries.go) holds the difference between the two; repairs and
// the building of an index use it as well.
//
// A batch removes entries without having read their revisions. That is safe: a writer
// that needs such an entry either read X after the batch and then puts the entry
// again, or it read X before the batch and its commit is refused. Claims are read all
// the same, because a claim that X gives up may be another record's: while a unique
// index is being built, X can hold a value whose claim it does not own.
//
// # Heads
//
// On a bucket that has replicas, or may get them, every new entry comes with the write of
// its head, a key that guards the lookups of transactions (package txn). A transaction that
// finds a head unchanged concludes that no entry has come since it looked. So the head is
// written after the entry, and before the commit: in a batch the heads stand right
// behind their entries, otherwise they are sent when the entries are acknowledged
// (newEntries in entries.go). A plan that leaves heads out relies on a bucket without
// replicas: its commit says so (Plan.Lone), is refused when that has changed, and the next
// plan has heads.
//
// # Lists
//
// In some layouts an entry is a list of all the records with a value (lists.go). A
// list is read, changed, and written on the condition that it is still at the revision
// that was read. So no writer drops another writer's record from it. What several
// plans do to one list is gathered in listChanges (listchanges.go).
//
// With batches, the lists that X joins and leaves are written together with X. Without
// batches:
//
//   - X joins its new lists before its commit. A list is written even when X is in it
//     already: that changes the list's revision, so a writer that is about to take X
//     out is refused.
//   - After the commit, X leaves a list that is still at the revision noted in step 2.
//     It leaves any other list only behind a fence, because another writer of X may
//     have joined it meanwhile and be about to commit.
//
// Only one of two changes to the same list can succeed, so the changes of one Writer
// that share a list wait for each other (keylocks.go).
//
// # Schemas
//
// A Writer writes by one version of a model. The version may be replaced while a write is
// under way: then the invariants hold for the indexes that the Writer knew. Whoever has
// applied a change looks afterwards which version is in force, and makes the record good by
// it before anybody is told that the write is done (package records, fence.go). In between, or
// when that one dies, the record may lack entries and claims. So where the schema of a model
// has changed, the message of a record says by which version it was written, and a plan for
// one of an older version puts and takes everything (NewPlan).
//
// # Fences
//
// An entry or a claim whose record does not hold its value may belong to a writer
// between steps 2 and 3. Before such a key may be removed or taken, that writer has to
// be stopped: the record is rewritten unchanged, or its delete marker is, checked to
// be at the revision that was read (Writer.fence). Every writer that read the record
// earlier now has its commit refused. Then the claim may be taken or the entry
// removed, checked to be at the revision that it had before the fence.
//
// Claims are contended for in the order of the plan, which is the same for every writer. Before
// a change waits for a claim, it gives back those that it has of the later ones, behind a fence of its
// own record, and begins again when it has the claim (traces.contend). Otherwise several writers
// of the same values could each keep some, and fence each other for ever.
//
// A fence carries the revision that it repeats, so that watchers and optimistic locks
// do not take it for a change.
//
// # Repair
//
// Four more writes serve checks, the building of indexes, layout changes and the
// emptying of models. Writer.Ensure (ensure.go) writes all entries and claims of records
// that are there. Writer.Sweep (sweep.go) takes records that do not hold an entry's or a
// claim's value out of it, behind a fence each. Writer.Move (move.go) writes records to
// the keys that another layout gives them, in batches wherever the bucket takes them: also where
// changes that come alone are phased. Writer.Discard (discard.go) deletes a record even
// when its document cannot be read, and leaves the rest to a check.
//
// # What a crash leaves
//
//   - In a batch: nothing.
//   - In step 2: entries and claims without their record. Readers drop the entries;
//     the next writer that wants a claim fences its owner and takes it.
//   - After step 3: entries and claims that the record no longer needs. The same
//     holds for them.
//
// A writer that stalls leaves the same, and when it goes on, its conditions decide: its
// commit is refused if the record has changed or was fenced, and its removals are
// refused where another writer has put the key again.
//
// Check with Repair, or Sweep, removes all of it (package checking). The models of the protocol are in spec/.
//
// # Rejected
//
//   - One key for each value with an array of ids, as the native layout: every writer
//     of a frequent value waits for that key, and the payload limit bounds how many
//     records may share the value.
//   - Removing old entries before the commit: a crash in between leaves a record that
//     lookups miss.
//   - Locks in the bucket: a crashed holder blocks others until a timeout, and a slow
//     one still writes after it.
package commit
