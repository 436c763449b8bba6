package natsorm_test

import (
	"context"
	"fmt"
	"log"

	"github.com/natsorm/natsorm"
)

// Each step is carried out once in the bucket, by whichever program comes first. Both
// steps can be called again when they were cut short.
func ExampleDB_Migrate() {
	ctx := context.Background()
	db, done := open(ctx)
	defer done()
	steps := []natsorm.Migration{
		{Name: "2024-05-first-account", Up: func(ctx context.Context, db *natsorm.DB) error {
			accounts, err := natsorm.Define[Account](ctx, db)
			if err != nil {
				return err
			}
			_, _, err = accounts.FindOrCreate(ctx, natsorm.Where{"owner": "alice"}, &Account{Country: "no"})
			return err
		}},
		{Name: "2024-06-upper-case", Up: func(ctx context.Context, db *natsorm.DB) error {
			accounts, err := natsorm.Define[Account](ctx, db)
			if err != nil {
				return err
			}
			_, err = accounts.Update(ctx, natsorm.Set{"country": "NO"}, natsorm.Eq("country", "no"))
			return err
		}},
	}
	for range 2 { // a program, and when it is started again
		applied, err := db.Migrate(ctx, steps...)
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println("applied:", applied)
	}
	all, err := db.Migrations(ctx)
	if err != nil {
		log.Fatal(err)
	}
	for _, m := range all {
		fmt.Println(m.Name, m.State)
	}
	// Output:
	// applied: [2024-05-first-account 2024-06-upper-case]
	// applied: []
	// 2024-05-first-account done
	// 2024-06-upper-case done
}
