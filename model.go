package natsorm

import (
	"context"
	"fmt"
	"reflect"

	"github.com/natsorm/natsorm/internal/catalogue"
	"github.com/natsorm/natsorm/internal/codec"
	"github.com/natsorm/natsorm/internal/errs"
	"github.com/natsorm/natsorm/internal/maintenance"
	"github.com/natsorm/natsorm/internal/records"
	"github.com/natsorm/natsorm/internal/schema"
)

// Model is a kind of record in a DB, with all the ways to read and write its records.
// It is safe for concurrent use.
type Model[T any] struct {
	name   string
	db     *DB
	handle *handle
	codec  codec.Codec[T]
	seq    *catalogue.Sequence
	latest bool // made by Latest
}

// Latest returns the same model with linearizable reads: on a bucket with replicas,
// they see every write that was acknowledged to anyone before the call. For that, each
// read first asks a majority of the servers with a small write; calls at the same time
// share one. Without Latest, reads see at least what this DB has written and seen. On a
// bucket with one replica, and inside a transaction, there is no difference.
func (m *Model[T]) Latest() *Model[T] {
	n := *m
	n.latest = true
	return &n
}

// ModelOption changes what Define declares.
type ModelOption func(*modelOptions)

type modelOptions struct {
	name    string
	shards  int
	layout  string
	indexes []IndexSchema
}

// Name sets the name of the model, with which its keys begin: at most 64 letters,
// digits, "_" and "-", and not "_" at the beginning. Defaults to the name of the type
// T.
func Name(name string) ModelOption { return func(o *modelOptions) { o.name = name } }

// Shards sets the number of shards of the model, at most 4096. Defaults to the number
// that the catalogue has; for a new model, to that of the Config. It never changes
// after the first Define.
func Shards(n int) ModelOption { return func(o *modelOptions) { o.shards = n } }

// Index declares an index of these columns. Records are then found, without a scan, by
// the values of all of them, or of the first ones. The tag orm:"index" on one field
// does the same, and orm:"index:x" on several.
func Index(columns ...string) ModelOption {
	return func(o *modelOptions) { o.indexes = append(o.indexes, IndexSchema{Columns: columns}) }
}

// Unique declares that no two records have the same values in these columns. Records
// with a null in one of them are not compared. The tag orm:"unique" on one field does
// the same, and orm:"unique:x" on several.
func Unique(columns ...string) ModelOption {
	return func(o *modelOptions) { o.indexes = append(o.indexes, IndexSchema{Columns: columns, Unique: true}) }
}

// SequelizeLayout makes the model read and write the keys and index entries of the Node
// library sequelize-natskv, so that Node services and Go programs can share a bucket.
// In this layout an index entry is a list of the ids of all records with a value, and
// each change of it is checked against concurrent ones. docs/sequelize.md says what
// follows from that.
//
// The primary key of the model must be called id, and it can have no unique or compound
// index; otherwise Define returns ErrSchema. Shards defaults to 16, as in that library.
// DB.ChangeLayout moves a model from one layout to the other.
func SequelizeLayout() ModelOption { return func(o *modelOptions) { o.layout = schema.Sequelize } }

// Define declares the model of the struct type T, and registers it in the bucket's
// catalogue. Fields are columns under their JSON names. Tags say the rest:
//
//	orm:"primaryKey"       the key of the record: any integer type, or a string
//	orm:"primaryKey,auto"  Create fills a zero key: a number, counted upwards with
//	                       gaps (a program takes 100 at a time), or a UUIDv7
//	orm:"index"            records are found by this column without a scan
//	orm:"index:name"       fields with the same name form one compound index
//	orm:"unique"           no two records have the same value; nulls are not compared
//	orm:"unique:name"      the same for the values of all fields with this name
//	orm:"version"          a uint64 with json:"-": the revision of the record
//	orm:"createdAt"        a time.Time that Create sets when it is zero
//	orm:"updatedAt"        a time.Time that every write sets
//
// A zero that omitempty leaves out of the document is null to a unique index, so it is
// not compared.
//
// Columns and indexes that the catalogue has and T does not have stay, and writes
// through this model maintain them. An index that the catalogue does not have is built
// from the existing records before Define returns. Programs that still run with an
// older declaration do not maintain it: update them first, or run Check with Repair
// afterwards.
//
// Errors: ErrSchema when the declaration is wrong, when it contradicts the catalogue,
// and when existing records violate a new unique index. ErrInvalid inside a
// transaction.
func Define[T any](ctx context.Context, db *DB, opts ...ModelOption) (m *Model[T], err error) {
	err = db.call(ctx, operation{name: "Define", outside: true}, func() error {
		o := chosen[modelOptions](opts)
		t := reflect.TypeFor[T]()
		if t == reflect.TypeFor[Record]() {
			return fmt.Errorf("%w: a Record has no fields to declare columns by; use DefineRecord", ErrSchema)
		}
		compiled, err := schema.Compile(t, o.name)
		if err != nil {
			return err
		}
		now, err := o.define(ctx, db, compiled.Definition)
		if err == nil {
			m = newModel(db, now, codec.NewStruct[T](compiled))
		}
		return err
	})
	return m, err
}

// DefineRecord is Define for a model without a Go type. A Record has no version, so of
// several Saves the last one wins. Its errors are those of Define.
func DefineRecord(ctx context.Context, db *DB, s Schema, opts ...ModelOption) (m *Model[Record], err error) {
	err = db.call(ctx, operation{name: "DefineRecord", outside: true}, func() error {
		o := chosen[modelOptions](opts)
		if o.name != "" {
			s.Name = o.name
		}
		def, err := s.definition()
		if err != nil {
			return err
		}
		now, err := o.define(ctx, db, def)
		if err == nil {
			m = newModel(db, now, codec.NewRecord[Record](now.Def))
		}
		return err
	})
	return m, err
}

// define registers a declaration with these options, and returns the version of the
// model that holds.
func (o modelOptions) define(ctx context.Context, db *DB, def schema.Definition) (*records.Model, error) {
	if o.shards != 0 {
		def.Shards = o.shards
	}
	if o.layout != "" {
		def.Layout = o.layout
	}
	for _, x := range o.indexes {
		if err := def.AddIndex(x.Unique, x.Columns...); err != nil {
			return nil, err
		}
	}
	now, err := maintenance.Define(ctx, db.store, def, db.cfg.Shards)
	if err != nil {
		return nil, err
	}
	return records.New(db.store, now)
}

func newModel[T any](db *DB, first *records.Model, c codec.Codec[T]) *Model[T] {
	h := catalogue.NewHandle(db.announcements, first.Def, first, func(def *schema.Definition) (*records.Model, error) {
		return records.New(db.store, def)
	})
	return &Model[T]{name: first.Def.Name, db: db, handle: h, codec: c, seq: catalogue.NewSequence(db.store, first.Def.Name)}
}

// Schema describes the model as the catalogue had it when this handle last looked.
func (m *Model[T]) Schema() Schema { return schemaOf(m.handle.Last().Def) }

// describe adds the name of one of the model's records to an error.
func (m *Model[T]) describe(err error, id string) error {
	return fmt.Errorf("%w: %s %s", err, m.name, id)
}

// nilRecord is the error of a call that got a nil *T.
func (m *Model[T]) nilRecord() error {
	return errs.Invalidf(m.name, "", "nil record; pass a pointer to one")
}
