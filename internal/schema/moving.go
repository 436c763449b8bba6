package schema

// Moving says how far a model has moved from one layout to another. The catalogue holds
// it, so that a migration that was broken off can go on, and so that every program knows
// what it may do meanwhile.
//
// There are three stages. At first, Definition.Layout is the old layout and To the new
// one: programs read and write as before, and each write also maintains the new entries.
// Then Paused is set, while the records themselves are moved. At last, Definition.Layout
// is the new layout, and From the old one until its entries are removed.
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

// Paused reports whether the model's records are being moved.
func (d *Definition) Paused() bool { return d.Moving != nil && d.Moving.Paused }
