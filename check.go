package natsorm

import (
	"context"
	"fmt"
	"strings"

	"github.com/natsorm/natsorm/internal/maintenance"
)

// Report is what Check found in a bucket.
type Report struct {
	Models []ModelReport
}

// ModelReport is what Check found in one model: how much it holds, and what is wrong.
type ModelReport struct {
	Model    string
	Records  int
	Entries  int // index entries
	Claims   int // unique values that records hold
	Problems []Problem
}

// Problem is one thing that Check found wrong.
type Problem struct {
	Kind     ProblemKind
	Key      string // the key that is wrong or missing in the bucket
	Record   string // the key of the record that it concerns
	Detail   string // more about it, as text; may be empty
	Repaired bool   // Check has mended it
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

// Harmless reports whether every answer is right despite this problem. A writer that
// crashed leaves harmless problems behind; Repair removes them.
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

// Clean reports whether every index agrees with its records. Harmless problems, and
// those that were repaired, do not count.
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

// String lists the models, one on a line, each followed by its problems.
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

// Repair makes Check mend what it finds: it puts back missing entries and claims, and
// removes stray and corrupt ones. Duplicate values, corrupt records and misplaced keys
// need a decision of yours, so they stay.
func Repair() CheckOption { return func(o *checkOptions) { o.repair = true } }

// Check compares every record of every model in the catalogue with its index entries
// and unique claims. It may run while others write. It takes a few scans of the bucket,
// and holds the keys of a model's entries in memory. What it finds is in the Report;
// errors are the server's.
func (db *DB) Check(ctx context.Context, opts ...CheckOption) (report Report, err error) {
	err = db.call(ctx, operation{name: "Check", outside: true}, func() error {
		o := chosen[checkOptions](opts)
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
