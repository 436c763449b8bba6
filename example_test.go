package natsorm_test

import (
	"context"
	"errors"
	"fmt"
	"log"

	"github.com/natsorm/natsorm"
	"github.com/natsorm/natsorm/embedded"
)

// Account is the record of the examples.
type Account struct {
	ID      int64  `json:"id"      orm:"primaryKey,auto"`
	Owner   string `json:"owner"   orm:"unique"`
	Country string `json:"country" orm:"index"`
	Balance int64  `json:"balance"`
	Version uint64 `json:"-"       orm:"version"`
}

// open opens a database in memory for an example.
func open(ctx context.Context) (db *natsorm.DB, done func()) {
	srv, err := embedded.Start(embedded.Config{})
	if err != nil {
		log.Fatal(err)
	}
	db, err = srv.Open(ctx, natsorm.Config{Bucket: "bank"})
	if err != nil {
		log.Fatal(err)
	}
	return db, func() { db.Close(); srv.Close() }
}

func Example() {
	ctx := context.Background()
	srv, err := embedded.Start(embedded.Config{}) // with a Dir, it is kept
	if err != nil {
		log.Fatal(err)
	}
	defer srv.Close()
	db, err := srv.Open(ctx, natsorm.Config{Bucket: "bank"})
	if err != nil {
		log.Fatal(err)
	}
	defer db.Close()

	accounts, err := natsorm.Define[Account](ctx, db)
	if err != nil {
		log.Fatal(err)
	}
	if err := accounts.Create(ctx, &Account{Owner: "alice", Country: "NO", Balance: 100}); err != nil {
		log.Fatal(err)
	}
	alice, err := accounts.FindOne(ctx, natsorm.Where{"owner": "alice"})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(alice.ID, alice.Balance)
	// Output: 1 100
}

func ExampleModel_Create_unique() {
	ctx := context.Background()
	db, done := open(ctx)
	defer done()
	accounts, _ := natsorm.Define[Account](ctx, db)

	_ = accounts.Create(ctx, &Account{Owner: "alice"})
	err := accounts.Create(ctx, &Account{Owner: "alice"})
	var taken *natsorm.UniqueError
	if errors.As(err, &taken) {
		fmt.Println(taken.Columns[0], taken.Value, "belongs to", taken.Owner)
	}
	// Output: owner alice belongs to 1
}

func ExampleModel_Save_version() {
	ctx := context.Background()
	db, done := open(ctx)
	defer done()
	accounts, _ := natsorm.Define[Account](ctx, db)
	_ = accounts.Create(ctx, &Account{Owner: "alice", Balance: 100})

	mine, _ := accounts.FindByPK(ctx, 1)
	theirs, _ := accounts.FindByPK(ctx, 1)
	theirs.Balance = 50
	fmt.Println(accounts.Save(ctx, theirs))
	mine.Balance = 0
	fmt.Println(errors.Is(accounts.Save(ctx, mine), natsorm.ErrConflict))
	// Output:
	// <nil>
	// true
}

func ExampleModel_Update() {
	ctx := context.Background()
	db, done := open(ctx)
	defer done()
	accounts, _ := natsorm.Define[Account](ctx, db)
	_ = accounts.BulkCreate(ctx, []*Account{{Owner: "a", Country: "NO"}, {Owner: "b", Country: "NO"}, {Owner: "c", Country: "SE"}})

	n, err := accounts.Update(ctx, natsorm.Set{"balance": 10}, natsorm.Eq("country", "NO"))
	fmt.Println(n, err)
	n, err = accounts.Increment(ctx, natsorm.Set{"balance": 5}, natsorm.Gte("balance", 10))
	fmt.Println(n, err)
	_, err = accounts.Destroy(ctx)
	fmt.Println(err)
	// Output:
	// 2 <nil>
	// 2 <nil>
	// natsorm: no condition given: say which records, or natsorm.All() for every one
}

func ExampleModel_Each() {
	ctx := context.Background()
	db, done := open(ctx)
	defer done()
	accounts, _ := natsorm.Define[Account](ctx, db)
	_ = accounts.BulkCreate(ctx, []*Account{{Owner: "a", Balance: 1}, {Owner: "b", Balance: 2}})

	total := int64(0)
	for account, err := range accounts.Each(ctx, natsorm.Or(natsorm.Eq("owner", "a"), natsorm.Gt("balance", 1))) {
		if err != nil {
			log.Fatal(err)
		}
		total += account.Balance
	}
	fmt.Println(total)
	// Output: 3
}

func ExampleModel_Watch() {
	ctx := context.Background()
	db, done := open(ctx)
	defer done()
	accounts, _ := natsorm.Define[Account](ctx, db)
	_ = accounts.Create(ctx, &Account{Owner: "alice", Balance: 100})

	watcher, err := accounts.Watch(ctx, natsorm.Eq("owner", "alice"))
	if err != nil {
		log.Fatal(err)
	}
	defer watcher.Stop()
	_, _ = accounts.Increment(ctx, natsorm.Set{"balance": -30}, natsorm.Eq("id", 1))
	change := <-watcher.Changes()
	fmt.Println(change.Op, change.Columns, change.Before.Balance, "->", change.After.Balance)
	// Output: updated [balance] 100 -> 70
}

func ExampleDefineRecord() {
	ctx := context.Background()
	db, done := open(ctx)
	defer done()
	cities, err := natsorm.DefineRecord(ctx, db, natsorm.Schema{Name: "City", Columns: []natsorm.ColumnSchema{
		{Name: "name", Type: natsorm.String, PrimaryKey: true},
		{Name: "country", Type: natsorm.String, Index: true},
	}})
	if err != nil {
		log.Fatal(err)
	}
	_ = cities.Create(ctx, &natsorm.Record{"name": "Oslo", "country": "NO"})
	oslo, _ := cities.FindOne(ctx, natsorm.Eq("country", "NO"))
	fmt.Println((*oslo)["name"])
	// Output: Oslo
}

func ExampleDB_Check() {
	ctx := context.Background()
	db, done := open(ctx)
	defer done()
	accounts, _ := natsorm.Define[Account](ctx, db)
	_ = accounts.Create(ctx, &Account{Owner: "alice", Country: "NO"})

	// Something that does not know of indexes removes an entry.
	_ = db.KV().Delete(ctx, "Account.index.country.NO.1")
	report, _ := db.Check(ctx, natsorm.Repair())
	fmt.Print(report)
	fmt.Println(report.Clean())
	// Output:
	// Account: 1 records, 0 index entries, 1 unique values, 1 problems
	//   missing entry "Account.index.country.NO.1" of record "Account.shard_1.1" (repaired)
	// true
}

func ExampleColumn() {
	ctx := context.Background()
	db, done := open(ctx)
	defer done()
	accounts, _ := natsorm.Define[Account](ctx, db)
	_ = accounts.BulkCreate(ctx, []*Account{{Owner: "a", Balance: 1}, {Owner: "b", Balance: 2}})

	balance := natsorm.Column(func(a *Account) *int64 { return &a.Balance })
	rich, err := accounts.FindAll(ctx, balance.Gte(2)) // balance.Gte("2") does not compile
	fmt.Println(rich[0].Owner, err)
	// Output: b <nil>
}

func ExampleParseWhere() {
	ctx := context.Background()
	db, done := open(ctx)
	defer done()
	accounts, _ := natsorm.Define[Account](ctx, db)
	_ = accounts.BulkCreate(ctx, []*Account{{Owner: "a", Balance: 1}, {Owner: "b", Balance: 2}, {Owner: "c", Balance: 3}})

	where, err := natsorm.ParseWhere([]byte(`{"balance": {"gte": 2}, "or": [{"owner": "a"}, {"owner": {"like": "b%"}}]}`))
	if err != nil {
		log.Fatal(err)
	}
	n, err := accounts.Count(ctx, where)
	fmt.Println(n, err)

	_, err = natsorm.ParseWhere([]byte(`{"or": [{"owner": {"likes": "b%"}}]}`))
	fmt.Println(errors.Is(err, natsorm.ErrInvalid))
	// Output:
	// 1 <nil>
	// true
}

func ExampleDB_Transaction() {
	ctx := context.Background()
	db, done := open(ctx)
	defer done()
	accounts, err := natsorm.Define[Account](ctx, db)
	if err != nil {
		log.Fatal(err)
	}
	err = accounts.BulkCreate(ctx, []*Account{{ID: 1, Owner: "Ann", Balance: 100}, {ID: 2, Owner: "Bob"}})
	if err != nil {
		log.Fatal(err)
	}

	transfer := func() error {
		return db.Transaction(ctx, func(ctx context.Context) error {
			from, err := accounts.FindByPK(ctx, 1)
			if err != nil {
				return err
			}
			to, err := accounts.FindByPK(ctx, 2)
			if err != nil {
				return err
			}
			if from.Balance < 30 {
				return errors.New("not enough")
			}
			from.Balance -= 30
			to.Balance += 30
			return errors.Join(accounts.Save(ctx, from), accounts.Save(ctx, to))
		})
	}
	for range 4 {
		fmt.Println(transfer())
	}
	for a, err := range accounts.Each(ctx, natsorm.OrderBy("id")) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(a.Owner, a.Balance)
	}
	// Output:
	// <nil>
	// <nil>
	// <nil>
	// not enough
	// Ann 10
	// Bob 90
}

// Letter case does not matter to a folded index, nor to conditions on its column.
func ExampleFold() {
	ctx := context.Background()
	db, done := open(ctx)
	defer done()
	type Guest struct {
		ID    int64  `json:"id" orm:"primaryKey,auto"`
		Email string `json:"email"`
	}
	guests, err := natsorm.Define[Guest](ctx, db, natsorm.Fold(natsorm.Unique("email"))) // as orm:"unique,fold"
	if err != nil {
		log.Fatal(err)
	}
	if err := guests.Create(ctx, &Guest{Email: "Ann@Example.com"}); err != nil {
		log.Fatal(err)
	}
	fmt.Println(errors.Is(guests.Create(ctx, &Guest{Email: "ann@example.com"}), natsorm.ErrUnique))
	ann, err := guests.FindOne(ctx, natsorm.Eq("email", "ANN@EXAMPLE.COM"))
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(ann.Email)
	// Output:
	// true
	// Ann@Example.com
}
