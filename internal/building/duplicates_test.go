package building

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/natsorm/natsorm/internal/errs"
	"github.com/natsorm/natsorm/internal/schema"
	"github.com/natsorm/natsorm/internal/value"
)

func people() *schema.Definition {
	return &schema.Definition{Name: "Person", Columns: []schema.Column{{Name: "id", Type: value.Int, PrimaryKey: true}}}
}

func taken(text string, owner int) *errs.UniqueError {
	return &errs.UniqueError{Columns: []string{"email"}, Value: text, Owner: fmt.Sprint(owner)}
}

// Of very many duplicates, as many are listed as the limits say, and all are counted, each once.
func TestDuplicatesAreBounded(t *testing.T) {
	t.Parallel()
	d := newDuplicates(people())
	const groups, each = 3 * errs.MaxDuplicateGroups, 20
	for range 2 { // a record may come twice
		for g := range groups {
			for i := 1; i < each; i++ {
				text := fmt.Sprintf("v%05d", g)
				d.add("Person.unique.email."+text, taken(text, g*each), fmt.Sprint(g*each+i))
			}
		}
	}
	var e *errs.DuplicatesError
	if !errors.As(d.err(), &e) || e.TotalGroups != groups || e.TotalRecords != groups*each || len(e.Groups) != errs.MaxDuplicateGroups {
		t.Fatalf("%d groups of %d, %d records", len(e.Groups), e.TotalGroups, e.TotalRecords)
	}
	listed := 0
	for i, g := range e.Groups {
		listed += len(g.Keys)
		if i > 0 && g.Value <= e.Groups[i-1].Value {
			t.Errorf("%q after %q", g.Value, e.Groups[i-1].Value)
		}
	}
	if listed != errs.MaxDuplicateKeys {
		t.Errorf("%d keys are listed", listed)
	}
	if n := len(e.Error()); n > 1000 {
		t.Errorf("the text has %d bytes", n)
	}
}

// Keys are in the order of their type.
func TestDuplicatesAreInOrder(t *testing.T) {
	t.Parallel()
	d := newDuplicates(people())
	if d.err() != nil || d.any() {
		t.Error("nothing was found")
	}
	for _, n := range []int{-3, 100, 7, -20, 12} {
		d.add("c", taken("x", 9), fmt.Sprint(n))
	}
	var e *errs.DuplicatesError
	if !errors.As(d.err(), &e) || !slices.Equal(e.Groups[0].Keys, []string{"-20", "-3", "7", "9", "12", "100"}) {
		t.Errorf("%v", d.err())
	}
	if !errors.Is(e, errs.ErrSchema) || !strings.Contains(e.Error(), `email "x" of -20, -3, 7, 9, 12, …. Change`) {
		t.Error(e)
	}
}
