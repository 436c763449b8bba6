package natsorm_test

import (
	"bytes"
	"context"
	"fmt"
	"log"

	"github.com/natsorm/natsorm"
	"github.com/natsorm/natsorm/embedded"
)

// A Go program reads what a Node service wrote, and the other way round; later the
// model moves to the native layout.
func ExampleSequelizeLayout() {
	type User struct {
		ID    int64  `json:"id"    orm:"primaryKey"`
		Name  string `json:"name"`
		Email string `json:"email" orm:"index"`
	}
	ctx := context.Background()
	srv, err := embedded.Start(embedded.Config{})
	if err != nil {
		log.Fatal(err)
	}
	defer srv.Close()
	db, err := srv.Open(ctx, natsorm.Config{Bucket: "shop"})
	if err != nil {
		log.Fatal(err)
	}
	defer db.Close()

	// What User.create({id: 1, …}) has put there.
	for key, value := range map[string]string{
		"User.shard_1.1":                     `{"id":1,"name":"Alice","email":"alice@example.com"}`,
		"User.index.email.alice_example_com": `[1]`,
	} {
		if _, err := db.KV().PutString(ctx, key, value); err != nil {
			log.Fatal(err)
		}
	}
	users, err := natsorm.Define[User](ctx, db, natsorm.SequelizeLayout())
	if err != nil {
		log.Fatal(err)
	}
	if err := users.Create(ctx, &User{ID: -5, Name: "Bob", Email: "alice@example.com"}); err != nil {
		log.Fatal(err)
	}
	list, err := db.KV().Get(ctx, "User.index.email.alice_example_com")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%s\n", list.Value())

	if err := db.ChangeLayout(ctx, "User", natsorm.Native); err != nil {
		log.Fatal(err)
	}
	n, err := users.Count(ctx, natsorm.Eq("email", "alice@example.com"))
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(n, "found in the", users.Schema().Layout, "layout")
	// Output:
	// [1,-5]
	// 2 found in the native layout
}

// A backup is taken while the bucket is used, and restored into another one.
func ExampleDB_Backup() {
	type Note struct {
		ID   int64  `json:"id" orm:"primaryKey"`
		Text string `json:"text" orm:"index"`
	}
	ctx := context.Background()
	srv, err := embedded.Start(embedded.Config{})
	if err != nil {
		log.Fatal(err)
	}
	defer srv.Close()
	db, err := srv.Open(ctx, natsorm.Config{Bucket: "notes"})
	if err != nil {
		log.Fatal(err)
	}
	defer db.Close()
	notes, err := natsorm.Define[Note](ctx, db)
	if err != nil {
		log.Fatal(err)
	}
	if err := notes.Create(ctx, &Note{ID: 1, Text: "hello"}); err != nil {
		log.Fatal(err)
	}

	var file bytes.Buffer
	if err := db.Backup(ctx, &file); err != nil {
		log.Fatal(err)
	}
	if _, err := notes.Destroy(ctx, natsorm.Eq("id", 1)); err != nil {
		log.Fatal(err)
	}
	if err := db.Restore(ctx, &file, natsorm.DeleteOthers()); err != nil {
		log.Fatal(err)
	}
	note, err := notes.FindOne(ctx, natsorm.Eq("text", "hello"))
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(note.ID, note.Text)
	// Output: 1 hello
}
