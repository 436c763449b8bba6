// Package exact knows when the entries of an index can be taken for their records: so that
// records are counted, or divided into groups, without reading them.
//
// # Why an entry proves nothing by itself
//
// Invariant I1 of package commit says that a live record has its entry at every instant. It does
// not say the reverse. A writer without batches puts an entry before it commits the record, and
// removes the old one after that; one that dies leaves them. The building of an index, a repair or
// a restore puts entries of records as they were read, and the record may have changed meanwhile.
// So there may be too many entries, in every bucket, whatever its writers do as a rule.
//
// # The proof
//
// In an index that gives each record one entry of its own, I1 makes the number of entries at least
// that of records. When at one instant the two are equal, no entry is superfluous: each record has
// one entry, its own, and no entry is without a record. The server knows both numbers without
// anybody reading keys. They are taken one after the other, and hold for one instant when nothing
// was written to the records or to the index in between (Index.Prove).
//
// This takes nothing from writers: they need not be of this version, nor write in batches, nor say
// anything in the catalogue. Only I1 is relied on, as every lookup does. A superfluous entry anywhere
// in the index makes the numbers differ, and then nothing is trusted. Sweep removes what dead
// writers have left.
//
// I1 has an exception: a writer that does not know an index, because it was declared after the
// writer last looked at the catalogue, may store a record without its entry, and die before it
// makes that good (package records, fence.go). Together with a superfluous entry the numbers would
// agree. So an index counts only when no writer can be without knowledge of it: one that was
// declared with its model (Applies).
//
// I1 does not hold either in a bucket that is being restored over records that it has, nor after such
// a restore was cut short, until it is run again: a record may lack its entry and have that of the
// file. Lookups miss records then, and a count may be by the file's entries. The same is true of
// what other programs write to natsorm's keys, until Check has repaired it.
//
// # What was written since
//
// A proof is for one instant, and is used later. What was written since is read by revisions
// (store.Changes), and remembered: which records, and which entries of the index. A record is touched
// when it was written since, or any entry of it was. The entry of a record that is not is exact
// still: at the instant of the proof the record had the value, and it is as it was. The entries of
// touched records prove nothing, and these records are read. (An entry that was put since may be
// superfluous, or the record's own, put again; only the record tells, and it must not count by both.)
//
// An answer is that of one moment (Index.Count). It is taken in this order:
//
//  1. the entries that were written since, up to a moment A
//  2. the records that were written since, up to a moment B
//  3. the number of the entries that are asked for, and which of them are of touched records
//  4. these records, the suspects. One that was written after B ends the try.
//  5. the entries that were written since, once more. One among those asked for that was
//     written after A ends the try.
//
// So from A to 5 the entries asked for were the same, also at B. Each that is not of a touched
// record leads to a record that has the value at B. A record that has the value at B has its entry
// then, by I1, so that is one of these, or the record is a suspect, and known as it was at B.
// Therefore the answer is exact at B, which is more than a query promises that reads records.
//
// # Where it is not used
//
//   - On a bucket that has replicas or may get them: a count takes a scan there, and no two
//     reads show one moment beside writers.
//   - In transactions: what a transaction has seen is guarded record by record.
//   - In an index of lists' elements (a record has several entries, or none), a unique index (null
//     has no claim), and in the Sequelize layout (entries are lists, and leave out absent
//     members).
//   - Where removals of keys leave no trace: the purge of a model or an index. A schema says so
//     before it begins, so the caller looks at the catalogue when it has an answer
//     (Source.Trusting of package access).
//   - When a proof was not used for so long that delete markers may have gone (forgetAfter).
//
// spec/count.pml is the model.
//
// # Rejected
//
//   - A flag in the catalogue that says that all writers of an index use batches. Each of them
//     would have to take it back before it writes otherwise, with the wait that a change of a
//     schema takes; on files without replicas there are no such writers; and builds, repairs and
//     restores write entries late all the same.
//   - The sum of what the entries of the index lead to against that of the records, as a check
//     makes it: it finds the superfluous entries one by one, but reads all keys, and a count reads
//     fewer records.
//   - The record's revision in its entry: a batch does not know the revisions that it gets, and a
//     record that changes in another column would have to write all its entries.
package exact
