package natsorm

import (
	"context"

	"github.com/natsorm/natsorm/internal/calls"
)

// Every public call that reaches the bucket is an operation, and begins and ends in package calls: a
// DB's call goes through DB.call, a model's through Model.call, which gives it a session.
type (
	operation = calls.Operation
	session   = calls.Session
)

// core is what the calls of a DB share; nil for a nil DB.
func (db *DB) core() *calls.DB {
	if db == nil {
		return nil
	}
	return db.calls
}

// call makes a call of a DB.
func (db *DB) call(ctx context.Context, op operation, work func() error) error {
	return db.core().Call(ctx, op, work)
}

// call makes a call of a model.
func (m *model) call(ctx context.Context, op operation, work func(s *session) error) error {
	return m.core.Call(ctx, op, work)
}

// chosen is what the options of a call choose.
func chosen[O any, F ~func(*O)](opts []F) (o O) {
	for _, opt := range opts {
		if opt != nil {
			opt(&o)
		}
	}
	return o
}
