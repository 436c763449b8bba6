package natsorm_test

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/natsorm/natsorm"
	"github.com/natsorm/natsorm/natsormtest"
)

// What plain KV writes break, Check finds and Repair mends.
func TestCheckAndRepair(t *testing.T) {
	t.Parallel()
	db := natsormtest.New(t)
	users := define[user](t, db)
	ctx := within(t)
	for i := range 20 {
		ok(t, users.Create(ctx, &user{ID: int64(i), Name: fmt.Sprint("n", i%2), Email: fmt.Sprint(i), Age: 1}))
	}
	if report := must[natsorm.Report](t)(db.Check(ctx)); !report.Clean() || len(report.Models[0].Problems) != 0 || report.Models[0].Records != 20 || report.Models[0].Entries != 60 || report.Models[0].Claims != 20 {
		t.Fatalf("before:\n%s", report)
	}
	kv := db.KV()
	put := func(key, value string) {
		t.Helper()
		_, err := kv.Put(ctx, key, []byte(value))
		ok(t, err)
	}
	ok(t, kv.Delete(ctx, "user.index.name.n0.2"))                                    // missing entry
	ok(t, kv.Delete(ctx, "user.unique.email.3"))                                     // missing claim
	put("user.index.name.n1.777", "")                                                // stray entry
	put("user.unique.email.nobody", "777")                                           // stray claim
	put("user.shard_4.4", `{"id":4,"name":"moved","email":"4","age":1,"city":null}`) // entry of another value
	put("user.unique.email.5", "6")                                                  // a claim of another's value
	put("user.unique.email.7", "garbage")                                            // a claim without an owner
	put("user.shard_9.100", `{"id":100,"name":"x","email":"100"}`)                   // at the wrong key
	report := must[natsorm.Report](t)(db.Check(ctx))
	kinds := map[natsorm.ProblemKind]int{}
	for _, p := range report.Models[0].Problems {
		kinds[p.Kind]++
	}
	want := map[natsorm.ProblemKind]int{
		natsorm.MissingEntry: 2, natsorm.MissingClaim: 3, natsorm.StrayEntry: 2, natsorm.StrayClaim: 1, natsorm.MisplacedKey: 1, natsorm.CorruptClaim: 1,
	}
	if diff := cmp.Diff(want, kinds); diff != "" || report.Clean() {
		t.Errorf("%s\n%s", diff, report)
	}
	repaired := must[natsorm.Report](t)(db.Check(ctx, natsorm.Repair()))
	if !repaired.Clean() {
		t.Errorf("repair:\n%s", repaired)
	}
	if again := must[natsorm.Report](t)(db.Check(ctx)); len(again.Models[0].Problems) != 0 {
		t.Errorf("after the repair:\n%s", again)
	}
	if n := must[int](t)(users.Count(ctx, natsorm.Eq("name", "moved"))); n != 1 {
		t.Errorf("%d found by the repaired index", n)
	}
}
