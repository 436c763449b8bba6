package layout

import (
	"fmt"
	"testing"

	"github.com/natsorm/natsorm/internal/keys"
	"github.com/natsorm/natsorm/internal/schema"
	"github.com/natsorm/natsorm/internal/value"
)

func nativeOf(t testing.TB) Layout {
	t.Helper()
	l, err := New(&schema.Definition{
		Format: schema.Format, Name: "User", Layout: schema.Native, Shards: 16,
		Columns: []schema.Column{{Name: "id", Type: value.Int, PrimaryKey: true}, {Name: "name", Type: value.String}, {Name: "email", Type: value.String}},
		Indexes: []schema.Index{schema.NewIndex(schema.PlainIndex, "name"), schema.NewIndex(schema.UniqueIndex, "email")},
	})
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// What an index key holds when records 1 and 2 are changed.
func TestOverlay(t *testing.T) {
	t.Parallel()
	native, lists := nativeOf(t), Layout(sequelizeOf(t, value.Int))
	ada := []value.Value{value.OfString("Ada")}
	entry1, entry3, claim := keys.Entry("User", "name", ada, "1"), keys.Entry("User", "name", ada, "3"), keys.Claim("User", "email", ada)
	const list = "User.index.name.Ada"
	text := func(s string) *[]byte { b := []byte(s); return &b }
	for _, c := range []struct {
		name string
		l    Layout
		key  string
		held *[]byte
		now  []int64 // those of the changed records that have the value
		want []string
	}{
		{"nothing stays nothing", native, entry1, nil, nil, nil},
		{"an entry of another record", native, entry3, text(""), nil, []string{""}},
		{"an entry that a record gives up", native, entry1, text(""), nil, nil},
		{"an entry that it keeps", native, entry1, text(""), []int64{1}, []string{""}},
		{"an entry that is new", native, entry1, nil, []int64{1}, []string{""}},
		{"a claim of another record", native, claim, text("3"), nil, []string{"3"}},
		{"a claim that a record gives up", native, claim, text("1"), nil, nil},
		{"a claim that goes from one to the other", native, claim, text("1"), []int64{2}, []string{"2"}},
		{"a claim that is contended for", native, claim, text("3"), []int64{2}, []string{"3", "2"}},
		{"a claim that names nobody", native, claim, text("x"), []int64{2}, []string{"x", "2"}},
		{"no list", lists, list, nil, nil, nil},
		{"a list of others", lists, list, text("[3,4]"), nil, []string{"[3,4]"}},
		{"a list that both leave", lists, list, text("[1,3,2]"), nil, []string{"[3]"}},
		{"a list of which nothing is left", lists, list, text("[2,1]"), nil, nil},
		{"a list that one joins", lists, list, text("[3,1]"), []int64{2}, []string{"[3,2]"}},
		{"a list that is new", lists, list, nil, []int64{1, 2}, []string{"[1,2]"}},
	} {
		changed := func(record string) bool {
			return record == c.l.RecordKey(value.OfInt(1)) || record == c.l.RecordKey(value.OfInt(2))
		}
		var ids []value.Value
		for _, id := range c.now {
			ids = append(ids, value.OfInt(id))
		}
		texts, err := c.l.Overlay(c.key, c.held, changed, ids)
		var got []string
		for _, text := range texts {
			got = append(got, string(text))
		}
		if err != nil || fmt.Sprintf("%q", got) != fmt.Sprintf("%q", c.want) {
			t.Errorf("%s: %q, %v, want %q", c.name, got, err, c.want)
		}
	}
	if _, err := lists.Overlay(list, text("{"), func(string) bool { return true }, nil); err == nil {
		t.Error("what is no list is taken for one")
	}
}

// What follows from how a layout keeps its entries.
func TestEntriesOfLayouts(t *testing.T) {
	t.Parallel()
	native, lists := nativeOf(t), Layout(sequelizeOf(t, value.Int))
	entry := keys.Entry("User", "name", []value.Value{value.OfString("Ada")}, "1")
	for _, c := range []struct {
		what      string
		got, want any
	}{
		{"keys of 7 records' entries", native.EntryKeys(7), 7},
		{"and in lists", lists.EntryKeys(7), 1},
		{"records of an entry", native.CountPointers(entry, nil), 1},
		{"of a list", lists.CountPointers("User.index.name.Ada", []byte("[1,2,2,null]")), 2},
		{"of what is no list", lists.CountPointers("User.index.name.Ada", []byte("{")), 0},
		{"an entry is native's", native.Owns(entry), true},
		{"so is a claim", native.Owns("User.unique.email.x"), true},
		{"and a head", native.Owns(native.HeadOf(entry)), true},
		{"but no list", native.Owns("User.index.name.Ada"), false},
		{"nor a record", native.Owns("User.shard_1.1"), false},
		{"nor another model's", native.Owns("Users.head.name.1"), false},
		{"a list is the other's", lists.Owns("User.index.name.Ada"), true},
		{"but no entry", lists.Owns(entry), false},
		{"and no head", lists.Owns(native.HeadOf(entry)), false},
	} {
		if c.got != c.want {
			t.Errorf("%s: %v, want %v", c.what, c.got, c.want)
		}
	}
}

func TestAt(t *testing.T) {
	t.Parallel()
	l := nativeOf(t)
	if f, err := At(l, "User.shard_1.1", []byte(`{"id":1}`)); err != nil || f.Record != "User.shard_1.1" {
		t.Errorf("%+v, %v", f, err)
	}
	if f, err := At(l, "User.shard_2.2", []byte(`{"id":1}`)); err != ErrMisplaced || f.ID.Int() != 1 {
		t.Errorf("%+v, %v", f, err)
	}
	if _, err := At(l, "User.shard_1.1", []byte(`{`)); err == nil || err == ErrMisplaced {
		t.Error(err)
	}
}
