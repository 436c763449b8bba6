// Package guide_test runs the code of the pages here. Each page has its code in the test
// file of the same name.
package guide_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/natsorm/natsorm/internal/testbed"
)

// lines are the lines of a text without indentation and without empty ones.
func lines(text string) (out []string) {
	for line := range strings.Lines(text) {
		if line = strings.Join(strings.Fields(line), " "); line != "" { // gofmt aligns
			out = append(out, line)
		}
	}
	return out
}

// Every piece of Go in a page stands, line by line, in the test of that page.
func TestPages(t *testing.T) {
	t.Parallel()
	pages, err := filepath.Glob("*.md")
	if err != nil {
		t.Fatal(err)
	}
	if len(pages) < 6 {
		t.Fatalf("only %d pages", len(pages))
	}
	for _, page := range pages {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		code, err := os.ReadFile(strings.ReplaceAll(strings.TrimSuffix(page, ".md"), "-", "_") + "_test.go")
		if err != nil {
			t.Error(err)
			continue
		}
		run := "\n" + strings.Join(lines(string(code)), "\n") + "\n"
		pieces := strings.Split(string(text), "```go\n")[1:]
		if len(pieces) == 0 {
			t.Errorf("%s has no code", page)
		}
		for i, piece := range pieces {
			piece, _, closed := strings.Cut(piece, "```")
			if want := "\n" + strings.Join(lines(piece), "\n") + "\n"; !closed || !strings.Contains(run, want) {
				t.Errorf("%s: piece %d is not in its test:\n%s", page, i+1, piece)
			}
		}
	}
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestMain(m *testing.M) { testbed.Main(m) }
