package embedded_test

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"

	"github.com/natsorm/natsorm"
	"github.com/natsorm/natsorm/embedded"
)

type note struct {
	ID   int    `json:"id" orm:"primaryKey"`
	Text string `json:"text" orm:"index"`
}

func TestDataStays(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "not", "there", "yet")
	for run := range 3 {
		srv, err := embedded.Start(embedded.Config{Dir: dir})
		if err != nil {
			t.Fatal(err)
		}
		if url := srv.URL(); url != "" {
			t.Errorf("a port was opened: %s", url)
		}
		if _, err := embedded.Start(embedded.Config{Dir: dir}); !errors.Is(err, embedded.ErrDirInUse) || !strings.Contains(err.Error(), dir) {
			t.Errorf("a second server: %v", err)
		}
		db, err := srv.Open(t.Context(), natsorm.Config{Bucket: "b"})
		if err != nil {
			t.Fatal(err)
		}
		notes, err := natsorm.Define[note](t.Context(), db)
		if err != nil {
			t.Fatal(err)
		}
		if err := notes.Create(t.Context(), &note{ID: run, Text: "same"}); err != nil {
			t.Fatal(err)
		}
		if n, err := notes.Count(t.Context(), natsorm.Eq("text", "same")); n != run+1 || err != nil {
			t.Errorf("run %d: %d notes, %v", run, n, err)
		}
		db.Close()
		srv.Close()
		srv.Close()
	}
}

func TestOtherProcessesConnect(t *testing.T) {
	t.Parallel()
	srv, err := embedded.Start(embedded.Config{Port: -1, MaxPayload: 64 << 10})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { srv.Close() })
	nc, err := nats.Connect(srv.URL())
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	if nc.MaxPayload() != 64<<10 {
		t.Errorf("max payload %d", nc.MaxPayload())
	}
	db, err := natsorm.New(t.Context(), nc, natsorm.Config{Bucket: "b"})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	notes, err := natsorm.Define[note](t.Context(), db)
	if err != nil {
		t.Fatal(err)
	}
	if err := notes.Create(t.Context(), &note{Text: strings.Repeat("x", 70_000)}); !errors.Is(err, natsorm.ErrInvalid) || !strings.Contains(err.Error(), "payload") {
		t.Errorf("over the limit: %v", err)
	}
}

func TestStartThatFails(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := embedded.Start(embedded.Config{Dir: file}); err == nil || !strings.Contains(err.Error(), file) {
		t.Errorf("a file for a directory: %v", err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	port := l.Addr().(*net.TCPAddr).Port
	if _, err := embedded.Start(embedded.Config{Port: port}); err == nil || !strings.Contains(err.Error(), "in use") {
		t.Errorf("a port in use: %v", err)
	}
}
