//go:build !unix

package testbed

import (
	"errors"
	"os"
)

// Suspend and Resume are not possible on this system.
func Suspend(*os.Process) error { return errors.ErrUnsupported }
func Resume(*os.Process) error  { return errors.ErrUnsupported }
