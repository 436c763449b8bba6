package wire

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/natsorm/natsorm/internal/testbed"
)

// A server that does not answer is not waited for when a consumer is made, and one that
// it has made too late is removed.
func TestConsumersAreMadeElsewhere(t *testing.T) {
	t.Parallel()
	ns := testbed.StartServer(t, func(o *server.Options) { o.JetStream = false }) // the test answers
	nc := ns.Connect(t)
	var mu sync.Mutex
	var late *nats.Msg
	there, made := map[string]bool{}, 0
	answer := func(subject string, do func(name string, m *nats.Msg)) {
		if _, err := nc.Subscribe("$JS.API.CONSUMER."+subject, func(m *nats.Msg) {
			mu.Lock()
			defer mu.Unlock()
			do(strings.Split(m.Subject, ".")[5], m)
		}); err != nil {
			t.Fatal(err)
		}
	}
	answer("CREATE.X.*.>", func(name string, m *nats.Msg) {
		there[name] = true
		if made++; made == 1 {
			late = m
			return
		}
		_ = m.Respond([]byte("{}"))
	})
	answer("DELETE.X.*", func(name string, m *nats.Msg) {
		delete(there, name)
		_ = m.Respond([]byte(`{"success":true}`))
	})
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	client, err := NewClient(ns.Connect(t))
	if err != nil {
		t.Fatal(err)
	}
	client.Several()
	s := &Stream{Client: client, Name: "X", Prefix: "x."}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	c, err := s.Consume(ctx, "a", ConsumerOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if made < 2 {
		t.Errorf("%d consumers were asked for", made)
	}
	_ = late.Respond([]byte("{}"))
	if err := testbed.Until(ctx, func(context.Context) error {
		mu.Lock()
		defer mu.Unlock()
		if len(there) != 1 || !there[c.name] {
			return fmt.Errorf("%v are there, not only %s", there, c.name)
		}
		return nil
	}); err != nil {
		t.Error(err)
	}
	c.Close()
	client.Close()
	if len(there) != 0 {
		t.Errorf("%v are left", there)
	}
}

// A request that the server refuses, because the one before it has room for what is pending,
// is sent again when that one is filled by what was written meanwhile.
func TestConsumersAskAgainAfterARefusal(t *testing.T) {
	t.Parallel()
	ns := testbed.StartServer(t, func(o *server.Options) { o.JetStream = false }) // the test answers
	nc := ns.Connect(t)
	subscribe := func(subject string, do func(m *nats.Msg)) {
		if _, err := nc.Subscribe(subject, do); err != nil {
			t.Fatal(err)
		}
	}
	subscribe("$JS.API.CONSUMER.CREATE.X.*.>", func(m *nats.Msg) { _ = m.Respond([]byte(`{"num_pending":2}`)) })
	subscribe("$JS.API.CONSUMER.DELETE.X.*", func(m *nats.Msg) { _ = m.Respond([]byte(`{"success":true}`)) })
	var asked atomic.Int64
	subscribe("$JS.API.CONSUMER.MSG.NEXT.X.*", func(m *nats.Msg) {
		number := 0
		deliver := func(pending int) {
			number++
			_ = nc.PublishMsg(&nats.Msg{Subject: m.Reply, Data: []byte("v"),
				Reply: fmt.Sprintf("a.ack.X.C.1.%d.%d.0.%d", number, number, pending)})
		}
		switch asked.Add(1) {
		case 1:
			deliver(5) // more were written: so it is asked for them
		case 2:
			_ = nc.PublishMsg(&nats.Msg{Subject: m.Reply, Header: nats.Header{"Status": {"408"}, "Description": {"Requests Pending"}}})
			number = 1
			deliver(1)
		case 3:
			number = 2
			deliver(0)
		}
	})
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	client, err := NewClient(ns.Connect(t))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	s := &Stream{Client: client, Name: "X", Prefix: "x."}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	c, err := s.Consume(ctx, "a", ConsumerOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	s.Prefix = "" // the messages are not from a stream
	for i := range 3 {
		if _, ok, err := c.Next(ctx); !ok || err != nil {
			t.Fatalf("message %d: %t, %v", i, ok, err)
		}
	}
	if c.Pending() != 0 || asked.Load() != 3 {
		t.Errorf("%d are pending after %d requests", c.Pending(), asked.Load())
	}
}

// A consumer goes on after the requests that it has filled, in messages or in bytes.
func TestConsumersGoOnAfterFullRequests(t *testing.T) {
	t.Parallel()
	nc := testbed.StartServer(t).Connect(t)
	client, err := NewClient(nc)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	stream, err := js.CreateStream(ctx, jetstream.StreamConfig{Name: "X", Subjects: []string{"x.>"}, Storage: jetstream.MemoryStorage})
	if err != nil {
		t.Fatal(err)
	}
	for _, sizes := range []struct{ messages, bytes int }{{3 * followSize, 10}, {60, 500_000}} {
		if err := stream.Purge(ctx); err != nil {
			t.Fatal(err)
		}
		publish := func(from int) {
			for i := range sizes.messages {
				if _, err := js.Publish(ctx, fmt.Sprint("x.a.", from+i), make([]byte, sizes.bytes)); err != nil {
					t.Fatal(err)
				}
			}
		}
		publish(0)
		s := &Stream{Client: client, Name: "X", Prefix: "x."}
		c, err := s.Consume(ctx, "a.*", ConsumerOptions{Follow: true})
		if err != nil {
			t.Fatal(err)
		}
		for range 2 {
			for range sizes.messages {
				if _, ok, err := c.Next(ctx); err != nil || !ok {
					t.Fatalf("%+v: %v, %v: %+v", sizes, ok, err, c)
				}
			}
			c.Follow()
			publish(sizes.messages)
		}
		c.Close()
	}
	if scans, follows := client.flow.Scans.UnderWay(), client.flow.Follows.UnderWay(); scans != 0 || follows != 0 {
		t.Errorf("%d and %d bytes are held", scans, follows)
	}
}
