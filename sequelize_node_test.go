package natsorm_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/natsorm/natsorm"
	"github.com/natsorm/natsorm/embedded"
)

// node is a process that runs the Node library.
type node struct {
	t   *testing.T
	in  io.WriteCloser
	out *bufio.Scanner
}

func startNode(t *testing.T, library, server, bucket string) *node {
	t.Helper()
	cmd := exec.Command("node", "testdata/sequelize-natskv.cjs", library, server, bucket)
	cmd.Stderr = os.Stderr
	n := &node{t: t, in: must[io.WriteCloser](t)(cmd.StdinPipe()), out: bufio.NewScanner(must[io.ReadCloser](t)(cmd.StdoutPipe()))}
	n.out.Buffer(nil, 16<<20)
	ok(t, cmd.Start())
	t.Cleanup(func() {
		n.in.Close()
		ok(t, cmd.Wait())
	})
	return n
}

// call runs a method of the library and decodes what it returned.
func (n *node) call(out any, method string, args ...any) {
	n.t.Helper()
	line := must[[]byte](n.t)(json.Marshal(append([]any{method}, args...)))
	must[int](n.t)(n.in.Write(append(line, '\n')))
	if !n.out.Scan() {
		n.t.Fatalf("node has ended: %v", n.out.Err())
	}
	var failed struct{ Error string }
	if json.Unmarshal(n.out.Bytes(), &failed) == nil && failed.Error != "" {
		n.t.Fatalf("%s: %s", line, failed.Error)
	}
	if out != nil {
		ok(n.t, json.Unmarshal(n.out.Bytes(), out))
	}
}

// sameAsNode compares two buckets: lists by their bytes, documents by what they say.
func sameAsNode(t *testing.T, got, want map[string]string) {
	t.Helper()
	normal := func(b map[string]string) map[string]string {
		out := maps.Clone(b)
		for key, value := range out {
			var doc map[string]any
			if strings.Contains(key, ".shard_") && json.Unmarshal([]byte(value), &doc) == nil {
				out[key] = fmt.Sprint(doc)
			}
		}
		return out
	}
	sameBucket(t, normal(got), normal(want))
}

// Where NATSORM_SEQUELIZE_NATSKV names a directory with the Node library, compiled, and
// its dependencies, the same operations are done by it and by natsorm, and must leave
// the same keys and values; each then reads, and restores, what the other wrote.
func TestAgainstNodeLibrary(t *testing.T) {
	t.Parallel()
	library := os.Getenv("NATSORM_SEQUELIZE_NATSKV")
	if library == "" {
		t.Skip("NATSORM_SEQUELIZE_NATSKV is not set: it names a directory with dist/ and node_modules/ of sequelize-natskv")
	}
	library = must[string](t)(filepath.Abs(library))
	ctx := within(t)
	srv := serve(t, embedded.Config{Port: -1})
	open := func(name string) *natsorm.DB {
		db := must[*natsorm.DB](t)(natsorm.Open(ctx, natsorm.Config{Servers: []string{srv.URL()}, Bucket: name}))
		t.Cleanup(func() { db.Close() })
		return db
	}
	ours, theirs, moved := open("ours"), open("theirs"), open("moved")
	users := defineUser(t, ctx, ours)
	js, inOurs, inMoved := startNode(t, library, srv.URL(), "theirs"), startNode(t, library, srv.URL(), "ours"), startNode(t, library, srv.URL(), "moved")

	r := rand.New(rand.NewPCG(1, 2))
	one := func(values ...any) any { return values[r.IntN(len(values))] }
	there := map[float64]bool{}
	ids := []float64{0, 1, -1, 5, -5, 15, 16, 17, -16, -17, 123, 1 << 40, 1<<53 - 1, -(1<<53 - 1)}
	for range 600 {
		id := ids[r.IntN(len(ids))]
		doc := map[string]any{}
		set := func(column string, v any) {
			if r.IntN(4) > 0 {
				doc[column] = v
			}
		}
		set("name", one("Alice", "a@b", "a_b", "Zoë", "😀", "x/y", " ", "a.b", "null", "\n", "long "+strings.Repeat("é", 100), nil))
		set("email", one("alice@example.com", "bob@example.com", nil))
		set("score", one(0.0, -1.0, 1.5, 1e20, 1e21, 1e-7, 123456789012345680000.0, 0.1, nil))
		switch {
		case !there[id]:
			doc["id"] = id
			set("any", one([]any{1, nil, "a b"}, map[string]any{"a": 1}, true, "text"))
			js.call(nil, "create", doc)
			rec := natsorm.Record(maps.Clone(doc))
			rec["id"] = int64(id)
			ok(t, users.Create(ctx, &rec))
			there[id] = true
		case r.IntN(3) == 0:
			js.call(nil, "destroy", map[string]any{"where": map[string]any{"id": id}})
			if n := must[int](t)(users.Destroy(ctx, natsorm.Eq("id", int64(id)))); n != 1 {
				t.Errorf("%v was not there", id)
			}
			delete(there, id)
		case len(doc) > 0:
			js.call(nil, "update", doc, map[string]any{"where": map[string]any{"id": id}})
			if n := must[int](t)(users.Update(ctx, natsorm.Set(doc), natsorm.Eq("id", int64(id)))); n != 1 {
				t.Errorf("%v was not there", id)
			}
		}
	}
	sameAsNode(t, bucket(t, ctx, ours), bucket(t, ctx, theirs))

	// Each finds the other's records. (Node does not drop records of another value.)
	theirUsers := defineUser(t, ctx, theirs)
	for _, name := range []string{"Alice", "Zoë", "😀", "a.b", " "} {
		var found []map[string]any
		inOurs.call(&found, "findAll", map[string]any{"where": map[string]any{"name": name}})
		found = slices.DeleteFunc(found, func(m map[string]any) bool { return m["name"] != name })
		got := must[[]*natsorm.Record](t)(theirUsers.FindAll(ctx, natsorm.Eq("name", name)))
		if len(got) != len(found) {
			t.Errorf("%q: natsorm finds %d, Node %d", name, len(got), len(found))
		}
	}

	// Each restores the other's backup.
	file := filepath.Join(t.TempDir(), "backup.json")
	js.call(nil, "backup", file)
	copied := open("copied")
	ok(t, copied.Restore(ctx, bytes.NewReader(must[[]byte](t)(os.ReadFile(file)))))
	sameBucket(t, bucket(t, ctx, copied), bucket(t, ctx, theirs))
	ok(t, os.WriteFile(file, backedUp(t, ctx, ours, natsorm.SequelizeFile()), 0o600))
	inMoved.call(nil, "restore", file, map[string]any{"clear": true})
	sameBucket(t, bucket(t, ctx, moved), bucket(t, ctx, ours))
	inMoved.call(nil, "backup", file)
	var node, natsormed map[string]struct{ Value string }
	ok(t, json.Unmarshal(must[[]byte](t)(os.ReadFile(file)), &node))
	ok(t, json.Unmarshal(backedUp(t, ctx, moved, natsorm.SequelizeFile()), &natsormed))
	if !reflect.DeepEqual(node, natsormed) {
		t.Errorf("the backups differ: %d and %d keys", len(node), len(natsormed))
	}
	for _, db := range []*natsorm.DB{ours, theirs} { // Node leaves consumers behind
		if report := must[natsorm.Report](t)(db.Check(ctx)); !report.Clean() {
			t.Errorf("check says %s", report)
		}
	}
}

func defineUser(t *testing.T, ctx context.Context, db *natsorm.DB) *natsorm.Model[natsorm.Record] {
	t.Helper()
	return must[*natsorm.Model[natsorm.Record]](t)(natsorm.DefineRecord(ctx, db, natsorm.Schema{Name: "User", Columns: []natsorm.ColumnSchema{
		{Name: "id", Type: natsorm.Int, PrimaryKey: true}, {Name: "name", Type: natsorm.String, Index: true}, {Name: "email", Type: natsorm.String, Index: true},
		{Name: "score", Type: natsorm.Float, Index: true}, {Name: "any", Type: natsorm.JSON, Index: true},
	}}, natsorm.SequelizeLayout()))
}
