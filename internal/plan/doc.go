// Package plan decides how a query is answered: which keys to read, and what is still
// to be checked on the records that they lead to. It is pure: it calculates from the
// query and from what is known of the model (Stats), and reads nothing. Others carry
// the plan out.
//
// # Paths
//
// There are seven ways to the records of a condition:
//
//   - Key: the primary key is equal to a value, or in a list. The records with those
//     keys are read.
//   - Unique: every column of a unique index is equal to a value, or in a list. The
//     claims of those values are read, then their owners.
//   - Index: at least the first column of an index is equal to a value, or in a list.
//     The index entries of those values are read, then their records. Of an index of
//     lists, a column's list has an element, or any of several, or all: then one of them.
//   - Range: the columns of an ordered index but the last are equal to values, or in lists, and
//     the last one is in intervals: of values, of texts that begin with one, or single ones. Their
//     entries are read, then their records. With a Limit it also answers an order of that column:
//     then entries are read in that order, as far as is needed (Access.Sorted).
//   - Intersect: two such indexes or ranges, of different columns, or two elements of a list. The entries of both
//     are read, then the records that both lead to.
//   - Union: an Or, each branch of which has one of these. The entries of all branches
//     are read, then their records.
//   - Scan: every record of the model is read.
//
// And there is Nothing, for a condition that cannot be true.
//
// # How one is chosen
//
// Make works top down. A condition is taken as a list of parts that must all be true
// (conjuncts). The parts that fix a column to some values give the single paths: the
// primary key, and each index whose first columns are fixed (singles). Pairs of index
// and range paths give the intersections. Every part that is an Or gives a union, if each of its
// branches has a path; branches are planned in the same way. The scan is always there.
// Each path gets a Cost, and the one that takes the least time is chosen. Of paths that
// take the same time, the more specific one is: see Path.
//
// The costs are in cost.go, beside the measurements that they come from. How many
// entries a value has is the one large unknown. Stats brings what the process has seen,
// and Estimate gives a plan its cost again once the entries were counted, so that a
// query whose lookup found far more than expected can be planned again.
//
// # What a plan promises
//
// A path reaches every record of which the condition is true: an index in state
// Building is not used, nor an index whose entries do not lead to every record with a
// value (Stats.Finds). It may reach more. An index entry can be left of a record that
// has another value by now, and a path covers only a part of the condition. So the
// whole condition is checked on every record that is read; only a record that was read
// by its primary key need not prove that key (Plan.Residual).
//
// # What it does not do
//
//   - Count the entries before it chooses. That was rejected: one more round trip in
//     every query, for what is seldom news.
//   - Intersect three or more indexes, or intersect inside a union.
package plan
