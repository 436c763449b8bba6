package wire

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/natsorm/natsorm/internal/testbed"
	"github.com/natsorm/natsorm/internal/usage"
)

// servers are two that may get a request, of which each does something else.
type servers struct {
	c     *Client
	asked chan int // the number of each request, from 0
}

// newServers answers the n-th request by answer.
func newServers(t *testing.T, answer func(n int, reply func(string))) *servers {
	t.Helper()
	ns := testbed.StartServer(t)
	s := &servers{asked: make(chan int, 100)}
	nc := ns.Connect(t)
	n := 0
	if _, err := nc.Subscribe("ask", func(m *nats.Msg) {
		s.asked <- n
		answer(n, func(text string) { _ = m.Respond([]byte(text)) })
		n++
	}); err != nil {
		t.Fatal(err)
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	var err error
	if s.c, err = NewClient(ns.Connect(t)); err != nil {
		t.Fatal(err)
	}
	s.c.Several()
	t.Cleanup(s.c.Close)
	return s
}

// ask asks for several replies, of which "end" is the last.
func (s *servers) ask(ctx context.Context) (got []string, err error) {
	replies, err := s.c.many(ctx, "ask", nil, func(m *nats.Msg) bool { return string(m.Data) == "end" })
	for _, m := range replies {
		got = append(got, string(m.Data))
	}
	return got, err
}

// A request whose answer comes is sent once.
func TestNothingIsAskedTwice(t *testing.T) {
	t.Parallel()
	s := newServers(t, func(_ int, reply func(string)) { reply("end") })
	for range 50 {
		if got, err := s.ask(t.Context()); err != nil || len(got) != 1 {
			t.Fatal(got, err)
		}
	}
	if len(s.asked) != 50 {
		t.Errorf("50 requests were sent %d times", len(s.asked))
	}
}

// What is sent again is counted apart, with one server and with several.
func TestWhatIsSentAgainIsCounted(t *testing.T) {
	t.Parallel()
	for name, several := range map[string]bool{"one server": false, "several": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newServers(t, func(n int, reply func(string)) {
				if n != 1 { // the first try of the second request is lost
					reply("end")
				}
			})
			s.c.several.Store(several)
			var used usage.Usage
			for range 2 {
				if got, err := s.ask(usage.Measured(t.Context(), &used)); err != nil || len(got) != 1 {
					t.Fatal(got, err)
				}
			}
			if requests, again := int(used.Requests.Load()), int(used.Again.Load()); requests != len(s.asked) || again != len(s.asked)-2 || again == 0 {
				t.Errorf("%d requests were counted, %d of them again; %d were sent", requests, again, len(s.asked))
			}
		})
	}
}

// Of a request that was sent several times, the answer is one server's alone.
func TestAnswersAreNotMixed(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		answer func(n int, reply func(string))
		want   string
	}{
		"the first is silent": {func(n int, reply func(string)) {
			if n > 0 {
				reply(fmt.Sprint(n))
				reply("end")
			}
		}, "[1 end]"},
		"the first stops": {func(n int, reply func(string)) {
			reply(fmt.Sprint(n))
			if n > 0 {
				reply("end")
			}
		}, "[1 end]"},
		"two stop": {func(n int, reply func(string)) {
			reply(fmt.Sprint(n))
			if n > 1 {
				reply("end")
			}
		}, "[2 end]"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newServers(t, c.answer)
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			got, err := s.ask(ctx)
			if err != nil || fmt.Sprint(got) != c.want {
				t.Errorf("%v, not %s: %v", got, c.want, err)
			}
			if again, err := s.ask(ctx); err != nil || !slices.Equal(again, []string{again[0], "end"}) {
				t.Errorf("the next request got %v: %v", again, err)
			}
		})
	}
}

// Where the replies to several requests are more than the client has room for, none is
// missing from an answer.
func TestNoReplyIsDropped(t *testing.T) {
	t.Parallel()
	const each = MaxReplies
	var held []func(string)
	answered := make(chan struct{})
	s := newServers(t, func(n int, reply func(string)) {
		if n > 3 { // the answer that lost replies is asked for again
			held = nil
		}
		if held = append(held, reply); n < 3 {
			return
		}
		for i := range each {
			for _, reply := range held {
				reply(fmt.Sprint(i))
			}
		}
		for _, reply := range held {
			reply("end")
		}
		if n == 3 {
			close(answered)
		}
	})
	var got []string
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	err := s.c.request(ctx, "ask", nil, func() { got = nil }, func(m *nats.Msg) bool {
		if len(got) == 0 {
			<-answered // the reader is slow
			if err := s.c.nc.Flush(); err != nil {
				t.Error(err)
			}
		}
		got = append(got, string(m.Data))
		return string(m.Data) != "end"
	})
	if err != nil || len(got) != each+1 {
		t.Fatalf("%d of %d replies: %v", len(got), each+1, err)
	}
	for i, text := range got[:each] {
		if text != fmt.Sprint(i) {
			t.Fatalf("reply %d is %q", i, text)
		}
	}
}
