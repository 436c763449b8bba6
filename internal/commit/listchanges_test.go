package commit

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/natsorm/natsorm/internal/errs"
	"github.com/natsorm/natsorm/internal/layout"
	"github.com/natsorm/natsorm/internal/schema"
	"github.com/natsorm/natsorm/internal/store"
	"github.com/natsorm/natsorm/internal/value"
)

func listLayout(t testing.TB) layout.Layout {
	t.Helper()
	l, err := layout.New(&schema.Definition{
		Format: schema.Format, Name: "M", Layout: schema.Sequelize, Shards: 16,
		Columns: []schema.Column{{Name: "id", Type: value.Int, PrimaryKey: true}, {Name: "name", Type: value.String}},
		Indexes: []schema.Index{schema.NewIndex(schema.PlainIndex, "name")},
	})
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// changesOf are the changes of records whose names change as in "1:Ada>Bob"; nothing
// stands for no record.
func changesOf(t testing.TB, l layout.Layout, changes ...string) *listChanges {
	t.Helper()
	c := newListChanges("M", l.Lists())
	for _, text := range changes {
		id, names, _ := strings.Cut(text, ":")
		before, after, _ := strings.Cut(names, ">")
		of := func(name string) (*layout.Footprint, []byte) {
			if name == "" {
				return nil, nil
			}
			doc := fmt.Appendf(nil, `{"id":%s,"name":%q}`, id, name)
			f, err := l.Of(doc)
			if err != nil {
				t.Fatal(err)
			}
			return &f, doc
		}
		old, _ := of(before)
		new, doc := of(after)
		c.add(NewPlan(store.Message{Key: fmt.Sprintf("M.shard_%s.%s", id, id), Revision: 1}, old, new, doc, []byte(id), true))
	}
	return c
}

// What becomes of lists that records join and leave.
func TestListChanges(t *testing.T) {
	t.Parallel()
	l := listLayout(t)
	for _, c := range []struct {
		name    string
		changes []string
		held    map[string]string // by the value; revisions are 5
		want    string            // the lists that are written
	}{
		{"join no list", []string{"1:>Ada"}, nil, "Ada@0=[1]"},
		{"join", []string{"1:>Ada"}, map[string]string{"Ada": "[2]"}, "Ada@5=[2,1]"},
		{"join twice", []string{"1:>Ada"}, map[string]string{"Ada": "[1]"}, "Ada@5=[1]"},
		{"leave", []string{"1:Ada>"}, map[string]string{"Ada": "[2,1]"}, "Ada@5=[2]"},
		{"leave as the last", []string{"1:Ada>"}, map[string]string{"Ada": "[1]"}, "Ada@5-"},
		{"leave without being in it", []string{"1:Ada>"}, map[string]string{"Ada": "[2]"}, ""},
		{"leave no list", []string{"1:Ada>"}, nil, ""},
		{"from one to another", []string{"1:Ada>Bob"}, map[string]string{"Ada": "[1]", "Bob": "[2]"}, "Ada@5- Bob@5=[2,1]"},
		{"two change places", []string{"1:Ada>Bob", "2:Bob>Ada"}, map[string]string{"Ada": "[1]", "Bob": "[2]"}, "Ada@5=[2] Bob@5=[1]"},
		{"three join", []string{"1:>Ada", "2:>Ada", "3:>Ada"}, map[string]string{"Ada": "[2]"}, "Ada@5=[2,1,3]"},
	} {
		changes := changesOf(t, l, c.changes...)
		var held []store.Message
		for _, key := range changes.keys() {
			m := store.Message{Key: key}
			if text, ok := c.held[strings.TrimPrefix(key, "M.index.name.")]; ok {
				m.Value, m.Revision = []byte(text), 5
			}
			held = append(held, m)
		}
		ops, err := changes.ops(held, 1000)
		if err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		var got []string
		for _, op := range ops {
			text := fmt.Sprint(strings.TrimPrefix(op.Key, "M.index.name."), "@", op.Expect, "=", string(op.Value))
			if op.Delete {
				text = fmt.Sprint(strings.TrimPrefix(op.Key, "M.index.name."), "@", op.Expect, "-")
			}
			if !op.Conditional || op.Purge {
				t.Errorf("%s: %+v", c.name, op)
			}
			got = append(got, text)
		}
		if strings.Join(got, " ") != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}

// A list that grows too long is refused, and what to do is said; it can still be left.
func TestListTooLong(t *testing.T) {
	t.Parallel()
	l := listLayout(t)
	held := []store.Message{{Key: "M.index.name.Ada", Value: []byte("[1,2,3]"), Revision: 5}}
	_, err := changesOf(t, l, "4:>Ada").ops(held, 8)
	var invalid *errs.ValidationError
	if !errors.Is(err, errs.ErrInvalid) || !errors.As(err, &invalid) || invalid.Faults[0].Field != "name" || !strings.Contains(err.Error(), `"Ada" would be shared by 4 records`) {
		t.Errorf("%v", err)
	}
	if ops, err := changesOf(t, l, "3:Ada>").ops(held, 4); err != nil || len(ops) != 1 || string(ops[0].Value) != "[1,2]" {
		t.Errorf("%+v, %v", ops, err)
	}
	held[0].Value = []byte("{}")
	if _, err := changesOf(t, l, "4:>Ada").ops(held, 1000); !errors.Is(err, errs.ErrCorrupt) {
		t.Errorf("what is no list: %v", err)
	}
}
