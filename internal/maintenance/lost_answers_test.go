package maintenance_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/natsorm/natsorm/internal/building"
	"github.com/natsorm/natsorm/internal/checking"
	"github.com/natsorm/natsorm/internal/keys"
	"github.com/natsorm/natsorm/internal/maintenance"
	"github.com/natsorm/natsorm/internal/store/fault"
)

// A server is slow, and an answer comes too late: what removes something removes it once more, and
// what writes a list looks at it again.
func TestLostAnswers(t *testing.T) {
	t.Parallel()
	t.Run("the end of a build", func(t *testing.T) {
		t.Parallel()
		w := begin(t)
		w.people(60)
		_, err := maintenance.DefineWith(w.ctx, fault.LoseFirstAnswers(w.bucket), person(byName), 16, marking)
		w.must(err)
		if _, there := w.mark(); there {
			t.Error("the mark is left")
		}
	})
	t.Run("the lists of an index", func(t *testing.T) {
		t.Parallel()
		w := begin(t)
		lossy := fault.LoseFirstAnswers(w.bucket)
		m := w.define(w.bucket, listedPerson())
		w.save(m.On(fault.Phased(lossy)), doc(1, "Ann", ""), doc(2, "Bob", "")) // each list is written by one
		w.must(building.Again(w.ctx, fault.LoseFirstAnswers(w.bucket), m.Def))
		if ids := w.find(m, "Ann"); len(ids) != 1 {
			t.Errorf("Ann is %v", ids)
		}
	})
	t.Run("a sweep", func(t *testing.T) {
		t.Parallel()
		w := begin(t)
		m := w.define(w.bucket, person(byName))
		w.save(m, doc(1, "Ann", "a@x"))
		before := w.content(w.bucket)
		for i := range 40 {
			w.put(fmt.Sprint("Person.index.email.a_x.", i), "")
			w.put(keys.Claim("Person", "name", nil)+fmt.Sprint(".", i), "1")
		}
		swept, err := maintenance.Sweep(w.ctx, fault.LoseFirstAnswers(w.bucket))
		w.must(err)
		if swept != (checking.Swept{Leftovers: 80}) {
			t.Errorf("taken: %+v", swept)
		}
		w.same("after the sweep", w.content(w.bucket), before)
	})
	t.Run("a truncate without the right to purge", func(t *testing.T) {
		t.Parallel()
		w := begin(t)
		w.people(60)
		w.define(w.bucket, person(byName))
		w.must(maintenance.Empty(w.ctx, fault.LoseFirstAnswers(w.bucket), "Person"))
		for key := range w.content(w.bucket) {
			if strings.HasPrefix(key, "Person.") && !strings.HasPrefix(key, "Person.head.") {
				t.Errorf("%s is left", key)
			}
		}
	})
}
