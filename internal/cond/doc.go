// Package cond holds conditions: what a caller writes, bound to a model once and
// then tested on many documents. It is pure: it reads nothing but its arguments.
//
// # The three steps
//
//   - A Node is a condition as a caller wrote it: by the root package's Eq, And and
//     the like, as a map (FromMap), or in JSON (Parse). It knows no model: columns
//     are names, and values are of any Go type.
//   - Bind resolves the names in a model's definition, converts each value to its
//     column's type, and refuses what does not fit. Then it simplifies.
//   - A Bound is the result. Match tests a document, package plan reads from Op,
//     Kids and Values which indexes help, and Text prints it.
//
// # Null
//
// As in SQL, a comparison with null is neither true nor false but unknown, and a
// record is selected only when its condition is true. The three truths are ordered,
// no < unknown < yes: And is the least of its parts, Or the greatest, and Not swaps
// yes and no.
//
// Two rules make that read naturally in Go. Eq(col, nil) means IsNull(col), and
// Ne(col, nil) means NotNull(col). A nil among the values of In and NotIn stands
// for null itself, so In("age", 30, nil) also selects the records without an age.
//
// A column whose Go field cannot be null reads null, and an absent member, as the
// type's zero (see schema.Column.AbsentMeans). There Eq(col, 0) also selects
// documents without the member, and IsNull selects none.
//
// # Letter case
//
// Where a column has a folded index, Eq, In, Ne and NotIn compare folded text (value.Fold), however the
// query is answered: Bound.Fold. Order, limits and patterns do not.
//
// # Lists and members
//
// ContainsAny and ContainsAll, which Contains becomes for a JSON column, ask for elements of
// its list: see elements.go. A name with dots, such as address.city, is a member of what a
// JSON column holds, and may lead to several values: see members.go.
//
// # The simplified form
//
// Plans are made from the form that Bind returns:
//
//   - Inner nodes are And and Or, with at least two parts, and neither stands
//     directly inside its own kind.
//   - Below them are comparisons, and Nots of a single comparison. Ne, NotIn and
//     NotNull have become such Nots, and Between, but of members, has become an And of
//     two limits. ContainsAny and ContainsAll have no null among their values, and
//     ContainsAll has none or several.
//   - A condition that selects every record is an empty And (All), and one that is
//     known to select no record is an empty Or (None). Neither is part of another.
//
// In this form "unknown" may be read as "no", because no combination is negated.
// So a part that cannot be true, such as a comparison with null or two limits with
// nothing between them, is dropped from an Or and makes an And None.
package cond
