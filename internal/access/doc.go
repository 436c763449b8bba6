// Package access is the bucket as a source of a query's records (query.Source): it
// plans a query, reads the index entries and claims that the plan names, and divides
// the records that they lead to into batches.
//
// # How a query is answered
//
//  1. Plan. Package plan chooses the cheapest way to the records. It knows what this
//     process has seen of the model: how many records there are, how large they are,
//     and how many entries a value has (stats.go). When these statistics are wrong, the
//     plan is slow, but its answer is right.
//  2. Look up (resolve.go). The entries or claims of the values are read, most often
//     with one request. When there are many more of them than was expected, the query is
//     planned again: nothing has been delivered yet, and what was learnt stays. Entries
//     that a limit may make unnecessary, or that one request does not give, are read
//     later, while records are already being read.
//  3. Read the records (batches.go). The engine gets keys in batches, and asks the
//     source for the records of several batches at the same time. A scan gives the
//     records themselves. On a bucket with replicas it gives keys only, because the
//     replica that serves the scan may be behind what the session has seen; reads by key
//     are not.
//  4. Check. The engine checks the whole condition on each record. An entry only says
//     that its record may have the value: it is written before the record, and removed
//     after it.
//
// # What is promised
//
// By invariant I1 of package commit, a live record has its entry in every index at every
// instant. So a lookup that the server answers at one instant leads to every record that
// had the value then. A record is read later, and the condition is checked on what is
// read. So a record that is delivered fulfilled the condition when it was read, each
// record is delivered once, and a record that fulfils the condition all the time is
// found.
//
// More is needed when a value goes from one record to another, as a unique value can: at
// every instant one record has it, and a query must find one of them.
//
// # Why lookups look again
//
// There are two gaps in which a value can go from a record that is still to be read to
// one that is no longer looked for:
//
//   - Between lookups. A condition on many values may take several requests. After the
//     last of them, everything that was written since the first is looked at, with one
//     answer at one instant (follow). A single value whose entries one consumer reads is
//     not looked at again.
//   - Between the lookups and the records. The engine notices when it drops a candidate
//     that was written after the lookups. Only then does it ask what has come under them
//     since (lookups.Since). It reads that too, until it drops no candidate like this.
//
// Most queries meet neither gap. Then being prepared costs one revision: the answer of a
// lookup carries it, and several lookups ask for it once.
//
// # Rejected
//
//   - Reading the records at the revision of the lookups: the bucket keeps only the last
//     value of each key.
//   - Trusting an entry without reading its record: an entry that a crashed writer left
//     has no record.
//   - Always looking again: it costs as much as the lookup did, and hardly ever finds
//     anything.
package access
