package natsorm_test

import (
	"context"
	"errors"
	"testing"

	"github.com/natsorm/natsorm"
	"github.com/natsorm/natsorm/natsormtest"
)

// FuzzAfter: whatever text a client sends as a cursor, it is one of this query or
// ErrCursor.
func FuzzAfter(f *testing.F) {
	db := natsormtest.New(f)
	users := define[user](f, db)
	ctx := context.Background()
	v := &user{ID: 1, Name: "Ann", Email: "e"}
	ok(f, users.Create(ctx, v))
	order := natsorm.OrderBy("-age", "city")
	cursor := must[string](f)(users.Cursor(v, order))
	for _, text := range []string{cursor, cursor[:20], cursor + "A", "", "AQ", "????", "AQAAAAAAAAAAW10"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if _, err := users.FindAll(ctx, order, natsorm.After(text)); err != nil && !errors.Is(err, natsorm.ErrCursor) {
			t.Errorf("%q: %v", text, err)
		}
	})
}
