package natsorm_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// The program in the README compiles, and does what it says.
func TestREADMEProgram(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("links a program")
	}
	readme, err := os.ReadFile("README.md")
	ok(t, err)
	_, rest, found := strings.Cut(string(readme), "```go\npackage main")
	program, _, closed := strings.Cut(rest, "```")
	if !found || !closed {
		t.Fatal("no program in the README")
	}
	// Inside the module, without being there: an overlay.
	dir := t.TempDir()
	ok(t, os.WriteFile(filepath.Join(dir, "main.go"), []byte("package main"+program), 0o644))
	at := must[string](t)(filepath.Abs(filepath.Join("examples", "readme", "main.go")))
	overlay := must[[]byte](t)(json.Marshal(map[string]any{"Replace": map[string]string{at: filepath.Join(dir, "main.go")}}))
	ok(t, os.WriteFile(filepath.Join(dir, "overlay.json"), overlay, 0o644))
	exe := filepath.Join(t.TempDir(), "readme")
	if out, err := exec.Command("go", "build", "-overlay", filepath.Join(dir, "overlay.json"), "-o", exe, "./examples/readme").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	data := t.TempDir()
	for run, want := range []string{
		"found Alice with id 1\nupdated 1\n",
		"still there: natsorm: User.email \"alice@example.com\" is taken by User 1; choose another value, or change that record first\nfound Alice with id 1\nupdated 1\n",
	} {
		cmd := exec.Command(exe)
		cmd.Dir = data
		if out, err := cmd.CombinedOutput(); err != nil || string(out) != want {
			t.Errorf("run %d: %v, prints\n%swant\n%s", run+1, err, out, want)
		}
	}
}
