package natsorm_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/natsorm/natsorm"
	"github.com/natsorm/natsorm/internal/testbed"
	"github.com/natsorm/natsorm/natsormtest"
)

// A stream that has delivered a part goes on by the new schema: each record comes once.
func TestStreamGoesOnWhenTheSchemaChanges(t *testing.T) {
	t.Parallel()
	if testing.Short() || testbed.Race {
		t.Skip("three changes of a schema, with their waits")
	}
	const n = 3000
	changes := map[string]func(ctx context.Context, db *natsorm.DB) error{
		"to native": func(ctx context.Context, db *natsorm.DB) error {
			return db.ChangeLayout(ctx, "User", natsorm.Native)
		},
		"to sequelize": func(ctx context.Context, db *natsorm.DB) error {
			return db.ChangeLayout(ctx, "User", natsorm.Sequelize)
		},
		"drop index": func(ctx context.Context, db *natsorm.DB) error {
			return db.Alter(ctx, "User", natsorm.DropIndex("name"))
		},
	}
	for name, change := range changes {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx := within(t)
			db := natsormtest.New(t)
			layout := "native"
			if name == "to native" {
				layout = "sequelize"
			}
			users := defineIn(t, db, layout)
			all := make([]*nodeUser, n)
			for i := range all {
				all[i] = &nodeUser{ID: int64(i - n/2), Name: fmt.Sprint("n", i%3), Email: ptr(fmt.Sprint("e", i))}
			}
			ok(t, users.BulkCreate(ctx, all))
			stream := func(want int, change func(context.Context, *natsorm.DB) error, q ...natsorm.Query) error {
				t.Helper()
				seen := map[int64]bool{}
				for u, err := range users.Each(ctx, q...) {
					if err != nil {
						return err
					}
					if seen[u.ID] {
						t.Fatalf("%d comes twice", u.ID)
					}
					if seen[u.ID] = true; len(seen) == 10 && change != nil {
						ok(t, change(ctx, db))
					}
				}
				if len(seen) != want {
					t.Errorf("%d come of %d", len(seen), want)
				}
				return nil
			}
			ok(t, stream(n/3, change, natsorm.Eq("name", "n1")))
			if name == "drop index" {
				defineIn(t, db, layout)
				if err := stream(0, change, natsorm.Eq("name", "n2"), natsorm.Offset(5)); !errors.Is(err, natsorm.ErrConflict) {
					t.Errorf("with an offset: %v", err)
				}
				defineIn(t, db, layout)
				ok(t, stream(500, change, natsorm.Eq("name", "n2"), natsorm.Limit(500)))
				defineIn(t, db, layout)
				ok(t, stream(n/3, change, natsorm.Eq("name", "n2"), natsorm.OrderBy("-id")))
			}
			ok(t, stream(n, nil))
		})
	}
}
