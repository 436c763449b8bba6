package schema

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/natsorm/natsorm/internal/errs"
	"github.com/natsorm/natsorm/internal/value"
)

// model is a definition of columns as in "id:int,pk,auto name:string created:time,createdAt",
// and of indexes as in "name", "+email" for a unique one, "~name" for a folded one, "tags=each:string" for one of lists and
// "?city-zip" for one that is being built.
func model(columns, indexes string) Definition {
	d := Definition{Format: Format, Name: "M", Layout: Native, Shards: 16}
	for _, text := range strings.Fields(columns) {
		name, rest, _ := strings.Cut(text, ":")
		parts := strings.Split(rest, ",")
		c := Column{Name: name, Type: value.Type(parts[0])}
		for _, o := range parts[1:] {
			switch o {
			case "pk":
				c.PrimaryKey = true
			case "auto":
				c.Auto = true
			case "zero":
				c.ZeroNull = true
			default:
				c.Role = Role(o)
			}
		}
		d.Columns = append(d.Columns, c)
	}
	for _, text := range strings.Fields(indexes) {
		kind := PlainIndex
		if strings.Contains(text, "+") {
			kind = UniqueIndex
		}
		if strings.Contains(text, "~") {
			kind = kind.Folded()
		}
		text, elements, _ := strings.Cut(text, ":")
		x := NewIndex(kind, strings.Split(strings.TrimSuffix(strings.TrimLeft(text, "+?~"), "=each"), "-")...)
		if elements != "" {
			x = x.Each(value.Type(elements))
		}
		if strings.Contains(text, "?") {
			x.State = Building
		}
		d.Indexes = append(d.Indexes, x)
	}
	return d
}

// spell is a definition as model takes it.
func spell(d Definition) string {
	var out []string
	for _, c := range d.Columns {
		text := c.Name + ":" + string(c.Type)
		for _, o := range []struct {
			is   bool
			text string
		}{{c.PrimaryKey, "pk"}, {c.Auto, "auto"}, {c.ZeroNull, "zero"}, {c.Role != "", string(c.Role)}} {
			if o.is {
				text += "," + o.text
			}
		}
		out = append(out, text)
	}
	out = append(out, "|")
	for _, x := range d.Indexes {
		text := x.Name
		if x.Fold {
			text = "~" + strings.TrimSuffix(x.Name, "=fold")
		}
		if x.Elements != "" {
			text += ":" + string(x.Elements)
		}
		if x.Unique {
			text = "+" + text
		}
		if x.State == Writing {
			text = "!" + text
		}
		if x.State == Building {
			text = "?" + text
		}
		out = append(out, text)
	}
	return strings.Join(out, " ")
}

// What holds is everything that the catalogue or the code says.
func TestReconcile(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name                         string
		storedColumns, storedIndexes string
		codeColumns, codeIndexes     string
		want                         string
		changed                      bool
	}{
		{"the same", "id:int,pk name:string", "name", "id:int,pk name:string", "name", "id:int,pk name:string | name", false},
		{"the code knows less", "id:int,pk name:string age:int", "name +age", "id:int,pk", "", "id:int,pk name:string age:int | name +age", false},
		{"the code knows another column", "id:int,pk name:string", "", "id:int,pk age:int", "", "id:int,pk name:string age:int |", true},
		{"in another order", "id:int,pk a:int b:int", "a b", "b:int a:int id:int,pk", "b a", "id:int,pk a:int b:int | a b", false},
		{"a new index is built", "id:int,pk name:string", "name", "id:int,pk name:string", "name +name", "id:int,pk name:string | name !+name", true},
		{"a folded index is another one", "id:int,pk name:string", "name +name", "id:int,pk name:string", "~name +~name", "id:int,pk name:string | name +name !~name !+~name", true},
		{"and the other way round", "id:int,pk name:string", "~name", "id:int,pk name:string", "name", "id:int,pk name:string | ~name !name", true},
		{"a folded index that is there", "id:int,pk name:string n:int", "+~name-n", "id:int,pk name:string n:int", "+~name-n", "id:int,pk name:string n:int | +~name-n", false},
		{"of a new column", "id:int,pk", "", "id:int,pk city:string zip:string", "city-zip", "id:int,pk city:string zip:string | !city-zip", true},
		{"one that is being built still is", "id:int,pk name:string", "?name", "id:int,pk name:string", "name", "id:int,pk name:string | ?name", false},
		{"one of lists is built", "id:int,pk tags:json", "", "id:int,pk tags:json", "tags=each:int", "id:int,pk tags:json | !tags=each:int", true},
		{"one of lists is there", "id:int,pk tags:json", "tags=each:int", "id:int,pk tags:json", "tags=each:int", "id:int,pk tags:json | tags=each:int", false},
		{"the code makes it automatic", "id:int,pk", "", "id:int,pk,auto", "", "id:int,pk,auto |", true},
		{"it stays automatic", "id:int,pk,auto", "", "id:int,pk", "", "id:int,pk,auto |", false},
		{"the code gives a role", "id:int,pk at:time", "", "id:int,pk at:time,createdAt", "", "id:int,pk at:time,createdAt |", true},
		{"a role stays", "id:int,pk at:time,updatedAt", "", "id:int,pk at:time", "", "id:int,pk at:time,updatedAt |", false},
		{"what null is read as is the process's", "id:int,pk name:string", "", "id:int,pk,zero name:string,zero", "", "id:int,pk,zero name:string,zero |", false},
		{"also of columns that only it has", "id:int,pk", "", "id:int,pk age:int,zero", "", "id:int,pk age:int,zero |", true},
	} {
		stored, code := model(c.storedColumns, c.storedIndexes), model(c.codeColumns, c.codeIndexes)
		before := spell(stored)
		merged, changed, err := Reconcile(stored, code)
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		if got := spell(merged); got != c.want || changed != c.changed {
			t.Errorf("%s: %q, changed %v; want %q, %v", c.name, got, changed, c.want, c.changed)
		}
		if spell(stored) != before {
			t.Errorf("%s: the catalogue's became %q", c.name, spell(stored))
		}
		again, changed, err := Reconcile(merged, code)
		if err != nil || changed || spell(again) != spell(merged) {
			t.Errorf("%s, once more: %q, changed %v, %v", c.name, spell(again), changed, err)
		}
	}
}

// Contradictions say what contradicts what, and change nothing.
func TestReconcileContradictions(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name         string
		stored, code func(*Definition)
		want         string
	}{
		{"a newer format", func(d *Definition) { d.Format = FormatMembers + 1 }, nil, "upgrade this program"},
		{"the layout", nil, func(d *Definition) { d.Layout = Sequelize }, `layout "native", the code "sequelize"`},
		{"the shards", nil, func(d *Definition) { d.Shards = 8 }, "16 shards, the code 8"},
		{"the primary key", nil, func(d *Definition) { *d = model("key:int,pk", "") }, "primary key is id, the code's is key"},
		{"a column's type", nil, func(d *Definition) { d.Columns[1].Type = value.Int }, "column name has type string in the catalogue and int in the code"},
		{"a column's role", func(d *Definition) { d.Columns[2].Role = CreatedAt }, func(d *Definition) { d.Columns[2].Role = UpdatedAt }, "column at is createdAt in the catalogue and updatedAt"},
		{"two indexes of one name", func(d *Definition) { d.Indexes = model("", "a-b").Indexes }, func(d *Definition) { d.Indexes = []Index{{Name: "a-b", Columns: []string{"a-b"}}} }, "index a-b is of columns a, b in the catalogue and a-b in the code"},
		{"the elements of an index", func(d *Definition) {
			d.Columns[1].Type, d.Indexes[0] = value.JSON, d.Indexes[0].Each(value.String)
		}, func(d *Definition) { d.Columns[1].Type, d.Indexes[0] = value.JSON, d.Indexes[0].Each(value.Int) }, `index name is of elements of type "string" in the catalogue and "int" in the code`},
		{"what is invalid together", nil, func(d *Definition) {
			d.Columns = append(d.Columns, Column{Name: "second", Type: value.Int, PrimaryKey: true})
		}, "2 primary keys"},
	} {
		stored, code := model("id:int,pk name:string at:time", "name"), model("id:int,pk name:string at:time", "name")
		if c.stored != nil {
			c.stored(&stored)
		}
		if c.code != nil {
			c.code(&code)
		}
		before := fmt.Sprintf("%+v", stored)
		_, changed, err := Reconcile(stored, code)
		if !errors.Is(err, errs.ErrSchema) || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), "M") {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
		if changed && c.name != "what is invalid together" {
			t.Errorf("%s: it is said to change something", c.name)
		}
		if after := fmt.Sprintf("%+v", stored); after != before {
			t.Errorf("%s: the catalogue's became %s", c.name, after)
		}
	}
}

// A shard count that the code leaves open is the catalogue's.
func TestReconcileOpenShards(t *testing.T) {
	t.Parallel()
	stored, code := model("id:int,pk", ""), model("id:int,pk", "")
	stored.Shards, code.Shards = 7, 0
	merged, changed, err := Reconcile(stored, code)
	if err != nil || changed || merged.Shards != 7 {
		t.Errorf("%d shards, changed %v, %v", merged.Shards, changed, err)
	}
}

func TestValidate(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		change func(*Definition)
		want   string // of the error; "" for none
	}{
		{"as it is", func(*Definition) {}, ""},
		{"no name", func(d *Definition) { d.Name = "" }, "an empty name"},
		{"a name that is no token", func(d *Definition) { d.Name = "a.b" }, `name "a.b"`},
		{"no shards", func(d *Definition) { d.Shards = 0 }, "0 shards; use 1 to 4096"},
		{"too many shards", func(d *Definition) { d.Shards = MaxShards + 1 }, "4097 shards"},
		{"no primary key", func(d *Definition) { d.Columns[0].PrimaryKey = false }, "no primary key"},
		{"two columns of one name", func(d *Definition) { d.Columns[1].Name = "id" }, `two columns are called "id"`},
		{"a column without a name", func(d *Definition) { d.Columns[1].Name = "" }, `column name ""`},
		{"a column that natsorm keeps", func(d *Definition) { d.Columns[1].Name = "_x" }, "begins with _"},
		{"no such type", func(d *Definition) { d.Columns[1].Type = "text" }, `column name: unknown type "text"`},
		{"automatic, and no primary key", func(d *Definition) { d.Columns[1].Auto = true }, "column name: auto is only for the primary key"},
		{"a role of another type", func(d *Definition) { d.Columns[1].Role = CreatedAt }, "column name: createdAt needs type time"},
		{"a primary key of another type", func(d *Definition) { d.Columns[0].Type = value.Float }, "primary key id has type float"},
		{"an index of no column", func(d *Definition) { d.Indexes[0].Columns = []string{"gone"} }, `index name: no column is called "gone"`},
		{"an index with a column twice", func(d *Definition) { d.Indexes[0].Columns = []string{"name", "name"} }, "index name names column name twice"},
		{"an index of many columns", func(d *Definition) { d.Indexes[0].Columns = make([]string, 9) }, "has 9 columns; use at most 8"},
		{"a folded index", func(d *Definition) { d.Indexes[0] = NewIndex(UniqueIndex.Folded(), "name", "age") }, ""},
		{"a folded index of numbers", func(d *Definition) { d.Indexes[0] = NewIndex(UniqueIndex.Folded(), "age") }, "folded unique of age: no column of it is of type string"},
		{"a folded index of the primary key", func(d *Definition) { d.Indexes[0] = NewIndex(PlainIndex.Folded(), "name", "id") }, "folded index of name, id: id is the primary key"},
		{"an index of lists", func(d *Definition) {
			d.Columns[1].Type, d.Indexes[0] = value.JSON, d.Indexes[0].Each(value.String)
		}, ""},
		{"of the elements of what is no list", func(d *Definition) { d.Indexes[0] = d.Indexes[0].Each(value.String) }, "column name has type string; leave out Elements"},
		{"a unique one of lists", func(d *Definition) {
			d.Columns[1].Type, d.Indexes[0] = value.JSON, NewIndex(UniqueIndex, "name").Each(value.String)
		}, "unique name is of a list"},
		{"a compound one of lists", func(d *Definition) {
			d.Columns[1].Type, d.Indexes[0] = value.JSON, NewIndex(PlainIndex, "name", "id").Each(value.String)
		}, "an index of those has no other column"},
		{"one of elements that are no values", func(d *Definition) {
			d.Columns[1].Type, d.Indexes[0] = value.JSON, d.Indexes[0].Each(value.Time)
		}, `index name is of elements of type "time"; the types`},
		{"an index of a column that is no token", func(d *Definition) {
			d.Columns[1].Name, d.Indexes[0].Columns = "full name", []string{"full name"}
		}, "cannot be indexed"},
	} {
		d := model("id:int,pk name:string age:int", "name")
		c.change(&d)
		err := d.Validate()
		if c.want == "" && err != nil || c.want != "" && (!errors.Is(err, errs.ErrSchema) || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
	}
}

func TestAddIndexAndResolve(t *testing.T) {
	t.Parallel()
	d := model("id:int,pk Name:string name:string City:string a:int b:int a-b:int", "")
	for _, c := range []struct {
		kind    Kind
		columns string
		want    string // an index, or a part of the error
	}{
		{PlainIndex, "name", "name"},
		{PlainIndex, "name", "name"}, // once
		{UniqueIndex, "Name", "+Name"},
		{PlainIndex, "city name", "City-name"},
		{PlainIndex, "NAME", "does not exist"}, // two differ in case alone
		{PlainIndex, "gone", `column "gone" does not exist`},
		{PlainIndex, "", "index without columns"},
		{PlainIndex.Folded(), "name", "~name"},
		{UniqueIndex.Folded(), "NAME City", "does not exist"},
		{UniqueIndex.Folded(), "city", "+~City"},
		{PlainIndex.Folded(), "", "folded index without columns"},
		{UniqueIndex, "a b", "+a-b"},
		{UniqueIndex, "a-b", `would share the name "a-b"`},
	} {
		err := d.AddIndex(c.kind, strings.Fields(c.columns)...)
		if err != nil {
			if !errors.Is(err, errs.ErrSchema) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%q: %v, want %q", c.columns, err, c.want)
			}
			continue
		}
		if !strings.Contains(spell(d)+" ", " "+c.want+" ") {
			t.Errorf("%q: %s, want %s", c.columns, spell(d), c.want)
		}
	}
	if n := len(d.Indexes); n != 6 {
		t.Errorf("%d indexes", n)
	}
	if _, err := d.Resolve("NAME"); !errors.Is(err, errs.ErrInvalid) || !strings.Contains(err.Error(), "Name or name") {
		t.Error(err)
	}
	if at, err := d.Resolve("city"); err != nil || d.Columns[at].Name != "City" {
		t.Error(at, err)
	}
}

// The format of a document says whether older programs may use the model, and is the older one again
// when the folded index is gone.
func TestFoldedDocument(t *testing.T) {
	t.Parallel()
	d := model("id:int,pk name:string n:int", "name ?~name-n")
	if d.FormatOf() != FormatKinds || !d.Folds(1) || d.Folds(0) || d.Folds(2) {
		t.Errorf("format %d; folds %v, %v", d.FormatOf(), d.Folds(1), d.Folds(2))
	}
	d.Dropping, d.Indexes = d.Indexes[1:], d.Indexes[:1]
	if d.FormatOf() != FormatKinds || d.Folds(1) {
		t.Errorf("while it is being dropped: format %d, folds %v", d.FormatOf(), d.Folds(1))
	}
	if d.Dropping = nil; d.FormatOf() != Format {
		t.Errorf("without it: format %d", d.FormatOf())
	}
	for indexes, want := range map[string]string{
		"":              "false false false",
		"name":          "true false false",
		"~name":         "true false true",
		"+~name":        "false true true",
		"~name +~name":  "true true true",
		"name +~name":   "true false false",
		"~name-n n":     "false false false",
		"+name ~name-n": "false true false",
	} {
		d := model("id:int,pk name:string n:int", indexes)
		if index, unique, fold := d.Own("name"); fmt.Sprint(index, " ", unique, " ", fold) != want {
			t.Errorf("%q: %v %v %v", indexes, index, unique, fold)
		}
	}
}
