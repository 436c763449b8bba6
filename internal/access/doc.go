// Package access is the bucket as a source of a query's records (query.Source): it
// plans a query, reads the index entries and claims that the plan names, and divides
// the records that they lead to into chunks.
//
// # How a query is answered
//
//  1. Plan. Package plan chooses the cheapest way to the records. It knows what this
//     process has seen of the model: how many records there are, how large they are,
//     and how many entries a value has (package statistics). When these statistics are wrong, the
//     plan is slow, but its answer is right.
//  2. Look up (resolve.go). The entries or claims of the values are read, most often
//     with one request. When there are many more of them than was expected, the query is
//     planned again: nothing has been delivered yet, and what was learnt stays. Entries
//     that a limit may make unnecessary, or that one request does not give, are read
//     later, while records are already being read.
//  3. Read the records (chunks.go). The engine gets keys in chunks, and asks the
//     source for the records of several chunks at the same time. A scan gives the
//     records themselves. On a bucket that may have replicas it gives keys only, because the
//     replica that serves the scan may be behind what the session has seen; reads by key
//     are not.
//  4. Check. The engine checks the whole condition on each record. An entry only says
//     that its record may have the value: it is written before the record, and removed
//     after it.
//
// # Ranges and orders
//
// A range of an ordered index is a list of patterns (package keys). Where its samples say that one
// request gives all of it, it is looked up as other values are. Otherwise a walk reads it from
// sample to sample (walk.go). One request reads several parts of the index together: those with few entries
// and the beginning of the part behind them, or the values of a list (spread.go). A query that is sorted
// by the index, with a limit, takes the entries of a walk in the order of the query, and each chunk says
// which places are settled by then (sorted.go):
// entries that were not read do not lead to records that come before these. A record that moved
// between the reading of its entry and its own is found by the rules below, as any other is.
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
// # What was written meanwhile
//
// There are two gaps in which a value can go from a record that is still to be read to
// one that is no longer looked for: between two lookups, and between the lookups and the
// reading of the records. The engine knows when it may have met one: there were several
// lookups, or it has dropped a candidate that was written after them. Then it looks at
// records as they are at one moment (lookups.Written, in moved.go), and checks the condition
// on them. Which records these are depends on the lookups:
//
//   - Those that one request can make are made again, in one request with the records to
//     which they lead: and once more when they lead to others by now. At the moment of the
//     last answer every record that fulfils the condition has its entries, by I1, and is
//     in the answer. This takes a few requests, whatever others write.
//   - Otherwise they are all records that were written since. At that moment a record that
//     fulfils the condition was written since, and is looked at now. Or it was not: then by
//     I1 its entry was there all the time, so each lookup found it, and it was read as it
//     still is. This takes as long as what was written during the query; in a cluster, until
//     writers leave a moment in which nothing follows.
//
// Either closes both gaps (spec/lookup.pml checks it), and happens once for a query.
//
// Most queries meet neither gap. Then being prepared costs one revision: the answer of a
// lookup carries it, and several lookups ask for it once.
//
// # What is counted without its records
//
// A count by values that an index has, and groups of such values, need no more of a record than its
// entry says, if that can be trusted. Package exact knows when. Until it does, and whenever it does not, the records
// are read as for every other query (counted.go).
//
// # Rejected
//
//   - Reading the records at the revision of the lookups: the bucket keeps only the last
//     value of each key.
//   - Trusting an entry without reading its record, and without a proof: an entry that a crashed writer left
//     has no record.
//   - Reading the entries that were written since, and then their records: these may
//     have changed again, so that it had to be done until nothing changed. Beside 16
//     writers of the column that took seconds.
package access
