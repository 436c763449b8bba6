package natsorm_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/natsorm/natsorm"
	"github.com/natsorm/natsorm/internal/testbed"
	"github.com/natsorm/natsorm/natsormtest"
)

// ticket is a model of programs that run while their bucket is deleted and made anew.
type ticket struct {
	ID     int64  `json:"id"     orm:"primaryKey,auto"`
	Owner  string `json:"owner"  orm:"index"`
	Number string `json:"number" orm:"unique"`
	Seat   string `json:"seat"`
}

// anew is a program with a model in a bucket that is then deleted and made anew.
type anew struct {
	t       *testing.T
	ctx     context.Context
	server  *testbed.Server
	db      *natsorm.DB
	tickets *natsorm.Model[ticket]
	storage jetstream.StorageType
}

// beforeAnew begins with n records.
func beforeAnew(t *testing.T, storage jetstream.StorageType, n int) *anew {
	t.Helper()
	a := &anew{t: t, ctx: within(t), server: testbed.StartServer(t), storage: storage}
	a.db = a.open()
	a.tickets = define[ticket](t, a.db)
	for i := range n {
		ok(t, a.tickets.Create(a.ctx, &ticket{Owner: "old", Number: fmt.Sprint("old ", i)}))
	}
	return a
}

// open starts another program.
func (a *anew) open() *natsorm.DB {
	a.t.Helper()
	db := must[*natsorm.DB](a.t)(natsorm.Open(a.ctx, natsorm.Config{Servers: []string{a.server.URL()}, Bucket: "shop", Storage: a.storage}))
	a.t.Cleanup(func() { db.Close() })
	return db
}

// remake deletes the bucket. The next program that opens it makes it.
func (a *anew) remake() *natsorm.DB {
	a.t.Helper()
	js := must[jetstream.JetStream](a.t)(jetstream.New(a.db.Conn()))
	ok(a.t, js.DeleteStream(a.ctx, "KV_shop"))
	return a.open()
}

// onBoth runs a test with a bucket in memory, which is written to in batches, and with one
// in files, which is written to phased.
func onBoth(t *testing.T, test func(t *testing.T, storage jetstream.StorageType)) {
	for _, storage := range []jetstream.StorageType{jetstream.MemoryStorage, jetstream.FileStorage} {
		t.Run(fmt.Sprint(storage), func(t *testing.T) {
			t.Parallel()
			test(t, storage)
		})
	}
}

// A program goes on with a bucket that was deleted and made anew by one that has not
// defined the model: the first call that writes defines it there.
func TestMadeAnewIsDefinedAgain(t *testing.T) {
	onBoth(t, func(t *testing.T, storage jetstream.StorageType) {
		a := beforeAnew(t, storage, 5)
		other := a.remake()
		if n := must[int](t)(a.tickets.Count(a.ctx, natsorm.Eq("owner", "old"))); n != 0 {
			t.Errorf("%d records of the bucket that was deleted", n)
		}
		first := &ticket{Owner: "new", Number: "1"}
		ok(t, a.tickets.Create(a.ctx, first))
		found, err := natsorm.Define[ticket](a.ctx, other)
		ok(t, err)
		if n := must[int](t)(found.Count(a.ctx, natsorm.Eq("owner", "new"))); n != 1 {
			t.Errorf("%d records with an index entry", n)
		}
		if names := must[[]natsorm.Schema](t)(other.Models(a.ctx)); len(names) != 1 {
			t.Errorf("the catalogue has %v", names)
		}
		if err := found.Create(a.ctx, &ticket{Owner: "other", Number: "1"}); !errors.Is(err, natsorm.ErrUnique) {
			t.Errorf("a unique value was taken twice: %v", err)
		}
		natsormtest.Prove(t, other)
	})
}

// A bucket that was made anew has an index that the program does not know of, and more
// revisions than the program has seen. No call leaves its record outside of the index.
func TestMadeAnewWithAnotherIndex(t *testing.T) {
	onBoth(t, func(t *testing.T, storage jetstream.StorageType) {
		for _, within := range []string{"a call", "a bulk call", "a transaction"} {
			a := beforeAnew(t, storage, 2)
			other := a.remake()
			now := define[ticket](t, other, natsorm.Index("seat"))
			for i := range 40 {
				ok(t, now.Create(a.ctx, &ticket{Owner: "x", Number: fmt.Sprint("x", i), Seat: fmt.Sprint(i)}))
			}
			ok(t, testbed.Wait(a.ctx, 1100*time.Millisecond)) // what is known of the bucket is a second old
			var err error
			switch within {
			case "a call":
				err = a.tickets.Create(a.ctx, &ticket{Owner: "late", Number: "late", Seat: "late"})
			case "a bulk call":
				err = a.tickets.BulkCreate(a.ctx, []*ticket{{Owner: "late", Number: "late", Seat: "late"}})
			default:
				err = a.db.Transaction(a.ctx, func(ctx context.Context) error {
					return a.tickets.Create(ctx, &ticket{Owner: "late", Number: "late", Seat: "late"})
				})
			}
			ok(t, err)
			if n := must[int](t)(now.Count(a.ctx, natsorm.Eq("seat", "late"))); n != 1 {
				t.Errorf("%s left a record outside of an index", within)
			}
			if err := a.tickets.Create(a.ctx, &ticket{Owner: "late", Number: "x1"}); !errors.Is(err, natsorm.ErrUnique) {
				t.Errorf("a unique value was taken twice: %v", err)
			}
			ok(t, a.tickets.Create(a.ctx, &ticket{Owner: "late", Number: "later", Seat: "later"}))
			if n := must[int](t)(now.Count(a.ctx, natsorm.Eq("seat", "later"))); n != 1 {
				t.Error("the program does not maintain the index")
			}
			natsormtest.Prove(t, other)
		}
	})
}

// In the bucket that was made anew, records share a value that the program's model must
// have once. Its calls are refused, and name them.
func TestMadeAnewWithDuplicates(t *testing.T) {
	onBoth(t, func(t *testing.T, storage jetstream.StorageType) {
		a := beforeAnew(t, storage, 5)
		other := a.remake()
		type ticket struct { // without the unique number
			ID     int64  `json:"id" orm:"primaryKey,auto"`
			Number string `json:"number"`
		}
		now := define[ticket](t, other)
		for range 2 {
			ok(t, now.Create(a.ctx, &ticket{Number: "same"}))
		}
		for range 2 {
			_, err := a.tickets.Update(a.ctx, natsorm.Set{"seat": "1"}, natsorm.All())
			if err == nil { // it was not known when the call began
				_, err = a.tickets.Update(a.ctx, natsorm.Set{"seat": "2"}, natsorm.All())
			}
			if !errors.Is(err, natsorm.ErrSchema) {
				t.Errorf("a model that cannot be defined in its bucket is written to: %v", err)
			}
		}
		natsormtest.Prove(t, other)
	})
}
