package embedded_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/natsorm/natsorm/embedded"
	"github.com/natsorm/natsorm/internal/testbed"
)

type log struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

// What the server warns of and fails at reaches the Logger.
func TestTheServersLogIsHeard(t *testing.T) {
	t.Parallel()
	var heard log
	srv, err := embedded.Start(embedded.Config{Port: -1, Logger: slog.New(slog.NewTextHandler(&heard, nil))})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { srv.Close() })
	u, err := url.Parse(srv.URL())
	if err != nil {
		t.Fatal(err)
	}
	conn, err := net.Dial("tcp", u.Host)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.Write([]byte("GET / HTTP/1.1\r\n\r\n")); err != nil { // a client that has the wrong port
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if err := testbed.Until(ctx, func(context.Context) error {
		heard.mu.Lock()
		defer heard.mu.Unlock()
		if !strings.Contains(heard.text.String(), "level=ERROR msg=\"nats-server: ") {
			return errors.New("the log has " + heard.text.String())
		}
		return nil
	}); err != nil {
		t.Error(err)
	}
}
