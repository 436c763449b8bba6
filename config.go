package natsorm

import (
	"fmt"
	"log/slog"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/natsorm/natsorm/internal/dial"
	"github.com/natsorm/natsorm/internal/schema"
)

const (
	defaultShards = 16
	maxHistory    = 64 // the most that a NATS key-value bucket keeps
)

// Config says which bucket to open, and how to reach it. For every field but Bucket,
// the zero value means the default.
type Config struct {
	// Servers are the URLs of the servers of one cluster. Defaults to nats.DefaultURL,
	// which is nats://127.0.0.1:4222. New and embedded servers do not use it.
	Servers []string

	// Bucket is the name of the key-value bucket that holds everything: letters,
	// digits, "_" and "-". Required. A bucket that does not exist is created. An
	// existing one keeps its settings, except that direct get, message TTLs and atomic
	// publish are switched on where the account may do that.
	Bucket string

	// WaitForServer makes Open wait, for as long as its context allows, instead of failing at once or
	// after some seconds: for a server that is not there yet, for the servers of a cluster to
	// elect a leader, and where the bucket is to be made, for as many of them as Replicas. It is for programs
	// that are started beside their servers. New does not do the first.
	WaitForServer bool

	// User and Pass authenticate to the server. For other ways, such as tokens and
	// credentials files, use NATS. New does not use them.
	User, Pass string

	// NATS are further options of nats.go for the connection: TLS, credentials, its
	// name, how it reconnects. New does not use them.
	NATS []nats.Option

	// Replicas is how many servers keep a copy of a bucket that Open creates: 1, 3 or
	// 5. Defaults to 1.
	Replicas int

	// Storage says where a bucket that Open creates is kept: in files or in memory.
	// Defaults to jetstream.FileStorage.
	Storage jetstream.StorageType

	// History is how many revisions of each key a bucket that Open creates keeps, at
	// most 64. Defaults to 1.
	History uint8

	// Shards is the number of shards of a model that does not set its own when it is
	// defined for the first time. Defaults to 16. The number never changes afterwards.
	Shards int

	// SweepEvery makes this DB sweep the bucket in the background, about this often: see
	// DB.Sweep. Of all programs that have it, one sweeps in each interval, and works for about 1 %
	// of the time. Defaults to 0, which is never: where a bucket takes batches, as it does unless
	// it is told not to, a program that is killed leaves nothing to sweep, and looking for it
	// reads the whole index. An hour is enough where it does not.
	SweepEvery time.Duration

	// Logger receives warnings, and, as information (slog.LevelInfo), which steps of Migrate
	// begin and are done, and what a sweep in the background has taken. Defaults to none: all of it is discarded.
	Logger *slog.Logger
}

func (c Config) withDefaults() Config {
	if len(c.Servers) == 0 {
		c.Servers = []string{nats.DefaultURL}
	}
	if c.Replicas == 0 {
		c.Replicas = 1
	}
	if c.History == 0 {
		c.History = 1
	}
	if c.Shards == 0 {
		c.Shards = defaultShards
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c
}

// validate checks a Config that has its defaults.
func (c Config) validate() error {
	switch {
	case c.Bucket == "":
		return fmt.Errorf("%w: Config.Bucket is empty; name the bucket that holds the data", ErrInvalid)
	case dial.Foreign(c.Servers) != "":
		return fmt.Errorf("%w: Config.Servers has an address with %s://; the address of a NATS server begins with nats://, tls://, ws:// or wss://", ErrInvalid, dial.Foreign(c.Servers))
	case c.Replicas != 1 && c.Replicas != 3 && c.Replicas != 5:
		return fmt.Errorf("%w: Config.Replicas is %d; use 1, 3 or 5: an even number bears the loss of no more servers than one replica less", ErrInvalid, c.Replicas)
	case c.History > maxHistory:
		return fmt.Errorf("%w: Config.History is %d; a bucket keeps at most %d revisions", ErrInvalid, c.History, maxHistory)
	case c.SweepEvery < 0:
		return fmt.Errorf("%w: Config.SweepEvery is %v; use 0 for never, or a time such as an hour", ErrInvalid, c.SweepEvery)
	case c.Shards < 1 || c.Shards > schema.MaxShards:
		return fmt.Errorf("%w: Config.Shards is %d; use 1 to %d", ErrInvalid, c.Shards, schema.MaxShards)
	}
	return nil
}
