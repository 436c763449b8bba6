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

// quickElections must be called before a server of a cluster starts. It is for all
// servers of the process.
var quickElections = sync.OnceFunc(func() {
	minElectionTimeout, maxElectionTimeout, hbInterval = 500*time.Millisecond, 1500*time.Millisecond, 100*time.Millisecond
})
