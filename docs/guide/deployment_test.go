package guide_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/natsorm/natsorm"
	"github.com/natsorm/natsorm/embedded"
	"github.com/natsorm/natsorm/internal/testbed"
)

func onEmbedded(ctx context.Context, dir string, logger *slog.Logger, use func(*natsorm.DB) error) error {
	srv, err := embedded.Start(embedded.Config{Dir: dir, Logger: logger})
	if err != nil {
		return err
	}
	defer srv.Close()
	db, err := srv.Open(ctx, natsorm.Config{Bucket: "shop", Logger: logger})
	if err != nil {
		return err
	}
	defer db.Close()
	return use(db)
}

func onOneServer(ctx context.Context, url string, logger *slog.Logger) (*natsorm.DB, error) {
	db, err := natsorm.Open(ctx, natsorm.Config{
		Servers:       []string{url},
		Bucket:        "shop",
		WaitForServer: true, // when the program is started beside its server
		Logger:        logger,
	})
	return db, err
}

func onThreeServers(ctx context.Context, urls []string, logger *slog.Logger) (*natsorm.DB, error) {
	db, err := natsorm.Open(ctx, natsorm.Config{Servers: urls, Bucket: "shop", Replicas: 3, Logger: logger})
	return db, err
}

func withUser(ctx context.Context, urls []string, password string) (*natsorm.DB, error) {
	db, err := natsorm.Open(ctx, natsorm.Config{
		Servers: urls, Bucket: "shop",
		NATS: []nats.Option{nats.UserInfo("shop-writer", password), nats.Name("shop")},
	})
	return db, err
}

func backUp(ctx context.Context, db *natsorm.DB, path string) error {
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	if err := errors.Join(db.Backup(ctx, file), file.Sync(), file.Close()); err != nil {
		return err
	}
	return nil
}

func look(ctx context.Context, db *natsorm.DB, logger *slog.Logger) error {
	report, err := db.Check(ctx)
	if err != nil {
		return err
	}
	if !report.Clean() {
		logger.Error("an index disagrees with its records", "report", report.String())
	}
	return nil
}

func resume(ctx context.Context, db *natsorm.DB, report natsorm.Report) (natsorm.Report, error) {
	return db.Check(ctx, natsorm.Repair(), natsorm.CheckFrom(report.Resume))
}

func use(t *testing.T, db *natsorm.DB) error {
	t.Helper()
	products, err := natsorm.Define[Product](t.Context(), db)
	if err != nil {
		return err
	}
	return products.Create(t.Context(), &Product{Name: "bolt"})
}

// goOn lets a check be cut short while it reads, and go on.
func goOn(ctx context.Context, db *natsorm.DB) error {
	short, stop := context.WithCancel(ctx)
	defer stop()
	report, err := db.Check(short, natsorm.CheckProgress(func(string, string, int, int) { stop() }))
	if !errors.Is(err, context.Canceled) || report.Resume == "" {
		return fmt.Errorf("a check that was cut short: %w, to go on at %q", err, report.Resume)
	}
	report, err = resume(ctx, db, report)
	if err == nil && (!report.Clean() || report.Resume != "") {
		err = fmt.Errorf("when it has gone on: %s, to go on at %q", report, report.Resume)
	}
	return err
}

func TestDeployment(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	logger := slog.New(slog.DiscardHandler)
	path := filepath.Join(t.TempDir(), "backup")
	check(t, onEmbedded(ctx, t.TempDir(), logger, func(db *natsorm.DB) error {
		return errors.Join(use(t, db), backUp(ctx, db, path), look(ctx, db, logger), goOn(ctx, db))
	}))

	one, err := onOneServer(ctx, testbed.StartServer(t).URL(), logger)
	check(t, err)
	defer one.Close()
	file, err := os.Open(path)
	check(t, err)
	defer file.Close()
	check(t, one.Restore(ctx, file))
	products, err := natsorm.Define[Product](ctx, one)
	check(t, err)
	if n, err := products.Count(ctx); n != 1 || err != nil {
		t.Errorf("%d products were restored, %v", n, err)
	}

	guarded := testbed.StartServer(t, func(o *server.Options) {
		o.Users = []*server.User{{Username: "shop-writer", Password: "secret"}}
	})
	writer, err := withUser(ctx, []string{guarded.URL()}, "secret")
	check(t, err)
	defer writer.Close()
	check(t, use(t, writer))
}

func TestDeploymentOnThreeServers(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("takes a cluster of three servers")
	}
	var urls []string
	for _, addr := range testbed.StartCluster(t).Addrs() {
		urls = append(urls, "nats://"+addr)
	}
	db, err := onThreeServers(t.Context(), urls, slog.New(slog.DiscardHandler))
	check(t, err)
	defer db.Close()
	check(t, use(t, db))
}
