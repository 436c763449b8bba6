package migration

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/natsorm/natsorm/internal/errs"
	"github.com/natsorm/natsorm/internal/keys"
	"github.com/natsorm/natsorm/internal/store"
)

// Format is the version of records and of the lease. A program refuses a larger one.
const Format = 1

// State says how far a step is.
type State string

const (
	Running State = "running" // it was begun; its runner may be dead
	Done    State = "done"    // it returned no error
	Failed  State = "failed"  // it returned an error, or panicked
)

// Record is what the bucket holds of a step at _migration.<name>.
type Record struct {
	Format   int       `json:"format"`
	Name     string    `json:"name"`
	Position int       `json:"position"` // in the list of the program that ran it last, from 1
	State    State     `json:"state"`
	Runner   string    `json:"runner"`          // the random id of the call that ran it last
	Started  time.Time `json:"started"`         // of the last try, by the runner's clock
	Took     int64     `json:"took,omitempty"`  // milliseconds of the last try, when it has ended
	Error    string    `json:"error,omitempty"` // of the last try, when it failed
	Tries    int       `json:"tries,omitempty"` // how often it was begun
	Revision uint64    `json:"-"`               // of its message
}

// maxError bounds the text of an error in a record, in bytes.
const maxError = 4 << 10

// List reads the records of all steps, as a majority of the servers has them. Those that are
// done come first, in the order in which they were carried out. ErrCorrupt when one cannot be
// read, ErrSchema when a newer natsorm has written it.
func List(ctx context.Context, s store.Store) ([]Record, error) {
	if _, err := s.Revision(ctx, store.Agreed); err != nil {
		return nil, err
	}
	var out []Record
	for m, err := range store.Match(ctx, s, keys.Migrations()) {
		if err != nil {
			return nil, err
		}
		r, err := Decode(m)
		if err != nil {
			return nil, err
		}
		out = append(out, r)
	}
	return sorted(out), nil
}

// sorted sorts records as List returns them.
func sorted(records []Record) []Record {
	notDone := func(r Record) int {
		if r.State == Done {
			return 0
		}
		return 1
	}
	slices.SortFunc(records, func(a, b Record) int {
		return cmp.Or(notDone(a)-notDone(b), a.Position-b.Position, strings.Compare(a.Name, b.Name))
	})
	return records
}

// Decode reads a step's record. ErrCorrupt when it is not one, ErrSchema when it has a format
// that this natsorm does not know.
func Decode(m store.Message) (Record, error) {
	r := Record{Revision: m.Revision}
	if err := decode(m, &r, func() int { return r.Format }); err != nil {
		return r, err
	}
	switch {
	case m.Key != keys.Migration(r.Name):
		return r, corrupt(m.Key, fmt.Errorf("it is the record of %q", r.Name))
	case r.State != Running && r.State != Done && r.State != Failed:
		return r, corrupt(m.Key, fmt.Errorf("it has the state %q", r.State))
	case r.Position < 1:
		return r, corrupt(m.Key, fmt.Errorf("it has the position %d", r.Position))
	}
	return r, nil
}

// decode reads what a key holds. The format is looked at first: what else a newer one has is
// not known.
func decode(m store.Message, into any, format func() int) error {
	var f struct {
		Format int `json:"format"`
	}
	if err := json.Unmarshal(m.Value, &f); err != nil {
		return corrupt(m.Key, err)
	}
	if f.Format > Format {
		return fmt.Errorf("%w: key %s has format %d, and this natsorm knows up to %d; upgrade this program", errs.ErrSchema, m.Key, f.Format, Format)
	}
	if err := json.Unmarshal(m.Value, into); err != nil {
		return corrupt(m.Key, err)
	}
	if format() < 1 {
		return corrupt(m.Key, fmt.Errorf("it has format %d", format()))
	}
	return nil
}

func corrupt(key string, err error) error { return errs.Corrupt("migration", key, err) }

// write writes a record, on the condition that its key is at the revision that r has, and
// gives r the new one. store.ErrWrongRevision when it is not.
func (r *Record) write(ctx context.Context, s store.Store) error {
	r.Format = Format
	if len(r.Error) > maxError {
		r.Error = strings.ToValidUTF8(r.Error[:maxError], "") + "…"
	}
	raw, err := json.Marshal(r)
	if err != nil {
		return err
	}
	res := s.Write(ctx, store.Op{Key: keys.Migration(r.Name), Value: raw, Conditional: true, Expect: r.Revision, Settle: true})[0]
	if res.Err == nil {
		r.Revision = res.Revision
	}
	return res.Err
}
