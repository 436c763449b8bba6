// Package row keeps records decoded in memory.
//
// A Row is a record: its key, its revisions, and its document, taken apart. A Shape says where the values
// of a model's columns are in rows. So a condition is checked, and two rows are compared, without
// looking at JSON, and a row takes about as many bytes as a struct with the same fields.
//
// Nothing of a document is lost but spaces and the order of its members: what a Row gives
// as its Document has the same members, and each has the same text. A document that cannot be taken
// apart, because it is no JSON object or has a value that does not fit its column, stays whole;
// then the Row has no Shape.
//
// # The bytes of a row
//
// Row.data is one string:
//
//	a byte for each column      whether the member is there, and in which form (state)
//	a slot for each column      8 bytes, little-endian; 16 of a time
//	the values that have no slot of a fixed size, and those whose text is not what natsorm writes
//	the members that are no columns, as in the document, each with a comma before it
//	the key
//
// The slot of a string, of bytes, and of what is kept as JSON text has the place and the length of
// what it stands for, both counted in bytes of data. Rows are never written to a disk.
package row
