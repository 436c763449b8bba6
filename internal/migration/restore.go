package migration

import (
	"fmt"
	"slices"
	"strings"

	"github.com/natsorm/natsorm/internal/errs"
	"github.com/natsorm/natsorm/internal/keys"
)

func keyOf(r Record) string { return keys.Migration(r.Name) }

// Mergeable returns nil when the records of a backup can be added to those of a bucket: both
// have had the same steps in the same order. Otherwise it is ErrSchema: some of the records
// would be as a step that the bucket counts as done has never seen them. With bare, the bucket has
// nothing but records of steps, as a restore leaves it that was interrupted early; then it is
// enough that the backup goes on where they end.
func Mergeable(bucket, file []Record, bare bool) error {
	b, f := doneNames(sorted(bucket)), doneNames(sorted(file))
	if slices.Equal(b, f) || bare && len(b) <= len(f) && !slices.ContainsFunc(b, func(name string) bool { return !slices.Contains(f, name) }) {
		return nil
	}
	return fmt.Errorf("%w: the bucket has had the migrations [%s], and what is in the backup has had [%s]; use DeleteOthers, or another bucket. To add the records of the backup to those of this bucket, restore it into another one, call Migrate there, and back that one up", errs.ErrSchema, strings.Join(b, ", "), strings.Join(f, ", "))
}
