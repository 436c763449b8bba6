// Package arch holds the architecture: who may import whom.
package arch

import (
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/natsorm/natsorm"

// layers are the packages from the bottom up. A package imports only packages
// of layers below its own; the test fails for one that is not listed.
var layers = [][]string{
	{"internal/readsize", "internal/delivery", "internal/errs", "internal/explain", "internal/flow", "internal/javascript", "internal/keyset", "internal/pace", "internal/testbed", "internal/testsize", "internal/usage", "internal/value"},
	{"internal/keys", "internal/refusal", "internal/workers"},
	{"internal/backup", "internal/dial", "internal/schema"},
	{"internal/document"},
	{"internal/cond", "internal/layout", "internal/row", "internal/store"},
	{"internal/message"},
	{"internal/codec", "internal/plan", "internal/commit", "internal/store/fault", "internal/store/storetest", "internal/wire", "internal/groupcommit"},
	{"internal/session", "internal/txn", "internal/query", "internal/catalogue", "internal/migration", "internal/exact", "internal/statistics", "internal/follow"},
	{"internal/bucket", "internal/building", "internal/checking"},
	{"internal/access", "internal/maintenance"},
	{"internal/records"},
	{"internal/alter", "internal/replica"},
	{"internal/typed"},
	{"internal/calls"},
	{""}, // natsorm itself
	{"embedded"},
	{"natsormtest"},
	{"examples/quickstart", "internal/arch", "internal/chaos"},
}

// network is what only these packages may import. Everything else speaks to the
// port, internal/store; the root opens the bucket, and counts what calls cost on
// the wire. The server is for the embedded package.
var network = map[string][]string{
	module + "/internal/bucket":         {""},
	module + "/internal/wire":           {"", "internal/bucket", "internal/session"},
	"github.com/nats-io/nats.go":        {"", "internal/dial", "internal/flow", "internal/message", "internal/refusal", "internal/usage", "internal/wire", "internal/session", "internal/bucket", "embedded", "natsormtest", "internal/chaos", "internal/testbed"},
	"github.com/nats-io/nats-server/v2": {"embedded", "internal/testbed"},
}

func TestImportsPointDown(t *testing.T) {
	rank := map[string]int{}
	for i, layer := range layers {
		for _, pkg := range layer {
			rank[pkg] = i
		}
	}
	seen := map[string]bool{}
	root := filepath.Join("..", "..")
	err := filepath.WalkDir(root, func(file string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if _, err := os.Stat(filepath.Join(file, "go.mod")); err == nil && file != root || strings.HasPrefix(d.Name(), ".") && d.Name() != ".." {
				return fs.SkipDir // another module, or not code
			}
			return nil
		}
		if !strings.HasSuffix(file, ".go") || strings.HasSuffix(file, "_test.go") && filepath.Base(file) != "arch_test.go" {
			return nil
		}
		rel, err := filepath.Rel(root, filepath.Dir(file))
		if err != nil {
			return err
		}
		pkg := strings.TrimPrefix(path.Clean(filepath.ToSlash(rel)), ".")
		seen[pkg] = true
		mine, ok := rank[pkg]
		if !ok {
			t.Errorf("package %q is in no layer; add it to layers", pkg)
			return nil
		}
		f, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		for _, imp := range f.Imports {
			target, err := strconv.Unquote(imp.Path.Value)
			if err != nil {
				return err
			}
			if target == module || strings.HasPrefix(target, module+"/") {
				other := strings.TrimPrefix(strings.TrimPrefix(target, module), "/")
				if rank[other] >= mine {
					t.Errorf("%s imports %s, which is not below it", file, target)
				}
			}
			for banned, allowed := range network {
				if (target == banned || strings.HasPrefix(target, banned+"/")) && !slices.Contains(allowed, pkg) {
					t.Errorf("%s imports %s", file, target)
				}
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for pkg := range rank {
		if !seen[pkg] {
			t.Errorf("package %q is in a layer and not in the tree", pkg)
		}
	}
}
