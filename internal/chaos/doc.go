// Package chaos tests natsorm against a cluster in which servers die and
// connections break while clients work. It is test code: what is not in a
// _test.go file here is only there to be read on its own.
//
//   - The cluster is three nats-servers with file storage, each a process of its
//     own, so that a kill is a kill -9 and not an orderly shutdown. Between a
//     client and the cluster stands a proxy that cuts connections, delays them,
//     and drops answers to requests that were carried out. Both are testbed's.
//   - Nemesis injects faults, one at a time and chosen at random from a seed,
//     and heals each of them before the next one.
//   - History records what clients called and what they were told. An operation
//     whose outcome is unknown stays open: it may happen at any later time, or
//     never.
//   - RegisterModel and HolderModel say which answers are possible when every
//     operation takes effect at one instant between call and return; porcupine
//     looks for an order of the history that agrees.
//
// The workloads are the tests. README.md says what each of them proves, how to
// run them for longer, and what they have found.
package chaos
