package schema

import (
	"errors"
	"strings"
	"testing"

	"github.com/natsorm/natsorm/internal/errs"
	"github.com/natsorm/natsorm/internal/value"
)

// What a Schema says of the elements of lists decides what an index is of, and the document has a
// format of its own as long as it has such an index.
func TestSetElements(t *testing.T) {
	t.Parallel()
	d := model("id:int,pk tags:json name:string", "")
	for _, c := range []struct {
		layout  string
		columns string
		of      value.Type
		want    string
	}{
		{Native, "tags", "", ""},
		{Native, "gone", value.Int, `column "gone" does not exist`},
		{Native, "name", value.String, "column name has type string, and so no Elements"},
		{Native, "tags", value.Bytes, `elements of type "bytes" cannot be looked for`},
		{Native, "tags name", value.String, "Elements is for an index of one column"},
		{Sequelize, "tags", value.String, "the Sequelize layout has no indexes of the elements"},
		{Native, "tags", value.String, ""},
		{Native, "tags", value.String, ""},
		{Native, "tags", value.Int, "elements of type string, and of type int"},
	} {
		d.Layout = c.layout
		err := d.SetElements(c.of, strings.Fields(c.columns)...)
		if c.want == "" && err != nil || c.want != "" && (!errors.Is(err, errs.ErrSchema) || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%+v: %v", c, err)
		}
	}
	for columns, want := range map[string]string{"tags": "", "TAGS": "", "tags name": "has no other column", "name tags": "has no other column"} {
		d := d
		if err := d.AddIndex(PlainIndex, strings.Fields(columns)...); err != nil {
			t.Fatal(err)
		}
		if err := d.Validate(); want == "" && (err != nil || d.FormatOf() != FormatKinds || d.ElementsOf("tags") != value.String) || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: format %d, %v", columns, d.FormatOf(), err)
		}
		d.Dropping, d.Indexes = d.Indexes, nil
		if d.FormatOf() != FormatKinds || d.ElementsOf("tags") != "" {
			t.Errorf("while it is being dropped the format is %d", d.FormatOf())
		}
		if d.Dropping = nil; d.FormatOf() != Format {
			t.Errorf("without it the format is %d", d.FormatOf())
		}
	}
	if err := d.AddIndex(PlainIndex, "tags"); err != nil || spell(d) != "id:int,pk tags:json name:string | tags=each:string" {
		t.Errorf("%s, %v", spell(d), err)
	}
	// The Node library's indexes are of a list as a whole: nobody is given one for another.
	if d.Layout = Sequelize; !errors.Is(d.SetElements(value.String, "tags"), errs.ErrSchema) || spell(d) != "id:int,pk tags:json name:string | tags=each:string" {
		t.Errorf("in the Sequelize layout it is %s", spell(d))
	}
}
