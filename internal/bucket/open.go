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
	"github.com/natsorm/natsorm/internal/wire"
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

	// markerTTL is how long a delete marker stays. No request may be in flight
	// for longer. If they stayed forever, a bucket would only ever grow.
	markerTTL = time.Hour

	// codeReplicas is the server's error for more replicas than it has servers.
	codeReplicas = 10074

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
	Logger   *slog.Logger
}

var bucketName = regexp.MustCompile(`^[a-zA-Z0-9_-]+$`)

// Open opens the bucket, makes it when it is absent, and upgrades it when it lacks
// what natsorm uses. The connection stays the caller's. errs.ErrInvalid for a wrong
// name, errs.ErrUnsupportedServer.
func Open(ctx context.Context, nc *nats.Conn, cfg Config) (*Bucket, error) {
	if !bucketName.MatchString(cfg.Bucket) {
		return nil, fmt.Errorf("%w: bucket name %q; use letters, digits, _ and -", errs.ErrInvalid, cfg.Bucket)
	}
	if !nc.IsConnected() {
		return nil, fmt.Errorf("natsorm: open bucket %q: %w", cfg.Bucket, wire.Mark(nats.ErrDisconnected))
	}
	if err := checkVersion(nc.ConnectedServerVersion()); err != nil {
		return nil, err
	}
	js, err := jetstream.New(nc)
	if err != nil {
		return nil, wire.Mark(err)
	}
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, wire.DefaultTimeout)
		defer cancel()
	}
	info, err := openStream(ctx, js, cfg)
	if err != nil {
		return nil, fmt.Errorf("natsorm: open bucket %q: %w", cfg.Bucket, wire.Mark(err))
	}
	kv, err := js.KeyValue(ctx, cfg.Bucket)
	if err != nil {
		return nil, fmt.Errorf("natsorm: open bucket %q: %w", cfg.Bucket, wire.Mark(err))
	}
	client, err := wire.NewClient(nc, info.Config.Replicas > 1)
	if err != nil {
		return nil, err
	}
	return newBucket(client, kv, info, cfg), nil
}

func openStream(ctx context.Context, js jetstream.JetStream, cfg Config) (*jetstream.StreamInfo, error) {
	name := "KV_" + cfg.Bucket
	stream, err := js.Stream(ctx, name)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		stream, err = js.CreateStream(ctx, streamConfig(name, cfg))
		if errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) { // another process was faster
			stream, err = js.Stream(ctx, name)
		} else if err == nil && !stream.CachedInfo().Config.AllowMsgTTL {
			return nil, fmt.Errorf("%w: the JetStream server ignores per-message TTLs; natsorm needs nats-server %d.%d or later", errs.ErrUnsupportedServer, minMajor, minMinor)
		}
	}
	var api *jetstream.APIError
	if errors.As(err, &api) && api.ErrorCode == codeReplicas {
		err = fmt.Errorf("%w; Config.Replicas is %d, which takes a cluster of as many servers", err, cfg.Replicas)
	}
	if err != nil {
		return nil, err
	}
	info := stream.CachedInfo()
	have := info.Config
	want := have
	want.AllowDirect, want.AllowMsgTTL, want.AllowAtomicPublish = true, true, true
	if have.AllowDirect && have.AllowMsgTTL && have.AllowAtomicPublish || have.Mirror != nil {
		return info, nil
	}
	// The config is the server's own, with three switches on: made from a
	// KeyValueConfig it would lose what that type does not know.
	upgrade, cancel := context.WithTimeout(ctx, upgradeTimeout)
	defer cancel()
	stream, err = js.UpdateStream(upgrade, want)
	if err != nil {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		cfg.Logger.Warn("natsorm: the bucket cannot be upgraded, and is used as it is",
			"bucket", cfg.Bucket, "error", err, "direct get", have.AllowDirect, "message TTL", have.AllowMsgTTL, "atomic publish", have.AllowAtomicPublish)
		return info, nil
	}
	return stream.CachedInfo(), nil
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
