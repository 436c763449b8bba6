package maintenance_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"strings"
	"testing"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/natsorm/natsorm/internal/backup"
	"github.com/natsorm/natsorm/internal/bucket"
	"github.com/natsorm/natsorm/internal/checking"
	"github.com/natsorm/natsorm/internal/errs"
	"github.com/natsorm/natsorm/internal/keys"
	"github.com/natsorm/natsorm/internal/maintenance"
	"github.com/natsorm/natsorm/internal/migration"
	"github.com/natsorm/natsorm/internal/schema"
	"github.com/natsorm/natsorm/internal/store"
	"github.com/natsorm/natsorm/internal/store/fault"
	"github.com/natsorm/natsorm/internal/testbed"
)

// formats are the ways to write a backup; all are read alike.
var formats = map[string]func(context.Context, *bucket.Bucket, io.Writer) error{
	"native": func(ctx context.Context, b *bucket.Bucket, w io.Writer) error {
		return maintenance.Backup(ctx, b, "b", w)
	},
	"sequelize": func(ctx context.Context, b *bucket.Bucket, w io.Writer) error {
		return maintenance.BackupSequelize(ctx, b, w)
	},
}

func (w *world) backup(b *bucket.Bucket) string {
	w.Helper()
	var file bytes.Buffer
	w.must(maintenance.Backup(w.ctx, b, "b", &file))
	return file.String()
}

// What a bucket holds is the same after backup and restore.
func TestBackupAndRestore(t *testing.T) {
	t.Parallel()
	for name, write := range formats {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := begin(t)
			m := w.define(w.bucket, person(everyKind...))
			for i := range 150 {
				w.save(m, doc(i, fmt.Sprint("n", i%4), "zażółć \t <&> "+fmt.Sprint(i)))
			}
			w.must(destroy(w.ctx, m, 7))
			w.put("_sequence.Person", "500")
			w.put("other.bytes", "\x00\xff\n")
			w.put("other.empty", "")
			want := w.content(w.bucket)
			var file bytes.Buffer
			w.must(write(w.ctx, w.bucket, &file))

			t.Run("into an empty bucket", func(t *testing.T) {
				into := w.session("empty")
				w.must(maintenance.Restore(w.ctx, into, io.MultiReader(bytes.NewReader(file.Bytes())), false)) // it cannot seek
				w.same("restored", w.content(into), want)
				w.prove(into)
			})
			t.Run("over what has changed", func(t *testing.T) {
				w.save(m, doc(3, "changed", "3"), doc(1000, "new", "new"))
				w.must(destroy(w.ctx, m, 5))
				w.put("other.more", "")
				w.put("_sequence.Person", "700")
				w.must(maintenance.Restore(w.ctx, w.bucket, strings.NewReader(file.String()), true))
				w.same("restored", w.content(w.bucket), want)

				// Without deleting, ids that were given out are not given out again.
				w.put("_sequence.Person", "700")
				w.must(maintenance.Restore(w.ctx, w.bucket, strings.NewReader(file.String()), false))
				after := maps.Clone(want)
				after["_sequence.Person"] = "700"
				w.same("restored again", w.content(w.bucket), after)
			})
			t.Run("into one with other records", func(t *testing.T) {
				into := w.session("others")
				theirs := w.define(into, person(everyKind...))
				w.save(theirs, doc(7, "theirs", "theirs"), doc(3, "theirs", "another"))
				w.must(maintenance.Restore(w.ctx, into, bytes.NewReader(file.Bytes()), false))
				got := w.content(into)
				if got["Person.shard_7.7"] != doc(7, "theirs", "theirs") || got["Person.shard_3.3"] != want["Person.shard_3.3"] {
					t.Errorf("record 7 is %s, record 3 is %s", got["Person.shard_7.7"], got["Person.shard_3.3"])
				}
				w.prove(into)
			})
			t.Run("into one with another index", func(t *testing.T) {
				into := w.session("index")
				compound := schema.NewIndex(schema.PlainIndex, "name", "email")
				w.define(into, person(compound))
				w.must(maintenance.Restore(w.ctx, into, bytes.NewReader(file.Bytes()), false))
				if merged := w.define(into, person()); len(merged.Def.Indexes) != len(everyKind)+1 {
					t.Errorf("the model has %+v", merged.Def.Indexes)
				}
				w.prove(into)
			})
		})
	}
}

// A restore that dies is done again from its beginning.
func TestRestoreAfterACrash(t *testing.T) {
	t.Parallel()
	w := begin(t)
	m := w.define(w.bucket, person(everyKind...))
	w.save(m, doc(1, "Ann", "a@x"), doc(2, "Bob", "b@x"))
	file, want := w.backup(w.bucket), w.content(w.bucket)
	for n := 0; ; n++ {
		into := w.session(fmt.Sprint("into", n))
		theirs := w.define(into, person(byEmail))
		w.save(theirs, doc(9, "Eve", "e@x"), doc(2, "Bob", "a@x"))
		crashing := fault.CrashAfter(into, n)
		err := maintenance.Restore(w.ctx, crashing, strings.NewReader(file), true)
		if !crashing.Crashed() {
			w.must(err)
			w.same("without a crash", w.content(into), want)
			if n < 8 {
				t.Errorf("%d writes were enough", n)
			}
			return
		}
		w.must(maintenance.Restore(w.ctx, into, strings.NewReader(file), true))
		w.same(fmt.Sprint("after a crash after write ", n), w.content(into), want)
	}
}

// The records of migrations come with the records of models, and before them: a restore that
// dies is done again, into a bucket that has nothing else, and in place of what there is.
func TestRestoreOfMigrationsAfterACrash(t *testing.T) {
	t.Parallel()
	w := begin(t)
	migrate := func(b *bucket.Bucket, names ...string) {
		var steps []migration.Step
		for _, name := range names {
			steps = append(steps, migration.Step{Name: name, Up: func(context.Context) error { return nil }})
		}
		_, err := (&migration.Runner{Store: b, Logger: slog.New(slog.DiscardHandler)}).Run(w.ctx, steps)
		w.must(err)
	}
	m := w.define(w.bucket, person(byName))
	migrate(w.bucket, "a", "b")
	w.save(m, doc(1, "Ann", "a@x"), doc(2, "Bob", "b@x"))
	file, want := w.backup(w.bucket), w.content(w.bucket)
	for _, deleteOthers := range []bool{false, true} {
		for n := 0; ; n++ {
			into := w.session(fmt.Sprintf("into-%t-%d", deleteOthers, n))
			if deleteOthers {
				migrate(into, "a", "c")
				w.save(w.define(into, person(byName)), doc(9, "Eve", "e@x"))
			}
			crashing := fault.CrashAfter(into, n)
			err := maintenance.Restore(w.ctx, crashing, strings.NewReader(file), deleteOthers)
			if !crashing.Crashed() {
				w.must(err)
				w.same("without a crash", w.content(into), want)
				break
			}
			has, err := migration.List(w.ctx, into)
			w.must(err)
			left, err := into.Count(w.ctx, keys.Records("Person"), store.Exactly)
			w.must(err)
			if !deleteOthers && left > 0 && len(has) != 2 {
				t.Errorf("after write %d there are %d records, and of the migrations %v", n, left, has)
			}
			w.must(maintenance.Restore(w.ctx, into, strings.NewReader(file), deleteOthers))
			w.same(fmt.Sprint("after a crash after write ", n), w.content(into), want)
		}
	}
}

// A file that cannot be restored whole changes nothing.
func TestRestoreRefuses(t *testing.T) {
	t.Parallel()
	w := begin(t)
	m := w.define(w.bucket, person(byName, byEmail))
	w.save(m, doc(1, "Ann", "a@x"), doc(2, "Bob", "b@x"))
	file := w.backup(w.bucket)
	small := testbed.StartServer(t, func(o *server.Options) { o.MaxPayload = 4 << 10 })
	for _, c := range []struct {
		name         string
		file         string
		there        func(w *world) // what the bucket has
		deleteOthers bool
		kind         error
		words        string
	}{
		{"cut off", file[:len(file)/2], nil, true, backup.ErrFile, ""},
		{"altered", file[:len(file)/2] + string(file[len(file)/2]^1) + file[len(file)/2+1:], nil, true, backup.ErrFile, ""},
		{"no backup", "PK\x03\x04", nil, true, backup.ErrFile, ""},
		{"another type", file, func(w *world) {
			def := person()
			def.Columns[1].Type = "int"
			w.define(w.bucket, def)
		}, false, errs.ErrSchema, "use DeleteOthers, or another bucket"},
		{"being moved", file, func(w *world) {
			w.define(w.bucket, person())
			w.put("_schema.Person", strings.Replace(w.stored(), `"layout":"native"`, `"layout":"native","moving":{"to":"sequelize"}`, 1))
		}, true, errs.ErrSchema, "let ChangeLayout come to its end first"},
		{"a newer catalogue", file, func(w *world) {
			w.define(w.bucket, person())
			w.put("_schema.Person", strings.Replace(w.stored(), `"format":1`, `"format":99`, 1))
		}, false, errs.ErrSchema, "newer natsorm"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := begin(t)
			if c.there != nil {
				c.there(w)
			}
			w.put("Person.shard_1.1", doc(1, "theirs", ""))
			before := w.content(w.bucket)
			w.refused(maintenance.Restore(w.ctx, w.bucket, strings.NewReader(c.file), c.deleteOthers), c.kind, c.words)
			w.same("after the refusal", w.content(w.bucket), before)
			w.remove("_schema.Person") // nothing is to be proved of it
		})
	}
	t.Run("too large", func(t *testing.T) {
		t.Parallel()
		from := begin(t)
		from.put("large", strings.Repeat("x", 5000))
		into := &world{T: t, ctx: from.ctx, server: small}
		into.bucket = into.session("b")
		into.refused(maintenance.Restore(from.ctx, into.bucket, strings.NewReader(from.backup(from.bucket)), false), errs.ErrInvalid, "key large takes 5000 bytes", "raise max_payload")
		into.same("after the refusal", into.content(into.bucket), map[string]string{})
	})
	t.Run("two records with one value", func(t *testing.T) {
		t.Parallel()
		into := begin(t)
		theirs := into.define(into.bucket, person(byName, byEmail))
		into.save(theirs, doc(7, "theirs", "a@x"))
		into.refused(maintenance.Restore(into.ctx, into.bucket, strings.NewReader(file), false), errs.ErrUnique, "two records have one unique value now")
		into.must(destroy(into.ctx, theirs, 7)) // as the error says
		into.repair(theirs.Def, func(p checking.Problem) bool { return p.Record != "" })
	})
	t.Run("a model that is being moved", func(t *testing.T) {
		t.Parallel()
		from := begin(t)
		settle(from, from.bucket, schema.Native)
		ctx, cancel := context.WithCancel(from.ctx)
		defer cancel()
		err := (&maintenance.LayoutChange{Grace: alone, Store: from.bucket, Model: "Person", To: schema.Sequelize, Progress: func(maintenance.Step, int, int) { cancel() }}).Run(ctx)
		if !errors.Is(err, context.Canceled) {
			t.Fatalf("the move ended with %v", err)
		}
		into := from.session("into")
		from.refused(maintenance.Restore(from.ctx, into, strings.NewReader(from.backup(from.bucket)), false), errs.ErrSchema, "take one from before or after that")
		from.same("after the refusal", from.content(into), map[string]string{})
		from.remove(keys.Schema("Person"))
	})
}
