package records_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/natsorm/natsorm/internal/errs"
	"github.com/natsorm/natsorm/internal/keys"
	"github.com/natsorm/natsorm/internal/store"
	"github.com/natsorm/natsorm/internal/store/fault"
	"github.com/natsorm/natsorm/internal/value"
)

// commits is true of the write that commits a record: checked, and no fence.
func commits(op store.Op) bool {
	return strings.Contains(op.Key, ".shard_") && op.Conditional && op.Fence == 0
}

// releases is true of the removal of an index entry.
func releases(op store.Op) bool { return strings.Contains(op.Key, ".index.") && op.Delete }

// eachWriter runs a test with each way to write; left is how many entries and
// claims a create has placed before its commit.
func eachWriter(t *testing.T, test func(t *testing.T, s store.Store, m *model, left int)) {
	t.Parallel()
	srv := newServer(t)
	for i, kind := range kinds {
		t.Run(kind.name, func(t *testing.T) {
			t.Parallel()
			s := openStore(t, srv, fmt.Sprint("stall", i))
			mine := kind.mine(s)
			m := defineAs(t, mine, kind.def())
			f, err := m.Layout.Of(doc(1, "Ann", "a@x", "Oslo"))
			if err != nil {
				t.Fatal(err)
			}
			left := 0
			if kind.early {
				left = len(f.Entries) + len(f.Claims)
			}
			test(t, mine, m, left)
		})
	}
}

// unique skips models without unique values.
func unique(t *testing.T, m *model) {
	t.Helper()
	if !hasUnique(m) {
		t.Skip("the layout has no unique values")
	}
}

// stall runs a write that stalls, then meanwhile, then lets the write end. It
// returns the write's error.
func stall(t *testing.T, s store.Store, m *model, when func(store.Op) bool, write func(context.Context, *model) error, meanwhile func(context.Context)) error {
	t.Helper()
	ctx := context.Background()
	stalling := fault.StallBefore(s, when)
	done := make(chan error, 1)
	go func() { done <- write(ctx, on(m, stalling)) }()
	<-stalling.Stalled()
	meanwhile(ctx)
	stalling.Resume()
	return <-done
}

// A writer that stalls between its claim and its commit must lose the commit
// once another has taken the value.
func TestStalledWriterLosesItsUniqueValue(t *testing.T) {
	eachWriter(t, func(t *testing.T, s store.Store, m *model, left int) {
		unique(t, m)
		err := stall(t, s, m, commits,
			func(ctx context.Context, m *model) error { return create(ctx, m, doc(1, "Ann", "a@x", "Oslo")) },
			func(ctx context.Context) {
				if err := create(ctx, m, doc(2, "Bob", "a@x", "Rome")); err != nil {
					t.Errorf("the value of a stalled writer cannot be taken: %v", err)
				}
			})
		var unique *errs.UniqueError
		if !errors.As(err, &unique) || unique.Owner != "2" {
			t.Errorf("the stalled writer got %v", err)
		}
		sound(t, m, "at the end")
		mend(t, m, "at the end")
	})
}

// The same, for a value that an update takes.
func TestStalledUpdateLosesItsUniqueValue(t *testing.T) {
	eachWriter(t, func(t *testing.T, s store.Store, m *model, left int) {
		unique(t, m)
		if err := create(context.Background(), m, doc(1, "Ann", "old@x", "Oslo")); err != nil {
			t.Fatal(err)
		}
		err := stall(t, s, m, commits,
			func(ctx context.Context, m *model) error { return update(ctx, m, byID(m, 1), "email", "a@x") },
			func(ctx context.Context) {
				if err := create(ctx, m, doc(2, "Bob", "a@x", "Rome")); err != nil {
					t.Errorf("the value of a stalled writer cannot be taken: %v", err)
				}
			})
		if !errors.Is(err, errs.ErrUnique) {
			t.Errorf("the stalled writer got %v", err)
		}
		sound(t, m, "at the end")
		mend(t, m, "at the end")
	})
}

// Check with Repair takes the entries of a writer that stalls before its
// commit; the writer must notice and put them again.
func TestStalledWriterSurvivesARepair(t *testing.T) {
	eachWriter(t, func(t *testing.T, s store.Store, m *model, left int) {
		err := stall(t, s, m, commits,
			func(ctx context.Context, m *model) error { return create(ctx, m, doc(1, "Ann", "a@x", "Oslo")) },
			func(ctx context.Context) {
				report, err := m.Check(ctx, true)
				if err != nil || len(report.Problems) != left {
					t.Errorf("repair found %+v, %v; want %d entries and claims of the writer", report.Problems, err, left)
				}
			})
		if err != nil {
			t.Errorf("the stalled writer got %v", err)
		}
		sound(t, m, "at the end")
		mend(t, m, "at the end")
	})
}

// Two writers create one record; the second fails and cleans up. Its entries
// are the first one's too, which must not lose them.
func TestFailedWriterLeavesItsNeighboursEntries(t *testing.T) {
	eachWriter(t, func(t *testing.T, s store.Store, m *model, left int) {
		unique(t, m)
		if err := create(context.Background(), m, doc(9, "Eve", "taken@x", "Rome")); err != nil {
			t.Fatal(err)
		}
		err := stall(t, s, m, commits,
			func(ctx context.Context, m *model) error { return create(ctx, m, doc(1, "Ann", "a@x", "Oslo")) },
			func(ctx context.Context) {
				if err := create(ctx, m, doc(1, "Ann", "taken@x", "Oslo")); !errors.Is(err, errs.ErrUnique) {
					t.Errorf("the second writer got %v", err)
				}
			})
		if err != nil {
			t.Errorf("the stalled writer got %v", err)
		}
		sound(t, m, "at the end")
		mend(t, m, "at the end")
	})
}

// A writer stalls after its commit, before it removes the old entry; another
// changes the value back. The entry is needed again and must stay.
func TestLateRemovalSparesANewEntry(t *testing.T) {
	eachWriter(t, func(t *testing.T, s store.Store, m *model, left int) {
		if err := create(context.Background(), m, doc(1, "Ann", "a@x", "Oslo")); err != nil {
			t.Fatal(err)
		}
		err := stall(t, s, m, releases,
			func(ctx context.Context, m *model) error { return update(ctx, m, byID(m, 1), "name", "Bea") },
			func(ctx context.Context) {
				if err := update(ctx, m, byID(m, 1), "name", "Ann"); err != nil {
					t.Error(err)
				}
			})
		if err != nil {
			t.Errorf("the stalled writer got %v", err)
		}
		sound(t, m, "at the end")
		mend(t, m, "at the end")
	})
}

// A writer that stalls between reading and committing must not undo what
// others wrote meanwhile.
func TestStalledUpdateSeesWhatOthersWrote(t *testing.T) {
	eachWriter(t, func(t *testing.T, s store.Store, m *model, left int) {
		if err := create(context.Background(), m, doc(1, "Ann", "a@x", "Oslo")); err != nil {
			t.Fatal(err)
		}
		err := stall(t, s, m, commits,
			func(ctx context.Context, m *model) error { return update(ctx, m, byID(m, 1), "name", "Bea") },
			func(ctx context.Context) {
				if err := update(ctx, m, byID(m, 1), "city", "Rome"); err != nil {
					t.Error(err)
				}
			})
		if err != nil {
			t.Errorf("the stalled writer got %v", err)
		}
		got, err := s.Get(context.Background(), "Person.shard_1.1")
		if err != nil || string(got.Value) != string(doc(1, "Bea", "a@x", "Rome")) {
			t.Errorf("the record is %s, %v", got.Value, err)
		}
		sound(t, m, "at the end")
		mend(t, m, "at the end")
	})
}

// While a unique index is being built, a record can have a value without its
// claim. When it gives the value up, the claim that another record has taken
// meanwhile must stay.
func TestReleaseSparesTheClaimOfAnother(t *testing.T) {
	eachWriter(t, func(t *testing.T, s store.Store, m *model, left int) {
		unique(t, m)
		ctx := context.Background()
		if err := s.Write(ctx, store.Op{Key: "Person.shard_1.1", Value: doc(1, "Ann", "a@x", "Oslo")})[0].Err; err != nil {
			t.Fatal(err)
		}
		err := stall(t, s, m, commits,
			func(ctx context.Context, m *model) error { return update(ctx, m, byID(m, 1), "email", "b@x") },
			func(ctx context.Context) {
				if err := create(ctx, m, doc(2, "Bob", "a@x", "Rome")); err != nil {
					t.Error(err)
				}
			})
		if err != nil {
			t.Errorf("the stalled writer got %v", err)
		}
		claim, err := s.Get(ctx, keys.Claim("Person", "email", []value.Value{value.OfString("a@x")}))
		if err != nil || string(claim.Value) != "2" {
			t.Errorf("the claim is %q, %v", claim.Value, err)
		}
	})
}

// A writer that stalls after its commit, before it leaves a list, finds the list
// changed, and another writer about to need it: that one must not lose its place.
func TestLateLeavingFencesAWriter(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	s := fault.Phased(openStore(t, newServer(t), "leaving"))
	m := defineAs(t, s, listedPerson())
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Error(err)
		}
	}
	must(create(ctx, m, doc(1, "Ann", "a@x", "Oslo")))
	leaves := func(op store.Op) bool { return op.Key == "Person.index.name.Ann" }
	resumed := make(chan struct{})
	var late error
	done := make(chan struct{})
	err := stall(t, s, m, leaves,
		func(ctx context.Context, m *model) error { return update(ctx, m, byID(m, 1), "name", "Bea") },
		func(ctx context.Context) {
			must(create(ctx, m, doc(2, "Ann", "b@x", "Rome"))) // the list is not as it was
			joined := make(chan struct{})
			go func() {
				defer close(done)
				late = stall(t, s, m, commits,
					func(ctx context.Context, m *model) error { return update(ctx, m, byID(m, 1), "name", "Ann") },
					func(context.Context) { close(joined); <-resumed })
			}()
			<-joined
		})
	must(err)
	close(resumed)
	<-done
	must(late)
	sound(t, m, "at the end")
	mend(t, m, "at the end")
}
