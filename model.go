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

// Model is a kind of record in a DB, and every way to read and write its
// records. It is safe for concurrent use.
type Model[T any] struct {
	name   string
	db     *DB
	handle *handle
	codec  codec.Codec[T]
	seq    *catalogue.Sequence
	latest bool // made by Latest
}

// Latest is the same model, whose reads are linearizable on a bucket with replicas:
// they see everything that anyone was told is written before the call. For that each
// read asks a majority of the servers first, with a small write, which calls at the
// same time share. Without Latest, reads see at least what this DB has written and
// seen. With one replica, and inside a transaction, there is no difference.
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

// Name sets the model's name, which its keys begin with: at most 64 letters,
// digits, "_" and "-", the first of them no "_". Defaults to T's type name.
func Name(name string) ModelOption { return func(o *modelOptions) { o.name = name } }

// Shards sets the number of shards, at most 4096. Defaults to the catalogue's,
// and at first use to the Config's. It never changes after first use.
func Shards(n int) ModelOption { return func(o *modelOptions) { o.shards = n } }

// Index declares an index of these columns: records are found by the values of
// all of them. It does the same as orm:"index" on one field, or orm:"index:x"
// on several.
func Index(columns ...string) ModelOption {
	return func(o *modelOptions) { o.indexes = append(o.indexes, IndexSchema{Columns: columns}) }
}

// Unique declares that no two records have the same values in these columns.
// Records with a null among them are not compared. It does the same as
// orm:"unique" on one field, or orm:"unique:x" on several.
func Unique(columns ...string) ModelOption {
	return func(o *modelOptions) { o.indexes = append(o.indexes, IndexSchema{Columns: columns, Unique: true}) }
}

// SequelizeLayout makes the model read and write the keys and index entries of the
// Node library sequelize-natskv, so that Node services and Go programs share one
// bucket: a value's records are one entry, a list of ids, written with
// compare-and-set. docs/sequelize.md says what follows from that. It is for models
// whose primary key is called id, without unique and compound indexes; any other is
// ErrSchema. Shards defaults to that library's 16. Migrate moves a model from one
// layout to the other.
func SequelizeLayout() ModelOption { return func(o *modelOptions) { o.layout = schema.Sequelize } }

// Define declares the model of struct type T, as its tags say, and registers
// it in the bucket's catalogue. Fields are columns under their JSON names.
//
//	orm:"primaryKey"       the record's key: any integer type, or a string
//	orm:"primaryKey,auto"  a zero key is filled in by Create: numbers in sequence,
//	                       with gaps (a program takes 100 at a time); UUIDv7
//	orm:"index"            records are found by this column without a scan
//	orm:"index:name"       fields that share a name form one compound index
//	orm:"unique"           no two records have the same value, nulls aside
//	orm:"unique:name"      the same, of the fields that share a name
//	orm:"version"          a uint64 with json:"-": the record's revision
//	orm:"createdAt"        a time.Time, set by Create when zero
//	orm:"updatedAt"        a time.Time, set by every write
//
// A zero that omitempty leaves out of the document is null to a unique index,
// and compared with nothing.
//
// The catalogue's columns and indexes that T does not have stay, and writes
// through this model keep them. An index that the catalogue does not have is
// built from the records that are there, before Define returns; programs that
// still run with an older declaration do not maintain it, so update them first
// or run Check with Repair afterwards.
//
// Errors: ErrSchema when the declaration is wrong or contradicts the
// catalogue, or when records violate a new unique index.
func Define[T any](ctx context.Context, db *DB, opts ...ModelOption) (m *Model[T], err error) {
	err = db.call(ctx, operation{name: "Define", outside: true}, func() error {
		o := optionsOf(opts)
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

// DefineRecord is Define for a model that has no Go type. A Record carries no
// version, so the last Save of one wins. Its errors are Define's.
func DefineRecord(ctx context.Context, db *DB, s Schema, opts ...ModelOption) (m *Model[Record], err error) {
	err = db.call(ctx, operation{name: "DefineRecord", outside: true}, func() error {
		o := optionsOf(opts)
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

func optionsOf(opts []ModelOption) (o modelOptions) {
	for _, opt := range opts {
		if opt != nil {
			opt(&o)
		}
	}
	return o
}

// define registers a declaration with these options, and returns the version that holds.
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

// Schema describes the model as the catalogue has it.
func (m *Model[T]) Schema() Schema { return schemaOf(m.handle.Last().Def) }

// describe names one of the model's records in errors.
func (m *Model[T]) describe(err error, id string) error {
	return fmt.Errorf("%w: %s %s", err, m.name, id)
}

// nilRecord is the error for a nil *T.
func (m *Model[T]) nilRecord() error {
	return errs.Invalidf(m.name, "", "nil record; pass a pointer to one")
}
