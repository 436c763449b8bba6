package schema

import (
	"errors"
	"slices"
)

// Emptying says how far the removal of all records of a model has come. The catalogue holds
// it, so that calls wait meanwhile, and any program can end it.
//
// First the document says only that: calls that read it wait. When every program knows, or
// will before its call returns, Sure is set. Then the server removes what is at or below the
// revision of a document with Sure. That revision becomes Definition.Emptied, and Emptying
// goes.
type Emptying struct {
	// Sure says that every program knows by now.
	Sure bool `json:"sure,omitempty"`

	// Drop says that the model goes too.
	Drop bool `json:"drop,omitempty"`
}

// ErrDropping says that an index cannot be added yet: the keys of one of its name are being
// removed.
var ErrDropping = errors.New("an index is being dropped")

// dropping reports whether an index of the name and kind is being dropped.
func (d *Definition) dropping(x Index) bool {
	return slices.ContainsFunc(d.Dropping, func(y Index) bool { return x.Name == y.Name && x.Unique == y.Unique })
}

// Paused reports whether calls wait because the model's records are being moved or removed.
func (d *Definition) Paused() bool {
	return d.Emptying != nil || d.Moving != nil && d.Moving.Paused
}

// Same reports whether two documents are of one model, which was not dropped in between.
func (d *Definition) Same(other *Definition) bool { return d.Born == other.Born }
