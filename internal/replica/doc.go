// Package replica keeps the records of models in memory, as they are in a bucket.
//
// # One feed
//
// A Hub follows the bucket (package follow) for all models that somebody has joined, with one
// consumer. Each step of it leads from one moment of the bucket to a later one; the hub makes it one
// State, which readers take with one load of a pointer. So all models in a State are as they were
// at the same moment, and whoever takes a State keeps it for as long as it reads: what comes
// meanwhile changes copies of the trees' nodes (hub.go).
//
// # Joining
//
// A model that is joined is scanned, while the hub notes what it hears of it. When the hub has come past
// everything that the scan has read, the two together are the model as it is where the hub is, and
// from then on the model is in the States (load.go). The same is done again when the hub has lost
// touch: after an outage longer than delete markers live, or in a bucket that was made anew.
//
// # How records are kept
//
// As rows (package row), in trees by their primary keys and by the values of each index of the model
// (form.go). A tree is copied in no time, and copies only what changes later. What queries make of a
// Snapshot is in source.go, on the ground of how plan.Memory plans them; snapshot.go finds the parts of the
// trees that a lookup means.
//
// Rows and trees have the form of one version of the model. When the model gets another one, they are brought
// into it beside those that are read (reform.go). Until then, queries by the new version look at every
// document.
//
// # How old a State may be
//
// A reader waits for the revision that it asks for, such as the last one that its own process has
// written (Hub.At). Nothing is asked of the server for that, as the feed passes every revision.
//
// # The schema
//
// The model's document in the catalogue comes with everything else, in its order: so a State knows
// which version of the model its records were in (Snapshot.Schema). Records that are removed all at
// once leave no message; the document says up to which revision they are gone (table.removed).
package replica
