package layout

import (
	"testing"

	"github.com/natsorm/natsorm/internal/schema"
	"github.com/natsorm/natsorm/internal/value"
)

func sequelizeOf(t testing.TB, id value.Type) *sequelize {
	t.Helper()
	l, err := New(&schema.Definition{
		Format: schema.Format, Name: "User", Layout: schema.Sequelize, Shards: 16,
		Columns: []schema.Column{{Name: "id", Type: id, PrimaryKey: true}, {Name: "name", Type: value.String}},
		Indexes: []schema.Index{schema.NewIndex(schema.PlainIndex, "name")},
	})
	if err != nil {
		t.Fatal(err)
	}
	return l.(*sequelize)
}

// What lists become, and what of them is kept as it is.
func TestLists(t *testing.T) {
	numbers, texts := sequelizeOf(t, value.Int), sequelizeOf(t, value.String)
	for _, c := range []struct {
		l                *sequelize
		held, join       string
		id               value.Value
		leave, left, led string
	}{
		{numbers, ``, `[1]`, value.OfInt(1), "User.shard_1.1", ``, ``},
		{numbers, ` `, `[-5]`, value.OfInt(-5), "User.shard_-5.-5", ``, ``},
		{numbers, `[]`, `[1]`, value.OfInt(1), "User.shard_1.1", ``, ``},
		{numbers, `[1]`, `[1]`, value.OfInt(1), "User.shard_2.2", `[1]`, "User.shard_1.1"},
		{numbers, ` [ 2 , 1 ] `, `[2,1,3]`, value.OfInt(3), "User.shard_2.2", `[1]`, "User.shard_2.2 User.shard_1.1"},
		{numbers, `[1,1,"a",1.0,null,{"x":[1, 2]}]`, `[1,1,"a",1.0,null,{"x":[1, 2]},2]`, value.OfInt(2), "User.shard_1.1", `["a",null,{"x":[1, 2]}]`, "User.shard_1.1"},
		{texts, `["x.y","\u0061b"]`, `["x.y","\u0061b","a"]`, value.OfString("a"), "User.shard_NaN.ab", `["x.y"]`, "User.none.skypt163t1d1tf3UHg71zw User.shard_NaN.ab"},
		{texts, `["a"]`, `["a","b/c"]`, value.OfString("b/c"), "User.shard_NaN.a", ``, "User.shard_NaN.a"},
		{texts, `[12,"12"]`, `[12,"12"]`, value.OfString("12"), "User.shard_12.12", `[12]`, "User.shard_12.12"},
	} {
		join, err := c.l.Join([]byte(c.held), c.id)
		if err != nil || string(join) != c.join {
			t.Errorf("%s with %s: %s, %v", c.held, c.id.Text(), join, err)
		}
		left, err := c.l.Leave([]byte(c.held), c.leave)
		if err != nil || string(left) != c.left || c.left == "" && left != nil {
			t.Errorf("%s without %s: %s, %v", c.held, c.leave, left, err)
		}
		to, err := c.l.Pointers(nil, "", []byte(c.held))
		led := ""
		for i, key := range to {
			if i > 0 {
				led += " "
			}
			led += key
		}
		if err != nil || led != c.led {
			t.Errorf("%s leads to %s, %v", c.held, led, err)
		}
	}
	for _, held := range []string{`[1`, `{}`, `1`, `[1],`, `[1]]`, `null`, `[a]`, `"[1]"`} {
		if _, err := numbers.Join([]byte(held), value.OfInt(1)); err == nil {
			t.Errorf("%s is taken for a list", held)
		}
	}
}

// FuzzLists: whatever a list holds, it is read or refused, and what is written is read.
func FuzzLists(f *testing.F) {
	f.Add([]byte(`[1,"a",{"b":[]}]`))
	f.Add([]byte(` [ ] `))
	f.Fuzz(func(t *testing.T, held []byte) {
		l := sequelizeOf(t, value.Int)
		list, err := l.Join(held, value.OfInt(7))
		if err != nil {
			return
		}
		left, err := l.Leave(list, "User.shard_7.7")
		if err != nil {
			t.Fatalf("%s became %s: %v", held, list, err)
		}
		if to, err := l.Pointers(nil, "", left); err != nil {
			t.Fatalf("%s: %v", left, err)
		} else {
			for _, key := range to {
				if key == "User.shard_7.7" {
					t.Fatalf("7 is still in %s", left)
				}
			}
		}
	})
}
