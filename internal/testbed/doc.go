// Package testbed is what tests run against: nats-servers, clusters of three whose
// nodes can die, and proxies that lose, delay and cut what goes between a client
// and a server. It knows nothing of natsorm, so that the tests of every package can
// use it.
//
//   - StartServer is one server in this process.
//   - StartCluster is three in this process; NewCluster can give each node a process
//     of its own, so that a kill is a kill -9 and not an orderly shutdown. The
//     package whose tests do that calls Main in its TestMain.
//   - StartProxy stands between a client and servers; it passes bytes.
//     StartLossyProxy reads the protocol, and loses the messages it is told to.
//   - Main runs a package's tests, and proves at the end that no goroutine is left.
package testbed
