package migration

import (
	"fmt"
	"slices"
	"strings"

	"github.com/natsorm/natsorm/internal/errs"
)

// remaining is how many of a program's steps are done: those that remain come after them.
// records are what List returns. ErrSchema when the steps that are done are not the
// beginning of the program's list, in its order.
//
// A list that ends before the steps that are done do is an older program's, which runs beside a
// newer one. It has nothing to do.
func remaining(steps []Step, records []Record) (done int, err error) {
	at := func(name string) int {
		return slices.IndexFunc(steps, func(s Step) bool { return s.Name == name })
	}
	isDone := func(name string) bool {
		return slices.ContainsFunc(records, func(r Record) bool { return r.Name == name && r.State == Done })
	}
	for i, r := range records {
		if r.State != Done || i == len(steps) {
			break
		}
		if r.Name == steps[i].Name {
			done++
			continue
		}
		switch here := steps[i].Name; {
		case at(r.Name) < 0:
			return 0, fmt.Errorf("%w: the bucket has had the migration %q at place %d, and the list of this program has %q there and %q nowhere; put %q back at place %d (its Up is not called again, and may do nothing), and add new ones at the end", errs.ErrSchema, r.Name, i+1, here, r.Name, r.Name, i+1)
		case isDone(here):
			return 0, fmt.Errorf("%w: the bucket has had the migration %q before %q, and the list of this program has them in another order; put them back in the order in which they were carried out: %s", errs.ErrSchema, r.Name, here, names(records))
		default:
			return 0, fmt.Errorf("%w: the migration %q is new, and the list of this program has it before %q, which the bucket has had already; put %q at the end of the list", errs.ErrSchema, here, r.Name, here)
		}
	}
	if done == len(steps) {
		return done, nil
	}
	for _, r := range records {
		if r.State != Done && at(r.Name) < 0 {
			return 0, fmt.Errorf("%w: the migration %q was begun and has not ended (its state is %s), and the list of this program does not have it; put it back at place %d, or run the program that has it, or undo what it did and delete the key %s", errs.ErrSchema, r.Name, r.State, r.Position, keyOf(r))
		}
	}
	return done, nil
}

// names lists the steps that are done, in their order.
func names(records []Record) string { return strings.Join(doneNames(records), ", ") }

func doneNames(records []Record) []string {
	var out []string
	for _, r := range records {
		if r.State == Done {
			out = append(out, r.Name)
		}
	}
	return out
}
