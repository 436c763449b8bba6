package schema

import "reflect"

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

// SameMove reports whether another document of the model says the same of its layout, and of how
// far it has moved.
func (d *Definition) SameMove(other *Definition) bool {
	if d.Moving == nil || other.Moving == nil {
		return d.Moving == other.Moving && d.Layout == other.Layout
	}
	return *d.Moving == *other.Moving && d.Layout == other.Layout
}

// SameBut reports whether another document of the model says the same, besides of how far it has
// moved.
func (d *Definition) SameBut(other *Definition) bool {
	a, b := *d, *other
	a.Moving, b.Moving = nil, nil
	a.Revision, b.Revision, a.Format, b.Format = 0, 0, 0, 0
	return reflect.DeepEqual(&a, &b)
}
