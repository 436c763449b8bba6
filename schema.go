package natsorm

import (
	"cmp"
	"slices"

	"github.com/natsorm/natsorm/internal/schema"
	"github.com/natsorm/natsorm/internal/value"
)

// Type is the type of a column.
type Type string

// The types of columns. What JSON holds of each is in docs/format.md.
const (
	Bool    = Type(value.Bool)
	Int     = Type(value.Int)     // 64 bits, signed; an int64 in a Record
	Uint    = Type(value.Uint)    // 64 bits, unsigned; a uint64
	Float   = Type(value.Float)   // a finite float64
	Decimal = Type(value.Decimal) // any JSON number, compared exactly; a json.Number
	String  = Type(value.String)  // valid UTF-8, compared by bytes
	Bytes   = Type(value.Bytes)   // a []byte
	Time    = Type(value.Time)    // an instant; a time.Time in UTC
	JSON    = Type(value.JSON)    // any other JSON value; can not be indexed
)

// Schema describes a model: for DefineRecord, and as Models finds it in the
// catalogue.
type Schema struct {
	Name    string
	Columns []ColumnSchema
	Indexes []IndexSchema // every index; to declare one of a single column, its ColumnSchema can say so too
	Shards  int           // 0 means the Config's
	Layout  Layout        // defaults to Native
}

// ColumnSchema is a column of a Schema.
type ColumnSchema struct {
	Name       string
	Type       Type
	PrimaryKey bool
	Auto       bool // fills a zero primary key: integers in sequence, with gaps; strings with a UUIDv7
	Index      bool // an index of this column alone
	Unique     bool // a unique index of this column alone
	CreatedAt  bool // set by Create when zero
	UpdatedAt  bool // set by every write
}

// IndexSchema is an index of a Schema.
type IndexSchema struct {
	Columns []string
	Unique  bool

	// State says, in a Schema from the catalogue, whether queries use the index. To
	// DefineRecord it means nothing: the state is the catalogue's to say.
	State IndexState
}

// IndexState is whether queries use an index.
type IndexState string

const (
	// IndexBuilding: every write maintains the index, and its entries are being made
	// for the records that were there before. Queries do not use it yet.
	IndexBuilding = IndexState(schema.Building)
	// IndexReady: queries use the index.
	IndexReady = IndexState(schema.Ready)
)

// definition is the schema as the layers below know it.
func (s Schema) definition() (schema.Definition, error) {
	def := schema.Definition{Format: schema.Format, Name: s.Name, Layout: cmp.Or(string(s.Layout), schema.Native), Shards: s.Shards}
	for _, f := range s.Columns {
		c := schema.Column{Name: f.Name, Type: value.Type(f.Type), PrimaryKey: f.PrimaryKey, Auto: f.Auto}
		switch {
		case f.CreatedAt:
			c.Role = schema.CreatedAt
		case f.UpdatedAt:
			c.Role = schema.UpdatedAt
		}
		def.Columns = append(def.Columns, c)
	}
	for _, f := range s.Columns {
		for _, x := range []struct{ want, unique bool }{{f.Index, false}, {f.Unique, true}} {
			if x.want {
				if err := def.AddIndex(x.unique, f.Name); err != nil {
					return def, err
				}
			}
		}
	}
	for _, x := range s.Indexes {
		if err := def.AddIndex(x.Unique, x.Columns...); err != nil {
			return def, err
		}
	}
	return def, nil
}

func schemaOf(def *schema.Definition) Schema {
	s := Schema{Name: def.Name, Shards: def.Shards, Layout: Layout(def.Layout)}
	for _, c := range def.Columns {
		s.Columns = append(s.Columns, ColumnSchema{
			Name: c.Name, Type: Type(c.Type), PrimaryKey: c.PrimaryKey, Auto: c.Auto,
			Index: def.Index(c.Name, false) >= 0, Unique: def.Index(c.Name, true) >= 0,
			CreatedAt: c.Role == schema.CreatedAt, UpdatedAt: c.Role == schema.UpdatedAt,
		})
	}
	for _, x := range def.Indexes {
		s.Indexes = append(s.Indexes, IndexSchema{Columns: slices.Clone(x.Columns), Unique: x.Unique, State: IndexState(x.State)})
	}
	return s
}
