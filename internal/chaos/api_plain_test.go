//go:build !transactions

package chaos

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/natsorm/natsorm"
)

// What the tests use of an API that is not in the tree yet. With the build tag
// transactions they use the API itself, and this file can go.

// replicasPromise says whether plain reads of a replicated bucket are promised
// to be consistent within a session, and those of Latest to be linearizable.
const replicasPromise = false

// noCopies says whether a copy of an answer that comes later is promised not to
// be taken for the answer to another call; see TestWritesAfterMoving.
const noCopies = false

// latest would be m.Latest().
func latest[T any](m *natsorm.Model[T]) *natsorm.Model[T] { return m }

// findCell is m.Latest().FindByPK.
func findCell(ctx context.Context, db *natsorm.DB, _ *natsorm.Model[cell], id int64) (*cell, error) {
	c := &cell{}
	var err error
	c.Version, err = fromLeader(ctx, db, fmt.Sprintf("cell.shard_%d.%d", id%16, id), c)
	return c, err
}

// findReading is m.Latest().FindByPK.
func findReading(ctx context.Context, db *natsorm.DB, _ *natsorm.Model[reading], id int64) (*reading, error) {
	r := &reading{}
	var err error
	r.Version, err = fromLeader(ctx, db, fmt.Sprintf("reading.shard_%d.%d", id%16, id), r)
	return r, err
}

// fromLeader reads a record from the leader, by hand, and returns its version.
func fromLeader(ctx context.Context, db *natsorm.DB, key string, into any) (uint64, error) {
	req := fmt.Appendf(nil, `{"last_by_subj":"$KV.%s.%s"}`, bucket, key)
	for {
		short, cancel := context.WithTimeout(ctx, time.Second)
		m, err := db.Conn().RequestWithContext(short, "$JS.API.STREAM.MSG.GET."+stream, req)
		cancel()
		var resp struct {
			Error   *struct{ Code int }
			Message struct {
				Seq        uint64
				Hdrs, Data []byte
			}
		}
		if err == nil {
			err = json.Unmarshal(m.Data, &resp)
		}
		switch {
		case err == nil && resp.Error != nil && resp.Error.Code == 404:
			return 0, natsorm.ErrNotFound
		case err == nil && resp.Error != nil: // while a leader is elected
			err = fmt.Errorf("the leader says %s", m.Data)
		}
		if err != nil {
			if wait(ctx, look) != nil {
				return 0, err
			}
			continue
		}
		version := resp.Message.Seq
		if len(resp.Message.Hdrs) > 0 {
			h, err := nats.DecodeHeadersMsg(resp.Message.Hdrs)
			if err != nil {
				return 0, err
			}
			if h.Get("KV-Operation") != "" || h.Get("Nats-Marker-Reason") != "" {
				return 0, natsorm.ErrNotFound
			}
			if fence := h.Get("Natsorm-Fence"); fence != "" {
				if version, err = strconv.ParseUint(fence, 10, 64); err != nil {
					return 0, err
				}
			}
		}
		return version, json.Unmarshal(resp.Message.Data, into)
	}
}
