package schema

// Moving says how far a model has moved from one layout to another. The catalogue holds
// it, so that a migration that was broken off can go on, and so that every program knows
// what it may do meanwhile.
//
// There are three stages. At first, Definition.Layout is the old layout and To the new
// one: programs read and write in the old one, while the migration makes the entries of
// the new one beside it. Then Paused is set: calls wait, while what was written meanwhile
// gets its new entries and the records are moved to their new keys. At last,
// Definition.Layout and To are the new layout, programs go on there, and From is the old
// one until its entries are removed.
type Moving struct {
	// To is the layout that the model moves to.
	To string `json:"to"`

	// From is the layout that the model has left, while some of its entries are still
	// in the bucket.
	From string `json:"from,omitempty"`

	// Paused says that a record may be at the keys of either layout. Only the migration
	// reads and writes records then; all other calls wait.
	Paused bool `json:"paused,omitempty"`
}
