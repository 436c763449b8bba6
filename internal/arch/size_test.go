package arch

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const (
	// maxPackage bounds the lines of a package, without tests: what is longer holds
	// more than one thing. The root package is the public API: most of its lines are
	// documentation, so only its code counts.
	maxPackage = 2500

	// maxPort bounds the methods of the port to the bucket.
	maxPort = 14
)

func TestPackagesAreSmall(t *testing.T) {
	t.Parallel()
	lines := map[string]int{}
	root := filepath.Join("..", "..")
	err := filepath.WalkDir(root, func(file string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if _, err := os.Stat(filepath.Join(file, "go.mod")); err == nil && file != root || strings.HasPrefix(d.Name(), ".") && d.Name() != ".." {
				return fs.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(file, ".go") || strings.HasSuffix(file, "_test.go") {
			return nil
		}
		raw, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		dir := filepath.Dir(file)
		for line := range strings.Lines(string(raw)) {
			if text := strings.TrimSpace(line); dir != root || text != "" && !strings.HasPrefix(text, "//") {
				lines[dir]++
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for dir, n := range lines {
		if n > maxPackage {
			t.Errorf("%s has %d lines, more than %d", dir, n, maxPackage)
		}
	}
	if len(lines) < 20 {
		t.Errorf("only %d packages were found", len(lines))
	}
}

func TestThePortIsSmall(t *testing.T) {
	t.Parallel()
	parsed, err := parser.ParseFile(token.NewFileSet(), filepath.Join("..", "store", "store.go"), nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	found := false
	ast.Inspect(parsed, func(n ast.Node) bool {
		spec, ok := n.(*ast.TypeSpec)
		if !ok || spec.Name.Name != "Store" {
			return true
		}
		found = true
		if n := spec.Type.(*ast.InterfaceType).Methods.NumFields(); n > maxPort {
			t.Errorf("store.Store has %d methods, more than %d", n, maxPort)
		}
		return false
	})
	if !found {
		t.Error("there is no store.Store")
	}
}

// Whether index entries are lists is asked by their layouts and by the executor that
// writes them. What others want to know of it has a name of its own there.
func TestOnlyTheExecutorAsksForLists(t *testing.T) {
	t.Parallel()
	allowed := map[string]bool{"layout": true, "commit": true}
	files, err := filepath.Glob(filepath.Join("..", "*", "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		if allowed[filepath.Base(filepath.Dir(file))] || strings.HasSuffix(file, "_test.go") {
			continue
		}
		raw, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(raw), ".Lists()") {
			t.Errorf("%s asks a layout whether its entries are lists", file)
		}
	}
}
