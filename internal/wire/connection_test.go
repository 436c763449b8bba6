package wire

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/natsorm/natsorm/internal/testbed"
)

// Whoever has an answer by another connection than before finds another number, at once and also
// when many ask at the same time. Without a loss the number stays.
func TestConnectionIsNeverLate(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	ns := testbed.StartServer(t)
	answers := ns.Connect(t)
	if _, err := answers.Subscribe("ask", func(m *nats.Msg) { _ = m.Respond(nil) }); err != nil {
		t.Fatal(err)
	}
	if err := answers.Flush(); err != nil {
		t.Fatal(err)
	}
	proxy := testbed.StartProxy(t, ns.URL())
	nc, err := nats.Connect(proxy.URL(), nats.MaxReconnects(-1), nats.ReconnectWait(time.Millisecond), nats.ReconnectJitter(0, 0), nats.ReconnectBufSize(-1))
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	c, err := NewClient(nc)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	local := func() (string, error) { // by which connection an answer comes
		if _, err := c.one(ctx, "ask", nil); err != nil {
			return "", err
		}
		return nc.LocalAddr(), nil
	}
	for range 30 {
		was, err := local()
		if err != nil {
			t.Fatal(err)
		}
		number := c.Connection()
		if again, err := local(); err != nil || again == was && c.Connection() != number {
			t.Fatalf("by one connection, the number goes from %d to %d: %v", number, c.Connection(), err)
		}
		proxy.Cut()
		late := make(chan error, 8)
		for range cap(late) {
			go func() {
				for ctx.Err() == nil {
					if now, err := local(); err == nil && now != was {
						if c.Connection() == number {
							err = fmt.Errorf("an answer has come by another connection, and the number is still %d", number)
						}
						late <- err
						return
					}
				}
				late <- ctx.Err()
			}()
		}
		for range cap(late) {
			if err := <-late; err != nil {
				t.Fatal(err)
			}
		}
	}
}
