package wire

import (
	"sync"
	"sync/atomic"

	"github.com/nats-io/nats.go"
)

// connection numbers the connections that a nats.Conn makes one after the other. To ask it takes
// no lock: nats.Conn.Stats would wait for whoever is sending, and every read asks.
type connection struct {
	// lost has an element as long as a loss was not counted. nats.go puts it there as soon as it
	// notices, before it makes the next connection. So whoever has an answer from the next one
	// finds it.
	lost   chan nats.Status
	mu     sync.Mutex
	number atomic.Uint64
}

func (c *connection) follow(nc *nats.Conn) { c.lost = nc.StatusChanged(nats.RECONNECTING) }

func (c *connection) leave(nc *nats.Conn) { nc.RemoveStatusListener(c.lost) }

// now is the number of the connection as it is now.
func (c *connection) now() uint64 {
	if len(c.lost) == 0 {
		return c.number.Load()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.lost) > 0 {
		c.number.Add(1) // before the losses are taken out: who finds none has the new number
		for taken := true; taken; {
			select {
			case _, taken = <-c.lost:
			default:
				taken = false
			}
		}
	}
	return c.number.Load()
}

// Connection is the number of the connection as it is now; another one after every loss. Unlike
// Epoch it is never late. A call that finds the same number before its request and after its
// answer has its answer from the server of that connection.
func (c *Client) Connection() uint64 { return c.connection.now() }
