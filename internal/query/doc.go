// Package query answers queries over the records of one model. It selects, sorts,
// limits, counts, groups and aggregates, and it makes and reads cursors. It knows no
// network and no indexes: it asks a Source for the records that may be selected.
//
// # From a call to a result
//
//  1. A call of the public API collects what it was given in a Spec (spec.go), in the
//     caller's names. Bind checks the Spec for its use, resolves the names against the
//     model, reads the cursor, and makes a plan.Query.
//  2. Source.Candidates (source.go) finds candidates: records among which are all that
//     fulfil the condition. They come in chunks: as records, as keys still to be read, or as
//     rows in memory, of which no document has to be decoded (record.go).
//  3. The engine works on the chunks (rows.go), several at a time. It reads the records
//     of a chunk, decodes each document only as far as the rest of the condition needs
//     it, and drops the records that do not fulfil it. For those that do it decodes what
//     the caller asked for. Rows come out in the order of the candidates, whatever chunk
//     is finished first.
//  4. What follows depends on the call. Without an order, Select skips the offset and
//     stops at the limit (select.go). With an order it keeps the first records in a heap,
//     or streams when the source promises the order already (order.go). Aggregates add
//     up as records pass (aggregate.go, group.go). Page cuts a page and makes the cursor
//     of the next one (cursor.go).
//
// # Reading ahead
//
// A caller that reads every record wants large chunks and as many at a time as is
// useful. A caller that may stop early wants the first records soon and the others not
// at all. The parameter all of the functions here says which of the two it is; Pace
// (pace.go) is the chunk sizes that follow from it.
//
// # Two steps, and what comes between them
//
// A source that looks up keys first and reads the records later answers from two moments.
// In between, a value can go from a record that the lookup has found to one that it has
// not. The engine notices that it may have: a candidate is dropped, and it was written
// after the lookups (selection.drop). Then it asks the source for the records that may
// have been written since (Lookups.Written), as they are at one moment, and gives them the
// same look. It does so once, however many writers go on. Records that were delivered are not
// delivered again.
//
// # Errors
//
// A record that cannot be read comes as a *CorruptError in the stream, and the stream
// goes on; every other error ends it. A caller that breaks out of a stream frees all of
// it: work that is under way is cancelled and waited for.
package query
