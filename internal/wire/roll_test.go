package wire

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/natsorm/natsorm/internal/testbed"
)

// The keys of a stream are listed in parts. Keys that go away between two parts move those
// that follow, and none may be passed over that is there all the while, or come of a leader
// that is behind unnoticed.
func TestRollPassesOverNothing(t *testing.T) {
	t.Parallel()
	const part = 20
	var keys []string
	for i := range 200 {
		keys = append(keys, fmt.Sprintf("k.%03d", i))
	}
	for name, gone := range map[string]int{"nothing goes": 0, "some go": part / 4, "more than come again": part - 3, "almost all": 150} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ns := testbed.StartServer(t, func(o *server.Options) { o.JetStream = false }) // the test answers for it
			nc := ns.Connect(t)
			left, asked := slices.Clone(keys), 0
			if _, err := nc.Subscribe("$JS.API.STREAM.INFO.X", func(m *nats.Msg) {
				var req struct {
					Offset int `json:"offset"`
				}
				if err := json.Unmarshal(m.Data, &req); err != nil {
					t.Error(err)
				}
				subjects := map[string]int{}
				for i := req.Offset; i < min(req.Offset+part, len(left)); i++ {
					subjects["x."+left[i]] = 1
				}
				raw, err := json.Marshal(map[string]any{"total": len(left), "state": map[string]any{"last_seq": 1000 - asked, "subjects": subjects}})
				if err != nil {
					t.Error(err)
				}
				if asked++; asked == 3 { // of those that were listed
					left = left[min(gone, len(left)):]
				}
				if asked > 1000 {
					return // it asks for ever
				}
				_ = m.Respond(raw)
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
			got := map[string]bool{}
			last, err := s.Roll(ctx, "k.*", func(key string) { got[key] = true })
			if err != nil {
				t.Fatal(err)
			}
			for _, key := range keys[gone:] {
				if !got[key] {
					t.Errorf("%s is passed over", key)
				}
			}
			if want := uint64(1000 - asked + 1); last != want {
				t.Errorf("the leader is said to be as far as %d, and it was at %d for a part", last, want)
			}
		})
	}
}
