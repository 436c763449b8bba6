package dial

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/natsorm/natsorm/internal/errs"
)

// connectTimeout bounds how long connecting to one server takes when the context has no
// deadline.
const connectTimeout = 2 * time.Second

// Options are the options of a connection to one of servers, with those of the caller. ErrInvalid
// when one of these fails.
func Options(ctx context.Context, servers []string, user, pass string, others []nats.Option, logger *slog.Logger) (nats.Options, error) {
	opts := nats.GetDefaultOptions()
	opts.Servers = servers
	opts.User, opts.Password = user, pass
	opts.Timeout = connectTimeout
	opts.Name = "natsorm"
	opts.MaxReconnect = -1     // an outage of any length ends
	opts.ReconnectBufSize = -1 // what waits is sent when it is known which server is there
	opts.AsyncErrorCB = func(_ *nats.Conn, _ *nats.Subscription, err error) {
		logger.Warn("natsorm: connection error", "error", err)
	}
	for _, o := range others {
		if o == nil {
			continue
		}
		if err := o(&opts); err != nil {
			return opts, fmt.Errorf("%w: Config.NATS: %w", errs.ErrInvalid, err)
		}
	}
	if deadline, ok := ctx.Deadline(); ok {
		opts.Timeout = min(opts.Timeout, time.Until(deadline)/time.Duration(len(servers)))
	}
	return opts, nil
}

// Foreign is the first scheme among the addresses of servers that is not one of NATS; "" when there is none.
func Foreign(servers []string) string {
	for _, s := range servers {
		switch name, _, found := strings.Cut(strings.TrimSpace(s), "://"); {
		case !found, name == "nats", name == "tls", name == "ws", name == "wss":
		default:
			return name
		}
	}
	return ""
}
