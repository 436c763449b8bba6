package schema

// Moving says that a model is on its way from one layout to another. The catalogue
// holds it, so that whoever goes on knows where, and every handle what it may do.
type Moving struct {
	To string `json:"to"`

	// From is the layout whose entries are still there; the model has left it.
	From string `json:"from,omitempty"`

	// Paused says that records are at neither layout's keys for sure: nobody reads or
	// writes them but who moves them.
	Paused bool `json:"paused,omitempty"`
}

// Paused reports whether the model's records are being moved.
func (d *Definition) Paused() bool { return d.Moving != nil && d.Moving.Paused }
