package schema

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/natsorm/natsorm/internal/errs"
	"github.com/natsorm/natsorm/internal/value"
)

// converted is a model whose column size was an int, and whose column at is on the way to a time.
func converted() Definition {
	d := model("id:int,pk size:float at:string", "")
	d.Converted = []Conversion{{Column: "size", From: value.Int, Since: 7}, {Column: "at", From: value.String, To: value.Time, Since: 9}}
	return d
}

func TestReconcileConverted(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		stored func(*Definition)
		code   string
		want   string // of the error; "": there is none
	}{
		{"the former type", nil, "id:int,pk size:int at:string", ""},
		{"the new type", nil, "id:int,pk size:float at:string", ""},
		{"a type before its time", nil, "id:int,pk at:time", "cannot be declared so yet"},
		{"another type", nil, "id:int,pk size:decimal", "use a new column"},
		{"a type that has ended", func(d *Definition) { d.Converted[0].Closed = true }, "id:int,pk size:int", "ended the time of type int"},
		{"a wider type", func(d *Definition) { d.Converted = nil }, "id:int,pk at:time", "ConvertColumn"},
	} {
		stored, code := converted(), model(c.code, "")
		if c.stored != nil {
			c.stored(&stored)
		}
		merged, changed, err := Reconcile(stored, code)
		if c.want == "" && (err != nil || changed || merged.Columns[1].Type != value.Float || merged.Columns[2].Type != value.String) ||
			c.want != "" && (!errors.Is(err, errs.ErrSchema) || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: %+v, %v, %v", c.name, merged, changed, err)
		}
	}
	code := model("id:int,pk at:string", "at")
	if _, _, err := Reconcile(converted(), code); !errors.Is(err, errs.ErrSchema) || !strings.Contains(err.Error(), "converted") {
		t.Errorf("an index of a column that is being converted: %v", err)
	}
	// A program that defines its model again keeps the types that it knows.
	stored := converted()
	stored.Converted = nil
	if merged, changed, err := Reconcile(stored, converted()); err != nil || !changed || len(merged.Converted) != 1 || merged.Converted[0].Column != "size" {
		t.Errorf("in a bucket that was made anew: %+v, %v, %v", merged.Converted, changed, err)
	}
}

func TestConvertedDocument(t *testing.T) {
	t.Parallel()
	d := converted()
	if d.FormatOf() != FormatConverted || d.Changed() != 9 || d.Reindexed() != 0 {
		t.Errorf("format %d, changed %d, reindexed %d", d.FormatOf(), d.Changed(), d.Reindexed())
	}
	raw, err := json.Marshal(d.Converted)
	if want := `[{"column":"size","from":"int","since":7},{"column":"at","from":"string","to":"time","since":9}]`; err != nil || string(raw) != want {
		t.Errorf("%s, %v", raw, err)
	}
	for name, wrong := range map[string]func(*Definition){
		"no column":     func(d *Definition) { d.Converted[0].Column = "nothing" },
		"no wider type": func(d *Definition) { d.Converted[0].From = value.String },
		"another type":  func(d *Definition) { d.Columns[2].Type = value.Int },
		"twice":         func(d *Definition) { d.Converted = append(d.Converted, d.Converted[0]) },
		"an index":      func(d *Definition) { d.Indexes = []Index{NewIndex(PlainIndex, "at")} },
	} {
		d := converted()
		wrong(&d)
		if err := d.Validate(); !errors.Is(err, errs.ErrSchema) {
			t.Errorf("%s: %v", name, err)
		}
	}
	older := converted()
	older.Converted = older.Converted[:1]
	if older.Knows(&d) || !d.Knows(&older) {
		t.Error("who knows of which conversions")
	}
	in := d.In(&Definition{Columns: []Column{{Name: "size", Type: value.Int}}})
	if in.Columns[1].Type != value.Int || d.Columns[1].Type != value.Float {
		t.Errorf("in the types of a program: %+v", in.Columns)
	}
	// In another bucket the revisions are others.
	d.Arrive(&Definition{Revision: 50, Columns: d.Columns, Converted: []Conversion{{Column: "size", From: value.Int, Since: 20}, {Column: "at", From: value.String, To: value.Time, Since: 30}}}, false)
	if d.Converted[0].Since != 20 || d.Converted[1].Since != 50 {
		t.Errorf("in another bucket: %+v", d.Converted)
	}
}
