// Package follow follows a whole bucket, from one moment to the next: what it delivers leads from
// one state that the bucket has had to a later one, so whoever keeps what was delivered never has
// half of a batch, nor a write without one that came before it.
//
// # Why a feed alone does not do
//
// A bucket keeps the last message of each key. A feed that comes to a message that was written over
// passes it by, and delivers the later one when it comes to that. Between the two, what it has
// delivered is no state of the bucket: it has later writes, and lacks this one. If a transaction has
// moved money from A to B, and B was written again before the feed came there, then A shows the
// transaction, and B does not yet.
//
// # How it is known what is missing
//
// The feed is of all keys, so each revision comes, or was written over, or removed. A gap in the
// revisions is what tells: without one, everything up to here was delivered. With one, the key of
// the lost message has a later one, which was there when the feed went past the gap. So the
// leader is asked how far the bucket is, after that. When the feed has come there without another
// gap, it has delivered the later one: then what was delivered is complete again. (The later one may
// be written over too, meanwhile. Then there is another gap, behind the first one.)
//
// Where gaps follow one another for long (starved), or nothing follows a gap because the last
// message was removed, what was written since the last complete state is read in another way, as
// it is at one moment (store.Changes).
//
// A message says whether its batch goes on (store.Message.Batched): a state is not complete in the
// middle of one.
//
// # What is not told
//
// A purge of many keys leaves no trace. The catalogue says before it begins that it will be, and
// then what is gone; a follower of a model looks there.
package follow
