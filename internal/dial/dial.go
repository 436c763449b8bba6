// Package dial makes connections to NATS servers: it waits for a server that is not there yet,
// and says what to do about one that refuses.
package dial

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"syscall"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/natsorm/natsorm/internal/workers"
)

// remedy is what to do about an error of connecting.
func remedy(err error) string {
	var unknown x509.UnknownAuthorityError
	var host x509.HostnameError
	switch {
	case errors.Is(err, nats.ErrAuthorization), errors.Is(err, nats.ErrAuthExpired), errors.Is(err, nats.ErrAuthRevoked):
		return "the server does not accept these credentials: set Config.User and Pass, or give others, such as nats.UserCredentials, by Config.NATS"
	case errors.Is(err, nats.ErrSecureConnRequired):
		return "the server wants TLS: use a tls:// address, or nats.Secure by Config.NATS"
	case errors.Is(err, nats.ErrSecureConnWanted):
		return "the server has no TLS: use a nats:// address, or switch TLS on in the server"
	case errors.As(err, &unknown), errors.As(err, &host):
		return "the server's certificate is not trusted here: give its authority by nats.RootCAs in Config.NATS, and use a name that the certificate has"
	}
	return "is nats-server running there with JetStream (-js)? Config.WaitForServer waits for one that starts later, and package embedded needs none"
}

// waitPause is how long Connect waits before it looks again for a server that it waits for.
const waitPause = 200 * time.Millisecond

// absent reports whether connecting failed because no server was there.
func absent(err error) bool {
	return errors.Is(err, nats.ErrNoServers) || errors.Is(err, nats.ErrTimeout) || errors.Is(err, syscall.ECONNREFUSED)
}

// Connect connects to one of the servers in opts. With wait it waits for one that is not
// there yet, for as long as ctx allows. The error says what to do.
func Connect(ctx context.Context, opts nats.Options, wait bool) (*nats.Conn, error) {
	nc, err := connect(ctx, opts)
	for wait && absent(err) && workers.Sleep(ctx, waitPause) == nil {
		nc, err = connect(ctx, opts)
	}
	if err != nil {
		return nil, fmt.Errorf("natsorm: connect to %v: %w; %s", opts.Servers, err, remedy(err))
	}
	return nc, nil
}

// connect connects, or gives up when ctx ends. nats.go then goes on in the background,
// until its own timeout.
func connect(ctx context.Context, opts nats.Options) (*nats.Conn, error) {
	type result struct {
		nc  *nats.Conn
		err error
	}
	done := make(chan result, 1)
	go func() {
		nc, err := opts.Connect()
		done <- result{nc, err}
	}()
	select {
	case r := <-done:
		return r.nc, r.err
	case <-ctx.Done():
		go func() {
			if r := <-done; r.nc != nil {
				r.nc.Close()
			}
		}()
		return nil, ctx.Err()
	}
}
