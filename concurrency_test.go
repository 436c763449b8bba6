package natsorm_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/natsorm/natsorm"
	"github.com/natsorm/natsorm/internal/testsize"
	"github.com/natsorm/natsorm/natsormtest"
)

// In the library that natsorm succeeds, 200 concurrent creates with one e-mail
// leave one of them in the index.
func TestConcurrentCreatesShareAnIndexedValue(t *testing.T) {
	t.Parallel()
	type account struct {
		ID    int    `json:"id" orm:"primaryKey"`
		Email string `json:"email" orm:"index"`
	}
	db := natsormtest.New(t)
	accounts := define[account](t, db)
	ctx := within(t)

	const n = 200
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			if err := accounts.Create(ctx, &account{ID: i, Email: "same@example.com"}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	found := must[[]*account](t)(accounts.FindAll(ctx, natsorm.Where{"email": "same@example.com"}))
	if len(found) != n {
		t.Errorf("found %d of %d by e-mail", len(found), n)
	}
}

func TestConcurrentCreatesOfAUniqueValueHaveOneWinner(t *testing.T) {
	t.Parallel()
	db := natsormtest.New(t)
	users := define[user](t, db)
	ctx := within(t)

	const n = 200
	errs := make([]error, n)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			errs[i] = users.Create(ctx, &user{ID: int64(i), Name: fmt.Sprint("user ", i), Email: "same@example.com"})
		})
	}
	wg.Wait()

	winner := must[*user](t)(users.FindOne(ctx, natsorm.Where{"email": "same@example.com"}))
	for i, err := range errs {
		if int64(i) == winner.ID {
			if err != nil {
				t.Errorf("the winner got %v", err)
			}
			continue
		}
		var unique *natsorm.UniqueError
		if !errors.As(err, &unique) || !errors.Is(err, natsorm.ErrUnique) {
			t.Errorf("loser %d got %v", i, err)
		} else if unique.Owner != strconv.FormatInt(winner.ID, 10) || !slices.Equal(unique.Columns, []string{"email"}) || unique.Value != "same@example.com" || unique.Model != "user" {
			t.Errorf("loser %d was told %+v; the owner is %d", i, unique, winner.ID)
		}
	}
	if count := must[int](t)(users.Count(ctx)); count != 1 {
		t.Errorf("%d records, want 1", count)
	}
	// The losers cleaned up what they had put into the other indexes.
	report := must[natsorm.Report](t)(db.Check(ctx))
	if len(report.Models[0].Problems) > 0 {
		t.Errorf("left behind:\n%s", report)
	}
}

// TestMixedWritersKeepTheIndex is the long one: every kind of write on few ids
// and fewer values, then Check (by natsormtest), and lookups against a scan.
func TestMixedWritersKeepTheIndex(t *testing.T) {
	t.Parallel()
	db := natsormtest.New(t)
	users := define[user](t, db)
	ctx := within(t)
	duration := testsize.Pick(400*time.Millisecond, 2*time.Second, 20*time.Second)

	const writers, ids, values = 64, 100, 5
	cities := []*string{nil, ptr("Oslo"), ptr("a@b"), ptr("a_b"), ptr("")}
	stop, cancel := context.WithTimeout(ctx, duration)
	defer cancel()
	var wg sync.WaitGroup
	var mu sync.Mutex
	outcomes := map[string]int{}
	for w := range writers {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(uint64(w), 1))
			for stop.Err() == nil {
				u := &user{ID: r.Int64N(ids), Name: fmt.Sprint("name ", r.IntN(values)), Email: fmt.Sprint(r.IntN(ids/2), "@example.com"), Age: r.IntN(values), City: cities[r.IntN(values)]}
				var err error
				var op string
				switch r.IntN(6) {
				case 0, 1:
					op, err = "create", users.Create(ctx, u)
				case 2:
					op = "update"
					_, err = users.Update(ctx, natsorm.Set{"name": u.Name, "city": u.City}, natsorm.Eq("id", u.ID))
				case 3:
					op = "update e-mail"
					_, err = users.Update(ctx, natsorm.Set{"email": u.Email}, natsorm.Eq("id", u.ID))
				case 4:
					op = "increment"
					_, err = users.Increment(ctx, natsorm.Set{"age": 1}, natsorm.Where{"age": u.Age, "name": u.Name})
				default:
					op = "destroy"
					_, err = users.Destroy(ctx, natsorm.Eq("id", u.ID))
				}
				if err != nil && !errors.Is(err, natsorm.ErrExists) && !errors.Is(err, natsorm.ErrUnique) {
					t.Errorf("%s: %v", op, err)
					return
				}
				mu.Lock()
				if err != nil {
					op += ", refused"
				}
				outcomes[op]++
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	t.Log(outcomes)

	all := must[[]*user](t)(users.FindAll(ctx))
	byName, byEmail := map[string]int{}, map[string]int{}
	for _, u := range all {
		byName[u.Name]++
		byEmail[u.Email]++
	}
	for name, want := range byName {
		if got := must[int](t)(users.Count(ctx, natsorm.Eq("name", name))); got != want {
			t.Errorf("%d records named %q by index, %d by scan", got, name, want)
		}
	}
	for email, n := range byEmail {
		if n > 1 {
			t.Errorf("%d records have the unique e-mail %q", n, email)
		}
		if got := must[int](t)(users.Count(ctx, natsorm.Eq("email", email))); got != 1 {
			t.Errorf("%d records with e-mail %q by claim, 1 by scan", got, email)
		}
	}
}

// Of many calls with the same new record, which has four unique values, one creates it and all others find or
// replace it: also those that lose another value than the one that they look for.
func TestRecordsOfSeveralUniqueValuesAreCreatedOnce(t *testing.T) {
	t.Parallel()
	type licence struct {
		ID     string `json:"id" orm:"primaryKey,auto"`
		Holder string `json:"holder" orm:"unique"`
		Number string `json:"number" orm:"unique"`
		Plate  string `json:"plate" orm:"unique,fold"`
		Seal   string `json:"seal" orm:"unique"`
	}
	for name, open := range map[string]func(testing.TB) *natsorm.DB{"in memory": natsormtest.New, "in files": onFiles} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db := open(t)
			dbs := []*natsorm.Model[licence]{define[licence](t, db), define[licence](t, another(t, db))}
			ctx := within(t)
			const rounds = 5
			var created atomic.Int64
			var wg sync.WaitGroup
			for i := range 40 {
				wg.Go(func() {
					for round := range rounds {
						v := &licence{Holder: fmt.Sprint("h", round), Number: fmt.Sprint("n", round), Plate: fmt.Sprint("p", round), Seal: fmt.Sprint("s", round)}
						made, err := false, error(nil)
						if licences := dbs[i%2]; i%4 < 2 {
							_, made, err = licences.FindOrCreate(ctx, natsorm.Where{"number": v.Number}, v)
						} else {
							made, err = licences.Upsert(ctx, v, natsorm.OnConflict("plate"))
						}
						if err != nil {
							t.Error(err)
						}
						if made {
							created.Add(1)
						}
					}
				})
			}
			wg.Wait()
			if n := must[int](t)(dbs[0].Count(ctx)); n != rounds || created.Load() != rounds {
				t.Errorf("there are %d, and %d calls say that they have created one", n, created.Load())
			}
		})
	}
	// A value that another record has is refused all the same.
	licences := define[licence](t, natsormtest.New(t))
	ctx := within(t)
	ok(t, licences.Create(ctx, &licence{Holder: "a", Number: "1", Plate: "x", Seal: "u"}))
	taken := &licence{Holder: "b", Number: "2", Plate: "y", Seal: "u"}
	if _, _, err := licences.FindOrCreate(ctx, natsorm.Where{"number": "2"}, taken); !errors.Is(err, natsorm.ErrUnique) {
		t.Errorf("FindOrCreate: %v", err)
	}
	if _, err := licences.Upsert(ctx, taken, natsorm.OnConflict("plate")); !errors.Is(err, natsorm.ErrUnique) {
		t.Errorf("Upsert: %v", err)
	}
}

// The creation time is of the call that created the record, whoever else tried.
func TestUpsertsRaceForTheCreation(t *testing.T) {
	t.Parallel()
	type rec struct {
		ID   int       `json:"id" orm:"primaryKey"`
		Who  int       `json:"who"`
		Made time.Time `json:"made" orm:"createdAt"`
	}
	db := natsormtest.New(t)
	recs := define[rec](t, db)
	ctx := within(t)
	for round := range 50 {
		var wg sync.WaitGroup
		var mu sync.Mutex
		var made time.Time
		for who := range 4 {
			wg.Go(func() {
				v := &rec{ID: round, Who: who}
				created, err := recs.Upsert(ctx, v)
				if err != nil {
					t.Error(err)
				}
				if created {
					mu.Lock()
					defer mu.Unlock()
					made = v.Made
				}
			})
		}
		wg.Wait()
		got := must[*rec](t)(recs.FindByPK(ctx, round))
		if !got.Made.Equal(made) {
			t.Fatalf("round %d: made at %v, the creator says %v", round, got.Made, made)
		}
	}
	// A create that fails leaves its record as it was.
	v, before := &rec{ID: 1}, rec{ID: 1}
	if err := recs.Create(ctx, v); !errors.Is(err, natsorm.ErrExists) || cmp.Diff(before, *v) != "" {
		t.Errorf("%v left %+v", err, *v)
	}
}
