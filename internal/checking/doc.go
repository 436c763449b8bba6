// Package checking compares the records of a model with their index entries and unique claims,
// repairs what it finds wrong (Check), and takes what crashed writers have left (Sweep). Both
// run while others read, write, and change the schema.
//
// # What is promised
//
//   - What is wrong when a check begins, and stays so, is found.
//   - What is reported was so at one moment during the check, by the schema that was in force at
//     that moment. Strays, which are harmless, may be those of a writer that has stalled.
//   - A check takes the same memory however many records, entries and problems there are.
//   - A repair, or a sweep, never takes what a writer needs, however long that one stalls.
//
// # Steps
//
// First the records, the entries and the claims are read once, and added up: the pointers that
// records need, and those that there are (balance.go). In a bucket that is right, and that nobody
// writes to, the sums agree, and that was all.
//
// Where they do not agree, the same is read once more. For the records concerned their index
// keys are looked up, and for the index keys their records, some hundred at a time (lookRecords,
// lookIndex). What does not agree then is a suspect.
//
// Suspects wait a little, at most some thousands of them, and are judged (judge.go). Everything is
// read again for that, in an order in which a write in between can only clear a suspicion. Then
// the model's document is read from the catalogue. If it is another one than that by which the
// suspects were judged, they are judged again, by that one. What is wrong then is repaired, if it is
// to be (repair.go).
//
// # Why a write beside it makes no false finding
//
// The scans of the first step do not show one moment, so their sums may disagree in a bucket
// that is right. They only say where to look. A key that is written during a scan may come twice
// in it. Of a small model it is remembered which keys have come; of a large one, such a key counts
// as not agreeing (tally.go, balance.doubt).
//
// A missing entry: the record is read, then the key, then the record again. When its
// revision is the same both times, it held the value at the moment at which the key was read, and
// then the key had to lead to it: invariant I1 or I2 of package commit.
//
// These changes of the schema could still deceive it. In each, the document that says so is written
// before anything is removed or moved, so one that has read what they did, and reads the document
// afterwards, knows:
//
//   - An index is dropped: its keys are removed after the document.
//   - An index is new: until it is ready, records may lack entries, and nothing is missed in it.
//     One whose writer did not know of it may lack its entry a little longer, until that writer has
//     its answer. So a record of an older document waits for a second and a half before it is judged.
//   - The model is moved to another layout, or its records are removed: then the document says that
//     it is paused, and the check waits. In another layout all keys are others, so it begins again.
//   - A column is renamed or dropped: a record of a newer document is judged by that one.
//
// # What a crash leaves
//
// A check that only looks leaves nothing. A repair leaves what it has done until then, each of
// which is complete by itself; one that was cut short between a fence and the removal behind
// it leaves a fenced record, which looks unchanged. When it was cut short by its context, it says
// how far it has come (Place). What comes before the place was judged; what has become wrong there
// since is found by the next check.
//
// # Sweeping
//
// Strays are taken behind a fence, as by a repair: spec/index.pml, where taking one because of its
// age alone is a mutation that fails (NO_FENCE). Leftovers of indexes that are gone are taken by
// their revision: spec/sweep.pml.
//
// # Rejected
//
//   - To hold the pointers that do not agree, and read all again for those that did not fit: 94 MB
//     at the most, and a scan of everything for each 200,000 of them.
//   - To look everything up from the beginning: a bucket that is right took four times as long.
//   - To remember all keys of a scan: 8 bytes each, and 50 or more for those that are written
//     meanwhile, or on a bucket with replicas.
//   - To sweep by age, without a fence: a writer may stall for longer than any age.
//   - A place to go on from that holds the sums: it would be 2 MB of text. The sums are made again,
//     which is the fast part; and what a repair has mended agrees by then.
package checking
