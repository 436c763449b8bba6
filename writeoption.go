package natsorm

import (
	"fmt"
	"slices"

	"github.com/natsorm/natsorm/internal/query"
)

// WriteOption says how a record is written. It is a Query too, for calls that change what
// queries select. A call for which an option has no meaning returns ErrInvalid: each option
// says which calls it is for, and so far none is for Create and BulkCreate.
type WriteOption interface {
	Query
	writes()
}

type writeOption func(*query.Spec)

func (o writeOption) shape(s *query.Spec) { o(s) }
func (writeOption) writes()               {}

// IfRevision makes Save, Upsert, Update, UpdateOne, Increment and Destroy change a record
// only when it is at this revision, which a read has put into a field with orm:"version":
// the number of an ETag, as If-Match of HTTP asks for it. The call returns ErrConflict, and
// the record stays as it is, when it has another revision. Where there is no record, Save and
// Upsert return ErrConflict, which matches ErrNotFound too; UpdateOne returns ErrNotFound, and
// Update, Increment and Destroy have changed none. Revision 0 is ErrInvalid, because
// no record has it: Create writes a record only if there is none.
func IfRevision(revision uint64) WriteOption {
	return writeOption(func(s *query.Spec) {
		if revision == 0 {
			s.Fail(fmt.Errorf("%w: IfRevision(0): no record has revision 0; give the revision that was read, or use Create for a record that must not be there", ErrInvalid))
		}
		if s.IfRevision != nil && *s.IfRevision != revision {
			s.Fail(fmt.Errorf("%w: IfRevision(%d) and IfRevision(%d) in one call; give one", ErrInvalid, *s.IfRevision, revision))
		}
		s.IfRevision = &revision
	})
}

// OnConflict makes Upsert replace the record that has the same values in these columns,
// which are those of a unique index, instead of the one that has the same primary key. That
// record keeps its key. Letter case does not matter if it does not to that index. If v has another key, that is ErrUnique. Nulls are not compared, and
// neither is a zero that omitempty leaves out: then Upsert creates a record each time.
func OnConflict(columns ...string) WriteOption {
	columns = slices.Clone(columns)
	return writeOption(func(s *query.Spec) {
		if len(columns) == 0 {
			s.Fail(fmt.Errorf("%w: OnConflict without columns; name those of a unique index, or leave it out for the primary key", ErrInvalid))
		}
		s.OnConflict = append(s.OnConflict, columns...)
	})
}

// writeSpec adds up the options of a write.
func writeSpec(opts []WriteOption, use query.Use) (query.Spec, error) {
	if len(opts) == 0 { // most often
		return query.NewSpec(), nil
	}
	spec, err := specOf(queries(opts))
	if err != nil {
		return spec, err
	}
	return spec, spec.Check(use)
}
