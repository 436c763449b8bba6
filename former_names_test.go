package natsorm_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/natsorm/natsorm"
	"github.com/natsorm/natsorm/natsormtest"
)

// Conditions in JSON do not learn of a hidden column by a name that it had.
func TestFormerNameOfAHiddenColumn(t *testing.T) {
	t.Parallel()
	ctx := within(t)
	db := natsormtest.New(t)
	type guest struct {
		ID    int64  `json:"id" orm:"primaryKey"`
		Token string `json:"token" orm:"hidden"`
	}
	guests := define[guest](t, db)
	ok(t, db.Alter(ctx, "guest", natsorm.RenameColumn("token", "secret")))
	unknown := func(name string) string {
		_, err := guests.Count(ctx, must[natsorm.Condition](t)(natsorm.ParseWhere(fmt.Appendf(nil, `{%q: "a"}`, name))))
		if !errors.Is(err, natsorm.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
			return ""
		}
		return strings.ReplaceAll(err.Error(), name, "?")
	}
	if nobody := unknown("nobody"); unknown("token") != nobody || unknown("secret") != nobody {
		t.Errorf("it says %q, %q and %q", nobody, unknown("token"), unknown("secret"))
	}
	ok(t, db.Alter(ctx, "guest", natsorm.ForgetName("token")))
	other := must[*natsorm.Model[natsorm.Record]](t)(db.Model(ctx, "guest"))
	_, err := other.Count(ctx, must[natsorm.Condition](t)(natsorm.ParseWhere([]byte(`{"token": "a"}`))))
	if err == nil || strings.Contains(err.Error(), "secret") {
		t.Errorf("after it was forgotten: %v", err)
	}
}

// Pages that were begun before a column was renamed go on, and so does a cursor of a record.
func TestCursorsOfARenamedColumn(t *testing.T) {
	t.Parallel()
	ctx := within(t)
	db := natsormtest.New(t)
	old := define[accountV1](t, db, natsorm.Name("account"))
	for i := range int64(9) {
		ok(t, old.Create(ctx, &accountV1{ID: i, Email: fmt.Sprint("e", i), Visits: i / 2}))
	}
	query := []natsorm.Query{natsorm.Gte("visits", 0), natsorm.Gte("email", "e"), natsorm.OrderBy("visits", "email"), natsorm.Limit(3)}
	page, next, err := old.FindPage(ctx, query...)
	ok(t, err)
	rest := func(m *natsorm.Model[accountV1], cursor string) (out []int64) {
		t.Helper()
		for _, a := range must[[]*accountV1](t)(m.FindAll(ctx, append(query[:3:3], natsorm.After(cursor))...)) {
			out = append(out, a.ID)
		}
		return out
	}
	want := []int64{3, 4, 5, 6, 7, 8}
	if got := rest(old, next); !slices.Equal(got, want) {
		t.Fatalf("before there are %v", got)
	}
	cursors := []string{next}
	for _, change := range [][]natsorm.Alteration{renaming, {natsorm.RenameColumn("count", "number")}, {natsorm.RenameColumn("number", "visits")}} {
		ok(t, db.Alter(ctx, "account", change...))
		cursor := must[string](t)(old.Cursor(page[2], query...))
		for i, c := range append(cursors, cursor) {
			if got := rest(old, c); !slices.Equal(got, want) {
				t.Errorf("after %d renamings, cursor %d leads to %v", len(cursors), i, got)
			}
		}
		cursors = append(cursors, cursor)
	}
	if _, err := old.FindAll(ctx, natsorm.OrderBy("visits", "email"), natsorm.After(next)); !errors.Is(err, natsorm.ErrCursor) {
		t.Errorf("for another query: %v", err)
	}
}

// What a program that declares a former name is told is in that name.
func TestErrorsOfARenamedColumn(t *testing.T) {
	t.Parallel()
	ctx := within(t)
	db := natsormtest.New(t)
	old := define[accountV1](t, db, natsorm.Name("account"))
	ok(t, old.Create(ctx, &accountV1{ID: 1, Email: "a"}))
	young := another(t, db)
	ok(t, young.Alter(ctx, "account", renaming...))
	check := func(what string, err error, names ...string) {
		t.Helper()
		var unique *natsorm.UniqueError
		var invalid *natsorm.ValidationError
		switch {
		case errors.As(err, &unique) && slices.Equal(unique.Columns, names) && !unique.Undeclared:
		case errors.As(err, &invalid) && invalid.Faults[0].Field == names[0]:
		default:
			t.Errorf("%s: %v", what, err)
		}
	}
	_, update := old.Update(ctx, natsorm.Set{"visits": "many"}, natsorm.All())
	_, increment := old.Increment(ctx, natsorm.Set{"visits": "many"}, natsorm.All())
	_, where := old.Count(ctx, natsorm.Eq("visits", "many"))
	_, _, found := old.FindOrCreate(ctx, natsorm.Where{"id": 2, "visits": "many"}, nil)
	check("Create", old.Create(ctx, &accountV1{ID: 2, Email: "a"}), "email")
	check("BulkCreate", old.BulkCreate(ctx, []*accountV1{{ID: 2, Email: "a"}}), "email")
	check("Transaction", db.Transaction(ctx, func(ctx context.Context) error { return old.Create(ctx, &accountV1{ID: 2, Email: "a"}) }), "email")
	for what, err := range map[string]error{"Update": update, "Increment": increment, "Count": where, "FindOrCreate": found} {
		check(what, err, "visits")
	}
	members := define[accountV2](t, young, natsorm.Name("account"))
	check("Create by the new name", members.Create(ctx, &accountV2{ID: 2, Mail: "a"}), "mail")
	both := define[accountV2](t, db, natsorm.Name("account")) // a program that has both declarations
	check("Create of both", both.Create(ctx, &accountV2{ID: 2, Mail: "a"}), "mail")
}
