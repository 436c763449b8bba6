package errs_test

import (
	"errors"
	"fmt"
	"io"
	"testing"

	"github.com/natsorm/natsorm/internal/errs"
)

func TestErrors(t *testing.T) {
	t.Parallel()
	unique := &errs.UniqueError{Model: "User", Columns: []string{"city", "name"}, Value: "Oslo, Ann", Owner: "7"}
	for _, c := range []struct {
		err   error
		text  string
		is    []error
		isNot []error
	}{
		{unique, `natsorm: User.city-name "Oslo, Ann" is taken by User 7; choose another value, or change that record first`,
			[]error{errs.ErrUnique}, []error{errs.ErrExists, errs.ErrInvalid}},
		{errs.Invalidf("User", "age", "%d is too large", 300), "natsorm: invalid User: age: 300 is too large",
			[]error{errs.ErrInvalid}, []error{errs.ErrSchema, errs.ErrCorrupt}},
		{&errs.ValidationError{Model: "User", Faults: []errs.FieldFault{{Problem: "too large"}, {Field: "age", Problem: "no int"}}}, "natsorm: invalid User: too large; age: no int",
			[]error{errs.ErrInvalid}, nil},
		{&errs.ValidationError{Model: "User"}, "natsorm: invalid User", []error{errs.ErrInvalid}, nil},
		{&errs.PartialError{Model: "User", Changed: 3, Err: unique}, "natsorm: stopped after 3 User records were changed: " + unique.Error(),
			[]error{errs.ErrUnique, unique}, []error{errs.ErrInvalid}},
		{&errs.CorruptError{Model: "User", Key: "User.shard_1.1", Err: io.ErrUnexpectedEOF}, `natsorm: corrupt User record at key "User.shard_1.1": unexpected EOF; mend or delete that key`,
			[]error{errs.ErrCorrupt, io.ErrUnexpectedEOF}, []error{errs.ErrInvalid}},
	} {
		if c.err.Error() != c.text {
			t.Errorf("%T says\n%s\nwant\n%s", c.err, c.err, c.text)
		}
		wrapped := fmt.Errorf("call: %w", c.err)
		for _, target := range c.is {
			if !errors.Is(wrapped, target) {
				t.Errorf("%T is not %v", c.err, target)
			}
		}
		for _, target := range c.isNot {
			if errors.Is(wrapped, target) {
				t.Errorf("%T is %v", c.err, target)
			}
		}
	}

	var found *errs.UniqueError
	if err := fmt.Errorf("call: %w", &errs.PartialError{Err: unique}); !errors.As(err, &found) || found != unique {
		t.Errorf("what stopped a call is not found in its error: %v", found)
	}
	var invalid *errs.ValidationError
	if !errors.As(errs.Invalidf("User", "age", "wrong"), &invalid) || invalid.Model != "User" || len(invalid.Faults) != 1 || invalid.Faults[0] != (errs.FieldFault{Field: "age", Problem: "wrong"}) {
		t.Errorf("the fault is %+v", invalid)
	}
}
