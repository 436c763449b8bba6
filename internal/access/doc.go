// Package access is the bucket as a source of a query's records (query.Source): it
// plans a query, reads the index entries and claims that the plan names, and divides
// the records that they lead to into batches.
//
// # How a query is answered
//
//  1. Plan. Package plan chooses the cheapest way to the records, with what this
//     process has seen of the model: how many records there are, how large they are,
//     and how many entries a value has (stats.go). Statistics can be wrong; then a plan
//     is slow, never wrong.
//  2. Look up. The entries or claims of the values are read, most often with one
//     request. When they are many more than was expected, the query is planned again:
//     nothing has been delivered, and what was learnt stays. Where a limit may make
//     them unnecessary, or one request does not give all, they are read later, while
//     records are read.
//  3. Read the records. The engine gets keys in batches, several of which are under
//     way, and asks the source for each. A scan gives the records themselves; on a
//     bucket with replicas it gives keys, because the replica that scans may be behind
//     what the session has seen, and reads by key are not.
//  4. Check. The engine checks the whole condition on each record, because an entry
//     only says that its record may have the value: the entry is written before the
//     record, and removed after it.
//
// # What is promised
//
// By invariant I1 of package commit, a live record has its entry in every index at
// every instant. So a lookup with one isolated answer leads to every record that had
// the value then. What is read of a record later is newer, and the condition is checked
// on that. So a record that is delivered fulfilled the condition when it was read, and
// each is delivered once.
//
// A record that fulfils the condition all along is found. More is needed where a value
// goes from one record to another, as a unique value does: at every instant one record
// has it, and a query must find one.
//
// # Why lookups look again
//
// There are two gaps in which a value can go from a record that is still to be read to
// one that is not looked for any more:
//
//   - Between lookups. An alternative of many values may take several requests. After
//     the last of them, what was written since the beginning is looked at, with one
//     isolated answer (follow). A single value that one consumer reads is not looked
//     at again.
//   - Between the lookups and the records. The engine notices when a candidate is
//     dropped that was written after the lookups. Only then does it ask what has come
//     under them (lookups.Since), and it reads that too, until nothing is dropped so.
//
// Most queries meet neither, and then both cost nothing but a revision.
//
// # Rejected
//
//   - Reading the records as of the revision of the lookups: the bucket keeps only the
//     last value of a key.
//   - Trusting an entry without reading its record: a crashed writer's entry has none.
//   - Looking again always: it costs as much as the lookup did, and nearly never finds
//     anything.
package access
