package natsorm

import (
	"cmp"
	"slices"

	"github.com/natsorm/natsorm/internal/catalogue"
	"github.com/natsorm/natsorm/internal/schema"
	"github.com/natsorm/natsorm/internal/store"
	"github.com/natsorm/natsorm/internal/value"
)

// Type is the type of a column.
type Type string

// The types of columns. docs/format.md says how JSON represents each of them.
const (
	Bool    = Type(value.Bool)
	Int     = Type(value.Int)     // 64 bits, signed; an int64 in a Record
	Uint    = Type(value.Uint)    // 64 bits, unsigned; a uint64
	Float   = Type(value.Float)   // a finite float64
	Decimal = Type(value.Decimal) // any JSON number, compared exactly; a json.Number
	String  = Type(value.String)  // valid UTF-8, compared by bytes
	Bytes   = Type(value.Bytes)   // a []byte
	Time    = Type(value.Time)    // a moment; a time.Time in UTC
	JSON    = Type(value.JSON)    // any other JSON value; of lists, the elements can be indexed
)

// Schema describes a model. DefineRecord takes one, and Model.Schema and DB.Models
// return what the catalogue has.
type Schema struct {
	Name    string
	Columns []ColumnSchema
	Indexes []IndexSchema // every index; DefineRecord also makes those that Columns declare
	Shards  int           // at most 4096; 0 means the Config's
	Layout  Layout        // defaults to Native

	// Former are the names that columns had, in a Schema that comes from the catalogue.
	// DefineRecord ignores it.
	Former []FormerName

	// Converted are the types that columns had, in a Schema that comes from the catalogue.
	// DefineRecord ignores it.
	Converted []ConvertedColumn
}

// ConvertedColumn is a column to which DB.Alter has given a wider type, or is about to give it.
type ConvertedColumn struct {
	Column   string
	From     Type // programs may declare it until ForgetType
	To       Type
	Underway bool // the column still has the type From
	Closed   bool // ForgetType has ended the time in which programs may declare From
}

// FormerName is a name that a column had before DB.Alter renamed or dropped it.
type FormerName struct {
	Name   string
	Column string // what the column is called now; "" when it was dropped
	Closed bool   // ForgetName has ended the time in which programs may declare it
}

// ColumnSchema is a column of a Schema.
type ColumnSchema struct {
	Name       string
	Type       Type
	PrimaryKey bool
	Auto       bool // Create fills a zero primary key: a number, counted upwards with gaps, or a UUIDv7
	Index      bool // it has an index of its own
	Unique     bool // it has a unique index of its own
	Ordered    bool // it has an ordered index of its own
	Fold       bool // letter case does not matter in these indexes: see Fold
	CreatedAt  bool // Create sets it when it is zero
	UpdatedAt  bool // every write sets it
	Elements   Type // of the elements of the lists in a JSON column, which an index needs: String, Int, Uint, Float, Decimal or Bool
	Hidden     bool // ParseWhere does not know it, and only programs that declare it have it in their Records
}

// IndexSchema is an index of a Schema.
type IndexSchema struct {
	Columns []string // or one path to members inside of a JSON column, as address.city
	Unique  bool
	Ordered bool // it finds ranges of the last column's values, in their order
	Fold    bool // letter case does not matter: see the function Fold

	// Elements is that of the column, for an index of the elements of a JSON column's lists, or the type
	// of the members inside of a column. A record has an entry in it for each different element, or
	// value, of this type, at most 256.
	Elements Type

	// State says whether queries use the index, in a Schema that comes from the
	// catalogue. DefineRecord ignores it.
	State IndexState

	// While the index is being built, about how many records have their entries, and how many
	// there are, as the build has last noted, which it does four times in a second; 0 before
	// that. Paused says that PauseBuild holds the build up. DefineRecord ignores them.
	Done, Total int
	Paused      bool
}

func (x IndexSchema) kind() schema.Kind {
	kind := schema.Index{Unique: x.Unique, Ordered: x.Ordered}.Kind()
	if x.Unique && x.Ordered {
		kind = schema.UniqueOrdered
	}
	if x.Fold {
		kind = kind.Folded()
	}
	return kind
}

// IndexState says whether queries use an index.
type IndexState string

const (
	// IndexWriting: writers begin to maintain the index, and some may not have heard of it
	// yet.
	IndexWriting = IndexState(schema.Writing)
	// IndexBuilding: every write maintains the index, while its entries are made for
	// the records that existed before. Queries do not use it yet.
	IndexBuilding = IndexState(schema.Building)
	// IndexReady: queries use the index.
	IndexReady = IndexState(schema.Ready)
	// IndexDropping: nobody uses or maintains the index any more, and its entries are being
	// removed. A Schema that is declared has no such index.
	IndexDropping = IndexState(schema.Dropping)
)

// definition is the schema in the form that the packages below use.
func (s Schema) definition() (schema.Definition, error) {
	def := schema.Definition{Format: schema.Format, Name: s.Name, Layout: cmp.Or(string(s.Layout), schema.Native), Shards: s.Shards}
	for _, f := range s.Columns {
		c := schema.Column{Name: f.Name, Type: value.Type(f.Type), PrimaryKey: f.PrimaryKey, Auto: f.Auto, Hidden: f.Hidden}
		switch {
		case f.CreatedAt && f.UpdatedAt:
			return def, def.Errorf("column %s is createdAt and updatedAt; it can be one of them", f.Name)
		case f.CreatedAt:
			c.Role = schema.CreatedAt
		case f.UpdatedAt:
			c.Role = schema.UpdatedAt
		case f.Fold && !f.Index && !f.Unique:
			return def, def.Errorf("column %s has Fold, which is said of an index; set Index or Unique too", f.Name)
		}
		def.Columns = append(def.Columns, c)
	}
	for _, f := range s.Columns {
		if err := def.SetElements(value.Type(f.Elements), f.Name); err != nil {
			return def, err
		}
		for _, x := range []struct {
			want bool
			IndexSchema
		}{{f.Index, IndexSchema{Fold: f.Fold}}, {f.Unique, IndexSchema{Unique: true, Fold: f.Fold}}, {f.Ordered, IndexSchema{Ordered: true}}} {
			if x.want {
				if err := def.AddIndex(x.kind(), f.Name); err != nil {
					return def, err
				}
			}
		}
	}
	for _, x := range s.Indexes {
		if slices.ContainsFunc(x.Columns, def.Inside) {
			if err := def.AddMembers(x.kind(), value.Type(x.Elements), x.Columns...); err != nil {
				return def, err
			}
			continue
		}
		if err := def.SetElements(value.Type(x.Elements), x.Columns...); err != nil {
			return def, err
		}
		if err := def.AddIndex(x.kind(), x.Columns...); err != nil {
			return def, err
		}
	}
	return def, nil
}

// schemaOf is the schema of a model, with how far the building of its indexes has come.
func schemaOf(def *schema.Definition, b catalogue.Build, from store.Store) Schema {
	out := Schema{Name: def.Name, Shards: def.Shards, Layout: Layout(def.Layout)}
	for _, c := range def.Columns {
		index, unique, fold := def.Own(c.Name)
		out.Columns = append(out.Columns, ColumnSchema{
			Name: c.Name, Type: Type(c.Type), PrimaryKey: c.PrimaryKey, Auto: c.Auto, Hidden: c.Hidden,
			Index: index, Unique: unique, Fold: fold, Ordered: def.IndexOf([]string{c.Name}, schema.OrderedIndex) >= 0, Elements: Type(def.ElementsOf(c.Name)),
			CreatedAt: c.Role == schema.CreatedAt, UpdatedAt: c.Role == schema.UpdatedAt,
		})
	}
	for _, x := range slices.Concat(def.Indexes, def.Dropping) {
		done, total := b.Of(from, def, x)
		out.Indexes = append(out.Indexes, IndexSchema{Columns: slices.Clone(x.Columns), Unique: x.Unique, Ordered: x.Ordered, Fold: x.Fold, Elements: Type(x.Elements), State: IndexState(x.State), Done: done, Total: total, Paused: b.Paused && (x.State == schema.Writing || x.State == schema.Building)})
	}
	for _, f := range def.Former {
		if f.Freed > 0 {
			continue
		}
		out.Former = append(out.Former, FormerName{f.Name, f.Column, f.Closed})
	}
	for _, c := range def.Converted {
		out.Converted = append(out.Converted, ConvertedColumn{c.Column, Type(c.From), Type(def.Becomes(c)), c.Underway(), c.Closed})
	}
	return out
}
