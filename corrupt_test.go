package natsorm_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/natsorm/natsorm"
	"github.com/natsorm/natsorm/natsormtest"
)

func TestCorruptDocuments(t *testing.T) {
	t.Parallel()
	db := natsormtest.New(t)
	users := define[user](t, db)
	ctx := within(t)
	for i := range 10 {
		ok(t, users.Create(ctx, &user{ID: int64(i), Name: "n", Email: fmt.Sprint(i)}))
	}
	corrupt := map[string]string{
		"user.shard_1.1": `{"id":1,"name":"n","email":"1"`, "user.shard_2.2": `[]`, "user.shard_3.3": ``,
		"user.shard_4.4": `{"id":4,"name":7,"email":"4","age":0}`, "user.shard_5.5": "{\"id\":5,\"name\":\"\xff\"}",
	}
	put := func() {
		for key, doc := range corrupt {
			_, err := db.KV().Put(ctx, key, []byte(doc))
			ok(t, err)
		}
	}
	put()
	for _, q := range [][]natsorm.Query{nil, {natsorm.Eq("name", "n")}, {natsorm.Gte("id", 0)}, {natsorm.Eq("bio", "")}} {
		found, err := users.FindAll(ctx, q...)
		if len(found) != 5 {
			t.Errorf("%v: %d sound records found, want 5", q, len(found))
		}
		for key := range corrupt {
			if !errors.Is(err, natsorm.ErrCorrupt) || !strings.Contains(err.Error(), key) {
				t.Errorf("%v: %s is not named: %v", q, key, err)
			}
		}
	}
	var one *natsorm.CorruptError
	if _, err := users.FindByPK(ctx, 1); !errors.As(err, &one) || one.Key != "user.shard_1.1" || one.Model != "user" {
		t.Errorf("by key: %v", err)
	}
	if u, err := users.FindOne(ctx, natsorm.Eq("name", "n")); err != nil || u == nil {
		t.Errorf("one sound record: %v", err)
	}
	if _, err := users.Update(ctx, natsorm.Set{"age": 1}, natsorm.Eq("id", 1)); !errors.Is(err, natsorm.ErrCorrupt) {
		t.Errorf("update: %v", err)
	}
	report := must[natsorm.Report](t)(db.Check(ctx))
	n := 0
	for _, p := range report.Models[0].Problems {
		if p.Kind == natsorm.CorruptRecord {
			n++
		}
	}
	if n != len(corrupt) || report.Clean() {
		t.Errorf("check names %d corrupt records:\n%s", n, report)
	}
	for i := range 5 {
		if n, err := users.Destroy(ctx, natsorm.Eq("id", i+1)); n != 1 || err != nil {
			t.Errorf("destroy %d: %d, %v", i+1, n, err)
		}
	}
	must[natsorm.Report](t)(db.Check(ctx, natsorm.Repair()))
}

func TestCorruptIsNotTheCallersFault(t *testing.T) {
	t.Parallel()
	type rec struct {
		ID int    `json:"id" orm:"primaryKey"`
		A  int    `json:"a"`
		S  string `json:"s"`
	}
	db := natsormtest.New(t)
	recs := define[rec](t, db)
	ctx := within(t)
	for i, doc := range []string{"garbage", `{"id":1,"a":"x"}`} {
		_, err := db.KV().Put(ctx, fmt.Sprintf("rec.shard_%d.%d", i, i), []byte(doc))
		ok(t, err)
	}
	for id, calls := range []map[string]error{{"save": recs.Save(ctx, &rec{ID: 0})}, {}} {
		_, calls["update"] = recs.Update(ctx, natsorm.Set{"s": "y"}, natsorm.Eq("id", id))
		_, calls["increment"] = recs.Increment(ctx, natsorm.Set{"a": 1}, natsorm.Eq("id", id))
		_, calls["find"] = recs.FindByPK(ctx, id)
		for call, err := range calls {
			var corrupt *natsorm.CorruptError
			if !errors.As(err, &corrupt) || corrupt.Key != fmt.Sprintf("rec.shard_%d.%d", id, id) {
				t.Errorf("%s of record %d: %v", call, id, err)
			}
		}
		if n := must[int](t)(recs.Destroy(ctx, natsorm.In("id", id))); n != 1 {
			t.Errorf("destroyed %d", n)
		}
	}
}
