// Package migration carries out a program's migrations: named steps, each once in a bucket,
// in their order, however many programs begin with them at the same time.
//
// # Invariants
//
//   - M1: a step whose record says done is never begun again.
//   - M2: of the programs that believe to hold the lease, by their own clocks, there is at
//     most one. Only such a program begins a step.
//   - M3: a program that was told that its step is done finds its record so ever after.
//
// # The lease
//
// One program at a time carries out steps: the runner. It holds the lease, a key that has its
// random id (lease.go). It writes the lease again every sixth of the time for which the lease
// lasts, on the condition that it is at the revision that the runner wrote last.
//
// No two clocks are compared. Who waits for a lease watches its revision: when that has not
// changed for as long as the lease lasts, by the watcher's own clock, the watcher writes its
// own lease over it, on the condition that it is still at that revision. The runner gives up
// by its own clock, after two thirds of that time since it sent the last lease that was
// acknowledged: it cancels the context of its step. The sending was before the watcher
// could see the revision. So M2 holds as long as a second of one machine is not longer than
// a second and a half of another one.
//
// # Steps
//
//  1. Read all records. When every step is done there is nothing to do, and the lease is not
//     needed. When the records contradict the list of steps, refuse it (order.go).
//  2. Take the lease, or wait for it, and begin again with 1 when it has changed hands.
//  3. Under the lease, read all records again. For each step that is not done:
//     a. write its record, running, on the condition that it is as it was read;
//     b. look whether the lease is still held, by the own clock;
//     c. call the step;
//     d. write its record, done or failed, on the condition that it is at the revision of a.
//  4. Delete the lease, on the condition that it is one's own.
//
// # What a crash leaves
//
// The lease of a runner that died, which the next one waits for; and the record of a step that
// is running and is not done. The next runner writes it over, and calls the step again.
//
// A runner that stalls is taken for dead. When it goes on, its context has ended, and it
// cannot write its record any more: the next runner has changed that in 3a. So its caller is
// told that another program has taken the step over. What cannot be prevented is that the step
// of the stalled runner sends one more call before it notices its context, while the next
// runner is at the same step. Steps are therefore to be repeatable, also in the middle of
// themselves.
//
// # Rejected
//
//   - A time in the lease, at which it ends: it compares the clocks of two machines.
//   - A message TTL on the lease: buckets without message TTLs have none, and the server counts
//     in whole seconds.
//   - Taking a step over without a wait, because its record is conditional: M1 would hold, but two
//     programs would be at the same step most of the time that they start together.
//   - One key for all records: every program that starts would write to it, and one that cannot
//     be read would stop all.
//   - The lease and the record in one batch: buckets without atomic publish have none.
//
// The model of it is spec/migration.pml.
package migration
