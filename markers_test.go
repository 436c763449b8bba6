package natsorm_test

import (
	"strings"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/natsorm/natsorm"
	"github.com/natsorm/natsorm/natsormtest"
)

// The delete markers of index entries go after five minutes, those of records and claims
// after an hour.
func TestMarkersOfEntriesGoEarly(t *testing.T) {
	t.Parallel()
	memory := func(t testing.TB) *natsorm.DB { return natsormtest.New(t) }
	for name, open := range map[string]func(testing.TB) *natsorm.DB{"memory": memory, "files": onFiles} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx := within(t)
			db := open(t)
			users := define[user](t, db)
			ok(t, users.Create(ctx, &user{ID: 1, Name: "n", Email: "e"}))
			must[int](t)(users.Destroy(ctx, natsorm.Eq("id", 1)))
			js := must[jetstream.JetStream](t)(jetstream.New(db.Conn()))
			stream := must[jetstream.Stream](t)(js.Stream(ctx, "KV_test"))
			found := map[string]int{}
			for seq := uint64(1); seq <= stream.CachedInfo().State.LastSeq; seq++ {
				m, err := stream.GetMsg(ctx, seq)
				if err != nil || m.Header.Get("KV-Operation") == "" {
					continue
				}
				kind := "record"
				if tokens := strings.Split(m.Subject, "."); len(tokens) > 5 {
					kind = tokens[3]
				}
				found[kind+" "+m.Header.Get("Nats-TTL")]++
			}
			if len(found) != 3 || found["record 3600"] != 1 || found["unique 3600"] != 1 || found["index 300"] != 3 {
				t.Errorf("the markers are %v", found)
			}
		})
	}
}
