// Package refusal tells what a server does not answer: what it refuses because a
// connection's user may not do it (Refusal), what it cannot do any more (Failure), and why it does
// not make a stream (NotMade).
//
// A server does not answer a request that is not allowed. It drops it and sends an error that names the
// subject, which nats.go gives to the connection's error handler. So Listen hears what that
// handler hears, and whoever waits for an answer that will not come can end the wait.
package refusal

import (
	"errors"
	"fmt"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"weak"

	"github.com/nats-io/nats.go"

	"github.com/natsorm/natsorm/internal/errs"
)

// Refusal is what a server refused because the connection's user may not do it. It is
// errs.ErrPermission.
type Refusal struct {
	Subject   string // the subject as it was sent
	Subscribe bool   // to subscribe to it; otherwise to publish to it
}

func (r *Refusal) Error() string {
	what := "publish"
	if r.Subscribe {
		what = "subscribe"
	}
	return fmt.Sprintf("%v to %s to %q; grant it to the user of this connection, see docs/permissions.md", errs.ErrPermission, what, r.Subject)
}

func (r *Refusal) Is(target error) bool { return target == errs.ErrPermission }

// violation is the text of the server's error.
var violation = regexp.MustCompile(`Permissions Violation for (Publish|Subscription) to ("(?:[^"\\]|\\.)*")`)

// in reads the server's error; nil when it is another.
func in(err error) *Refusal {
	if !errors.Is(err, nats.ErrPermissionViolation) {
		return nil
	}
	found := violation.FindStringSubmatch(err.Error())
	if found == nil {
		return nil
	}
	subject, err := strconv.Unquote(found[2])
	if err != nil {
		return nil
	}
	return &Refusal{Subject: subject, Subscribe: found[1] == "Subscription"}
}

// most bounds how many refusals a List keeps.
const most = 1000

// List is what the server refused so far. The zero List is empty.
type List struct {
	mu   sync.Mutex
	last atomic.Uint64 // the number of the last one
	of   map[string]numbered
}

type numbered struct {
	*Refusal
	number uint64
}

// Add adds a refusal. Of each subject the last one is kept.
func (r *List) Add(f *Refusal) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.of == nil || len(r.of) >= most {
		r.of = map[string]numbered{}
	}
	r.of[f.Subject] = numbered{f, r.last.Load() + 1}
	r.last.Add(1)
}

// Last is the number of the last refusal: how many there have been.
func (r *List) Last() uint64 { return r.last.Load() }

// Since returns the refusals that came after the one with a number, from 1.
func (r *List) Since(number uint64) (out []*Refusal) {
	if r.last.Load() == number {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, f := range r.of {
		if f.number > number {
			out = append(out, f.Refusal)
		}
	}
	return out
}

// Among reports whether the refusal is of one of these messages.
func (r *Refusal) Among(msgs []*nats.Msg) bool {
	return !r.Subscribe && slices.ContainsFunc(msgs, func(m *nats.Msg) bool { return m.Subject == r.Subject })
}

// Of returns a function that reports whether a refusal is of a subject.
func Of(subject string) func(*Refusal) bool {
	return func(f *Refusal) bool { return f.Subject == subject }
}

// listeners are those of each connection. A connection has one handler of ours, however
// many of them come and go.
var listeners struct {
	mu sync.Mutex
	of map[weak.Pointer[nats.Conn]]*audience
}

// audience are the listeners of one connection.
type audience struct {
	mu   sync.Mutex
	hear map[*func(*Refusal)]struct{}
}

// Listen calls hear with each refusal that the connection is told of, and with nil when
// Failed may have an answer that it had not before, until stop is called; after stop has
// returned hear is not called. The connection's own error handler is called too. A handler
// that its owner sets later takes the place of both: then no refusal is heard.
func Listen(nc *nats.Conn, hear func(*Refusal)) (stop func()) {
	listeners.mu.Lock()
	defer listeners.mu.Unlock()
	key := weak.Make(nc)
	a := listeners.of[key]
	if a == nil {
		if listeners.of == nil {
			listeners.of = map[weak.Pointer[nats.Conn]]*audience{}
		}
		a = &audience{hear: map[*func(*Refusal)]struct{}{}}
		listeners.of[key] = a
		runtime.AddCleanup(nc, func(key weak.Pointer[nats.Conn]) {
			listeners.mu.Lock()
			defer listeners.mu.Unlock()
			delete(listeners.of, key)
		}, key)
		others := nc.ErrorHandler()
		nc.SetErrorHandler(func(nc *nats.Conn, sub *nats.Subscription, err error) {
			if f := in(err); f != nil {
				a.tell(f)
			}
			if others != nil {
				others(nc, sub, err)
			}
		})
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.hear[&hear] = struct{}{}
	return func() {
		a.mu.Lock()
		defer a.mu.Unlock()
		delete(a.hear, &hear)
	}
}

func (a *audience) tell(f *Refusal) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for hear := range a.hear {
		(*hear)(f)
	}
}

// LastOf is the refusal in the last error that a connection was told of; or nil.
func LastOf(nc *nats.Conn) *Refusal { return in(nc.LastError()) }
