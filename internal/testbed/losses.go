package testbed

import (
	"bufio"
	"bytes"
	"io"
	"strconv"
	"sync"
)

// losses decides which messages a lossy proxy loses: requests on their way to the server,
// and answers on their way back. It reads the NATS protocol and leaves whole messages out,
// so that the connection goes on without them.
type losses struct {
	mu    sync.Mutex
	lose  func(subject string, answer bool) bool
	asked map[string]string // by the reply subject of a request: the subject of the request
	n     int
}

func newLosses() *losses { return &losses{lose: nothing, asked: map[string]string{}} }

func nothing(string, bool) bool { return false }

func (l *losses) set(lose func(subject string, answer bool) bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lose = lose
}

func (l *losses) count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.n
}

// reader returns a function that reads protocol lines, with the payloads that follow some
// of them, and leaves out messages that are lost. Each call returns all that has arrived.
func (l *losses) reader(from io.Reader) func() ([]byte, error) {
	const most = 64 << 10
	r := bufio.NewReaderSize(from, most)
	var out []byte
	return func() ([]byte, error) {
		out = out[:0]
		for {
			begin := len(out)
			line, err := r.ReadBytes('\n')
			out = append(out, line...)
			if err != nil {
				return out[:begin], err
			}
			if args := bytes.Fields(line); len(args) > 2 && hasPayload(string(args[0])) {
				size, err := strconv.Atoi(string(args[len(args)-1]))
				if err != nil {
					return out[:begin], err
				}
				end := len(out)
				out = append(out, make([]byte, size+len("\r\n"))...)
				if _, err := io.ReadFull(r, out[end:]); err != nil {
					return out[:begin], err
				}
				if l.loses(args) {
					out = out[:begin]
				}
			}
			if r.Buffered() == 0 || len(out) >= most {
				return out, nil
			}
		}
	}
}

func hasPayload(verb string) bool {
	return verb == "PUB" || verb == "HPUB" || verb == "MSG" || verb == "HMSG"
}

// loses reports whether a message is lost, by its line: "HPUB subject reply headers total"
// from a client, or "MSG subject sid size" from the server.
func (l *losses) loses(args [][]byte) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	verb, subject, lost := string(args[0]), string(args[1]), false
	switch {
	case verb == "PUB" && len(args) == 4, verb == "HPUB" && len(args) == 5:
		l.asked[string(args[2])] = subject
		lost = l.lose(subject, false)
	case verb == "MSG" || verb == "HMSG":
		if asked, ok := l.asked[subject]; ok {
			lost = l.lose(asked, true)
		} else {
			lost = l.lose(subject, true) // what others have published
		}
	}
	if lost {
		l.n++
	}
	return lost
}
