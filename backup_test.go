package natsorm_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/natsorm/natsorm"
	"github.com/natsorm/natsorm/internal/backup"
	"github.com/natsorm/natsorm/internal/testsize"
	"github.com/natsorm/natsorm/natsormtest"
)

func backedUp(t *testing.T, ctx context.Context, db *natsorm.DB, opts ...natsorm.BackupOption) []byte {
	t.Helper()
	var file bytes.Buffer
	ok(t, db.Backup(ctx, &file, opts...))
	return file.Bytes()
}

// What a bucket holds is the same after backup, clear and restore, in both formats
// and both layouts.
func TestBackupRoundTrip(t *testing.T) {
	t.Parallel()
	for name, opts := range map[string][]natsorm.BackupOption{"native file": nil, "sequelize file": {natsorm.SequelizeFile()}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx := within(t)
			db := natsormtest.New(t)
			users, nodes := define[user](t, db), defineNode[nodeUser](t, db)
			n := testsize.Pick(300, 1200, 3000)
			var us []*user
			var ns []*nodeUser
			for i := range n {
				us = append(us, &user{ID: int64(i), Name: fmt.Sprint("n", i%50), Email: fmt.Sprint(i, "@x"), Bio: "zażółć \x7f \"<&>"})
				ns = append(ns, &nodeUser{ID: int64(i - 5), Name: fmt.Sprint("n", i%500)})
			}
			ok(t, users.BulkCreate(ctx, us))
			ok(t, nodes.BulkCreate(ctx, ns))
			must[int](t)(users.Destroy(ctx, natsorm.Lt("id", 10)))
			must[uint64](t)(db.KV().Put(ctx, "other.bytes", []byte{0, 255, '\n'}))
			must[uint64](t)(db.KV().Put(ctx, "other.empty", nil))
			want := bucket(t, ctx, db)
			file := backedUp(t, ctx, db, opts...)

			// Into the same bucket, which has changed.
			must[int](t)(users.Update(ctx, natsorm.Set{"name": "changed"}, natsorm.Lt("id", 100)))
			must[int](t)(nodes.Destroy(ctx, natsorm.Lt("id", 100)))
			ok(t, users.Create(ctx, &user{ID: 1e6, Email: "0@x"}))
			ok(t, db.Restore(ctx, bytes.NewReader(file), natsorm.DeleteOthers()))
			sameBucket(t, bucket(t, ctx, db), want)
			if found := must[[]*user](t)(users.FindAll(ctx, natsorm.Eq("name", "n11"))); len(found) != n/50 {
				t.Errorf("%d are found", len(found))
			}

			// Into another one, from what is no file.
			other := natsormtest.New(t)
			ok(t, other.Restore(ctx, io.MultiReader(bytes.NewReader(file))))
			sameBucket(t, bucket(t, ctx, other), want)
			again := define[user](t, other)
			if found := must[[]*user](t)(again.FindAll(ctx, natsorm.Eq("email", "77@x"))); len(found) != 1 || found[0].ID != 77 {
				t.Errorf("found %v", found)
			}
			natsormtest.Prove(t, db)
		})
	}
}

// A backup that is taken while transactions move money has all of it, and its
// indexes agree with its records.
func TestBackupDuringWrites(t *testing.T) {
	t.Parallel()
	for _, opts := range [][]natsorm.BackupOption{nil, {natsorm.SequelizeFile()}} {
		ctx := within(t)
		db := natsormtest.New(t)
		accounts := define[account](t, db)
		nodes := defineNode[nodeUser](t, db)
		n := testsize.Pick(200, 500, 2000)
		all := make([]*account, n)
		for i := range all {
			all[i] = &account{ID: i, Number: fmt.Sprint(i), Owner: fmt.Sprint("o", i%7), Balance: 10}
		}
		ok(t, accounts.BulkCreate(ctx, all))
		var stop atomic.Bool
		var wg sync.WaitGroup
		for w := range 4 {
			wg.Go(func() {
				for i := w; !stop.Load(); i += 4 {
					err := db.Transaction(ctx, func(ctx context.Context) error {
						from, err := accounts.FindByPK(ctx, i*7%n)
						if err != nil {
							return err
						}
						to, err := accounts.FindByPK(ctx, i*13%n)
						if err != nil || from.ID == to.ID {
							return err
						}
						from.Balance, to.Balance = from.Balance-1, to.Balance+1
						from.Owner, to.Owner = to.Owner, from.Owner
						if err := accounts.Save(ctx, from); err != nil {
							return err
						}
						if err := accounts.Save(ctx, to); err != nil {
							return err
						}
						u := &nodeUser{ID: int64(i % 50), Name: fmt.Sprint("n", i%9)}
						if i%3 == 0 {
							_, err := nodes.Destroy(ctx, natsorm.Eq("id", u.ID))
							return err
						}
						_, err = nodes.Upsert(ctx, u)
						return err
					})
					if err != nil {
						t.Error(err)
						return
					}
				}
			})
		}
		for range testsize.Pick(2, 3, 5) {
			file := backedUp(t, ctx, db, opts...)
			other := natsormtest.New(t) // which proves in the end that its indexes are right
			ok(t, other.Restore(ctx, bytes.NewReader(file)))
			if report := must[natsorm.Report](t)(other.Check(ctx)); !report.Clean() {
				t.Errorf("check says %s", report)
			}
			if sum := must[float64](t)(define[account](t, other).Sum(ctx, "balance")); sum != float64(10*n) {
				t.Errorf("there is %v", sum)
			}
		}
		stop.Store(true)
		wg.Wait()
	}
}

// A file that is not whole is refused, and the bucket is as it was.
func TestRestoreRefuses(t *testing.T) {
	t.Parallel()
	ctx := within(t)
	db := natsormtest.New(t)
	users := define[user](t, db)
	for i := range 200 {
		ok(t, users.Create(ctx, &user{ID: int64(i), Name: "n", Email: fmt.Sprint(i)}))
	}
	file, node := backedUp(t, ctx, db), backedUp(t, ctx, db, natsorm.SequelizeFile())
	plain := must[[]byte](t)(io.ReadAll(must[*gzip.Reader](t)(gzip.NewReader(bytes.NewReader(file)))))
	zip := func(lines []byte) []byte {
		var out bytes.Buffer
		w := gzip.NewWriter(&out)
		must[int](t)(w.Write(lines))
		ok(t, w.Close())
		return out.Bytes()
	}
	lines := bytes.SplitAfter(plain, []byte{'\n'})
	want := bucket(t, ctx, db)
	files := map[string][]byte{
		"empty":            {},
		"text":             []byte("hello"),
		"an array":         []byte("[]"),
		"a number":         []byte("{\"a\":1}"),
		"no header":        zip(bytes.Join(lines[1:], nil)),
		"an entry is gone": zip(bytes.Join(slices.Delete(slices.Clone(lines), 5, 6), nil)),
		"two are swapped":  zip(bytes.Join(append(append(slices.Clone(lines[:5]), lines[6], lines[5]), lines[7:]...), nil)),
		"altered value":    zip(bytes.Replace(plain, []byte(`\"name\":\"n\"`), []byte(`\"name\":\"m\"`), 1)),
		"no trailer":       zip(bytes.Join(lines[:len(lines)-2], nil)),
		"twice":            append(slices.Clone(file), file...),
		"newer":            zip(bytes.Replace(plain, []byte(`"format":1`), []byte(`"format":2`), 1)),
		"no base64":        bytes.Replace(node, []byte(`"value": "ey`), []byte(`"value": "*y`), 1),
		"a wildcard":       []byte(`{"User.>": {"value": "", "revision": 1}}`),
		"a space":          []byte(`{"a b": {"value": "", "revision": 1}}`),
		"no value":         []byte(`{"a": {"revision": 1}}`),
		"more":             append(slices.Clone(node), " {}"...),
	}
	for i := 1; i < 40; i++ {
		files[fmt.Sprint("cut at ", i)] = file[:len(file)*i/40]
		files[fmt.Sprint("JSON cut at ", i)] = node[:len(node)*i/40]
	}
	// Bytes of the whole file, also those that change what the catalogue says; but not when
	// and on which system it was compressed, of which gzip keeps no checksum, nor the few
	// bits that say nothing, as those that fill a byte: no reader can see them.
	const compressedWhen, content = 3, 10
	unseen, seen := 0, len(files)
	flip := func(name string, at int, bit byte) {
		flipped := slices.Clone(file)
		flipped[at] ^= bit
		if r, err := gzip.NewReader(bytes.NewReader(flipped)); err == nil {
			if read, err := io.ReadAll(r); err == nil && bytes.Equal(read, plain) {
				unseen++
				return
			}
		}
		files[fmt.Sprint(name, at)] = flipped
	}
	for at := 0; at < len(file); at += testsize.Pick(41, 7, 1) {
		if compressedWhen <= at && at < content {
			continue
		}
		flip("flipped at ", at, 0x10)
		if at%3 == 0 {
			flip("flipped lowest at ", at, 0x01)
		}
	}
	if seen = len(files) - seen; unseen > 2+seen/1000 {
		t.Errorf("%d of %d flips change nothing that is read", unseen, unseen+seen)
	}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if err := db.Restore(ctx, bytes.NewReader(files[name]), natsorm.DeleteOthers()); !errors.Is(err, natsorm.ErrBackup) {
			t.Errorf("%s: %v", name, err)
		}
	}
	sameBucket(t, bucket(t, ctx, db), want)
	ok(t, db.Restore(ctx, bytes.NewReader(file)))
}

// The Node library's own file, byte for byte, as it writes it.
func TestSequelizeFile(t *testing.T) {
	t.Parallel()
	ctx := within(t)
	value := base64.StdEncoding.EncodeToString([]byte(`{"id":1,"name":"Ann","email":"a@b"}`))
	list := base64.StdEncoding.EncodeToString([]byte(`[1]`))
	file := "{\n  \"User.index.name.Ann\": {\n    \"value\": \"" + list + "\",\n    \"revision\": 2\n  },\n  \"User.shard_1.1\": {\n    \"value\": \"" + value + "\",\n    \"revision\": 1\n  }\n}"
	db := natsormtest.New(t)
	ok(t, db.Restore(ctx, strings.NewReader(file)))
	got := string(backedUp(t, ctx, db, natsorm.SequelizeFile()))
	var entries map[string]struct{ Revision uint64 }
	ok(t, json.Unmarshal([]byte(got), &entries))
	for key, revision := range map[string]uint64{"User.index.name.Ann": 2, "User.shard_1.1": 1} {
		file = strings.Replace(file, fmt.Sprintf("\"revision\": %d\n", revision), fmt.Sprintf("\"revision\": %d \n", entries[key].Revision), 1)
	}
	if want := strings.ReplaceAll(file, " \n", "\n"); got != want {
		t.Errorf("got %s\nwant %s", got, want)
	}
	users := defineNode[nodeUser](t, db, natsorm.Name("User")) // builds the lists that Node did not keep
	if found := must[[]*nodeUser](t)(users.FindAll(ctx, natsorm.Eq("email", "a@b"))); len(found) != 1 {
		t.Errorf("found %v", found)
	}
	empty := natsormtest.New(t)
	if got := string(backedUp(t, ctx, empty, natsorm.SequelizeFile())); got != "{}" {
		t.Errorf("of nothing: %q", got)
	}
	ok(t, empty.Restore(ctx, strings.NewReader("{}")))
}

// What a file says is judged when all of it was read: one that was cut off is no backup,
// whatever its beginning says.
func TestRestoreJudgesWholeFiles(t *testing.T) {
	t.Parallel()
	ctx := within(t)
	db := natsormtest.New(t)
	for name, first := range map[string]backup.Entry{
		"a catalogue of a newer natsorm": {Key: "_schema.User", Value: []byte(`{"format":99,"name":"User"}`)},
		"a value that is too large":      {Key: "User.shard_1.1", Value: make([]byte, 2<<20)},
	} {
		var file bytes.Buffer
		w := must[*backup.Writer](t)(backup.NewWriter(&file, backup.Header{Bucket: "x"}))
		first.Revision = 1
		ok(t, w.Write(first))
		noise := make([]byte, 100_000)
		for i := range 20 { // so much that the first line is in the file
			_, _ = rand.Read(noise) // it never fails
			ok(t, w.Write(backup.Entry{Key: fmt.Sprint("k.", i), Value: noise, Revision: uint64(i) + 2}))
		}
		if err := db.Restore(ctx, &file); !errors.Is(err, natsorm.ErrBackup) || errors.Is(err, natsorm.ErrSchema) || errors.Is(err, natsorm.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Without DeleteOthers, what is there stays, and the indexes are right in the end.
func TestRestoreMerges(t *testing.T) {
	t.Parallel()
	ctx := within(t)
	db := natsormtest.New(t)
	users := define[user](t, db)
	for i := range 20 {
		ok(t, users.Create(ctx, &user{ID: int64(i), Name: "old", Email: fmt.Sprint(i, "@x")}))
	}
	file := backedUp(t, ctx, db)
	must[int](t)(users.Update(ctx, natsorm.Set{"name": "new"}, natsorm.Lt("id", 10)))
	must[int](t)(users.Destroy(ctx, natsorm.Gte("id", 15)))
	ok(t, users.Create(ctx, &user{ID: 100, Name: "new", Email: "100@x"}))
	ok(t, db.Restore(ctx, bytes.NewReader(file)))
	if n := must[int](t)(users.Count(ctx, natsorm.Eq("name", "old"))); n != 20 {
		t.Errorf("%d are restored", n)
	}
	if n := must[int](t)(users.Count(ctx)); n != 21 {
		t.Errorf("%d are there", n)
	}
	if report := must[natsorm.Report](t)(db.Check(ctx)); !report.Clean() {
		t.Errorf("check says %s", report)
	}

	// Another record has a restored one's value.
	must[int](t)(users.Destroy(ctx, natsorm.Eq("id", 3)))
	ok(t, users.Create(ctx, &user{ID: 200, Email: "3@x"}))
	if err := db.Restore(ctx, bytes.NewReader(file)); !errors.Is(err, natsorm.ErrUnique) {
		t.Errorf("got %v", err)
	}
	must[int](t)(users.Destroy(ctx, natsorm.Eq("id", 200)))
	must[natsorm.Report](t)(db.Check(ctx, natsorm.Repair()))

	// A model with the same name and another layout.
	other := natsormtest.New(t)
	define[user](t, other, natsorm.Shards(7))
	if err := other.Restore(ctx, bytes.NewReader(file)); !errors.Is(err, natsorm.ErrSchema) {
		t.Errorf("got %v", err)
	}
	ok(t, other.Restore(ctx, bytes.NewReader(file), natsorm.DeleteOthers()))
	// A handle of the model before finds the records of the one that was restored.
	if n := must[int](t)(users.Count(ctx)); n != 21 {
		t.Errorf("%d are there", n)
	}

	// What was deleted while the backup was taken is not in it, and nothing is deleted.
	var made bytes.Buffer
	w := must[*backup.Writer](t)(backup.NewWriter(&made, backup.Header{}))
	for _, e := range []backup.Entry{
		{Key: "user.shard_1.1", Deleted: true}, {Key: "_schema.user", Deleted: true}, {Key: "_sequence.user", Deleted: true},
		{Key: "other", Value: []byte("1")}, {Key: "user.shard_2.2", Value: []byte(`{}`)}, {Key: "user.shard_2.2", Deleted: true},
		{Key: "_anchor", Value: []byte("x")}, {Key: "_sequence.nobody", Value: []byte("text")},
	} {
		ok(t, w.Write(e))
	}
	ok(t, w.Close())
	want := bucket(t, ctx, db)
	want["other"] = "1"
	ok(t, db.Restore(ctx, &made))
	sameBucket(t, bucket(t, ctx, db), want)
	if len(must[[]natsorm.Schema](t)(db.Models(ctx))) != 1 {
		t.Error("the catalogue is gone")
	}

	// An index that the backup does not know is there after a restore.
	more := natsormtest.New(t)
	indexed := define[user](t, more, natsorm.Index("bio"))
	ok(t, more.Restore(ctx, bytes.NewReader(file), natsorm.DeleteOthers()))
	if n := must[int](t)(indexed.Count(ctx, natsorm.Eq("bio", ""))); n != 20 {
		t.Errorf("%d are found", n)
	}
}

// Many records of each layout are the same after backup, clear and restore.
func TestBackupOfManyRecords(t *testing.T) {
	t.Parallel()
	n := testsize.Pick(500, 5000, 100_000)
	for _, layout := range []string{"native", "sequelize"} {
		t.Run(layout, func(t *testing.T) {
			t.Parallel()
			ctx := within(t)
			db := natsormtest.New(t)
			users := defineIn(t, db, layout)
			all := make([]*nodeUser, n)
			for i := range all {
				all[i] = &nodeUser{ID: int64(i - n/2), Name: fmt.Sprint("n", i/3), Score: ptr(float64(i) / 2)}
			}
			ok(t, users.BulkCreate(ctx, all))
			documents := func() map[string]string {
				out := make(map[string]string, n)
				w := must[jetstream.KeyWatcher](t)(db.KV().Watch(ctx, "User.*.*", jetstream.IgnoreDeletes()))
				for e := range w.Updates() {
					if e == nil {
						break
					}
					out[e.Key()] = string(e.Value())
				}
				ok(t, w.Stop())
				return out
			}
			want := documents()
			if len(want) != n {
				t.Fatalf("%d records", len(want))
			}
			var opts []natsorm.BackupOption
			if layout == "sequelize" {
				opts = append(opts, natsorm.SequelizeFile())
			}
			file := backedUp(t, ctx, db, opts...)
			ok(t, users.Truncate(ctx))
			if left := len(documents()); left != 0 {
				t.Fatalf("%d records are left", left)
			}
			ok(t, db.Restore(ctx, bytes.NewReader(file), natsorm.DeleteOthers()))
			if !maps.Equal(documents(), want) {
				t.Error("the documents are not the same")
			}
			if report := must[natsorm.Report](t)(db.Check(ctx)); !report.Clean() || report.Models[0].Records != n {
				t.Errorf("check says %.300s", report)
			}
		})
	}
}
