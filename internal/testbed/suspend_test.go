//go:build unix

package testbed

import (
	"bufio"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// A process that is suspended does nothing any more when Suspend returns, and can be suspended
// again after Resume.
func TestSuspend(t *testing.T) {
	t.Parallel()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	cmd := exec.Command("sh", "-c", "while :; do echo; done")
	cmd.Stdout = w
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	_ = w.Close()
	defer func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}()
	lines := bufio.NewReader(r)
	for range 20 {
		if _, err := lines.ReadString('\n'); err != nil { // it goes on
			t.Fatal(err)
		}
		if err := Suspend(cmd.Process); err != nil {
			t.Fatal(err)
		}
		if state := stateOf(t, cmd.Process.Pid); state != "" && state != "T" {
			t.Errorf("it is in state %s", state)
		}
		if err := Resume(cmd.Process); err != nil {
			t.Fatal(err)
		}
	}
}

// stateOf is the state of a process as Linux shows it, "T" for stopped; "" elsewhere.
func stateOf(t *testing.T, pid int) string {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	if errors.Is(err, fs.ErrNotExist) {
		return ""
	}
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(raw), ") ")
	state, _, _ := strings.Cut(rest, " ")
	return state
}
