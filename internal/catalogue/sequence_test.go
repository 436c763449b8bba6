package catalogue_test

import (
	"testing"

	"github.com/natsorm/natsorm/internal/catalogue"
	"github.com/natsorm/natsorm/internal/keys"
	"github.com/natsorm/natsorm/internal/store"
	"github.com/natsorm/natsorm/internal/store/fault"
)

// A sequence is taken from and set though no write is answered: no block is lost, and a
// restore does not fail because of it.
func TestSequenceSettlesLostAnswers(t *testing.T) {
	t.Parallel()
	ctx, b := openBucket(t)
	lossy := fault.LoseAnswers(b)
	first := catalogue.NewSequence(lossy, "Person", one)
	if id, err := first.Next(ctx, 0); err != nil || id != 1 {
		t.Errorf("id %d, %v", id, err)
	}
	key := keys.Sequence("Person")
	for _, c := range []struct{ value, want string }{{"1000", "1000"}, {"500", "1000"}, {"2000", "2000"}} {
		if done, err := catalogue.Advance(ctx, lossy, store.Message{Key: key, Value: []byte(c.value)}); err != nil || !done {
			t.Errorf("advance to %s: %t, %v", c.value, done, err)
		}
		if m, err := b.Get(ctx, key); err != nil || string(m.Value) != c.want {
			t.Errorf("advanced to %s, it is at %s, %v", c.value, m.Value, err)
		}
	}
	if id, err := catalogue.NewSequence(lossy, "Person", one).Next(ctx, 0); err != nil || id != 2000 {
		t.Errorf("id %d, %v", id, err)
	}
}

// one says that it is always the same bucket.
func one() uint64 { return 1 }
