package calls

import (
	"context"

	"github.com/natsorm/natsorm/internal/catalogue"
	"github.com/natsorm/natsorm/internal/maintenance"
	"github.com/natsorm/natsorm/internal/schema"
)

// renew defines a model again in the bucket that is there now: see catalogue.Handle.Renew.
func (db *DB) renew(ctx context.Context, h *Handle) error {
	return h.Renew(ctx, func(ctx context.Context, was *schema.Definition) (*schema.Definition, error) {
		return maintenance.Renew(ctx, db.Bucket, was)
	})
}

// renewed ends a call that may have written. When the bucket turned out to be another one
// since the call began, in that generation of it, the model is defined there before the
// call returns. err is the error of the call so far, which comes first.
func (s *Session) renewed(ctx context.Context, generation uint64, err error) error {
	if s.Model.DB.Bucket.Generation() == generation {
		return err
	}
	e := s.Model.DB.renew(ctx, s.Model.Handle)
	if e == nil {
		e = catalogue.Moved(s.Docs.Def, s.Model.Handle.Last().Def)
	}
	if err == nil {
		err = e
	}
	return err
}

// renewed does the same for the models that a transaction has used.
func (t *tx) renewed(ctx context.Context, generation uint64, err error) error {
	if t == nil || t.db.Bucket.Generation() == generation {
		return err
	}
	for h, m := range t.models {
		e := t.db.renew(ctx, h)
		if e == nil {
			e = catalogue.Moved(m.outside.Def, h.Last().Def)
		}
		if err == nil {
			err = e
		}
	}
	return err
}
