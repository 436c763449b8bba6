package embedded

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/natsorm/natsorm/internal/refusal"
)

// slow is a Logger's handler that waits for release before the first line.
type slow struct {
	slog.Handler
	begun   chan struct{}
	release chan struct{}
	lines   []string // of one goroutine
}

func (s *slow) Enabled(context.Context, slog.Level) bool { return true }

func (s *slow) Handle(_ context.Context, r slog.Record) error {
	if len(s.lines) == 0 {
		close(s.begun)
		<-s.release
	}
	s.lines = append(s.lines, r.Message)
	return nil
}

// A Logger that does not come along keeps nobody waiting. It gets all lines for which there
// is room, is told how many there were no room for, and close waits until it has them.
func TestSlowLogger(t *testing.T) {
	t.Parallel()
	handler := &slow{begun: make(chan struct{}), release: make(chan struct{})}
	var failures []*refusal.Failure
	l := newServerLog(slog.New(handler), func(f *refusal.Failure) { failures = append(failures, f) })
	const beyond = 7
	l.Warnf("line %d", 0)
	<-handler.begun
	for i := range mostLines + beyond {
		l.Warnf("line %d", i+1)
	}
	l.Errorf("JetStream stream '%s > %s' critical write error: %v", "$G", "KV_shop", "no space left on device")
	if len(failures) != 1 || failures[0].Bucket != "shop" || !failures[0].Full || l.first() == "" {
		t.Errorf("failures %v, the first error %q", failures, l.first())
	}
	close(handler.release)
	l.close()
	l.Warnf("after the end")
	if n := len(handler.lines); n != mostLines+2 {
		t.Fatalf("the Logger got %d lines", n)
	}
	for i, line := range handler.lines[:mostLines+1] {
		if line != fmt.Sprint("nats-server: line ", i) {
			t.Fatalf("line %d is %q", i, line)
		}
	}
	if last, lost := handler.lines[mostLines+1], fmt.Sprint(beyond+2, " more lines"); !strings.Contains(last, lost) {
		t.Errorf("the last line is %q, without %q", last, lost)
	}
}
