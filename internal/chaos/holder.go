package chaos

import (
	"fmt"

	"github.com/anishathalye/porcupine"
)

// HolderInput is an operation on a record with a unique value: Create a record
// with the value, Destroy it, or Read which record has the value.
type HolderInput struct {
	Verb   Verb
	Value  string
	Record int64 // of Create and Destroy; each is created at most once
}

// HolderOutput is the answer. A Create that was refused names the record that
// has the value, and so does a Read.
type HolderOutput struct {
	Done   bool
	Holder int64
}

// HolderModel allows a history in which a value has at most one record at every
// instant, and a refusal names the one that it had at some instant of the call.
func HolderModel() porcupine.Model {
	return porcupine.Model{
		Partition: byKey(func(input any) any { return input.(HolderInput).Value }),
		Init:      func() any { return int64(0) }, // nobody; records are numbered from 1
		Step: func(state, input, output any) (bool, any) {
			ok, next := holds(state.(int64), input.(HolderInput), output)
			return ok, next
		},
		DescribeOperation: func(input, output any) string {
			in := input.(HolderInput)
			what := fmt.Sprintf("%s %d with %s", in.Verb, in.Record, in.Value)
			switch out, known := output.(HolderOutput); {
			case !known:
				return what + ": ?"
			case out.Done && in.Verb != Read:
				return what + ": done"
			default:
				return fmt.Sprintf("%s: %d has it", what, out.Holder)
			}
		},
		DescribeState: func(state any) string { return fmt.Sprint("of ", state) },
	}
}

func holds(holder int64, in HolderInput, output any) (bool, int64) {
	out, known := output.(HolderOutput)
	switch in.Verb {
	case Create:
		free := holder == 0
		if known && (out.Done != free || !free && out.Holder != holder) {
			return false, holder
		}
		if free {
			return true, in.Record
		}
	case Destroy:
		mine := holder == in.Record
		if known && out.Done != mine {
			return false, holder
		}
		if mine {
			return true, 0
		}
	case Read:
		return !known || out.Holder == holder, holder
	}
	return true, holder
}
