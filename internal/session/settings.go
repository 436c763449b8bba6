package session

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/natsorm/natsorm/internal/errs"
	"github.com/natsorm/natsorm/internal/store"
	"github.com/natsorm/natsorm/internal/usage"
	"github.com/natsorm/natsorm/internal/wire"
)

// What is known of the stream's configuration, and how a Session learns of a change of it:
// see "What changes while programs run" in package bucket.

// Settings is what one look at the stream has found. It is not changed; the next look
// makes another.
type Settings struct {
	// Alone: one server keeps the bucket, it is the one that we are connected to, and it is
	// in no cluster. Such a server cannot give the bucket replicas without being started
	// again, which breaks the connection. So Alone is true as long as the connection is the
	// one with this number.
	Alone      bool
	Connection uint64

	Created    time.Time // when the stream was made
	Direct     bool      // direct get is allowed
	MessageTTL bool      // a message can have a TTL
	History    bool      // more than one revision of a key is kept
	Rollup     bool      // a write may remove what its key had before
	Staged     bool      // a batch is written to a file of its own first; only speed depends on it
	MaxMsgSize int       // the bucket's own limit, 0 for none
	MaxBytes   int64     // the limits of the bucket; less than 1 for none
	MaxMsgs    int64
	Window     time.Duration // for which the server remembers message ids

	// Unfit says why natsorm cannot keep its word in this bucket; nil if it can.
	Unfit error
}

// Now is what was known last.
func (s *Session) Now() *Settings { return s.settings.Load() }

// Replicable reports whether several servers keep the bucket, or may do so without that
// we notice: see store.Traits.
func (s *Session) Replicable() bool { return !s.Now().Alone }

const (
	// lookFor bounds a look at the stream that an answer gave reason to, and anchorTimeout a
	// write of the anchor: without permission to write, the server does not answer.
	lookFor       = time.Second
	anchorTimeout = 2 * time.Second
)

// verifyAfter is how long a look at the stream is good for a bucket that is written to.
const verifyAfter = time.Second

// Look returns the settings by which a request may be made now: those that are known, or
// when they hold for another connection only, those of a new look.
func (s *Session) Look(ctx context.Context) (*Settings, error) {
	known := s.Now()
	if s.Holds(known) {
		return known, nil
	}
	return s.Relook(ctx, known)
}

// Holds reports whether the settings are good for the connection as it is now.
func (s *Session) Holds(known *Settings) bool {
	return !known.Alone || known.Connection == s.Stream.Connection()
}

// Relook looks at the stream, unless another call has done so since the settings were
// stale.
func (s *Session) Relook(ctx context.Context, stale *Settings) (*Settings, error) {
	select {
	case s.looking <- struct{}{}:
		defer func() { <-s.looking }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if known := s.Now(); known != stale && s.Holds(known) {
		return known, nil
	}
	return s.learn(ctx, false)
}

// learn looks at the stream, and makes of what it finds the new settings. anew says that
// the stream was surely deleted and made anew, or put back as it was earlier: the server
// gave a revision that it had given before. One call at a time.
func (s *Session) learn(ctx context.Context, anew bool) (*Settings, error) {
	ctx, began := usage.Measured(ctx, nil), time.Now() // no call's costs
	for {
		conn := s.Stream.Conn()
		connection, server, cluster := s.Stream.Connection(), conn.ConnectedServerName(), conn.ConnectedClusterName()
		info, err := s.Stream.Info(ctx)
		if err != nil {
			return nil, err
		}
		if s.Stream.Connection() != connection {
			continue // the answer may be of one server, and the names of another
		}
		old := s.Now()
		// Once a bucket was not alone, it is never again for this Session: what it has seen may
		// be newer than what a single server has, on which it was put back.
		alone := old == nil || old.Alone
		alone = alone && info.Config.Replicas <= 1 && info.Others == 0 && info.Cluster == "" && cluster == "" && server != "" && info.Server == server
		if !alone {
			s.Stream.Several()
		}
		known := settingsOf(info)
		known.Alone, known.Connection = alone, connection
		if old != nil && (anew || !info.Created.Equal(old.Created)) {
			s.madeAnew(info.Last)
		}
		if old != nil && old.Alone && !alone {
			s.join(ctx, info.Last)
		}
		s.Batches.Store(info.Config.Batches)
		s.verified.Store(began.UnixNano())
		s.settings.Store(known)
		return known, nil
	}
}

func settingsOf(info wire.Info) *Settings {
	conf := info.Config
	return &Settings{
		Created:    info.Created,
		Direct:     conf.Direct,
		MessageTTL: conf.MessageTTL,
		History:    conf.PerKey != 1,
		Rollup:     conf.Rollup,
		Staged:     conf.Replicas <= 1 && conf.Storage == jetstream.FileStorage,
		MaxMsgSize: max(0, conf.MaxMsgSize),
		MaxBytes:   conf.MaxBytes,
		MaxMsgs:    conf.MaxMsgs,
		Window:     time.Duration(conf.Window),
		Unfit:      unfit(conf),
	}
}

// unfit looks for settings by which messages go, or do not come, without natsorm's doing.
// Then records, entries and claims come apart, and Check would not see it, because the
// catalogue goes too.
func unfit(conf wire.StreamConfig) error {
	edit := "nats stream edit " + conf.Name
	if conf.Copies() {
		return nil // what it mirrors is judged where it is written
	}
	switch full := conf.MaxBytes > 0 || conf.MaxMsgs > 0; {
	case conf.MaxAge > 0:
		return fmt.Errorf("%w: its stream has max_age %v, after which records, index entries and unique values go one by one; set it to 0 (%s --max-age 0), or use another bucket", errs.ErrUnsupportedBucket, time.Duration(conf.MaxAge), edit)
	case full && conf.Discard != "new":
		return fmt.Errorf("%w: its stream has a limit (max_bytes %d, max_msgs %d) and discards what is old when it is full; let it refuse what is new (%s --discard new), or remove the limit", errs.ErrUnsupportedBucket, conf.MaxBytes, conf.MaxMsgs, edit)
	case conf.DiscardKey:
		return fmt.Errorf("%w: its stream has discard_new_per_subject, so no record can be changed; switch it off", errs.ErrUnsupportedBucket)
	case conf.Retention != "" && conf.Retention != "limits":
		return fmt.Errorf("%w: its stream has retention %q, by which messages go when they are read; use a bucket with retention \"limits\"", errs.ErrUnsupportedBucket, conf.Retention)
	case conf.NoAck:
		return fmt.Errorf("%w: its stream has no_ack, so no write is ever answered; switch it off", errs.ErrUnsupportedBucket)
	}
	return nil
}

// Fit looks at the stream, and returns errs.ErrUnsupportedBucket when it has a setting with
// which natsorm cannot keep its word.
func (s *Session) Fit(ctx context.Context) error {
	known, err := s.Relook(ctx, s.Now())
	if err == nil {
		err = known.Unfit
	}
	return err
}

// Steady makes a read that is right only on the server for which it was made. When the
// connection was made again meanwhile, the answer may be of another one, and the read is
// made again, by new settings.
func (s *Session) Steady(ctx context.Context, read func() error) error {
	for {
		known := s.Now()
		if err := read(); s.Holds(known) && !errors.Is(err, errIndirect) {
			return err
		}
		if _, err := s.Look(ctx); err != nil {
			return err
		}
	}
}

// errIndirect ends a direct get that the bucket does not allow any more: it is made in
// another way then.
var errIndirect = errors.New("direct get was switched off")

// direct finds out whether a direct get that no server took is still allowed.
func (s *Session) direct(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, lookFor)
	defer cancel()
	if known, err := s.Relook(ctx, s.Now()); err == nil && !known.Direct {
		return errIndirect
	}
	return nil // nobody is there, for now
}

// gone tells that the bucket was deleted, if so.
func (s *Session) gone(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, lookFor)
	defer cancel()
	if _, err := s.Stream.Info(ctx); errors.Is(err, jetstream.ErrStreamNotFound) {
		return fmt.Errorf("the bucket is gone: its stream %s was deleted; natsorm.Open makes it anew, and DB.Restore fills it from a backup", s.Stream.Name)
	}
	return nil
}

// join makes the session begin where a majority of the servers is, when it is found that
// there may be several. As long as the bucket was alone the session's floor was not that
// of all its reads, because there was nobody to be behind it.
func (s *Session) join(ctx context.Context, last uint64) {
	// Without permission to write, the server does not answer. Then last is what it said.
	ctx, cancel := context.WithTimeout(ctx, anchorTimeout)
	defer cancel()
	mark := s.floor.Load()
	r := s.write(ctx, store.Op{Key: anchorKey}) // its answer raises the floor
	if r.Err == nil && r.Revision <= mark {
		s.madeAnew(r.Revision)
	}
	s.Saw(last)
}

// madeAnew forgets the bucket that was there under this name before.
func (s *Session) madeAnew(last uint64) {
	s.StartFrom(last)
	s.anew()
	s.anchorless.Store(0)
	s.generation.Add(1)
	s.logger.Warn("natsorm: the bucket was deleted and made anew, or put back as it was earlier", "stream", s.Stream.Name)
}

// Certify looks at what acknowledged writes tell of the bucket. mark is what the session
// had seen before they were sent: the server gives each write a higher revision, unless it
// has another bucket now. A write that was acknowledged longer than verifyAfter after the
// last look makes the bucket look again, before its call returns: so a bucket that was made
// anew and has grown since is noticed too.
func (s *Session) Certify(ctx context.Context, mark uint64, results []store.Result) {
	done, anew := false, false
	for _, r := range results {
		done = done || r.Err == nil
		anew = anew || r.Err == nil && r.Revision <= mark
	}
	switch {
	case anew:
		if err := s.startOver(ctx, mark); err != nil {
			for i, r := range results {
				if r.Err == nil {
					results[i].Err = fmt.Errorf("%w: the bucket was deleted and made anew, and cannot be looked at: %w", store.ErrUnknown, err)
				}
			}
		}
	case done && time.Since(time.Unix(0, s.verified.Load())) > verifyAfter:
		ctx, cancel := context.WithTimeout(ctx, lookFor)
		defer cancel()
		_, _ = s.Relook(ctx, s.Now()) // after an error the next write looks
	}
}

// startOver learns of a bucket that was made anew, unless another call has. mark is a
// revision that the session had seen, and the server has given again.
func (s *Session) startOver(ctx context.Context, mark uint64) error {
	select {
	case s.looking <- struct{}{}:
		defer func() { <-s.looking }()
	case <-ctx.Done():
		return ctx.Err()
	}
	_, err := s.learn(ctx, s.floor.Load() >= mark)
	return err
}

// doubt finds out whether a leader that has less than the session has seen is one that
// others have replaced, or leads a bucket that was put back as it was earlier. Only in the
// second case does a majority take a write under a revision that it had given before.
func (s *Session) doubt(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, lookFor)
	defer cancel()
	mark := s.floor.Load()
	if r := s.write(ctx, store.Op{Key: anchorKey}); r.Err == nil && r.Revision <= mark {
		_ = s.startOver(ctx, mark) // after an error the caller asks again
	}
}

// Generation changes when it is noticed that the bucket was deleted and made anew, or put
// back as it was earlier.
func (s *Session) Generation() uint64 { return s.generation.Load() }

// Lone refuses a write that is only right where one server keeps the bucket. It waits for
// a connection that is lost: what is published meanwhile would be sent by the next one,
// whatever server that leads to.
func (s *Session) Lone(ctx context.Context) error {
	known := s.Now()
	if known.Alone {
		err := s.Stream.Connected(ctx)
		if err == nil {
			known, err = s.Look(ctx)
		}
		if err != nil {
			return err
		}
	}
	if !known.Alone {
		return store.ErrReplicable
	}
	return nil
}
