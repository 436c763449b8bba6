package natsorm

import (
	"context"
	"fmt"
	"reflect"

	"github.com/natsorm/natsorm/internal/building"
	"github.com/natsorm/natsorm/internal/calls"
	"github.com/natsorm/natsorm/internal/catalogue"
	"github.com/natsorm/natsorm/internal/codec"
	"github.com/natsorm/natsorm/internal/maintenance"
	"github.com/natsorm/natsorm/internal/records"
	"github.com/natsorm/natsorm/internal/schema"
)

// Model is a kind of record in a DB, with all the ways to read and write its records.
// It is safe for concurrent use.
type Model[T any] struct{ reads[T] }

// reads are the calls that a Model and a Local have: those of a Reader.
type reads[T any] struct{ model }

// model is what does not depend on the type of a Model's values. Go compiles each method of a
// Model again for each T: so these only turn values into a *T and back, and leave the rest to model.
type model struct{ core *calls.Model }

// Latest returns the same model with linearizable reads: on a bucket in a cluster,
// they see every write that was acknowledged to anyone before the call. For that, each
// read first asks a majority of the servers with a small write; calls at the same time
// share one. Without Latest, reads see at least what this DB has written and seen. On a
// server in no cluster, and inside a transaction, there is no difference.
func (m *Model[T]) Latest() *Model[T] {
	return &Model[T]{reads[T]{model{m.core.Latest()}}}
}

// ModelOption changes what Define declares.
type ModelOption func(*modelOptions)

type modelOptions struct {
	name    string
	shards  int
	layout  string
	indexes []IndexSchema
	strict  bool
	build   building.Options
}

// Strict makes Define refuse a catalogue that has a column or an index which this program
// does not declare. Without it they stay, writes through this model maintain them, and the
// Logger is told of the indexes once.
func Strict() ModelOption { return func(o *modelOptions) { o.strict = true } }

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
//
// The index of a column that holds lists of strings, numbers or bools, such as a []string, has
// an entry for each different element of a record's list: [Contains], [ContainsAny] and
// [ContainsAll] find records by it. It has no other column, and a record may have 256 different
// elements in it; a call that writes more returns ErrInvalid. The Sequelize layout has none.
//
// Index("address.city") is of members inside of a column that holds structs, maps or lists of them: [Eq] and
// [In] find records by it. It has an entry for each different value to which the path leads, of the type
// of the Go field at its end, and otherwise it is as an index of lists. It can be declared for
// fields that are strings, numbers or bools; a Schema says with IndexSchema.Elements what they are.
func Index(columns ...string) ModelOption {
	return func(o *modelOptions) { o.indexes = append(o.indexes, IndexSchema{Columns: columns}) }
}

// Unique declares that no two records have the same values in these columns. Records
// with a null in one of them are not compared. The tag orm:"unique" on one field does
// the same, and orm:"unique:x" on several.
func Unique(columns ...string) ModelOption {
	return func(o *modelOptions) { o.indexes = append(o.indexes, IndexSchema{Columns: columns, Unique: true}) }
}

// Ordered declares an ordered index of these columns: records are then found, without a scan, by the
// values of all columns but the last and a range of the last one's (Gt to Between, StartsWith, Like
// "ab%", Eq), and read in the last one's order, in either direction, as far as a Limit needs. With one
// column, that is all about this column. Ordered("status", "openedAt") answers "the open tickets, newest
// first". The tag orm:"ordered" on one field does the same, and orm:"ordered:x" on several, in
// the order of the fields.
func Ordered(columns ...string) ModelOption {
	return func(o *modelOptions) { o.indexes = append(o.indexes, IndexSchema{Columns: columns, Ordered: true}) }
}

// Fold wraps Index or Unique: letter case does not matter to that index, in all of its columns that are
// strings. "Alice" and "ALICE" are one value to it, and so are "Straße" and "STRASSE", by Unicode's
// full case folding (docs/format.md). Records keep what was written. The tags orm:"index,fold" and
// orm:"unique,fold" do the same.
//
// Where a column has such an index, letter case does not matter to Eq, Ne, In and NotIn either, nor to
// FindOrCreate and OnConflict: in every program, and from the declaration on, also before the index
// is built. It does matter to the order, to Gt and its like, to patterns such as StartsWith and Like,
// and to groups.
//
// A folded index is another index than the one of the same columns that is not folded, and a model can
// have both. Then the latter finds no text any more, but it still keeps values unique. The primary
// key cannot be in a folded index, nor can any column in the Sequelize layout: Define returns ErrSchema.
func Fold(index ModelOption) ModelOption {
	return func(o *modelOptions) {
		indexes := chosen[modelOptions]([]ModelOption{index}).indexes
		if len(indexes) == 0 {
			indexes = make([]IndexSchema, 1) // of no columns, which is refused
		}
		for _, x := range indexes {
			x.Fold = true
			o.indexes = append(o.indexes, x)
		}
	}
}

// SequelizeLayout makes the model read and write the keys and index entries of the Node
// library sequelize-natskv, so that Node services and Go programs can share a bucket.
// In this layout an index entry is a list of the ids of all records with a value, and
// each change of it is checked against concurrent ones. docs/sequelize.md says what
// follows from that.
//
// The primary key of the model must be called id, and all its indexes are plain ones of one column: no
// unique, ordered or folded one, and none of the elements of a list; otherwise Define returns ErrSchema. Shards defaults to 16, as in that library.
// DB.ChangeLayout moves a model from one layout to the other.
func SequelizeLayout() ModelOption { return func(o *modelOptions) { o.layout = schema.Sequelize } }

// Define declares the model of the struct type T, and registers it in the bucket's
// catalogue. Fields are columns under their JSON names. Tags say the rest:
//
//	orm:"primaryKey"       the key of the record: any integer type, or a string
//	orm:"primaryKey,auto"  Create fills a zero key: a number, counted upwards with
//	                       gaps (a program takes 100 at a time), or a UUIDv7
//	orm:"index"            records are found by this column without a scan; of a list
//	                       such as a []string, by each of its elements
//	orm:"index:name"       fields with the same name form one compound index
//	orm:"unique"           no two records have the same value; nulls are not compared
//	orm:"unique:name"      the same for the values of all fields with this name
//	orm:"ordered"          the same for a range of values, and for OrderBy with a Limit
//	orm:"ordered:name"     the same, for equal values in all fields with this name but the last
//	orm:"unique,fold"      letter case does not matter: see Fold; also orm:"index,fold",
//	                       and with names
//	orm:"column:name"      the column has this name, whatever JSON shows; also for a
//	                       field with json:"-", which JSON does not show
//	orm:"hidden"           ParseWhere does not know the column, and only programs that
//	                       declare it see it
//	orm:"-"                the field is not stored
//	orm:"version"          a uint64: the revision of the record. It is not stored, but
//	                       JSON may show it, and so a client may send it back
//	orm:"createdAt"        a time.Time that Create sets when it is zero
//	orm:"updatedAt"        a time.Time that every write sets
//
// A zero that omitempty leaves out of the document is null to a unique index, so it is
// not compared.
//
// Columns and indexes that the catalogue has and T does not have stay, and writes
// through this model maintain them. An index that the catalogue does not have is built
// from the existing records before Define returns, which takes a second and a half more
// where the model was there before. Define goes on where an earlier one was cut short, in this
// program or in another one. See BuildRate, BuildProgress and DB.PauseBuild. Programs that run with an older declaration go on
// writing meanwhile. They maintain the index as soon as they hear of it, and a call that
// wrote before that, and ends later, adds what is missing before it returns, or undoes what
// it wrote, with ErrUnique.
//
// A field with json:"-" and no orm tag is refused, because it is not clear whether it is to
// be stored. So is a second type of the same name with other columns, unless Name says
// that it is meant.
//
// Records are written and read by the JSON methods of their types, if they have any. When
// one panics, the call or the change of a watch has ErrInvalid or ErrCorrupt, which name
// the type and the record: other records are not affected.
//
// Errors: ErrSchema when the declaration is wrong, when it contradicts the catalogue,
// and when existing records violate a new unique index, which is a *DuplicatesError. ErrUnsupportedBucket. ErrInvalid
// inside a transaction.
func Define[T any](ctx context.Context, db *DB, opts ...ModelOption) (m *Model[T], err error) {
	err = db.call(ctx, operation{Name: "Define", Outside: true, Looks: true}, func() error {
		o := chosen[modelOptions](opts)
		t := reflect.TypeFor[T]()
		if t == reflect.TypeFor[Record]() {
			return fmt.Errorf("%w: a Record has no fields to declare columns by; use DefineRecord", ErrSchema)
		}
		compiled, err := schema.Compile(t, o.name)
		if err != nil {
			return err
		}
		if o.name == "" {
			if err := db.calls.Declared.By(t, &compiled.Definition); err != nil {
				return err
			}
		}
		generation := db.store.Generation()
		now, declared, err := o.define(ctx, db, compiled.Definition)
		if err == nil {
			m = &Model[T]{reads[T]{model{db.calls.NewModel(ctx, generation, now, codec.NewStruct(t, compiled))}}}
			db.calls.Declared.Indexes(declared, now.Def)
		}
		return err
	})
	return m, err
}

// DefineRecord is Define for a model without a Go type. A Record has no version, so of
// several Saves the last one wins. Its errors are those of Define.
func DefineRecord(ctx context.Context, db *DB, s Schema, opts ...ModelOption) (m *Model[Record], err error) {
	err = db.call(ctx, operation{Name: "DefineRecord", Outside: true, Looks: true}, func() error {
		o := chosen[modelOptions](opts)
		if o.name != "" {
			s.Name = o.name
		}
		def, err := s.definition()
		if err != nil {
			return err
		}
		generation := db.store.Generation()
		now, declared, err := o.define(ctx, db, def)
		if err == nil {
			m = &Model[Record]{reads[Record]{model{db.calls.NewModel(ctx, generation, now, codec.NewRecord[Record](now.Def.In(declared), declared))}}}
			db.calls.Declared.Indexes(declared, now.Def)
		}
		return err
	})
	return m, err
}

// define registers a declaration with these options, and returns the version of the
// model that holds, and the whole of what was declared.
func (o modelOptions) define(ctx context.Context, db *DB, def schema.Definition) (*records.Model, *schema.Definition, error) {
	if o.shards != 0 {
		def.Shards = o.shards
	}
	if o.layout != "" {
		def.Layout = o.layout
	}
	for _, x := range o.indexes {
		if err := def.AddIndex(x.kind(), x.Columns...); err != nil {
			return nil, nil, err
		}
	}
	if err := db.store.Fit(ctx); err != nil {
		return nil, nil, err
	}
	if o.strict {
		if err := catalogue.Covered(ctx, db.store, &def); err != nil {
			return nil, nil, err
		}
	}
	o.build.Logger = db.cfg.Logger
	stored, err := maintenance.DefineWith(ctx, db.store, def, db.cfg.Shards, o.build)
	if err != nil {
		return nil, nil, err
	}
	if missing := def.Undeclared(stored); len(missing) > 0 && db.calls.Declared.Warns(def.Name) {
		db.cfg.Logger.Warn("natsorm: the catalogue has indexes that this program does not declare; they stay, and a unique one still refuses values",
			"model", def.Name, "indexes", missing)
	}
	now, err := records.New(db.store, stored)
	return now, &def, err
}

// Schema describes the model as the catalogue had it when this handle last looked, as it does
// while it is used. DB.Models looks now.
func (m *Model[T]) Schema() Schema { return m.schema() }

func (m *model) schema() Schema {
	return schemaOf(m.core.Handle.Last().Def, m.core.Handle.Build(), m.core.DB.Bucket)
}
