//go:build unix

package testbed

import (
	"os"
	"syscall"
)

// Suspend stops a process, and Resume lets it go on. errors.ErrUnsupported where the system
// cannot.
func Suspend(p *os.Process) error { return p.Signal(syscall.SIGSTOP) }
func Resume(p *os.Process) error  { return p.Signal(syscall.SIGCONT) }
