// Package alter carries out the changes of a model that rewrite its records.
//
// A pass (pass.go) reads all records of a model, and writes those that it changes, while
// others read and write. Rewrite (rewrite.go) lets a function of the caller change them. RenameColumn
// and DropColumn (columns.go) change the model's document in the catalogue first, wait until
// everybody has noticed, and give the records the names that the columns have then. Package records
// (names.go) reads records of both kinds meanwhile. ConvertColumn (convert.go) does the same for a column's
// type, and its pass leaves the records as they are: it looks whether they can have the new type.
//
// # What a pass promises
//
// Each record is written as any other write is: by package records, under the schema that is
// in force, checked to be at the revision at which it was read. So its entries and claims
// follow, no write of others is lost, and a record that others have written meanwhile is read
// again. A pass waits for nobody, and nobody waits for it.
//
// It sees every record that was there when it began. One that is created later may be seen
// or not: what a pass is to reach for all records, writers have to do for new ones by
// themselves.
//
// # What a crash leaves
//
// Records that were rewritten, and others that were not. Nothing says how far the pass had
// come. Another pass, by any process, begins from the start, and leaves what is as it should
// be. It costs a scan.
//
// # Rejected
//
//   - A mark of how far the pass has come, in the bucket: it would be a key to maintain and to
//     check for its owner, and saves a part of a scan after a crash.
//   - Rewriting in the records' order by a lock of each: writers would wait.
package alter
