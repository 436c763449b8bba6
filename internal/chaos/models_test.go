package chaos

import (
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/natsorm/natsorm/internal/testbed"
)

// past is a step of a history that was written by hand: from call to end, or
// open when end is 0.
type past struct {
	call, end int64
	in, out   any
}

func history(steps []past) *History {
	h := NewHistory()
	for i, s := range steps {
		if s.end == 0 {
			h.Open(s.call, s.in)
			continue
		}
		h.ops = append(h.ops, porcupine.Operation{ClientId: i, Input: s.in, Call: s.call, Output: s.out, Return: s.end})
	}
	return h
}

// The models refuse what they are for, and do not refuse what may happen.
func TestModels(t *testing.T) {
	t.Parallel()
	in := func(verb Verb, value, want int64) RegisterInput {
		return RegisterInput{Verb: verb, Key: 1, Value: value, Want: want}
	}
	read := in(Read, 0, 0)
	no := RegisterOutput{}
	is := func(value int64, version uint64) RegisterOutput {
		return RegisterOutput{Done: true, Value: value, Version: version}
	}
	wrote := func(version uint64) RegisterOutput { return RegisterOutput{Done: true, Version: version} }
	created := past{1, 2, in(Create, 7, 0), wrote(10)}

	has := func(verb Verb, record int64) HolderInput { return HolderInput{Verb: verb, Value: "x", Record: record} }
	done := HolderOutput{Done: true}
	by := func(holder int64) HolderOutput { return HolderOutput{Holder: holder} }

	for name, test := range map[string]struct {
		steps []past
		want  porcupine.CheckResult
	}{
		"read what was written":                {[]past{created, {3, 4, read, is(7, 10)}}, porcupine.Ok},
		"acknowledged, and not there":          {[]past{created, {3, 4, read, no}}, porcupine.Illegal},
		"overwritten, and read":                {[]past{created, {3, 4, in(Update, 8, 0), wrote(11)}, {5, 6, read, is(7, 10)}}, porcupine.Illegal},
		"overwritten meanwhile":                {[]past{created, {3, 8, in(Update, 8, 0), wrote(11)}, {5, 6, read, is(7, 10)}}, porcupine.Ok},
		"seen, and then not":                   {[]past{created, {3, 12, in(Update, 8, 0), wrote(11)}, {5, 6, read, is(8, 11)}, {7, 8, read, is(7, 10)}}, porcupine.Illegal},
		"created twice":                        {[]past{created, {3, 4, in(Create, 8, 0), wrote(11)}}, porcupine.Illegal},
		"saved over another's change":          {[]past{created, {3, 4, in(Update, 8, 0), wrote(11)}, {5, 6, in(Save, 9, 7), wrote(12)}}, porcupine.Illegal},
		"a conflict without a change":          {[]past{created, {5, 6, in(Save, 9, 7), no}}, porcupine.Illegal},
		"destroyed, and updated":               {[]past{created, {3, 4, in(Destroy, 0, 0), RegisterOutput{Done: true}}, {5, 6, in(Update, 8, 0), wrote(12)}}, porcupine.Illegal},
		"a version that falls":                 {[]past{created, {3, 4, in(Update, 8, 0), wrote(9)}}, porcupine.Illegal},
		"an open write that never happens":     {[]past{created, {3, 0, in(Update, 8, 0), nil}, {5, 6, read, is(7, 10)}}, porcupine.Ok},
		"an open write that happens late":      {[]past{created, {3, 0, in(Update, 8, 0), nil}, {5, 6, read, is(7, 10)}, {7, 8, read, is(8, 12)}}, porcupine.Ok},
		"an open write that happens twice":     {[]past{created, {3, 0, in(Update, 8, 0), nil}, {5, 6, read, is(8, 11)}, {7, 8, in(Update, 9, 0), wrote(12)}, {9, 10, read, is(8, 13)}}, porcupine.Illegal},
		"an open create that nobody made":      {[]past{{3, 4, read, is(8, 13)}, {5, 0, in(Create, 8, 0), nil}}, porcupine.Illegal},
		"an open destroy":                      {[]past{created, {3, 0, in(Destroy, 0, 0), nil}, {5, 6, read, is(7, 10)}, {7, 8, read, no}}, porcupine.Ok},
		"refused by the holder":                {[]past{{1, 2, has(Create, 1), done}, {3, 4, has(Create, 2), by(1)}}, porcupine.Ok},
		"two holders":                          {[]past{{1, 2, has(Create, 1), done}, {3, 4, has(Create, 2), done}}, porcupine.Illegal},
		"refused without a holder":             {[]past{{1, 2, has(Create, 1), done}, {3, 4, has(Destroy, 1), done}, {5, 6, has(Create, 2), by(1)}}, porcupine.Illegal},
		"another holder is named":              {[]past{{1, 2, has(Create, 1), done}, {3, 4, has(Create, 2), by(3)}}, porcupine.Illegal},
		"an open create that holds":            {[]past{{1, 0, has(Create, 1), nil}, {3, 4, has(Create, 2), by(1)}, {5, 6, has(Read, 0), by(1)}}, porcupine.Ok},
		"an open create that never held":       {[]past{{1, 0, has(Create, 1), nil}, {3, 4, has(Create, 2), done}, {5, 6, has(Read, 0), by(2)}}, porcupine.Ok},
		"an acknowledged holder that is gone":  {[]past{{1, 2, has(Create, 1), done}, {5, 6, has(Read, 0), by(0)}}, porcupine.Illegal},
		"a holder that a stranger's end frees": {[]past{{1, 2, has(Create, 1), done}, {3, 4, has(Destroy, 2), done}}, porcupine.Illegal},
		"a holder gone by an open destroy":     {[]past{{1, 2, has(Create, 1), done}, {3, 0, has(Destroy, 1), nil}, {5, 6, has(Create, 2), done}}, porcupine.Ok},
		"a holder back after its open destroy": {[]past{{1, 2, has(Create, 1), done}, {3, 0, has(Destroy, 1), nil}, {5, 6, has(Create, 2), done}, {7, 8, has(Read, 0), by(1)}}, porcupine.Illegal},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			model := RegisterModel()
			if _, ok := test.steps[0].in.(HolderInput); ok {
				model = HolderModel()
			}
			file := filepath.Join(t.TempDir(), "picture.html")
			got, err := history(test.steps).Check(model, time.Minute, file)
			if err != nil || got != test.want {
				t.Errorf("%v, %v; want %v", got, err, test.want)
			}
			if _, err := os.Stat(file); (err == nil) != (got == porcupine.Illegal) {
				t.Errorf("%v, and of the picture: %v", got, err)
			}
		})
	}
}

// The choices of a nemesis follow from its seed, whatever the faults do.
func TestNemesisRepeats(t *testing.T) {
	t.Parallel()
	draws := func() (out []int64) {
		n := &Nemesis{Rand: rand.New(rand.NewPCG(1, 0)), Proxies: make([]*testbed.Proxy, 4), Short: time.Millisecond, Long: time.Second}
		for range 10 {
			d := n.draw()
			out = append(out, int64(d.lasts), int64(d.pick), int64(n.span()))
			for _, half := range d.half {
				if half {
					out = append(out, 1)
				}
			}
		}
		return out
	}
	if a, b := draws(), draws(); !slices.Equal(a, b) {
		t.Errorf("%v, then %v", a, b)
	}
	if _, err := FaultsNamed("kill-leader", "pause-leader"); err != nil {
		t.Error(err)
	}
	if _, err := FaultsNamed("kill-client"); err == nil {
		t.Error("a fault that is not there was found")
	}
}
