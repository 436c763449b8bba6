package layout

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/natsorm/natsorm/internal/errs"
	"github.com/natsorm/natsorm/internal/schema"
	"github.com/natsorm/natsorm/internal/value"
)

func listed(layout string, elements value.Type) *schema.Definition {
	return &schema.Definition{
		Format: schema.Format, Name: "User", Layout: layout, Shards: 16,
		Columns: []schema.Column{{Name: "id", Type: value.Int, PrimaryKey: true}, {Name: "tags", Type: value.JSON}},
		Indexes: []schema.Index{schema.NewIndex(schema.PlainIndex, "tags").Each(elements)},
	}
}

// A record has an entry for each different element that is of the index's type.
func TestEach(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		of   value.Type
		tags string
		want string
	}{
		{value.String, `["go","nats","go"]`, "go nats"},
		{value.String, `["nats","go"]`, "go nats"},
		{value.String, `["a.b","",1,null,true,["x"],{"y":"z"}]`, "=47DEQpj8HBSa-_TImW-5JA a_b=LnM23I66h-9HLfVow1SCqw"},
		{value.String, `["null","\u0067o"]`, "go null"},
		{value.Int, `[1,1.0,10e-1,"1",1.5,9223372036854775808,-3]`, "-3 1"},
		{value.Uint, `[18446744073709551615,-3]`, "18446744073709551615"},
		{value.Float, `[1,1.0,1e400]`, "1"},
		{value.Decimal, `[0.1,1e-1,1e400]`, "1e-1 1e400"},
		{value.Bool, `[true,false,true,"true"]`, "false true"},
		{value.String, `[]`, ""}, {value.String, `null`, ""}, {value.String, `"go"`, ""}, {value.String, `{"go":1}`, ""},
	} {
		l, err := New(listed(schema.Native, c.of))
		if err != nil {
			t.Fatal(err)
		}
		f, err := l.Of([]byte(`{"id":7,"tags":` + c.tags + `}`))
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, e := range f.Entries {
			got = append(got, strings.TrimSuffix(strings.TrimPrefix(e, "User.index.tags=each."), ".7"))
			if !l.IsEntry(e) || !l.Owns(e) {
				t.Errorf("%s is no entry of the model", e)
			}
		}
		if strings.Join(got, " ") != c.want || f.Crowded != "" {
			t.Errorf("%s of %s: %v, want %s", c.tags, c.of, got, c.want)
		}
	}
	l, err := New(listed(schema.Native, value.String))
	if err != nil {
		t.Fatal(err)
	}
	if f, err := l.Of([]byte(`{"id":7}`)); err != nil || len(f.Entries) != 0 {
		t.Errorf("without the member: %v, %v", f.Entries, err)
	}
	if _, err := New(listed(schema.Sequelize, value.String)); !errors.Is(err, errs.ErrSchema) || !strings.Contains(err.Error(), "has no indexes of the elements of lists") {
		t.Errorf("in the Sequelize layout: %v", err)
	}
	other := listed(schema.Native, "")
	if _, err := New(other); !errors.Is(err, errs.ErrSchema) || !strings.Contains(err.Error(), "cannot be indexed") {
		t.Errorf("without a type of elements: %v", err)
	}
}

// A list that is too long for its index is refused, unless it was there before.
func TestCrowded(t *testing.T) {
	t.Parallel()
	def := listed(schema.Native, value.Int)
	l, err := New(def)
	if err != nil {
		t.Fatal(err)
	}
	of := func(n int) *Footprint {
		var list []string
		for i := range n {
			list = append(list, fmt.Sprint(i), fmt.Sprint(i))
		}
		f, err := l.Of([]byte(`{"id":7,"tags":[` + strings.Join(list, ",") + `]}`))
		if err != nil || len(f.Entries) != n {
			t.Fatalf("%d entries, %v", len(f.Entries), err)
		}
		return &f
	}
	most, more, lots := of(MaxElements), of(MaxElements+1), of(1000)
	for _, c := range []struct {
		before, after *Footprint
		fits          bool
	}{{nil, nil, true}, {nil, most, true}, {nil, more, false}, {most, more, false}, {more, lots, false}, {lots, more, false}, {lots, of(1000), true}, {lots, most, true}, {lots, nil, true}} {
		err := Fits(def, c.before, c.after)
		if c.fits != (err == nil) || err != nil && (!errors.Is(err, errs.ErrInvalid) || !strings.Contains(err.Error(), "User: tags: has more than 256 different elements")) {
			t.Errorf("%v: %v", c.fits, err)
		}
	}
	if !slices.IsSorted(lots.Entries) {
		t.Error("the entries have no order")
	}
}
