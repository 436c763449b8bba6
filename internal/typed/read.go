package typed

import (
	"errors"

	"github.com/natsorm/natsorm/internal/codec"
	"github.com/natsorm/natsorm/internal/document"
	"github.com/natsorm/natsorm/internal/errs"
	"github.com/natsorm/natsorm/internal/query"
	"github.com/natsorm/natsorm/internal/row"
	"github.com/natsorm/natsorm/internal/store"
	"github.com/natsorm/natsorm/internal/txn"
	"github.com/natsorm/natsorm/internal/value"
)

// Decoder is what makes values of records: of whole ones, or of the columns of Select.
func (s *Records) Decoder(spec query.Spec) func(query.Record) (any, error) {
	return func(r query.Record) (any, error) {
		if in := r.Row(); in != nil {
			return s.decodeRow(r, in, spec.Select)
		}
		m := r.Message()
		if spec.Select == nil {
			return s.Decode(m)
		}
		doc, err := document.Pick(m.Value, spec.Select)
		if err != nil {
			return nil, errs.Corrupt(s.Name, m.Key, err)
		}
		m.Value = doc
		v, err := s.Decode(m)
		if err == nil {
			s.Codec.SetVersion(v, codec.Partial)
		}
		return v, err
	}
}

// decodeRow makes the value of a record in memory, with those columns only; all when only is nil.
func (s *Records) decodeRow(r query.Record, in *row.Row, only []string) (any, error) {
	v := s.Codec.New()
	if err := s.Codec.DecodeRow(in, only, v); err != nil {
		return nil, s.Docs.Misread(r.Message(), err)
	}
	if only != nil {
		s.Codec.SetVersion(v, codec.Partial)
	}
	return v, nil
}

// Decode makes the value of a record. In a transaction the value gets the version of its
// own write with the commit.
func (s *Records) Decode(m store.Message) (any, error) {
	v := s.Codec.New()
	if err := s.Codec.Decode(m, v); err != nil {
		return nil, s.Docs.Misread(m, err)
	}
	if s.Tx != nil && txn.Provisional(m.Revision) {
		s.replaceProvisional(v, codec.Partial, m.Key, m.Revision) // v is read from the transaction; without a commit, there is no such version
	}
	return v, nil
}

// Key is id as a value of the model's primary key.
func (s *Records) Key(id any) (value.Value, error) {
	col := s.Docs.Def.Key()
	key, err := value.Coerce(id, col.Type)
	if err == nil && key.IsNull() {
		err = errors.New("is nil; pass a primary key")
	}
	if err != nil {
		return value.Null, errs.Invalidf(s.Name, col.Name, "%v", err)
	}
	return key, nil
}
