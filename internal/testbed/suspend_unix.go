//go:build unix

package testbed

import (
	"errors"
	"os"
	"syscall"
)

// Suspend stops a process that this one has started, and that is not stopped. It returns when none
// of its threads goes on any more, which is a while after the signal. Resume lets it go on.
// errors.ErrUnsupported where the system cannot.
func Suspend(p *os.Process) error {
	if err := p.Signal(syscall.SIGSTOP); err != nil {
		return err
	}
	for {
		var status syscall.WaitStatus
		switch _, err := syscall.Wait4(p.Pid, &status, syscall.WUNTRACED, nil); {
		case errors.Is(err, syscall.EINTR):
		case err != nil:
			return err
		case !status.Stopped(): // it has ended instead
			return os.ErrProcessDone
		default:
			return nil
		}
	}
}

func Resume(p *os.Process) error { return p.Signal(syscall.SIGCONT) }
