package natsorm

import (
	"context"
	"fmt"
	"strings"

	"github.com/natsorm/natsorm/internal/maintenance"
)

// Report is what Check found.
type Report struct {
	Models []ModelReport
}

// ModelReport is what Check found of one model: how much there is of it, and
// what is wrong.
type ModelReport struct {
	Model    string
	Records  int
	Entries  int // index entries
	Claims   int // unique values held
	Problems []Problem
}

// Problem is one thing that is wrong.
type Problem struct {
	Kind     ProblemKind
	Key      string // the key in the bucket that is wrong or missing
	Record   string // the key of the record it belongs to
	Detail   string
	Repaired bool
}

// ProblemKind is a way in which a bucket can be wrong.
type ProblemKind string

// The kinds of Problem.
const (
	MissingEntry   = ProblemKind(maintenance.MissingEntry)   // lookups by the index miss the record
	MissingClaim   = ProblemKind(maintenance.MissingClaim)   // another record could take the unique value
	DuplicateValue = ProblemKind(maintenance.DuplicateValue) // two records have one unique value; change one of them
	CorruptRecord  = ProblemKind(maintenance.CorruptRecord)  // a document that cannot be read
	MisplacedKey   = ProblemKind(maintenance.MisplacedKey)   // a record whose primary key belongs at another key
	CorruptClaim   = ProblemKind(maintenance.CorruptClaim)   // a claim without an owner: nobody can take the unique value
	CorruptEntry   = ProblemKind(maintenance.CorruptEntry)   // a list of ids that cannot be read; see SequelizeLayout
	StrayEntry     = ProblemKind(maintenance.StrayEntry)     // an entry without a record; harmless
	StrayClaim     = ProblemKind(maintenance.StrayClaim)     // a claim whose record has another value; harmless
)

// Harmless reports whether no answer can be wrong because of this problem. A
// writer that crashed leaves such; Repair removes them.
func (k ProblemKind) Harmless() bool { return maintenance.ProblemKind(k).Harmless() }

func (p Problem) String() string {
	s := fmt.Sprintf("%s %q of record %q", p.Kind, p.Key, p.Record)
	if p.Key == p.Record {
		s = fmt.Sprintf("%s %q", p.Kind, p.Key)
	}
	if p.Detail != "" {
		s += ": " + p.Detail
	}
	if p.Repaired {
		s += " (repaired)"
	}
	return s
}

// Clean reports whether every index agrees with its records: there is no
// problem but harmless and repaired ones.
func (r Report) Clean() bool {
	for _, m := range r.Models {
		for _, p := range m.Problems {
			if !p.Kind.Harmless() && !p.Repaired {
				return false
			}
		}
	}
	return true
}

// String lists the models, a line each, and below each its problems.
func (r Report) String() string {
	var b strings.Builder
	for _, m := range r.Models {
		fmt.Fprintf(&b, "%s: %d records, %d index entries, %d unique values, %d problems\n", m.Model, m.Records, m.Entries, m.Claims, len(m.Problems))
		for _, p := range m.Problems {
			fmt.Fprintf(&b, "  %s\n", p)
		}
	}
	return b.String()
}

// CheckOption changes what Check does.
type CheckOption func(*checkOptions)

type checkOptions struct{ repair bool }

// Repair lets Check mend what it finds: it puts entries and claims that are
// missing and removes stray and corrupt ones. Duplicate values, corrupt records and
// misplaced keys need a decision, and stay.
func Repair() CheckOption { return func(o *checkOptions) { o.repair = true } }

// Check compares every record of every model in the catalogue with its index
// entries and unique claims. It may run while others write, and takes a few
// scans of the bucket; the keys of all entries of a model are held in memory.
func (db *DB) Check(ctx context.Context, opts ...CheckOption) (report Report, err error) {
	err = db.call(ctx, operation{name: "Check", outside: true}, func() error {
		var o checkOptions
		for _, opt := range opts {
			if opt != nil {
				opt(&o)
			}
		}
		found, err := maintenance.CheckAll(ctx, db.store, o.repair)
		for _, f := range found {
			r := ModelReport{Model: f.Model, Records: f.Records, Entries: f.Entries, Claims: f.Claims}
			for _, p := range f.Problems {
				r.Problems = append(r.Problems, Problem{Kind: ProblemKind(p.Kind), Key: p.Key, Record: p.Record, Detail: p.Detail, Repaired: p.Repaired})
			}
			report.Models = append(report.Models, r)
		}
		return err
	})
	return report, err
}
