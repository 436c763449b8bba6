package natsorm_test

import (
	"context"
	"errors"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/natsorm/natsorm"
	"github.com/natsorm/natsorm/internal/testbed"
	"github.com/natsorm/natsorm/natsormtest"
)

// gadget is the declaration of the program that runs while the schema changes.
type gadget struct {
	ID    int64   `json:"id" orm:"primaryKey"`
	Name  string  `json:"name" orm:"index"`
	Size  int64   `json:"size"`
	Note  *string `json:"note"`
	Color string  `json:"color"`
}

// schemaChange is what somebody does who changes gadget.
type schemaChange struct {
	alter  []natsorm.Alteration
	define func(ctx context.Context, db *natsorm.DB) error // as the new program

	old func(t *testing.T, m *natsorm.Model[gadget]) // looks at the old program afterwards; nil: it goes on as it did
}

// declare defines gadget as it is in the table gadget's words, but for what change changes.
func declare(change func(*natsorm.Schema)) func(ctx context.Context, db *natsorm.DB) error {
	return func(ctx context.Context, db *natsorm.DB) error {
		s := natsorm.Schema{Name: "gadget", Columns: []natsorm.ColumnSchema{
			{Name: "id", Type: natsorm.Int, PrimaryKey: true}, {Name: "name", Type: natsorm.String, Index: true},
			{Name: "size", Type: natsorm.Int}, {Name: "note", Type: natsorm.String}, {Name: "color", Type: natsorm.String},
		}}
		change(&s)
		m, err := natsorm.DefineRecord(ctx, db, s)
		if err != nil {
			return err
		}
		if s.Name == "gadget" && s.Columns[0].Name == "id" {
			_, err = m.FindAll(ctx, natsorm.Eq("id", 2))
		}
		return err
	}
}

// column changes, or with nil takes away, a column of a schema.
func schemaColumn(name string, change func(*natsorm.ColumnSchema)) func(ctx context.Context, db *natsorm.DB) error {
	return declare(func(s *natsorm.Schema) {
		i := slices.IndexFunc(s.Columns, func(c natsorm.ColumnSchema) bool { return c.Name == name })
		if change == nil {
			s.Columns = slices.Delete(s.Columns, i, i+1)
		} else {
			change(&s.Columns[i])
		}
	})
}

func typedGadget[T any](ctx context.Context, db *natsorm.DB) error {
	m, err := natsorm.Define[T](ctx, db, natsorm.Name("gadget"))
	if err == nil {
		_, err = m.FindByPK(ctx, 2)
	}
	return err
}

// listed declares gadget with a column of lists, and an index of it.
func listed(elements natsorm.Type, indexes ...natsorm.IndexSchema) func(ctx context.Context, db *natsorm.DB) error {
	return declare(func(s *natsorm.Schema) {
		s.Columns = append(s.Columns, natsorm.ColumnSchema{Name: "tags", Type: natsorm.JSON, Elements: elements, Index: indexes == nil})
		s.Indexes = indexes
	})
}

func renamed(s *natsorm.Schema) { s.Columns[4].Name = "colour" }

var asItWas = declare(func(*natsorm.Schema) {})

// schemaChanges has every row of docs/schema.md.
var schemaChanges = map[string]schemaChange{
	"add a column": {define: declare(func(s *natsorm.Schema) {
		s.Columns = append(s.Columns, natsorm.ColumnSchema{Name: "weight", Type: natsorm.Float})
	})},
	"stop declaring a column": {define: schemaColumn("color", nil)},
	"drop a column": {alter: []natsorm.Alteration{natsorm.DropColumn("color")}, define: schemaColumn("color", nil), old: func(t *testing.T, m *natsorm.Model[gadget]) {
		if v := must[*gadget](t)(m.FindByPK(within(t), 2)); v.Color != "" || v.Name != "b" {
			t.Errorf("%+v", v)
		}
	}},
	"declare a dropped column":           {alter: []natsorm.Alteration{natsorm.DropColumn("color")}, define: asItWas, old: gone},
	"drop a column that an index has":    {alter: []natsorm.Alteration{natsorm.DropColumn("name")}},
	"drop the primary key":               {alter: []natsorm.Alteration{natsorm.DropColumn("id")}},
	"rename a column":                    {alter: []natsorm.Alteration{natsorm.RenameColumn("color", "colour")}, define: declare(renamed)},
	"rename a column without Alter":      {define: declare(renamed)},
	"rename to a column that is there":   {alter: []natsorm.Alteration{natsorm.RenameColumn("color", "note")}},
	"rename the primary key":             {alter: []natsorm.Alteration{natsorm.RenameColumn("id", "key")}},
	"change the values of a column":      {alter: []natsorm.Alteration{natsorm.Rewrite(func(r natsorm.Record) error { r["size"] = int64(2); return nil })}, define: asItWas},
	"change the type of a column":        {define: schemaColumn("size", func(c *natsorm.ColumnSchema) { c.Type = natsorm.String })},
	"change a column to a wider type":    {alter: []natsorm.Alteration{natsorm.ConvertColumn("size", natsorm.Float, nil)}, define: schemaColumn("size", func(c *natsorm.ColumnSchema) { c.Type = natsorm.Float })},
	"declare a wider type without Alter": {define: schemaColumn("size", func(c *natsorm.ColumnSchema) { c.Type = natsorm.Decimal })},
	"convert the primary key":            {alter: []natsorm.Alteration{natsorm.ConvertColumn("id", natsorm.Float, nil)}},
	"convert an indexed column":          {alter: []natsorm.Alteration{natsorm.ConvertColumn("name", natsorm.Time, nil)}},
	"convert to any other type":          {alter: []natsorm.Alteration{natsorm.ConvertColumn("size", natsorm.String, nil)}},
	"convert by a function":              {alter: []natsorm.Alteration{natsorm.ConvertColumn("size", natsorm.Float, func(x any) (any, error) { return x, nil })}},
	"declare a type that was converted":  {alter: []natsorm.Alteration{natsorm.ConvertColumn("size", natsorm.Float, nil), natsorm.ForgetType("size")}, define: asItWas, old: gone},
	"add an index":                       {define: schemaColumn("size", func(c *natsorm.ColumnSchema) { c.Index = true })},
	"add a unique index":                 {define: schemaColumn("note", func(c *natsorm.ColumnSchema) { c.Unique = true })},
	"add an ordered index":               {define: schemaColumn("size", func(c *natsorm.ColumnSchema) { c.Ordered = true })},
	"declare an ordered index in the Sequelize layout": {define: declare(func(s *natsorm.Schema) {
		s.Layout, s.Columns[1].Ordered = natsorm.Sequelize, true
	})},
	"add an index of the elements of lists":      {define: listed(natsorm.String)},
	"add an index of members inside of a column": {define: listed(natsorm.String, natsorm.IndexSchema{Columns: []string{"tags.name"}, Elements: natsorm.String})},
	"change the type of members that are indexed": {define: func(ctx context.Context, db *natsorm.DB) error {
		if err := listed("", natsorm.IndexSchema{Columns: []string{"tags.name"}, Elements: natsorm.String})(ctx, db); err != nil {
			return errors.Join(err, errors.New("which is free"))
		}
		return listed("", natsorm.IndexSchema{Columns: []string{"tags.name"}, Elements: natsorm.Int})(ctx, db)
	}},
	"add a unique, ordered or folded index of members, or one of several columns": {define: func(ctx context.Context, db *natsorm.DB) (err error) {
		for _, x := range []natsorm.IndexSchema{{Unique: true}, {Ordered: true}, {Fold: true}, {Columns: []string{"name"}}} {
			x.Columns, x.Elements = append(x.Columns, "tags.name"), natsorm.String
			if err = listed("", x)(ctx, db); !errors.Is(err, natsorm.ErrSchema) {
				return errors.Join(err, errors.New("which is free"))
			}
		}
		return err
	}},
	"change the type of the elements of an indexed list": {define: func(ctx context.Context, db *natsorm.DB) error {
		if err := listed(natsorm.String)(ctx, db); err != nil {
			return errors.Join(err, errors.New("which is free"))
		}
		return listed(natsorm.Int)(ctx, db)
	}},
	"add a unique index, or one of several columns, with a list": {define: func(ctx context.Context, db *natsorm.DB) error {
		if err := listed(natsorm.String, natsorm.IndexSchema{Columns: []string{"tags"}, Unique: true})(ctx, db); !errors.Is(err, natsorm.ErrSchema) {
			return errors.Join(err, errors.New("which is free"))
		}
		return listed(natsorm.String, natsorm.IndexSchema{Columns: []string{"name", "tags"}})(ctx, db)
	}},
	"stop declaring an index":          {define: schemaColumn("name", func(c *natsorm.ColumnSchema) { c.Index = false })},
	"make an index unique":             {define: schemaColumn("name", func(c *natsorm.ColumnSchema) { c.Index, c.Unique = false, true })},
	"make an index ignore letter case": {define: schemaColumn("name", func(c *natsorm.ColumnSchema) { c.Fold = true })},
	"make a folded index mind letter case again": {define: func(ctx context.Context, db *natsorm.DB) error {
		return errors.Join(schemaColumn("note", func(c *natsorm.ColumnSchema) { c.Index, c.Fold = true, true })(ctx, db),
			schemaColumn("note", func(c *natsorm.ColumnSchema) { c.Index = true })(ctx, db))
	}},
	"declare an index of the elements of lists in the Sequelize layout": {define: declare(func(s *natsorm.Schema) {
		s.Layout = natsorm.Sequelize
		s.Columns = append(s.Columns, natsorm.ColumnSchema{Name: "tags", Type: natsorm.JSON, Index: true, Elements: natsorm.String})
	})},
	"declare a folded index in the Sequelize layout": {define: declare(func(s *natsorm.Schema) { s.Layout, s.Columns[1].Fold = natsorm.Sequelize, true })},
	"drop an index":                      {alter: []natsorm.Alteration{natsorm.DropIndex("name")}, define: asItWas},
	"make a column hidden":               {define: schemaColumn("note", func(c *natsorm.ColumnSchema) { c.Hidden = true })},
	"change the type of the primary key": {define: schemaColumn("id", func(c *natsorm.ColumnSchema) { c.Type = natsorm.String })},
	"make another column the primary key": {define: declare(func(s *natsorm.Schema) {
		s.Columns[0].PrimaryKey, s.Columns[1].PrimaryKey = false, true
	})},
	"make the primary key auto":    {define: schemaColumn("id", func(c *natsorm.ColumnSchema) { c.Auto = true })},
	"change the number of shards":  {define: declare(func(s *natsorm.Schema) { s.Shards = 7 })},
	"change the layout":            {define: declare(func(s *natsorm.Schema) { s.Layout = natsorm.Sequelize })},
	"change the name of the model": {define: declare(func(s *natsorm.Schema) { s.Name = "object" })},
	"change between a type and its pointer": {define: typedGadget[struct {
		ID   int64  `json:"id" orm:"primaryKey"`
		Size *int64 `json:"size"`
		Note string `json:"note"`
	}]},
	"change the width of an integer field": {define: typedGadget[struct {
		ID   int32 `json:"id" orm:"primaryKey"`
		Size int8  `json:"size"`
	}]},
	"add or remove omitempty": {define: typedGadget[struct {
		ID   int64   `json:"id" orm:"primaryKey"`
		Size int64   `json:"size,omitempty"`
		Note *string `json:"note,omitempty"`
	}]},
	"give a column the role createdAt or updatedAt": {define: func(ctx context.Context, db *natsorm.DB) error {
		for _, role := range []bool{false, true} {
			if err := declare(func(s *natsorm.Schema) {
				s.Columns = append(s.Columns, natsorm.ColumnSchema{Name: "at", Type: natsorm.Time, UpdatedAt: role})
			})(ctx, db); err != nil {
				return err
			}
		}
		return nil
	}},
	"change the role of a column": {define: func(ctx context.Context, db *natsorm.DB) error {
		if err := declare(func(s *natsorm.Schema) {
			s.Columns = append(s.Columns, natsorm.ColumnSchema{Name: "at", Type: natsorm.Time, UpdatedAt: true})
		})(ctx, db); err != nil {
			return errors.Join(err, errors.New("which is free"))
		}
		return declare(func(s *natsorm.Schema) {
			s.Columns = append(s.Columns, natsorm.ColumnSchema{Name: "at", Type: natsorm.Time, CreatedAt: true})
		})(ctx, db)
	}},
	"rename an indexed column in the Sequelize layout": {alter: []natsorm.Alteration{natsorm.RenameColumn("name", "title")}},
}

func gone(*testing.T, *natsorm.Model[gadget]) {}

// Every change that docs/schema.md has a row for is what the row says.
func TestSchemaChanges(t *testing.T) {
	t.Parallel()
	text := string(must[[]byte](t)(os.ReadFile("docs/schema.md")))
	rows := map[string]bool{}
	for line := range strings.Lines(text) {
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), " | ")
		if !strings.HasPrefix(line, "| ") || len(cells) != 3 || strings.Contains(line, "| change | is |") {
			continue
		}
		change, is := strings.TrimSpace(cells[0]), strings.TrimSpace(cells[1])
		rows[change] = true
		c, known := schemaChanges[change]
		if !known {
			t.Errorf("%q has no case here", change)
			continue
		}
		t.Run(change, func(t *testing.T) {
			t.Parallel()
			ctx := within(t)
			db := natsormtest.New(t)
			var opts []natsorm.ModelOption
			if strings.Contains(change, "Sequelize") {
				opts = append(opts, natsorm.SequelizeLayout())
			}
			m := define[gadget](t, db, opts...)
			for i, name := range []string{"a", "b", "c"} {
				ok(t, m.Create(ctx, &gadget{ID: int64(i + 1), Name: name, Size: 1, Note: ptr(name), Color: "red"}))
			}
			other := another(t, db)
			var altered, defined error
			if c.alter != nil {
				altered = other.Alter(ctx, "gadget", c.alter...)
			}
			if c.define != nil {
				defined = c.define(ctx, other)
			}
			switch {
			case is == "free":
				if c.alter != nil || c.define == nil || defined != nil {
					t.Errorf("it is not free: %v", defined)
				}
			case strings.HasPrefix(is, "Alter: "):
				if c.alter == nil || altered != nil || defined != nil {
					t.Errorf("it does not do: %v, %v", altered, defined)
				}
			case is == "refused":
				if c.define != nil && (altered != nil || !errors.Is(defined, natsorm.ErrSchema)) {
					t.Errorf("Define: %v, %v", altered, defined)
				}
				if c.define == nil && !errors.Is(altered, natsorm.ErrInvalid) {
					t.Errorf("Alter: %v", altered)
				}
			default:
				t.Errorf("it is %q; say free, Alter: which, or refused", is)
			}
			if err := errors.Join(altered, defined); err != nil {
				t.Log(err)
			}
			if c.old != nil {
				c.old(t, m)
				return
			}
			// The program that was there goes on.
			v := must[*gadget](t)(m.FindOne(ctx, natsorm.Eq("name", "b"), natsorm.Eq("color", "red")))
			if v.ID != 2 || v.Color != "red" || *v.Note != "b" || v.Size != 1 && change != "change the values of a column" {
				t.Errorf("%+v", v)
			}
			v.Color, v.Size = "blue", 3
			ok(t, m.Save(ctx, v))
			ok(t, m.Create(ctx, &gadget{ID: 4, Name: "d", Color: "blue"}))
			if n := must[int](t)(m.Count(ctx, natsorm.Eq("color", "blue"))); n != 2 {
				t.Errorf("%d are blue", n)
			}
		})
	}
	for change := range schemaChanges {
		if !rows[change] {
			t.Errorf("docs/schema.md has no row %q", change)
		}
	}
}

// The way to another type that docs/schema.md describes, to its end.
func TestChangeOfAType(t *testing.T) {
	t.Parallel()
	if testing.Short() || testbed.Race {
		t.Skip("four changes of a schema, with their waits")
	}
	ctx := within(t)
	db := natsormtest.New(t)
	m := define[gadget](t, db)
	for i := range int64(20) {
		ok(t, m.Create(ctx, &gadget{ID: i, Name: "a", Size: i}))
	}
	type both struct {
		ID     int64    `json:"id" orm:"primaryKey"`
		Name   string   `json:"name" orm:"index"`
		Size   int64    `json:"size"`
		Exact  *float64 `json:"exact"`
		Colour string   `json:"color"`
	}
	define[both](t, another(t, db), natsorm.Name("gadget"))
	ok(t, db.Alter(ctx, "gadget", natsorm.Rewrite(func(r natsorm.Record) error {
		if r["exact"] == nil {
			r["exact"] = float64(r["size"].(int64)) + 0.5
		}
		return nil
	}), natsorm.DropColumn("size"), natsorm.FreeName("size"), natsorm.RenameColumn("exact", "size")))
	type final struct {
		ID   int64   `json:"id" orm:"primaryKey"`
		Name string  `json:"name" orm:"index"`
		Size float64 `json:"size"`
	}
	young := define[final](t, another(t, db), natsorm.Name("gadget"))
	for i := range int64(20) {
		if v := must[*final](t)(young.FindByPK(ctx, i)); v.Size != float64(i)+0.5 {
			t.Errorf("%+v", v)
		}
	}
	if err := m.Create(ctx, &gadget{ID: 30}); !errors.Is(err, natsorm.ErrSchema) {
		t.Errorf("a program of the old type: %v", err)
	}
}
