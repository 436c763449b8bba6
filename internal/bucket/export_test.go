package bucket

import (
	"context"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/natsorm/natsorm/internal/testbed"
)

// ForgoDirect switches the bucket's direct get off. b knows it, other handles find out.
func (b *Bucket) ForgoDirect(t testing.TB) {
	t.Helper()
	b.Configure(t, func(c *jetstream.StreamConfig) { c.AllowDirect = false })
	if _, err := b.Relook(context.Background(), b.Now()); err != nil {
		t.Fatal(err)
	}
}

// Configure changes the configuration of the stream. No handle is told.
func (b *Bucket) Configure(t testing.TB, change func(*jetstream.StreamConfig)) {
	t.Helper()
	ctx := context.Background()
	js, err := jetstream.New(b.Stream.Conn())
	if err != nil {
		t.Fatal(err)
	}
	s, err := js.Stream(ctx, b.Stream.Name)
	if err != nil {
		t.Fatal(err)
	}
	conf := s.CachedInfo().Config
	change(&conf)
	err = testbed.Until(t.Context(), func(ctx context.Context) error { // servers that have just started may not know each other
		_, err := js.UpdateStream(ctx, conf)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// State is the leader's.
func (b *Bucket) State(ctx context.Context) (time.Time, uint64, error) { return b.Stream.State(ctx) }
