package refusal

import (
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// The server's error codes for streams that it does not make. codeReplicas is that of a
// server that is in no cluster, for more than one replica. codeNoPeers and CodeResources are
// those of a cluster that has too few servers, or too few with room. codeNoLeader is that of a cluster
// whose servers have not agreed on who places streams. codeStore is that of a server that cannot
// make the stream's store, whatever the reason.
const (
	codeReplicas = 10074
	codeNoPeers  = 10005
	codeNoLeader = 10008
	codeStore    = 10049
)

const (
	// Gathering is for how long it is tried to open or make a stream while there are too few servers
	// for its replicas: those that have just started may not have found each other yet.
	Gathering = 5 * time.Second

	// cleaning is for how long it is tried while the server cannot make the store. When the
	// only stream of an account was deleted, the server removes the directory of the account's
	// streams, beside its next requests: to make a stream at that moment fails, and succeeds
	// a moment later.
	cleaning = time.Second
)

// NotMade is the error for a stream that the server did not make, and for how long it is
// worthwhile to ask again: 0 is never.
func NotMade(stream string, replicas int, e *jetstream.APIError) (again time.Duration, err error) {
	switch {
	case e.ErrorCode == codeReplicas:
		return 0, fmt.Errorf("%w; Config.Replicas is %d, which takes a cluster of as many servers", e, replicas)
	case e.ErrorCode == codeNoPeers, e.ErrorCode == CodeResources && replicas > 1:
		return Gathering, fmt.Errorf("%w; Config.Replicas is %d: are as many servers running, with enough storage?", e, replicas)
	case e.ErrorCode == codeNoLeader:
		return Gathering, fmt.Errorf("%w; the servers of the cluster have no leader: are more than half of them running, and do they reach each other?", e)
	case e.ErrorCode == codeStore:
		return cleaning, fmt.Errorf("%w; the server's log says why: is its store directory writable, and has its disk room?", e)
	}
	return 0, NoRoom(stream, e)
}
