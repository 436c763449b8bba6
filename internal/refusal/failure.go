package refusal

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/nats-io/nats.go"

	"github.com/natsorm/natsorm/internal/errs"
)

// Failure is why a bucket takes no writes until its server is started again. A nats-server
// that could not write to its disk answers no write to that stream any more, and tells only
// its log. So whoever runs one in this process says it for the server, with Fail.
type Failure struct {
	Server string // the server's id
	Bucket string
	Reason string // from the server's log
	Full   bool   // there is no space left; then it is errs.ErrFull
}

func (f *Failure) Error() string {
	if f.Full {
		return fmt.Sprintf("%v: the disk of the embedded server is full, so bucket %s takes no writes until there is space and the server was closed and started again; reads go on: %s", errs.ErrFull, f.Bucket, f.Reason)
	}
	return fmt.Sprintf("natsorm: the embedded server could not write to its disk, so bucket %s takes no writes until the server was closed and started again; reads go on: %s", f.Bucket, f.Reason)
}

func (f *Failure) Is(target error) bool { return f.Full && target == errs.ErrFull }

// failures are those of the servers in this process, by server and bucket.
var failures struct {
	any atomic.Bool // there has been one
	of  sync.Map
}

type place struct{ server, bucket string }

// Fail says that a bucket takes no writes. Clients that wait for answers look at Failed
// then; see Listen.
func Fail(f *Failure) {
	if _, told := failures.of.LoadOrStore(place{f.Server, f.Bucket}, f); told {
		return
	}
	failures.any.Store(true)
	listeners.mu.Lock()
	all := slices.Collect(maps.Values(listeners.of))
	listeners.mu.Unlock()
	for _, a := range all {
		a.tell(nil)
	}
}

// Forget says that a server has ended.
func Forget(server string) {
	failures.of.Range(func(key, _ any) bool {
		if key.(place).server == server {
			failures.of.Delete(key)
		}
		return true
	})
}

// Recovered says that the bucket of a subject was made anew on the server that a connection
// is on, and so takes writes again.
func Recovered(nc *nats.Conn, subject string) {
	if failures.any.Load() {
		failures.of.Delete(placeOf(nc, subject))
	}
}

// placeOf is where messages to a subject of a bucket go.
func placeOf(nc *nats.Conn, subject string) place {
	rest, _ := strings.CutPrefix(subject, "$KV.")
	bucket, _, _ := strings.Cut(rest, ".")
	return place{nc.ConnectedServerId(), bucket}
}

// Failed is why messages to a subject of a bucket are not answered by the server that a
// connection is on; nil when they are.
func Failed(nc *nats.Conn, subject string) *Failure {
	if !failures.any.Load() {
		return nil
	}
	f, _ := failures.of.Load(placeOf(nc, subject))
	failure, _ := f.(*Failure)
	return failure
}
