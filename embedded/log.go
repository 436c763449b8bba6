package embedded

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"regexp"
	"slices"
	"strings"
	"sync"

	"github.com/natsorm/natsorm/internal/refusal"
)

// serverLog gives the server's warnings and errors to a Logger, and keeps the first error:
// that explains why a server did not start. It gives failed what the server says of a write
// to the disk after which it takes no others. What it tells besides is dropped.
//
// The server holds locks while it tells. So a goroutine gives the lines to the Logger, which
// may take its time, or use the server.
type serverLog struct {
	failed func(*refusal.Failure)
	ended  chan struct{} // closed when the goroutine has ended

	mu     sync.Mutex
	text   string // the first error
	lines  []line // that the Logger has not got yet
	lost   int    // lines for which there was no room
	more   *sync.Cond
	closed bool
}

type line struct {
	level slog.Level
	text  string
}

// mostLines bounds the lines that wait for a Logger that is slow.
const mostLines = 10_000

func newServerLog(to *slog.Logger, failed func(*refusal.Failure)) *serverLog {
	l := &serverLog{failed: failed, ended: make(chan struct{})}
	l.more = sync.NewCond(&l.mu)
	to = cmp.Or(to, slog.Default())
	go func() {
		defer close(l.ended)
		for lines := l.take(); lines != nil; lines = l.take() {
			for _, one := range lines {
				to.Log(context.Background(), one.level, one.text)
			}
		}
	}()
	return l
}

// take waits for lines. It returns nil when the log is closed and has no more.
func (l *serverLog) take() []line {
	l.mu.Lock()
	defer l.mu.Unlock()
	for len(l.lines) == 0 && !l.closed {
		l.more.Wait()
	}
	lines := l.lines
	if l.lost > 0 {
		lines = append(lines, line{slog.LevelWarn, fmt.Sprintf("natsorm: the Logger was too slow for %d more lines of nats-server's, which are lost", l.lost)})
	}
	l.lines, l.lost = nil, 0
	return lines
}

// close waits until the Logger has got every line. Nothing may be told afterwards.
func (l *serverLog) close() {
	l.mu.Lock()
	l.closed = true
	l.more.Signal()
	l.mu.Unlock()
	<-l.ended
}

// first is the first error, or "".
func (l *serverLog) first() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text
}

func (l *serverLog) tell(level slog.Level, text string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.closed:
	case len(l.lines) >= mostLines:
		l.lost++
	default:
		l.lines = append(l.lines, line{level, text})
		l.more.Signal()
	}
}

func (l *serverLog) note(format string, v []any) {
	text := fmt.Sprintf(format, v...)
	l.mu.Lock()
	l.text = cmp.Or(l.text, text)
	l.mu.Unlock()
	l.tell(slog.LevelError, "nats-server: "+text)
	if found := writeError.FindStringSubmatch(text); found != nil {
		f := &refusal.Failure{Bucket: found[1], Reason: text, Full: noSpace(text)}
		l.tell(slog.LevelError, f.Error())
		l.failed(f)
	}
}

// writeError is what the server says when a stream has stopped to take messages.
var writeError = regexp.MustCompile(`^JetStream stream '.* > KV_(\S+)' critical write error`)

// noSpace reports whether the text of a system's error says that the disk, or the share of
// it that this user may have, is full.
func noSpace(text string) bool {
	return slices.ContainsFunc([]string{"no space left", "not enough space", "quota exceeded"}, func(part string) bool { return strings.Contains(text, part) })
}

func (l *serverLog) Errorf(format string, v ...any) { l.note(format, v) }
func (l *serverLog) Fatalf(format string, v ...any) { l.note(format, v) }
func (l *serverLog) Warnf(format string, v ...any) {
	l.tell(slog.LevelWarn, "nats-server: "+fmt.Sprintf(format, v...))
}
func (l *serverLog) Noticef(string, ...any) {}
func (l *serverLog) Debugf(string, ...any)  {}
func (l *serverLog) Tracef(string, ...any)  {}
