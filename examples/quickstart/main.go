// Quickstart: a struct becomes a database. It runs on a NATS server inside
// this process, or on the one that NATS_URL names.
package main

import (
	"context"
	"fmt"
	"io"
	"log"
	"os"
	"time"

	"github.com/natsorm/natsorm"
	"github.com/natsorm/natsorm/embedded"
)

// User is a record: its JSON names are the columns.
type User struct {
	ID    int64  `json:"id"    orm:"primaryKey"`
	Name  string `json:"name"  orm:"index"`
	Email string `json:"email" orm:"unique"`
	Age   int    `json:"age"   orm:"index"`
}

func main() {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if err := run(ctx, os.Stdout, os.Getenv("NATS_URL")); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context, out io.Writer, url string) error {
	db, done, err := open(ctx, out, url)
	if err != nil {
		return err
	}
	defer done()

	users, err := natsorm.Define[User](ctx, db)
	if err != nil {
		return err
	}
	if err := users.Truncate(ctx); err != nil { // from an earlier run
		return err
	}

	// Create
	alice := &User{ID: 1, Name: "Alice", Email: "alice@example.com", Age: 30}
	bob := &User{ID: 2, Name: "Bob", Email: "bob@example.com", Age: 30}
	if err := users.BulkCreate(ctx, []*User{alice, bob}); err != nil {
		return err
	}
	fmt.Fprintln(out, "created     ", *alice)
	fmt.Fprintln(out, "created     ", *bob)

	// A unique value is taken once, whoever tries at the same time.
	err = users.Create(ctx, &User{ID: 3, Name: "Eve", Email: "alice@example.com"})
	fmt.Fprintln(out, "refused     ", err)

	// Find by primary key, by a unique column, and all that have a value
	found, err := users.FindByPK(ctx, 1)
	if err != nil {
		return err
	}
	fmt.Fprintln(out, "by id       ", *found)
	if found, err = users.FindOne(ctx, natsorm.Where{"email": "bob@example.com"}); err != nil {
		return err
	}
	fmt.Fprintln(out, "by e-mail   ", *found)
	aged30, err := users.Count(ctx, natsorm.Where{"age": 30})
	if err != nil {
		return err
	}
	fmt.Fprintln(out, "aged 30     ", aged30)

	// Watch, update, destroy
	watcher, err := users.Watch(ctx, natsorm.Eq("id", 1))
	if err != nil {
		return err
	}
	defer watcher.Stop()
	if _, err := users.Update(ctx, natsorm.Set{"age": 31}, natsorm.Eq("id", 1)); err != nil {
		return err
	}
	change := <-watcher.Changes()
	fmt.Fprintln(out, "watched     ", change.Op, change.Columns, change.Before.Age, "->", change.After.Age)
	if _, err := users.Destroy(ctx, natsorm.Eq("id", 1)); err != nil {
		return err
	}
	change = <-watcher.Changes()
	fmt.Fprintln(out, "watched     ", change.Op, change.Before.Name)

	// What the bucket holds now
	keys, err := db.KV().ListKeys(ctx)
	if err != nil {
		return err
	}
	for key := range keys.Keys() {
		fmt.Fprintln(out, "key         ", key)
	}
	return nil
}

// open opens the bucket where the caller wants it.
func open(ctx context.Context, out io.Writer, url string) (*natsorm.DB, func(), error) {
	if url != "" {
		fmt.Fprintln(out, "server       at NATS_URL")
		db, err := natsorm.Open(ctx, natsorm.Config{Servers: []string{url}, Bucket: "quickstart"})
		if err != nil {
			return nil, nil, err
		}
		return db, func() { db.Close() }, nil
	}
	fmt.Fprintln(out, "server       in this process, in memory")
	srv, err := embedded.Start(embedded.Config{})
	if err != nil {
		return nil, nil, err
	}
	db, err := srv.Open(ctx, natsorm.Config{Bucket: "quickstart"})
	if err != nil {
		srv.Close()
		return nil, nil, err
	}
	return db, func() { db.Close(); srv.Close() }, nil
}
