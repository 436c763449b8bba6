//go:build !transactions

package chaos

import (
	"context"
	"encoding/json"
	"fmt"
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

// findCell reads a cell from the leader, by hand.
func findCell(ctx context.Context, db *natsorm.DB, _ *natsorm.Model[cell], id int64) (*cell, error) {
	req := fmt.Appendf(nil, `{"last_by_subj":"$KV.%s.cell.shard_%d.%d"}`, bucket, id%16, id)
	for {
		short, cancel := context.WithTimeout(ctx, time.Second)
		m, err := db.Conn().RequestWithContext(short, "$JS.API.STREAM.MSG.GET."+stream, req)
		cancel()
		if err != nil {
			if wait(ctx, look) != nil {
				return nil, err
			}
			continue
		}
		var resp struct {
			Error   *struct{ Code, Err_code int }
			Message struct {
				Seq  uint64
				Hdrs []byte
				Data []byte
			}
		}
		if err := json.Unmarshal(m.Data, &resp); err != nil {
			return nil, err
		}
		if resp.Error != nil && resp.Error.Code == 404 {
			return nil, natsorm.ErrNotFound
		}
		if resp.Error != nil {
			return nil, fmt.Errorf("the leader says %s", m.Data)
		}
		c := &cell{Version: resp.Message.Seq}
		if len(resp.Message.Hdrs) > 0 {
			h, err := nats.DecodeHeadersMsg(resp.Message.Hdrs)
			if err != nil {
				return nil, err
			}
			if h.Get("KV-Operation") != "" || h.Get("Nats-Marker-Reason") != "" {
				return nil, natsorm.ErrNotFound
			}
			if fence := h.Get("Natsorm-Fence"); fence != "" {
				if _, err := fmt.Sscan(fence, &c.Version); err != nil {
					return nil, err
				}
			}
		}
		return c, json.Unmarshal(resp.Message.Data, c)
	}
}
