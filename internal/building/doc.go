// Package building builds indexes: it gives every record that a model has its entries and
// claims in them, while others read and write.
//
// # What a build promises
//
// The catalogue has the indexes before, in state Building, and every writer that does not know
// them has noticed, or will before its call returns (catalogue.Settled). So each record that is
// there at any time of the build is of one of two kinds. It is still as the scan found it: then
// it gets what it needs here. Or it was written since: then its writer has seen to it, and what
// is put here may be an entry that no record needs, which readers drop. Entries are put without a
// condition. Claims are conditional: one is taken only when no record that holds the value has it.
//
// A record whose message says that its writer knew the indexes has its entries already: it is
// passed over, however many of them there are.
//
// When Run has returned without an error, every record has its entries and claims.
//
// # Rounds
//
// A build goes round by round (round.go): it takes records from the scan, puts what they need,
// all at once, and waits for every answer. So at the end of a round it knows what is done, how
// many messages others have written meanwhile, and how long a request takes while nothing of its
// own is under way. By that it goes slower (pace.go): a build is work for which nobody waits as
// much as for the calls beside it.
//
// # Marks
//
// A scan delivers records in the order of their revisions. So after a round one number says how
// far the build has come: all records whose last revision is not above it have what they need.
// Now and then that is written to the bucket, as a catalogue.Mark (mark.go), and a build that begins
// with a mark of the same indexes scans what is above it. A mark is a fact, and not a claim to
// the work: it stays true whoever has written it, so several programs may build at the same time, and
// overwrite each other's marks with lower ones. It is written when all answers to the round are
// there. A build that has found records which share a unique value writes no more marks, so
// that the next one finds them too. Programs that know no marks begin from the start, and leave
// the mark alone.
//
// Whether a build is paused stands at the same key, so it holds for every program, and for
// those that come later. A build looks there before it begins, and whenever it writes a mark, which
// is refused when anybody else has written there. One that takes less than markEvery may end in spite
// of a pause.
//
// # What a crash leaves
//
// Some records without entries, in an index that no reader uses. The next Define of it, by any program,
// goes on at the mark. The mark is removed before the catalogue says that the index is ready:
// a crash in between costs a build from the start, and leaves no mark behind.
//
// A stall is harmless: an entry that is put late is one too many at worst, and a claim that is
// taken late stops nobody.
//
// spec/build.pml is the model.
//
// # Rejected
//
//   - A mark for each shard: it makes a build of a model with one shard begin from the start, and
//     takes a scan for each of them. A revision is exact whatever the shards.
//   - A mark in the model's document: each change of it is read by every program, and makes
//     transactions run again.
//   - One builder at a time, by a lease: another one would wait until it lapses, and what two do
//     at the same time is only done twice.
//   - A look at each record before its entry is put, and at each claim before it is taken: it is one
//     more read for what is seldom there.
//   - As much at once as the connection carries: other calls wait behind it in the server.
//   - How long the build's own writes take as the measure of what others do: they wait for each other.
package building
