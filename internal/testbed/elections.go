package testbed

import (
	"sync"
	"time"
	_ "unsafe" // for linkname
)

// A node that lost its leader, or has just started, waits 4 to 9 seconds before it
// stands for election: a test of seconds would mostly wait. The server has no
// option for it. Its own tests set these variables; so do nodes that are asked for
// quick elections. A server that renames them fails the build here.

//go:linkname minElectionTimeout github.com/nats-io/nats-server/v2/server.minElectionTimeout
var minElectionTimeout time.Duration

//go:linkname maxElectionTimeout github.com/nats-io/nats-server/v2/server.maxElectionTimeout
var maxElectionTimeout time.Duration

//go:linkname hbInterval github.com/nats-io/nats-server/v2/server.hbInterval
var hbInterval time.Duration

// elections are the times of a process's servers.
type elections struct{ min, max, heartbeat time.Duration }

var (
	// ofProcesses elect soon. Nothing else keeps such a server from its heartbeats.
	ofProcesses = elections{500 * time.Millisecond, 1500 * time.Millisecond, 100 * time.Millisecond}

	// ofInsiders share their process with tests, which may keep it busy.
	ofInsiders = elections{time.Second, 3 * time.Second, 200 * time.Millisecond}
)

// quicken must be called before a server of a cluster starts. The first call is
// for all servers of the process.
func quicken(e elections) {
	quickened.Do(func() { minElectionTimeout, maxElectionTimeout, hbInterval = e.min, e.max, e.heartbeat })
}

var quickened sync.Once
