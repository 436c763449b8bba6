package groupcommit

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/natsorm/natsorm/internal/store"
)

// What goes into the next batch, and what stays in the queue for later ones. A share is
// written as the keys of its ops: "a b"; "+a" only bumps a.
func TestTake(t *testing.T) {
	t.Parallel()
	large := strings.Repeat("x", store.MaxBatchBytes/2)
	most := make([]string, store.MaxBatch)
	for i := range most {
		most[i] = fmt.Sprint("k", i)
	}
	full := strings.Join(most, " ")
	for _, c := range []struct {
		name, value       string
		queue, take, left []string
	}{
		{name: "others' keys go together", queue: []string{"a b", "c"}, take: []string{"a b", "c"}},
		{name: "a key goes once", queue: []string{"a", "a", "b"}, take: []string{"a", "b"}, left: []string{"a"}},
		{name: "nobody is overtaken", queue: []string{"a", "a b", "b", "c"}, take: []string{"a", "c"}, left: []string{"a b", "b"}},
		{name: "bumps of a key go together", queue: []string{"a +h", "b +h"}, take: []string{"a +h", "b +h"}},
		{name: "a bump and a write do not", queue: []string{"+h", "h"}, take: []string{"+h"}, left: []string{"h"}},
		{name: "a write and a bump do not", queue: []string{"h", "+h"}, take: []string{"h"}, left: []string{"+h"}},
		{name: "a bump does not overtake", queue: []string{"a", "a +h", "b +h"}, take: []string{"a"}, left: []string{"a +h", "b +h"}},
		{name: "no more messages than a batch has", queue: []string{full, "a", "b"}, take: []string{full}, left: []string{"a", "b"}},
		{name: "no more bytes than a batch has", value: large, queue: []string{"a", "b", "c"}, take: []string{"a"}, left: []string{"b", "c"}},
		{name: "the first one goes in any case", value: large, queue: []string{"a b c", "d"}, take: []string{"a b c"}, left: []string{"d"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			g := New(nil, Options{})
			names := map[*share]string{}
			for _, name := range c.queue {
				j := &share{}
				for _, key := range strings.Fields(name) {
					op := store.Op{Key: key, Conditional: true, Value: []byte(c.value)}
					if bumped, ok := strings.CutPrefix(key, "+"); ok {
						op = store.Op{Key: bumped}
					}
					j.ops = append(j.ops, op)
				}
				names[j] = name
				g.queue = append(g.queue, j)
			}
			named := func(shares []*share) (out []string) {
				for _, j := range shares {
					out = append(out, names[j])
				}
				return out
			}
			if got := named(g.take()); !slices.Equal(got, c.take) {
				t.Errorf("%.80q go, not %.80q", got, c.take)
			}
			if got := named(g.queue); !slices.Equal(got, c.left) {
				t.Errorf("%.80q stay, not %.80q", got, c.left)
			}
		})
	}
}
