package store

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/natsorm/natsorm/internal/errs"
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
	// for longer; without it a bucket would only ever grow.
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

	// MarkerTTL is how long delete markers stay, in whole seconds. Defaults to
	// an hour.
	MarkerTTL time.Duration
}

var bucketName = regexp.MustCompile(`^[a-zA-Z0-9_-]+$`)

// JetStream is the Store on a real server.
type JetStream struct {
	nc     *nats.Conn
	kv     jetstream.KeyValue
	stream string // KV_<bucket>
	prefix string // $KV.<bucket>.
	req    *requests

	ackPrefix []byte // of an acknowledgement without an error

	replicated bool
	direct     bool        // direct get is allowed
	markerTTL  bool        // a message can have a TTL
	history    bool        // more than one revision of a key is kept
	batches    atomic.Bool // atomic publish is on
	staged     bool        // a batch is written to a file of its own first
	maxMsgSize int         // the bucket's own limit, 0 for none
	marker     time.Duration
	window     time.Duration // for which the server remembers message ids
	ids        ids
	floor      atomic.Uint64 // the highest revision written or seen, of a replicated bucket
	logger     *slog.Logger

	anchorless atomic.Int64 // when it was found that the anchor is missing and can not be written, in ns

	denied  denied
	group   group
	load    load
	barrier barriers

	mu        sync.Mutex
	closing   bool
	tasks     sync.WaitGroup
	consumers map[*consumer]struct{} // on the server

	created time.Time // when the stream was made
	tallies tallies
	heard   []*nats.Subscription // by Hear
}

var _ Store = (*JetStream)(nil)

// Open opens the bucket, making it when absent and upgrading it when it lacks
// what natsorm uses. The connection stays the caller's.
func Open(ctx context.Context, nc *nats.Conn, cfg Config) (*JetStream, error) {
	if cfg.MarkerTTL == 0 {
		cfg.MarkerTTL = markerTTL
	}
	if !bucketName.MatchString(cfg.Bucket) {
		return nil, fmt.Errorf("%w: bucket name %q; use letters, digits, _ and -", errs.ErrInvalid, cfg.Bucket)
	}
	if !nc.IsConnected() {
		return nil, fmt.Errorf("natsorm: open bucket %q: %w", cfg.Bucket, nats.ErrDisconnected)
	}
	if err := checkVersion(nc.ConnectedServerVersion()); err != nil {
		return nil, err
	}
	js, err := jetstream.New(nc)
	if err != nil {
		return nil, err
	}
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, defaultTimeout)
		defer cancel()
	}
	info, err := openStream(ctx, js, cfg)
	if err != nil {
		return nil, fmt.Errorf("natsorm: open bucket %q: %w", cfg.Bucket, err)
	}
	conf := info.Config
	kv, err := js.KeyValue(ctx, cfg.Bucket)
	if err != nil {
		return nil, fmt.Errorf("natsorm: open bucket %q: %w", cfg.Bucket, err)
	}
	retries := noResponderRetries
	if conf.Replicas > 1 {
		retries = electionRetries
	}
	req, err := newRequests(nc, retries)
	if err != nil {
		return nil, err
	}
	s := &JetStream{
		nc: nc, kv: kv, req: req,
		stream: conf.Name, prefix: "$KV." + cfg.Bucket + ".",
		ackPrefix:  fmt.Appendf(nil, `{"stream":%q,"seq":`, conf.Name),
		replicated: conf.Replicas > 1,
		direct:     conf.AllowDirect,
		markerTTL:  conf.AllowMsgTTL,
		history:    conf.MaxMsgsPerSubject != 1,
		maxMsgSize: max(0, int(conf.MaxMsgSize)),
		staged:     conf.Replicas <= 1 && conf.Storage == jetstream.FileStorage,
		marker:     cfg.MarkerTTL,
		window:     conf.Duplicates,
		ids:        newIDs(),
		logger:     cfg.Logger,
		consumers:  map[*consumer]struct{}{},
		created:    info.Created,
	}
	s.batches.Store(conf.AllowAtomicPublish)
	return s, nil
}

// Hear calls f with what is published to the keys under a pattern from now on, by
// anyone, as long as the connection lasts; Epoch changes with it. It is about what
// is sent, taken or not, and takes no consumer.
func (s *JetStream) Hear(pattern string, f func(value []byte)) error {
	sub, err := s.nc.Subscribe(s.prefix+pattern, func(m *nats.Msg) { f(m.Data) })
	if err != nil {
		return s.req.explain(err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.heard = append(s.heard, sub)
	return nil
}

// Epoch is the number of the connection, which changes when it is lost.
func (s *JetStream) Epoch() uint64 { return s.req.epoch.Load() }

// Close frees what the store holds on the connection and on the server. Calls
// that wait end with ErrClosed.
func (s *JetStream) Close() {
	s.mu.Lock()
	s.closing = true
	s.mu.Unlock()
	if !s.nc.IsConnected() {
		s.req.close() // nobody answers; what waits, ends
	}
	s.tasks.Wait() // consumers under way are there, or will not be
	s.mu.Lock()
	for _, sub := range s.heard {
		_ = sub.Unsubscribe() // fails only when the connection is gone
	}
	open := slices.Collect(maps.Keys(s.consumers))
	s.mu.Unlock()
	var removals sync.WaitGroup
	for _, c := range open {
		removals.Go(c.remove)
	}
	removals.Wait()
	s.req.close()
}

// spawn runs a short task that Close waits for; it reports false after Close.
func (s *JetStream) spawn(task func()) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing {
		return false
	}
	s.tasks.Go(task)
	return true
}

// KV is the bucket as nats.go gives it.
func (s *JetStream) KV() jetstream.KeyValue { return s.kv }

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
		cfg.Logger.Warn("natsorm: the bucket can not be upgraded, and is used as it is",
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
