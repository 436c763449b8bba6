package commit

import (
	"fmt"

	"github.com/natsorm/natsorm/internal/errs"
	"github.com/natsorm/natsorm/internal/layout"
	"github.com/natsorm/natsorm/internal/store"
)

// NewerError says that a record was written by a newer version of the model than the one that the
// Writer works by. What is in it may have names that this version does not know, so nothing is
// concluded from it. Nothing was committed: the change is to be made by the newer version.
type NewerError struct {
	Model  string
	Schema uint64 // the revision of the catalogue's document that the record's writer knew
}

func (e *NewerError) Error() string {
	return fmt.Sprintf("natsorm: %s was altered meanwhile (document %d of the catalogue); make the call again", e.Model, e.Schema)
}

func (e *NewerError) Is(target error) bool { return target == errs.ErrUnwritten }

// Newer reports whether a record was written by a newer version of the model than that of a
// layout. A layout whose model is not from the catalogue knows no versions.
func Newer(l layout.Layout, rec store.Message) bool {
	known := l.Model().Revision
	return known > 0 && rec.Schema > known
}

// newer is a *NewerError for a record that is Newer, unless it was said that this is all right.
func (w *Writer) newer(rec store.Message) error {
	if Newer(w.layout, rec) && rec.Schema > w.trusted.Load() {
		return &NewerError{w.layout.Model().Name, rec.Schema}
	}
	return nil
}

// Trust lets the Writer take records of newer versions for its own, up to a revision: the
// catalogue turned out to have no newer version, as in a bucket that was made anew.
func (w *Writer) Trust(schema uint64) {
	for old := w.trusted.Load(); old < schema && !w.trusted.CompareAndSwap(old, schema); old = w.trusted.Load() {
	}
}
