// Package session reads one bucket as a session: no answer is older than what the session
// has written or seen, whatever server gives it. It also keeps what is known of the
// stream's configuration, and notices when that may have changed.
//
// Why its reads can be believed is written in package bucket, under "Reads are as new as
// the session" and "What changes while programs run".
package session
