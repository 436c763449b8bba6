// Package maintenance does what concerns a model, or a bucket, as a whole. All of it
// but a restore may run while others read and write.
//
//   - Define (define.go) declares a model in the catalogue, and lets package building build
//     its new indexes.
//   - Sweep (sweep.go) takes what programs that died have left. What compares records with their
//     index entries and claims, and repairs what is wrong, is package checking.
//   - LayoutChange (layout_change.go) moves a model to another layout. Calls go on but
//     for a pause of seconds, in which records are moved.
//   - Truncate (truncate.go) deletes every record of a model.
//   - Backup (backup.go) writes the bucket, as it is at one instant, to a file, and
//     Restore (restore.go) reads such a file into a bucket.
//
// None of these holds a lock. Each can be interrupted at any point and run again: what
// it has written stays, and running it again completes it. How far a layout change has come is
// in the catalogue, so another process can complete it too.
//
// Changes of records go through commit.Writer, so the invariants of package commit hold
// while maintenance runs.
package maintenance
