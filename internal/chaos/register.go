package chaos

import (
	"fmt"

	"github.com/anishathalye/porcupine"
)

// Verb is what an operation does to a record.
type Verb string

const (
	Create  Verb = "create"  // a record that is not there
	Read    Verb = "read"    // it
	Update  Verb = "update"  // it, whatever it holds
	Save    Verb = "save"    // it, if it still holds what the caller read
	Destroy Verb = "destroy" // it
)

// RegisterInput is an operation on one record. No two writes have the same value, so a
// value says which write a read has seen.
type RegisterInput struct {
	Verb  Verb
	Key   int64
	Value int64 // to write
	Want  int64 // what Save has read
}

// RegisterOutput is the answer to a RegisterInput. Done is false for a write that was
// refused, because the record was there, or was not, or had changed.
type RegisterOutput struct {
	Done    bool
	Value   int64  // what Read found
	Version uint64 // of the record that was read or written; 0 when the answer does not say
}

// register is the state of one record.
type register struct {
	Live    bool
	Value   int64
	Version uint64 // the highest that was seen; the record's own is not lower
}

// RegisterModel allows a history of RegisterInput and RegisterOutput in which
// each record is a register: operations take effect one after the other, each
// at one instant between call and return, and versions only grow.
func RegisterModel() porcupine.Model {
	return porcupine.Model{
		Partition: byKey(func(input any) any { return input.(RegisterInput).Key }),
		Init:      func() any { return register{} },
		Step: func(state, input, output any) (bool, any) {
			ok, next := state.(register).step(input.(RegisterInput), output)
			return ok, next
		},
		DescribeOperation: func(input, output any) string {
			in := input.(RegisterInput)
			what := fmt.Sprintf("%s %d", in.Verb, in.Key)
			switch in.Verb {
			case Create, Update:
				what += fmt.Sprintf(" := %d", in.Value)
			case Save:
				what += fmt.Sprintf(" := %d if %d", in.Value, in.Want)
			}
			switch out, known := output.(RegisterOutput); {
			case !known:
				return what + ": ?"
			case !out.Done:
				return what + ": no"
			case in.Verb == Read:
				return fmt.Sprintf("%s: %d, version %d", what, out.Value, out.Version)
			default:
				return fmt.Sprintf("%s: version %d", what, out.Version)
			}
		},
		DescribeState: func(state any) string { return fmt.Sprintf("%+v", state) },
	}
}

// step reports whether the operation can have this answer in this state, and returns the
// state after it. A nil answer is an unknown one, and any is possible: the operation does
// what it can do in this state.
func (r register) step(in RegisterInput, output any) (bool, register) {
	possible := r.Live
	switch in.Verb {
	case Create:
		possible = !r.Live
	case Save:
		possible = r.Live && r.Value == in.Want
	}
	out, known := output.(RegisterOutput)
	if known && out.Done != possible {
		return false, r
	}
	if !possible {
		return true, r
	}
	next := r
	switch in.Verb {
	case Read:
		if known && (out.Value != r.Value || out.Version < r.Version) {
			return false, r
		}
	case Destroy:
		next.Live, next.Value = false, 0
	default:
		next.Live, next.Value = true, in.Value
		if known && out.Version != 0 && out.Version <= r.Version {
			return false, r
		}
	}
	next.Version = max(r.Version, out.Version)
	return true, next
}

// byKey splits a history into one for each key. The keys are independent, so the history
// is correct when each of its parts is.
func byKey(key func(input any) any) func([]porcupine.Operation) [][]porcupine.Operation {
	return func(history []porcupine.Operation) [][]porcupine.Operation {
		var out [][]porcupine.Operation
		at := map[any]int{}
		for _, op := range history {
			k := key(op.Input)
			i, ok := at[k]
			if !ok {
				i = len(out)
				at[k] = i
				out = append(out, nil)
			}
			out[i] = append(out[i], op)
		}
		return out
	}
}
