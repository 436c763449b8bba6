package wire

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/natsorm/natsorm/internal/testbed"
)

// While the servers elect a leader, they say that JetStream is not available. A call asks again, and what
// counts is the answer that it gets then.
func TestElectionsAreWaitedFor(t *testing.T) {
	t.Parallel()
	ns := testbed.StartServer(t, func(o *server.Options) { o.JetStream = false }) // the test answers for it
	nc := ns.Connect(t)
	var asked, enough atomic.Int64
	enough.Store(noResponderRetries / 2)
	if _, err := nc.Subscribe("$JS.API.STREAM.INFO.X", func(m *nats.Msg) {
		answer := `{"error":{"code":503,"err_code":10008,"description":"JetStream system temporarily unavailable"}}`
		if asked.Add(1) > enough.Load() {
			answer = `{"state":{"last_seq":7}}`
		}
		_ = m.Respond([]byte(answer))
	}); err != nil {
		t.Fatal(err)
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	client, err := NewClient(ns.Connect(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	s := &Stream{Client: client, Name: "X", Prefix: "x."}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if _, last, err := s.State(ctx); err != nil || last != 7 {
		t.Errorf("the last revision is %d: %v", last, err)
	}
	enough.Store(1 << 40)
	if _, _, err := s.State(ctx); !errors.Is(err, nats.ErrNoResponders) {
		t.Errorf("when there is no leader for long: %v", err)
	}
}
