package refusal

import "github.com/nats-io/nats.go/jetstream"

// unavailable is the code of JetStream's errors that go away by themselves, such as while servers elect a
// leader. codeNoJetStream and codeNoAccount have it too, and stay: JetStream is off on the server, or
// for the account.
const (
	unavailable     = 503
	codeNoJetStream = 10076
	codeNoAccount   = 10039
)

// Passing reports whether an error of JetStream goes away by itself.
func Passing(e *jetstream.APIError) bool {
	return e.Code == unavailable && e.ErrorCode != codeNoJetStream && e.ErrorCode != codeNoAccount
}
