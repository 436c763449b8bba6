package arch

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// maxModel bounds the machine code, in bytes, that Go makes again for each model of a program.
// With go1.26 on amd64 it is 52 kB; with a generic core it was 265 kB.
const maxModel = 100_000

// What is generic is compiled again for each type of a model, in every program that has one.
func TestModelsCompileToLittle(t *testing.T) {
	t.Parallel()
	one, many := codeOf(t, 1), codeOf(t, 11)
	if each := (many - one) / 10; each > maxModel || each < 1000 {
		t.Errorf("a model takes %d bytes of code, and should take 1000 to %d: what does not need the type T belongs in a function without it", each, maxModel)
	}
}

// codeOf is the size of the code of a package that uses some models.
func codeOf(t *testing.T, models int) (size int) {
	t.Helper()
	var text strings.Builder
	text.WriteString("package main\n\nimport (\n\t\"context\"\n\n\t\"github.com/natsorm/natsorm\"\n)\n\nfunc main() {}\n")
	for i := range models {
		fmt.Fprintf(&text, `
type T%d struct {
	ID   string `+"`orm:\"primaryKey\"`"+`
	Name%d string
}

func use%d(ctx context.Context, db *natsorm.DB) {
	m, _ := natsorm.Define[T%d](ctx, db)
	_ = m.Create(ctx, &T%d{})
}
`, i, i, i, i, i)
	}
	dir, err := filepath.Abs("models")
	if err != nil {
		t.Fatal(err)
	}
	// The package is laid over this directory, because it has to be in the module.
	source, overlay := filepath.Join(t.TempDir(), "main.go"), filepath.Join(t.TempDir(), "overlay.json")
	replace, err := json.Marshal(map[string]any{"Replace": map[string]string{filepath.Join(dir, "main.go"): source}})
	if err != nil {
		t.Fatal(err)
	}
	for file, content := range map[string]string{source: text.String(), overlay: string(replace)} {
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	archive := strings.TrimSpace(run(t, "list", "-overlay", overlay, "-export", "-f", "{{.Export}}", "./models"))
	for line := range strings.Lines(run(t, "tool", "nm", "-size", archive)) {
		f := strings.Fields(line) // its address, size, type and name
		if len(f) < 4 || f[2] != "T" && f[2] != "t" {
			continue
		}
		n, err := strconv.Atoi(f[1])
		if err != nil {
			t.Fatal(err)
		}
		size += n
	}
	return size
}

func run(t *testing.T, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", args...)
	var problems strings.Builder
	cmd.Stderr = &problems
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go %s: %v\n%s", strings.Join(args, " "), err, problems.String())
	}
	return string(out)
}
