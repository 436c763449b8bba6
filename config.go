package natsorm

import (
	"fmt"
	"log/slog"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/natsorm/natsorm/internal/schema"
)

const (
	defaultShards = 16
	maxHistory    = 64 // the most that a NATS key-value bucket keeps
	maxReplicas   = 5
)

// Config says which bucket to open, and how to reach it. The zero value of
// every field but Bucket means its default.
type Config struct {
	// Servers are the URLs of one cluster. Defaults to nats.DefaultURL,
	// nats://127.0.0.1:4222. Not used by New and by embedded servers.
	Servers []string

	// Bucket is the key-value bucket that holds everything: letters, digits,
	// "_" and "-". Required. It is created when absent; an existing one is used
	// as it is, with direct get, message TTLs and atomic publish switched on
	// where the account is allowed to.
	Bucket string

	// User and Pass authenticate to the server. Other ways are options of
	// nats.go, in NATS. Not used by New.
	User, Pass string

	// NATS are further options for the connection: TLS, credentials, its name,
	// reconnect behaviour. Not used by New.
	NATS []nats.Option

	// Replicas is how many servers of a cluster keep a bucket that Open
	// creates: 1, 3 or 5. Defaults to 1.
	Replicas int

	// Storage is where a bucket that Open creates is kept. Defaults to
	// jetstream.FileStorage.
	Storage jetstream.StorageType

	// History is how many revisions of a record a bucket that Open creates
	// keeps, at most 64. Defaults to 1.
	History uint8

	// Shards is the number of shards of a model that does not say otherwise
	// when it is first defined. Defaults to 16. A model's number never changes.
	Shards int

	// Logger receives warnings. Defaults to discarding them.
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

// validate is called after withDefaults.
func (c Config) validate() error {
	switch {
	case c.Bucket == "":
		return fmt.Errorf("%w: Config.Bucket is empty; name the bucket that holds the data", ErrInvalid)
	case c.Replicas < 1 || c.Replicas > maxReplicas:
		return fmt.Errorf("%w: Config.Replicas is %d; use 1, 3 or 5", ErrInvalid, c.Replicas)
	case c.History > maxHistory:
		return fmt.Errorf("%w: Config.History is %d; a bucket keeps at most %d revisions", ErrInvalid, c.History, maxHistory)
	case c.Shards < 1 || c.Shards > schema.MaxShards:
		return fmt.Errorf("%w: Config.Shards is %d; use 1 to %d", ErrInvalid, c.Shards, schema.MaxShards)
	}
	return nil
}
