package maintenance_test

import (
	"errors"
	"fmt"
	"maps"
	"strings"
	"testing"

	"github.com/natsorm/natsorm/internal/errs"
	"github.com/natsorm/natsorm/internal/keys"
	"github.com/natsorm/natsorm/internal/maintenance"
	"github.com/natsorm/natsorm/internal/schema"
	"github.com/natsorm/natsorm/internal/store/fault"
)

// Truncate leaves nothing of a model but its place in the catalogue, whatever is there,
// and nothing of another model is gone.
func TestTruncate(t *testing.T) {
	t.Parallel()
	for name, def := range map[string]schema.Definition{"native": person(everyKind...), "lists": listedPerson()} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := begin(t)
			pet := person(byName)
			pet.Name = "Pet"
			pets := w.define(w.bucket, pet)
			w.save(pets, doc(1, "Rex", ""))
			m := w.define(w.bucket, def)
			want := w.content(w.bucket)

			for i := range 300 {
				w.save(m, doc(i, fmt.Sprint("n", i%3), fmt.Sprint(i)))
			}
			w.put("Person.shard_7.7", "{")                    // a record that cannot be read
			w.put("Person.shard_1.misplaced", doc(5, "", "")) // one that belongs elsewhere
			if name == "native" {
				w.put("Person.index.name.stray.8", "")
				w.put(claim("stray"), "12345")
				w.put(claim("broken"), "?")
			} else {
				w.put("Person.index.name.stray", "[99999]")
				w.put("Person.index.name.broken", "[1")
			}
			w.must(maintenance.Truncate(w.ctx, w.bucket, m.Def))
			w.same("truncated", w.content(w.bucket), want)
			w.save(m, doc(1, "n1", "1"))
			if ids := w.find(m, "n1"); len(ids) != 1 {
				t.Errorf("after it %v are found", ids)
			}
		})
	}
}

// Broken off, it says how many are gone; another one deletes the others.
func TestTruncateBrokenOff(t *testing.T) {
	t.Parallel()
	w := begin(t)
	m := w.define(w.bucket, person(byName, byEmail))
	const all = 20
	for i := range all {
		w.save(m, doc(i, "n", fmt.Sprint(i)))
	}
	crashing := fault.CrashAfter(fault.Atomic(w.bucket), 5)
	err := maintenance.Truncate(w.ctx, crashing, m.Def)
	var partial *errs.PartialError
	if !errors.As(err, &partial) || !errors.Is(err, fault.ErrCrashed) || partial.Model != "Person" {
		t.Fatalf("broken off, it says %v", err)
	}
	left := 0
	for key := range w.content(w.bucket) {
		if tokens, _ := keys.IndexOf("Person", key, false); tokens == "" && key != keys.Schema("Person") {
			if claimed, _ := keys.IndexOf("Person", key, true); claimed == "" {
				left++
			}
		}
	}
	if left != all-partial.Changed || left == all {
		t.Errorf("%d are left, and it says that %d are gone", left, partial.Changed)
	}
	w.must(maintenance.Truncate(w.ctx, w.bucket, m.Def))
	if got := w.content(w.bucket); len(got) != 1 {
		t.Errorf("left: %v", got)
	}
	w.must(maintenance.Truncate(w.ctx, w.bucket, m.Def)) // of nothing
}

// Truncate deletes what is there, and passes over what a replica that is behind shows.
func TestTruncateByAReplicaThatIsBehind(t *testing.T) {
	t.Parallel()
	for name, def := range map[string]schema.Definition{"native": person(byName, byEmail), "lists": listedPerson()} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := begin(t)
			m := w.define(w.bucket, def)
			for i := range 30 {
				w.save(m, doc(i, "old", fmt.Sprint(i)))
			}
			w.put("Person.shard_7.7", "{")
			behind := w.lagging()
			for i := range 30 {
				if i == 7 { // it cannot be read
					continue
				}
				if i%3 == 0 {
					w.must(destroy(w.ctx, m, i))
				} else {
					w.save(m, doc(i, "new", fmt.Sprint("n", i)))
				}
			}
			w.remove("Person.shard_7.7")
			w.must(maintenance.Truncate(w.ctx, behind, m.Def))
			got := w.content(w.bucket)
			delete(got, keys.Schema("Person"))
			maps.DeleteFunc(got, func(key, _ string) bool { return strings.HasPrefix(key, "Person.head.") })
			w.same("truncated", got, map[string]string{})
		})
	}
}
