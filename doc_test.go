package natsorm_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/natsorm/natsorm"
)

var _ = docSnippets // it only has to compile

// docSnippets is the code of doc.go.
func docSnippets(ctx context.Context) error {
	type User struct {
		ID    int64  `json:"id"    orm:"primaryKey,auto"`
		Name  string `json:"name"  orm:"index"`
		Email string `json:"email" orm:"unique"`
		Age   int    `json:"age"`
	}

	db, err := natsorm.Open(ctx, natsorm.Config{Bucket: "shop"})
	errs := []error{err}
	users, err := natsorm.Define[User](ctx, db)
	errs = append(errs, err)

	err = users.Create(ctx, &User{Name: "Alice", Email: "alice@example.com", Age: 30})
	errs = append(errs, err)
	alice, err := users.FindOne(ctx, natsorm.Where{"email": "alice@example.com"})
	errs = append(errs, err)
	n, err := users.Update(ctx, natsorm.Set{"age": 31}, natsorm.Eq("id", alice.ID))
	errs = append(errs, err)
	_ = n
	n, err = users.Destroy(ctx, natsorm.Eq("id", alice.ID))
	errs = append(errs, err)
	_ = n

	page, total, err := users.FindAndCountAll(ctx, natsorm.Gte("age", 18), natsorm.OrderBy("-age"), natsorm.Limit(20))
	errs = append(errs, err)
	_, _ = page, total

	err = db.Transaction(ctx, func(ctx context.Context) error {
		n, err := users.Count(ctx, natsorm.Eq("name", "Alice"))
		if err != nil || n > 0 {
			return err
		}
		return users.Create(ctx, &User{Name: "Alice", Email: "alice@example.com"})
	})
	return errors.Join(append(errs, err)...)
}

// The code in doc.go is docSnippets, and the transaction in the README is an example: so
// both compile.
func TestDocSnippets(t *testing.T) {
	t.Parallel()
	read := func(name string) string { return string(must[[]byte](t)(os.ReadFile(name))) }
	_, transaction, found := strings.Cut(read("README.md"), "<!-- This is ExampleDB_Transaction. -->\n```go\n")
	transaction, _, closed := strings.Cut(transaction, "```")
	if !found || !closed {
		t.Fatal("no transaction in the README")
	}
	var doc []string
	for line := range strings.Lines(read("doc.go")) {
		if code, ok := strings.CutPrefix(line, "//\t"); ok {
			doc = append(doc, code)
		}
	}
	for _, c := range []struct{ source, code, compiled string }{
		{"doc.go", strings.Join(doc, ""), "doc_test.go"},
		{"README.md", strings.Replace(transaction, "err = db.", "return db.", 1), "example_test.go"},
	} {
		rest, n := read(c.compiled), 0
		for line := range strings.Lines(c.code) {
			line = strings.TrimSpace(line)
			_, after, found := strings.Cut(rest, line)
			if !found {
				t.Errorf("%s has %q, which does not follow in %s", c.source, line, c.compiled)
				continue
			}
			rest, n = after, n+1
		}
		if n < 10 {
			t.Errorf("only %d lines of code in %s", n, c.source)
		}
	}
}

// The files that the documentation names are there.
func TestDocsNameFiles(t *testing.T) {
	t.Parallel()
	named := regexp.MustCompile("`([a-z_]+/)*[a-z_]+\\.(go|pml)`")
	n := 0
	for _, page := range append(must[[]string](t)(filepath.Glob("docs/*.md")), "README.md", "CONTRIBUTING.md") {
		for _, name := range named.FindAllString(string(must[[]byte](t)(os.ReadFile(page))), -1) {
			n++
			if name = strings.Trim(name, "`"); name == "doc.go" {
				continue // of the packages beside it
			}
			if _, err := os.Stat(name); err != nil {
				t.Errorf("%s names %s: %v", page, name, err)
			}
		}
	}
	if n < 30 {
		t.Errorf("only %d files are named", n)
	}
}
