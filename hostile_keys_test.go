package natsorm_test

import (
	"strings"
	"testing"

	"github.com/natsorm/natsorm"
	"github.com/natsorm/natsorm/natsormtest"
)

// hostile is text that could break out of a key, or not fit one.
var hostile = []string{
	"", ".", "..", "a.b", "a.b.c", "*", ">", "a.*", "a.>", " ", "a b", "\n", "\r\n", "\x00", "=", "==", "=2E", "%", "/", "\\", `"`,
	"_", "-", "a_b", "a=b", "null", "0", "007", "-5", "+5", "1e3", "18446744073709551616", "é", "e\u0301", "日本", "😀", "$KV", "User.index.name.x.1",
	strings.Repeat("x", 64), strings.Repeat("x", 65), strings.Repeat("x", 128), strings.Repeat("x", 129), strings.Repeat(".", 43),
	strings.Repeat("x", 10_000), strings.Repeat("é", 5_000), strings.Repeat("> ", 5_000),
}

// Whatever an id or value is, it is of its own record and of no other.
func TestHostileKeysAndValues(t *testing.T) {
	t.Parallel()
	type rec struct {
		ID     string `json:"id" orm:"primaryKey"`
		Name   string `json:"name" orm:"index"`
		Unique string `json:"unique" orm:"unique"`
		N      int    `json:"n"`
	}
	db := natsormtest.New(t)
	recs := define[rec](t, db)
	ctx := within(t)
	for i, s := range hostile {
		if err := recs.Create(ctx, &rec{ID: s, Name: s, Unique: s, N: i}); err != nil {
			t.Fatalf("%.40q: %v", s, err)
		}
	}
	for i, s := range hostile {
		byKey, err := recs.FindByPK(ctx, s)
		if err != nil || byKey.N != i || byKey.ID != s {
			t.Errorf("%.40q by key: %+v, %v", s, byKey, err)
		}
		for _, column := range []string{"name", "unique", "id"} {
			found, err := recs.FindAll(ctx, natsorm.Eq(column, s))
			if err != nil || len(found) != 1 || found[0].N != i {
				t.Errorf("%.40q by %s: %d found, %v", s, column, len(found), err)
			}
		}
		if n, err := recs.Update(ctx, natsorm.Set{"n": i + 1000}, natsorm.Eq("id", s)); n != 1 || err != nil {
			t.Errorf("%.40q updated %d, %v", s, n, err)
		}
	}
	if n := must[int](t)(recs.Count(ctx, natsorm.Gte("n", 1000))); n != len(hostile) {
		t.Errorf("%d updated, want %d", n, len(hostile))
	}
	for i, s := range hostile {
		if n, err := recs.Destroy(ctx, natsorm.Eq("id", s)); n != 1 || err != nil {
			t.Errorf("%.40q destroyed %d, %v", s, n, err)
		}
		if n := must[int](t)(recs.Count(ctx)); n != len(hostile)-i-1 {
			t.Fatalf("after destroying %.40q %d are left, want %d", s, n, len(hostile)-i-1)
		}
	}
}
