package chaos

import (
	"math"
	"sync"
	"time"

	"github.com/anishathalye/porcupine"
)

// History records operations as their callers saw them. It is safe for
// concurrent use.
type History struct {
	start time.Time

	mu   sync.Mutex
	ops  []porcupine.Operation
	open int // operations without an outcome
}

// NewHistory is an empty history that begins now.
func NewHistory() *History { return &History{start: time.Now()} }

// Now is the time since the history began, in nanoseconds. Take it before an operation is
// called.
func (h *History) Now() int64 { return int64(time.Since(h.start)) }

// Done records an operation that client called at call, and that has returned
// just now.
func (h *History) Done(client int, call int64, input, output any) {
	ret := h.Now()
	h.mu.Lock()
	defer h.mu.Unlock()
	h.ops = append(h.ops, porcupine.Operation{ClientId: client, Input: input, Call: call, Output: output, Return: ret})
}

// openClient is the first client number for operations that stay open. Each gets a number
// of its own, because its client goes on with other operations while it is open.
const openClient = 1000

// Open records an operation whose outcome nobody knows: it may take effect at
// any time after call, or never. Its output is nil.
func (h *History) Open(call int64, input any) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.ops = append(h.ops, porcupine.Operation{ClientId: openClient + h.open, Input: input, Call: call, Return: math.MaxInt64})
	h.open++
}

// Size is the number of operations, and how many of them are open.
func (h *History) Size() (all, open int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.ops), h.open
}

// Check looks for an order of the operations that the model allows. Where it
// finds none, it writes porcupine's picture of the search to the file. Unknown
// says that the time was not enough.
func (h *History) Check(model porcupine.Model, timeout time.Duration, file string) (porcupine.CheckResult, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	// The picture is to scale: an open operation ends with the history there,
	// and a nanosecond later than everything that was answered.
	last := int64(0)
	for _, op := range h.ops {
		last = max(last, op.Call)
		if op.Return != math.MaxInt64 {
			last = max(last, op.Return)
		}
	}
	for i := range h.ops {
		h.ops[i].Return = min(h.ops[i].Return, last+1)
	}
	result, info := porcupine.CheckOperationsVerbose(model, h.ops, timeout)
	if result != porcupine.Illegal {
		return result, nil
	}
	return result, porcupine.VisualizePath(model, info, file)
}
