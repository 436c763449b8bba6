package bucket

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/natsorm/natsorm/internal/errs"
	"github.com/natsorm/natsorm/internal/refusal"
	"github.com/natsorm/natsorm/internal/wire"
	"github.com/natsorm/natsorm/internal/workers"
)

// The oldest server that has what the write protocol needs.
const (
	minMajor = 2
	minMinor = 12
)

const (
	// duplicateWindow is how long a bucket that natsorm makes remembers
	// message ids. The server holds all of them in memory.
	duplicateWindow = 30 * time.Second

	// gatherPause is between two requests for a bucket that the servers do not have, or cannot make.
	gatherPause = 200 * time.Millisecond

	// forEver is the time of an Open that waits and whose context has no deadline: requests
	// whose context has none are given up after some seconds.
	forEver = 100 * 365 * 24 * time.Hour

	kvTimeout = time.Second // of one try

	// upgradeTimeout bounds the attempt to upgrade an existing bucket: without
	// permission for it, the server does not answer at all.
	upgradeTimeout = 2 * time.Second
)

// Config is what Open makes a bucket of when there is none.
type Config struct {
	Bucket   string
	Replicas int
	Storage  jetstream.StorageType
	History  uint8
	Wait     bool // for servers to gather, until the context ends
	Logger   *slog.Logger
}

var bucketName = regexp.MustCompile(`^[a-zA-Z0-9_-]+$`)

// Open opens the bucket, makes it when it is absent, and upgrades it when it lacks
// what natsorm uses. The connection stays the caller's. errs.ErrInvalid for a wrong
// name, errs.ErrUnsupportedServer.
func Open(ctx context.Context, nc *nats.Conn, cfg Config) (*Bucket, error) {
	if !bucketName.MatchString(cfg.Bucket) {
		return nil, fmt.Errorf("%w: Config.Bucket is %q; use letters, digits, _ and -", errs.ErrInvalid, cfg.Bucket)
	}
	if _, ok := ctx.Deadline(); !ok {
		most := wire.DefaultTimeout
		if cfg.Wait {
			most = forEver
		}
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, most)
		defer cancel()
	}
	client, err := wire.NewClient(nc)
	if err != nil {
		return nil, err
	}
	b, err := open(ctx, client, cfg)
	if err != nil {
		client.Close()
		return nil, fmt.Errorf("natsorm: open bucket %q: %w", cfg.Bucket, wire.Mark(err))
	}
	return b, nil
}

func open(ctx context.Context, client *wire.Client, cfg Config) (*Bucket, error) {
	if err := client.Connected(ctx); err != nil { // it may be the first connection, which is still tried
		return nil, err
	}
	if err := checkVersion(client.Conn().ConnectedServerVersion()); err != nil {
		return nil, err
	}
	stream := &wire.Stream{Client: client, Name: "KV_" + cfg.Bucket, Prefix: "$KV." + cfg.Bucket + "."}
	if err := openStream(ctx, stream, cfg); err != nil {
		return nil, err
	}
	kv, err := gather(ctx, stream.Name, cfg, func() (jetstream.KeyValue, error) { return openKV(ctx, client.Conn(), cfg.Bucket) })
	if err != nil {
		return nil, err
	}
	return newBucket(ctx, stream, kv, cfg)
}

// openStream makes the stream when there is none, and switches on what natsorm uses.
func openStream(ctx context.Context, stream *wire.Stream, cfg Config) error {
	info, err := gather(ctx, stream.Name, cfg, func() (wire.Info, error) { return stream.Info(ctx) })
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		info, err = gather(ctx, stream.Name, cfg, func() (wire.Info, error) { return create(ctx, stream, cfg) })
		if err == nil {
			refusal.Recovered(stream.Conn(), stream.Prefix) // one of this name may have failed before
		}
	}
	switch {
	case errors.Is(err, nats.ErrNoResponders), errors.Is(err, jetstream.ErrJetStreamNotEnabled):
		return fmt.Errorf("%w: JetStream is off on this server; start it with nats-server -js, or with jetstream {} in its configuration", err)
	case errors.Is(err, jetstream.ErrJetStreamNotEnabledForAccount):
		return fmt.Errorf("%w: add jetstream: enabled to this account in the server's configuration", err)
	case err != nil:
		return err
	}
	have := info.Config
	if have.Direct && have.MessageTTL && have.Batches || have.Copies() {
		return nil
	}
	upgrade, cancel := context.WithTimeout(ctx, upgradeTimeout)
	defer cancel()
	if _, err := stream.SwitchOn(upgrade, info, "allow_direct", "allow_msg_ttl", "allow_atomic"); err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		cfg.Logger.Warn("natsorm: the bucket cannot be upgraded, and is used as it is",
			"bucket", cfg.Bucket, "error", err, "direct get", have.Direct, "message TTL", have.MessageTTL, "atomic publish", have.Batches)
	}
	return nil
}

// create makes the stream, if no other process is faster.
func create(ctx context.Context, stream *wire.Stream, cfg Config) (wire.Info, error) {
	info, err := stream.Create(ctx, streamConfig(stream.Name, cfg))
	switch {
	case errors.Is(err, jetstream.ErrStreamNameAlreadyInUse):
		return stream.Info(ctx)
	case err == nil && !info.Config.MessageTTL:
		return info, fmt.Errorf("%w: the JetStream server ignores per-message TTLs; natsorm needs nats-server %d.%d or later", errs.ErrUnsupportedServer, minMajor, minMinor)
	}
	return info, err
}

// gather asks for the stream, again while that may help: without an end where servers are to
// gather and Config.Wait is set.
func gather[T any](ctx context.Context, stream string, cfg Config, ask func() (T, error)) (T, error) {
	began := time.Now()
	for {
		got, err := ask()
		var api *jetstream.APIError
		if !errors.As(err, &api) || errors.Is(err, jetstream.ErrStreamNotFound) {
			return got, err
		}
		again, err := refusal.NotMade(stream, cfg.Replicas, api)
		waits := again == refusal.Gathering && cfg.Wait
		if !waits && time.Since(began) >= again {
			return got, err
		}
		if ended := workers.Sleep(ctx, gatherPause); ended != nil {
			return got, fmt.Errorf("%w: %w", ended, err)
		}
	}
}

// openKV opens the bucket as nats.go gives it. Its request is lost if the stream has no
// leader in that moment, so it is made again.
func openKV(ctx context.Context, nc *nats.Conn, bucket string) (jetstream.KeyValue, error) {
	js, err := jetstream.New(nc)
	if err != nil {
		return nil, err
	}
	for {
		try, cancel := context.WithTimeout(ctx, kvTimeout)
		kv, err := js.KeyValue(try, bucket)
		cancel()
		if err == nil || !errors.Is(err, context.DeadlineExceeded) || ctx.Err() != nil {
			return kv, err
		}
	}
}

// streamConfig is what nats.go makes of a bucket, and what natsorm needs.
func streamConfig(name string, cfg Config) jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name:               name,
		Subjects:           []string{"$KV." + cfg.Bucket + ".>"},
		MaxMsgsPerSubject:  int64(max(1, cfg.History)),
		MaxBytes:           -1,
		MaxMsgSize:         -1,
		MaxMsgs:            -1,
		MaxConsumers:       -1,
		Storage:            cfg.Storage,
		Replicas:           max(1, cfg.Replicas),
		Discard:            jetstream.DiscardNew,
		Duplicates:         duplicateWindow,
		DenyDelete:         true,
		AllowRollup:        true,
		AllowDirect:        true,
		AllowMsgTTL:        true,
		AllowAtomicPublish: true,
	}
}

func checkVersion(version string) error {
	majorText, rest, _ := strings.Cut(version, ".")
	minorText, _, _ := strings.Cut(rest, ".")
	major, err1 := strconv.Atoi(majorText)
	minor, err2 := strconv.Atoi(minorText)
	if err1 != nil || err2 != nil {
		return fmt.Errorf("%w: the server says its version is %q; natsorm needs %d.%d or later", errs.ErrUnsupportedServer, version, minMajor, minMinor)
	}
	if major < minMajor || major == minMajor && minor < minMinor {
		return fmt.Errorf("%w: nats-server %s; natsorm needs %d.%d or later: upgrade the server", errs.ErrUnsupportedServer, version, minMajor, minMinor)
	}
	return nil
}
