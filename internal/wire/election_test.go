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

// While the servers elect a leader, they say that JetStream is not available. A call goes on asking
// for as long as it may take, and no shorter.
func TestElectionsAreWaitedFor(t *testing.T) {
	t.Parallel()
	ns := testbed.StartServer(t, func(o *server.Options) { o.JetStream = false }) // the test answers for it
	nc := ns.Connect(t)
	var asked, enough atomic.Int64
	enough.Store(2 * noResponderRetries)
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
	short, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if _, _, err := s.State(short); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("when the call's time is over: %v", err)
	}
	if _, _, err := s.State(t.Context()); !errors.Is(err, nats.ErrNoResponders) {
		t.Errorf("a call without a deadline: %v", err)
	}
}
