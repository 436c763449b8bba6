package catalogue_test

import (
	"context"
	"errors"
	"testing"

	"github.com/natsorm/natsorm/internal/catalogue"
	"github.com/natsorm/natsorm/internal/keys"
	"github.com/natsorm/natsorm/internal/schema"
	"github.com/natsorm/natsorm/internal/store"
	"github.com/natsorm/natsorm/internal/store/fault"
)

// A model is declared, and its index becomes ready or is given up, though no write is
// answered: each call finds out that its write was done, and writes once.
func TestCatalogueSettlesLostAnswers(t *testing.T) {
	t.Parallel()
	ctx, b := openBucket(t)
	lossy := fault.LoseAnswers(b)
	def := person(schema.Native)
	def.Indexes = []schema.Index{schema.NewIndex(schema.PlainIndex, "age"), schema.NewIndex(schema.UniqueIndex, "id", "age")}
	merged, unbuilt, err := catalogue.Register(ctx, lossy, *def, 16)
	if err != nil || len(unbuilt) != 2 {
		t.Fatalf("%d indexes are to be built, %v", len(unbuilt), err)
	}
	if now, complete, err := catalogue.FinishBuilding(ctx, lossy, merged, unbuilt[:1]); err != nil || !complete || now.Indexes[0].State != schema.Ready {
		t.Errorf("ready: %v, %t, %v", now, complete, err)
	}
	if err := catalogue.GiveUpBuilding(ctx, lossy, merged, unbuilt[1:]); err != nil {
		t.Error(err)
	}
	now, revision, err := catalogue.Load(ctx, b, "Person")
	if err != nil || len(now.Indexes) != 1 || now.Indexes[0].State != schema.Ready {
		t.Fatalf("%+v, %v", now, err)
	}
	now.Layout = schema.Sequelize
	if written, err := catalogue.Write(ctx, lossy, now, revision); err != nil || written <= revision {
		t.Errorf("revision %d after %d, %v", written, revision, err)
	}
}

// refusing is a bucket in which another program is faster with every write, until its
// context is cancelled at the third. It does not look at the context itself.
type refusing struct {
	store.Store
	cancel context.CancelFunc
	writes int
}

func (r *refusing) GetLatest(_ context.Context, key string) (store.Message, error) {
	return r.Store.GetLatest(context.Background(), key)
}

func (r *refusing) Write(context.Context, ...store.Op) []store.Result {
	r.writes++
	if r.writes == 3 {
		r.cancel()
	}
	if r.writes == 100 {
		return []store.Result{{Err: errors.New("it goes on for ever")}}
	}
	return []store.Result{{Err: store.ErrWrongRevision}}
}

// Who loses against other writers of the catalogue pauses before the next try, and
// hears there that the context has ended.
func TestCatalogueWritersPause(t *testing.T) {
	t.Parallel()
	for name, call := range map[string]func(ctx context.Context, s store.Store) error{
		"register": func(ctx context.Context, s store.Store) error {
			_, _, err := catalogue.Register(ctx, s, *person(schema.Native), 16)
			return err
		},
		"finish building": func(ctx context.Context, s store.Store) error {
			_, _, err := catalogue.FinishBuilding(ctx, s, person(schema.Native), nil)
			return err
		},
		"sequence": func(ctx context.Context, s store.Store) error {
			_, err := catalogue.NewSequence(s, "Person", one).Next(ctx, 0)
			return err
		},
		"advance": func(ctx context.Context, s store.Store) error {
			_, err := catalogue.Advance(ctx, s, store.Message{Key: keys.Sequence("Person"), Value: []byte("7")})
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx, b := openBucket(t)
			if name == "finish building" {
				if _, err := catalogue.Write(ctx, b, person(schema.Native), 0); err != nil {
					t.Fatal(err)
				}
			}
			ctx, cancel := context.WithCancel(ctx)
			defer cancel()
			s := &refusing{Store: b, cancel: cancel}
			if err := call(ctx, s); !errors.Is(err, context.Canceled) || s.writes != 3 {
				t.Errorf("%v after %d writes", err, s.writes)
			}
		})
	}
}
