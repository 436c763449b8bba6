// Package bucket is a store.Store on JetStream: a KV bucket that any server or
// client of NATS may use at the same time. How requests get to the server and back
// is in package wire; here is what the answers are worth.
//
// A bucket is a stream. Each key is a subject, each write a message, and the
// message's sequence is the key's revision. A key is deleted by a delete marker,
// a message without a value, which the server removes after an hour, or after
// store.BriefFor if no write depends on it.
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
// # What changes while programs run
//
// An operator can change the stream while a Bucket uses it, and nobody is told in time.
// So nothing that must be right depends on being told.
//
// Replicas. A bucket counts as one that has several, whatever it has now, if it may get
// them (store.Traits.Replicable): then reads have a floor, changes write heads, and
// transactions guard by them. It is otherwise only where one server keeps it, which we are
// connected to and which is in no cluster. Such a server cannot give a stream replicas
// without being started again, which breaks the connection. There the bucket is alone
// (session/settings.go), and requests are as cheap as they can be. It is found out by the answer to
// a look at the stream, by what the connection says of its server, and by the name of the
// server, which is the same in both. Servers must have different names, as their defaults
// are. Behind a leaf node, and where there is any doubt, a bucket is not alone.
//
// Being alone is good for one connection. Its number changes before anything is sent by
// the next one (wire.Client.Connection). A read compares the number before its request and
// after its answer; when it has changed, the bucket looks at the stream, and the read is
// made again, by what holds then (steady). A scan that has delivered something ends with an
// error that says that another try may succeed. A write that is right only where the bucket
// is alone says so (store.Op.Lone, store.Batch.Lone). Before it is sent, the connection must
// be there, and the number the one that being alone was learnt by; otherwise the write is
// refused and composed in another way. A connection that natsorm.Open makes keeps nothing
// that is published while it is lost. One that the caller made may: set
// nats.ReconnectBufSize(-1) there.
//
// One gap is left, between that comparison and the sending. A program that stands still
// there while its server is replaced by a cluster on which the bucket was put back, sends a
// commit without heads, or one that is guarded by patterns. A pattern guards there too, but
// not against writes under way. So the commit must also arrive in the same milliseconds as
// another one that it concerns.
//
// Whoever is not sure that a bucket is alone does not know either that it is not. So its
// transactions are guarded by heads and by patterns: on one server the patterns notice
// those who write no heads, on several all write them (package txn).
//
// How changes are best written (Traits.Writes) follows the replicas that the stream has.
// That may be learnt late, as only speed depends on it.
//
// Other settings:
//
//   - Direct get: when it is off, no server takes the request. The second time, the bucket
//     looks at the stream, and reads in another way.
//   - Atomic publish: a batch is refused, and it is switched on again, or changes are
//     written phased.
//   - History: nothing tells. A delete marker that expires removes what its key had before,
//     so that nothing comes back with it, and a count looks whether keys have history.
//   - The duplicate window: the verdict that a write was not done looks at it first.
//   - TTLs of messages, and removals of earlier ones: a message that needs them is refused,
//     and made again without.
//   - Limits: ErrTooLarge for a message, otherwise the server's error with what to do.
//
// A bucket can also be deleted and made anew, or put back as it was earlier. This is noticed
// by a write whose revision the session has seen before, by the time at which the stream was
// made, and, as the new bucket may have grown, by a look at the stream beside writes, once a
// second and before the write returns (certify). Then the floor, the counts and the ids
// that were taken are forgotten, and Generation changes: package catalogue defines models
// again. A read notices by an answer that is older than the session, or with the next write.
// What is left: a bucket that was made anew and had as many writes within a second as the
// old one ever had, as far as this session has seen.
//
// # Reads are as new as the session
//
// Where a bucket is not alone, a direct get may be answered by a server that is behind.
// So the bucket keeps a floor: the highest revision that it wrote or saw. An answer
// says which revision its server had reached, and one that is below the floor is not
// taken. The request is made again after a pause, which doubles; after a quarter of a
// second the leader is read instead, if that is as far (current, in package session).
//
// An answer says how far its server is only when there is a message in it. So every
// request also asks for one key that is always there, the anchor. The first reader
// writes it.
//
// # What an answer proves
//
// A replica that was away while the leader compacted its log gets a snapshot. It first
// removes the messages that the snapshot says are gone, because keys were written again,
// and then gets the newer messages, over seconds when they are many. Nothing keeps it
// from answering meanwhile, and for a while after. So an answer at revision U can lack a
// key that was live at U, and says nothing of it. Such a server had the messages up to U,
// without some that it knows to be replaced by later ones. From this follows what an
// answer proves:
//
//   - What is in it was the last message of its key at U. It is believed as it is: a read
//     by keys that finds all of them costs nothing more.
//   - What it lacks was not there at U, or was written again after U. So the leader is
//     asked for a key's last message, and of a pattern whether anything was written under it
//     after U. If there is none, the answer lacks nothing. If there is, the session's floor rises
//     above it, and the request is made again.
//   - Of a bucket that keeps several revisions, what is in an answer may be an older
//     revision of its key. There the leader is asked about every key.
//
// A pattern that is written all the time would be asked for again and again. So the second
// time the leader is asked which keys there are: an answer that has all of them lacks
// nothing, however often they were written. This proof stands by itself, also against a
// leader that was replaced, because it says how far the leader is (prove, in
// session/proof.go). Keys that the answer does not have are read by themselves, each with
// its own proof; the answer is of several moments then (store.Answer.Torn). A read that has
// to be of one moment, as a transaction's, is made again instead.
//
// A leader has no such gaps. It leads only when it has applied all that its log had when
// it was elected. Scans, changes and feeds end with the leader's word that nothing follows,
// and a message that a replica lacks is followed by what has replaced it.
//
// spec/replica.pml has this argument as a model.
//
// It costs a lookup by an index, and a read by key that finds nothing, one more request to
// the leader on a replicated bucket. And while no leader is elected these wait, as writes
// do.
//
// What is left takes two faults at once: a leader that was replaced and does not know it
// says that nothing was written under a pattern, or under any of many keys, within the time until it
// hears of its successor, about an answer from a replica that catches up from that successor. Where three
// servers share two processors that are busy, that was seen. Of few keys it was seen too, as long as the
// leader was asked whether anything was written to them since; their last messages tell more.
//
// # A stalled server
//
// A server that has stopped, with its connections, still gets its share of the direct
// gets, and of the consumers. Requests are sent again after a delay (see package wire), and
// reach another server most often; then the leader is read. What a consumer should
// deliver that was not made in time, or went silent, is read with direct gets (goOn, in
// changes.go). When the stalled server is the one that the client is connected to, only the
// connection's own pings find out.
//
// # Certainties
//
// A caller that needs more than its own session raises the floor before it reads, by
// asking for a Revision (session/revision.go). The certainties are
//
//   - Leader: what the leader has. One request; but a leader that is cut off believes
//     for some seconds that it still leads.
//   - Agreed: the anchor is written, which takes a majority. So the floor is above
//     everything that anyone was told is written. Calls at the same time share a write.
//   - Whole: a revision at which no batch was half written. A single message can be
//     read while the rest of its batch is still being stored, so the leader's last
//     revision is not enough: the answer of an isolated request is.
//
// Where a bucket is alone, Leader and Agreed cost nothing.
//
// # Why a scan may end
//
// A consumer that starts at the last message of each key lists those messages at
// its start and goes on with what is written later. A key that is overwritten before
// its turn comes later; one that is overwritten after it comes twice. So a scan reads
// to the end, and remembers which keys came: by 64 random bits of each, and only if
// one can come twice (package keyset).
//
// The end is not where the consumer's count of pending messages is zero, because an
// overwrite takes the old message off that count before it puts the new one on. It is
// where a request for the next message says that nothing follows the last one that was
// delivered (tail, in changes.go). At that moment every key whose last message was
// not delivered would have to follow. Where the bucket is not alone only the leader can say
// that nothing follows, so it is asked last.
//
// Beside many writers something always follows, and where they are faster than the reader,
// ever more. So a consumer is read for no longer than for twice what it had at its start.
// Where the bucket is alone one request then reads all that follows, with no write in between
// (all, in changes.go). Where that is too much for one answer, and where there are several
// servers, the leader is asked which keys there are, and those that were not delivered are read by
// themselves (rest, in scan.go): a key that is there all the while is one of them, or was
// delivered.
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
// # A full bucket
//
// A stream may have a limit of bytes or messages, and then refuses what would exceed it:
// errs.ErrFull (full.go). A delete marker is a message too. Without replicas the server
// takes a message that replaces one of its key, if that is not smaller; so a writer whose
// batch was refused tries its writes by themselves, and a record's marker is sent again
// without what it can do without. With replicas it takes nothing.
//
// # How batches are shared
//
// Where the server syncs each write to disk, writes that come together are done faster
// in one batch: see package groupcommit. A bucket in files writes each batch to a file
// of its own first, so there a change that comes alone is faster phased, one write after
// the other; elsewhere it is a batch. What is faster while several changes are under way
// depends on the disk, the processor and the number of changes, and nothing that a client
// can read says it. So BeginChange tries both ways now and then (groupcommit.Choice).
//
// # Rejected
//
//   - To end a scan where the consumer has nothing pending: it missed a record in 19
//     of 139 runs under 16 writers.
//   - To make room in a full bucket by purging messages, which takes none. A purge of a
//     record leaves no marker, so a create that was stalled since before the record was
//     there would be done, and its entries may be gone. A purge of an entry that is to be
//     removed is safe for writers, but a transaction would not notice that the entry was
//     there a moment ago, and could find the record under none of its values.
//   - To raise the limit of a full stream for a moment: it is the operator's, and two
//     programs that do so overwrite each other's setting.
//   - Scans by direct gets alone: one at a time, the server looks through the whole
//     stream for a narrow pattern; in batches it holds its lock against writes while
//     it answers.
//   - Counting with a consumer: while a key is overwritten, the count is one short
//     (once in 7,000 counts under constant overwriting). A count that is only About right is made so.
//   - Sending a write again when its answer was lost: see above.
//   - One key for all probes: a second probe could not tell whether the first one or
//     the write had taken the id (spec/settle.pml).
//   - Following the replicas that the stream has: a server says so late, or not at all,
//     and a handle that does not know it yet leaves out the heads that another one relies on.
//   - Leases, and listening for the server's advisories: both trust in time.
//   - Writing heads everywhere: a create on one server would take a third round trip.
//   - To believe what a replica lacks when its revision is above what the leader had before
//     the request, or a moment ago: the replica may learn of deletions in between.
//   - To ask again until a replica's revision is above the leader's at the first doubtful
//     answer: while a catch-up goes on, messages that are replaced in the meantime are left
//     out too, and so there is another doubt at each revision.
//   - A key that is rewritten now and then, the anchor, as a witness that is missing where
//     others are: the catch-up sends messages in their order, and one that comes after the
//     witness may have been replaced after the witness was sent. That makes it rarer.
//   - The leader's word on how far its replicas are (current, lag): they count as current
//     when they have the log, before they have applied it.
//   - Two answers from two servers: a request cannot choose its server.
//   - Reading from the leader in place of asking a majority: one that is cut off from the others
//     goes on answering for some seconds.
package bucket
