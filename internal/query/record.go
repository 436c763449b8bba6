package query

import (
	"github.com/natsorm/natsorm/internal/document"
	"github.com/natsorm/natsorm/internal/errs"
	"github.com/natsorm/natsorm/internal/row"
	"github.com/natsorm/natsorm/internal/store"
	"github.com/natsorm/natsorm/internal/value"
)

// Record is a record as a source gives it: as the message that was read, or as a row in memory.
type Record struct {
	message store.Message // its Value is nil when there is a row
	row     *row.Row
}

// OfMessage is the record of a message.
func OfMessage(m store.Message) Record { return Record{message: m} }

// OfRow is the record of a row.
func OfRow(r *row.Row) Record {
	return Record{store.Message{Key: r.Key(), Revision: r.Revision, Fence: r.Fence, Schema: r.Schema}, r}
}

// Row is the record in memory; nil for one that was read.
func (r Record) Row() *row.Row { return r.row }

// Message is the record with its document.
func (r Record) Message() store.Message {
	if r.row != nil {
		r.message.Value = r.row.Document()
	}
	return r.message
}

// Key is the record's key, and Live reports whether there is one.
func (r Record) Key() string { return r.message.Key }
func (r Record) Live() bool  { return r.message.Live() }

// values are the values of a record in some columns. Its error is a *CorruptError.
func (r Record) values(model string, fields *document.Fields) (document.Values, error) {
	var vals document.Values
	var err error
	if r.row != nil {
		vals, err = row.NewFields(fields).Read(r.row, make([]value.Value, fields.Len()))
	} else {
		vals, err = fields.Read(r.message.Value)
	}
	if err != nil {
		return vals, errs.Corrupt(model, r.message.Key, err)
	}
	return vals, nil
}
