package records_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/natsorm/natsorm/internal/commit"
	"github.com/natsorm/natsorm/internal/cond"
	"github.com/natsorm/natsorm/internal/document"
	"github.com/natsorm/natsorm/internal/errs"
	"github.com/natsorm/natsorm/internal/keys"
	"github.com/natsorm/natsorm/internal/plan"
	"github.com/natsorm/natsorm/internal/records"
	"github.com/natsorm/natsorm/internal/store"
	"github.com/natsorm/natsorm/internal/store/fault"
	"github.com/natsorm/natsorm/internal/value"
)

// A leader that was replaced says for a moment what was: a change must not end
// with a verdict on that.
func TestReplacedLeaderJudgesNoChange(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	srv := newServer(t)
	const record = "Person.shard_1.1"
	ada, bea := doc(1, "Ada", "a@x", "Oslo"), doc(1, "Bea", "b@x", "Oslo")
	put := func(doc []byte) func(*model) error {
		return func(m *model) error { return create(ctx, m, doc) }
	}
	destroy := func(m *model) error { return destroy(ctx, m, byID(m, 1)) }
	save := func(last uint64) func(*model) error {
		return func(m *model) error {
			return m.Write(ctx, records.Target{ID: value.OfInt(1)}, records.Change{Next: func(before store.Message) (commit.Draft, error) {
				if before.Version() != last {
					return commit.Draft{}, errs.ErrConflict
				}
				return commit.Draft{Doc: bea}, nil
			}})
		}
	}
	one := func(column string, value any) func(uint64) func(*model) error {
		return func(uint64) func(*model) error {
			return func(m *model) error {
				q := where(m, column, value)
				if column != "city" { // where the old leader's record does not fulfil the rest
					b, err := cond.Bind(cond.FromMap(map[string]any{column: value, "city": "Rome"}), m.Def)
					if err != nil {
						return err
					}
					q = plan.Where(b)
				}
				found, id, err := m.ModifyOne(ctx, q, records.Change{Next: func(before store.Message) (commit.Draft, error) {
					doc, err := document.Patch(before.Value, []document.Member{{Name: "name", Raw: []byte(`"Bea"`)}})
					return commit.Draft{Doc: doc}, err
				}})
				if err == nil && found != records.Changed {
					err = fmt.Errorf("found %d %s", found, id)
				}
				return err
			}
		}
	}
	move := func(m *model) error { return update(ctx, m, byID(m, 1), "city", "Rome") }
	for i, c := range []struct {
		name           string
		before, behind func(*model) error // what the old leader has, and what it has not
		call           func(last uint64) func(*model) error
	}{
		{"save", put(ada), func(m *model) error { return update(ctx, m, byID(m, 1), "city", "Rome") }, save},
		{"save what was created", func(*model) error { return nil }, put(ada), save},
		{"create what was destroyed", put(ada), destroy, func(uint64) func(*model) error { return put(bea) }},
		{"update what was created", func(*model) error { return nil }, put(ada), func(uint64) func(*model) error {
			return func(m *model) error { return update(ctx, m, byID(m, 1), "name", "Bea") }
		}},
		{"change one by its key", put(ada), move, one("id", 1)},
		{"change one by its unique value", put(ada), move, one("email", "a@x")},
		{"change one by a value", put(ada), move, one("city", "Rome")},
		{"change one that was created", func(*model) error { return nil }, put(doc(1, "Ada", "a@x", "Rome")), one("id", 1)},
		{"take a value that was given up", put(doc(2, "Bob", "b@x", "Rome")), func(m *model) error {
			return update(ctx, m, byID(m, 2), "email", "c@x")
		}, func(uint64) func(*model) error { return put(bea) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := openStore(t, srv, fmt.Sprint("behind", i))
			m := definePerson(t, s)
			must := func(err error) {
				t.Helper()
				if err != nil {
					t.Fatal(err)
				}
			}
			must(c.before(m))
			claim := keys.Claim("Person", "email", []value.Value{value.OfString("b@x")})
			behind, err := fault.NewBehind(ctx, s, record, "Person.shard_2.2", claim)
			must(err)
			must(c.behind(m))
			last, err := s.Get(ctx, record)
			must(err)
			must(c.call(last.Version())(on(m, behind)))
			now, err := s.Get(ctx, record)
			must(err)
			if now.Revision == last.Revision || !strings.Contains(string(now.Value), "Bea") {
				t.Errorf("the record is %s", now.Value)
			}
			sound(t, m, "at the end")
			mend(t, m, "at the end")
		})
	}
}
