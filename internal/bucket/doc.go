// Package bucket is a store.Store on JetStream: a KV bucket that any server or
// client of NATS may use at the same time. How requests get to the server and back
// is in package wire; here is what the answers are worth.
//
// A bucket is a stream. Each key is a subject, each write a message, and the
// message's sequence is the key's revision. A key is deleted by a delete marker,
// a message without a value, which the server removes after an hour.
//
// # What it promises
//
//   - Reads are as new as the session: as all that this Bucket has written or seen.
//   - A checked write, or a batch, is done if its conditions hold when the server
//     stores it, and not otherwise.
//   - A batch is done whole or not at all, and no other write comes between its
//     messages.
//   - An error of a write says whether the write was done. ErrUnknown, which says that
//     nobody knows, comes only when the server does not answer for the whole time that
//     the call has: its context's, or ten seconds.
//   - A scan delivers each key that is live all the while exactly once, and a count
//     is as exact.
//
// # How the server answers
//
// A direct get is answered by any server that has the stream. It costs one round
// trip, and several keys or patterns at a time are answered as of one revision,
// isolated from batches. The server gives up on more than 1,024 keys.
//
// A get from the leader is one message at a time, through the stream's API. Where
// direct get is not allowed, which an account may have set, everything is read so,
// or by scanning.
//
// A consumer delivers many messages in order, and counts those that are pending.
// It is what scans, counts and feeds read with.
//
// # Reads are as new as the session
//
// On a replicated bucket a direct get may be answered by a server that is behind.
// So the bucket keeps a floor: the highest revision that it wrote or saw. An answer
// says which revision its server had reached, and one that is below the floor is not
// taken. The request is made again after a pause, which doubles; after a quarter of a
// second the leader is read instead, if that is as far (current, in session.go).
//
// An answer says how far its server is only when there is a message in it. So every
// request also asks for one key that is always there, the anchor. The first reader
// writes it.
//
// A caller that needs more than its own session raises the floor before it reads, by
// asking for a Revision (revision.go). The certainties are
//
//   - Leader: what the leader has. One request; but a leader that is cut off believes
//     for some seconds that it still leads.
//   - Agreed: the anchor is written, which takes a majority. So the floor is above
//     everything that anyone was told is written. Calls at the same time share a write.
//   - Whole: a revision at which no batch was half written. A single message can be
//     read while the rest of its batch is still being stored, so the leader's last
//     revision is not enough: the answer of an isolated request is.
//
// On a bucket without replicas there is one server, and Leader and Agreed cost nothing.
//
// # Why a scan may end
//
// A consumer that starts at the last message of each key lists those messages at
// its start and goes on with what is written later. A key that is overwritten before
// its turn comes later; one that is overwritten after it comes twice. So a scan reads
// to the end, and remembers which keys came: by 64 random bits of each, and only if
// one can come twice (delivered.go).
//
// The end is not where the consumer's count of pending messages is zero, because an
// overwrite takes the old message off that count before it puts the new one on. It is
// where a direct get, isolated from writes, says that nothing follows the last message
// delivered (after, in changes.go). At that moment every key whose last message was
// not delivered would have to follow. On a replicated bucket only the leader can say
// that nothing follows, so it is asked last.
//
// A consumer that is lost, with its server or its connection, is replaced by another,
// and what was delivered is passed over.
//
// A count is the number of keys under the pattern, which the server knows, without the
// delete markers among them, which Count reads once and then keeps up with (count.go).
//
// # Lost answers are settled
//
// When the answer to a write is lost, the write was done, or it was not, and sending
// it again decides nothing: it may be refused because of what the first one did. So
// a write that must be known carries a message id, which the server remembers for a
// time, the duplicate window. When its answer stays out, the same id is sent once
// more, with a message that the server takes whatever the state of the bucket: the
// probe.
//
//   - The server answers that the probe is a duplicate, and of which revision: the
//     write was done, whatever has become of its key since.
//   - The server takes the probe: the write was not done, and never will be, because
//     the id is taken now (as long as no request is under way for longer than the
//     window). It is sent again, with another id.
//
// The answer to a probe can be lost too. Then the next probe may be a duplicate of
// that one. Each id's probes have a key of their own, so reading that key tells.
//
// A server that starts again knows only the ids of messages that are still there.
// When it takes a probe, and the key was written several times meanwhile, the write
// may have been the first of them: that outcome stays unknown (taken, in settle.go).
//
// In a batch, one op with Settle is the witness for all of it.
//
// # How batches are shared
//
// Where the server syncs each write to disk, writes that come together are done faster
// in one batch: see package groupcommit. BeginChange says when that is worth while. A
// bucket in files writes each batch to a file of its own first, so there a change that
// comes alone is faster phased, one write after the other; elsewhere it is a batch.
//
// # Rejected
//
//   - To end a scan where the consumer has nothing pending: it missed a record in 19
//     of 139 runs under 16 writers.
//   - Scans by direct gets alone: one at a time, the server looks through the whole
//     stream for a narrow pattern; in batches it holds its lock against writes while
//     it answers.
//   - Counting with a consumer: while a key is overwritten, the count is one short
//     (once in 7,000 counts under constant overwriting). A count that is only About right is made so.
//   - Sending a write again when its answer was lost: see above.
//   - One key for all probes: a second probe could not tell whether the first one or
//     the write had taken the id (spec/settle.pml).
//   - Reading from the leader in place of asking a majority: one that is cut off from the others
//     goes on answering for some seconds.
package bucket
