package natsorm

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/natsorm/natsorm/internal/checking"
)

// Report is what Check found in a bucket.
type Report struct {
	Models []ModelReport

	// Resume is where a Check that was cut short goes on: CheckFrom takes it. It is empty when
	// the check has come to its end.
	Resume string
}

// ModelReport is what Check found in one model: how much it holds, and what is wrong.
//
// The numbers of records, entries and claims are exact where nobody writes, and of up to
// 65,536 keys of each. Of more, beside writers, the keys that were written during the check are
// counted by a sample.
type ModelReport struct {
	Model   string
	Records int
	Entries int // index entries
	Claims  int // unique values that records hold

	// Counts is how many problems there are of each kind, and how many of them were repaired.
	Counts map[ProblemKind]ProblemCount

	// Problems are examples: of each kind the first 100 that were repaired, and the first 100
	// others. CheckExamples takes another number, and EachProblem gets all of them.
	Problems []Problem

	// Unbuilt are indexes that queries do not use, because they were not built to their end. A
	// record that lacks an entry of one is no problem. Define the model to build them.
	Unbuilt []string

	// Paused says why the model was not checked: its records are being moved or removed, and
	// that stood still for ten seconds. It is empty when it was checked.
	Paused string
}

// ProblemCount is how many problems of a kind were found, and how many of them were repaired.
type ProblemCount struct{ Found, Repaired int }

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
	MissingEntry   = ProblemKind(checking.MissingEntry)   // lookups by the index miss the record
	MissingClaim   = ProblemKind(checking.MissingClaim)   // another record could take the unique value
	DuplicateValue = ProblemKind(checking.DuplicateValue) // two records have one unique value; change one of them
	CorruptRecord  = ProblemKind(checking.CorruptRecord)  // a document that cannot be read
	MisplacedKey   = ProblemKind(checking.MisplacedKey)   // a record whose primary key belongs at another key
	CorruptClaim   = ProblemKind(checking.CorruptClaim)   // a claim without an owner: nobody can take the unique value
	CorruptEntry   = ProblemKind(checking.CorruptEntry)   // a list of ids that cannot be read; see SequelizeLayout
	StrayEntry     = ProblemKind(checking.StrayEntry)     // an entry without a record; harmless
	StrayClaim     = ProblemKind(checking.StrayClaim)     // a claim whose record has another value; harmless
)

// Harmless reports whether every answer is right despite this problem. A writer that
// crashed leaves harmless problems behind; Repair removes them.
func (k ProblemKind) Harmless() bool { return checking.ProblemKind(k).Harmless() }

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
// those that were repaired, do not count. A report that was cut short, or of a model that is
// Paused, is not clean.
func (r Report) Clean() bool {
	return r.Resume == "" && !slices.ContainsFunc(r.Models, ModelReport.wrong)
}

func (m ModelReport) wrong() bool {
	for kind, n := range m.Counts {
		if !kind.Harmless() && n.Found > n.Repaired {
			return true
		}
	}
	return m.Paused != ""
}

// String lists the models, one on a line, each followed by its problems.
func (r Report) String() string {
	var b strings.Builder
	say := func(about bool, format string, args ...any) {
		if about {
			fmt.Fprintf(&b, format, args...)
		}
	}
	for _, m := range r.Models {
		found := 0
		for _, n := range m.Counts {
			found += n.Found
		}
		fmt.Fprintf(&b, "%s: %d records, %d index entries, %d unique values, %d problems\n", m.Model, m.Records, m.Entries, m.Claims, found)
		for _, p := range m.Problems {
			fmt.Fprintf(&b, "  %s\n", p)
		}
		say(found > len(m.Problems), "  and %d more\n", found-len(m.Problems))
		say(len(m.Unbuilt) > 0, "  not built: %s\n", strings.Join(m.Unbuilt, ", "))
		say(m.Paused != "", "  not checked: %s\n", m.Paused)
	}
	say(r.Resume != "", "cut short\n")
	return b.String()
}

// CheckOption changes what Check does.
type CheckOption func(*checkOptions)

type checkOptions struct {
	checking.Options
	from *string
}

// Repair makes Check mend what it finds: it puts back missing entries and claims, and
// removes stray and corrupt ones. It moves records that are not at their key, where no
// other record is. Duplicate values, corrupt records and two records of one key need a
// decision of yours, so they stay.
func Repair() CheckOption { return func(o *checkOptions) { o.Mend = checking.All } }

// CheckExamples is how many problems of each kind, repaired ones and others, a report has as
// examples. Defaults to 100. ErrInvalid for a number below 1.
func CheckExamples(n int) CheckOption { return func(o *checkOptions) { o.Examples = cmp.Or(n, -1) } }

// EachProblem makes Check call f with every problem that it finds, as it is found and after it
// was repaired. f is called by one goroutine at a time, and waited for. When a model is moved
// to another layout meanwhile, its check begins again, and f may be told a problem twice.
func EachProblem(f func(model string, p Problem)) CheckOption {
	return func(o *checkOptions) {
		if o.Each = nil; f != nil {
			o.Each = func(model string, p checking.Problem) { f(model, problem(p)) }
		}
	}
}

// CheckProgress makes Check call f as it goes on, with what it is reading, such as "records" or
// "index entries", how much of that was read, and how much there is, as far as that is known. f is
// called by one goroutine at a time, and waited for.
func CheckProgress(f func(model, what string, done, total int)) CheckOption {
	return func(o *checkOptions) { o.Progress = f }
}

// CheckFrom makes Check go on from where another one was cut short, in this process or another
// one: from its Report.Resume. The report has what comes after that, and of the model in which
// it goes on, how much it holds. Options are those of this call. ErrInvalid for a text that was
// altered, that is of another bucket, or whose model was dropped or moved to another
// layout since; then begin a new check.
func CheckFrom(resume string) CheckOption { return func(o *checkOptions) { o.from = &resume } }

// Check compares every record of every model in the catalogue with its index entries
// and unique claims. It may run while others write, and while a model is altered. It reads the
// bucket once, and where that does not agree looks at the keys concerned; it takes the same memory
// however many records and problems there are. What it finds is in the Report; errors are the
// server's. A Check that ctx or an error cuts short returns what it found until then, with
// Report.Resume beside the error.
func (db *DB) Check(ctx context.Context, opts ...CheckOption) (report Report, err error) {
	err = db.call(ctx, operation{Name: "Check", Outside: true}, func() error {
		if err := db.store.Fit(ctx); err != nil {
			return err
		}
		o := chosen[checkOptions](opts)
		found, resume, err := checking.CheckBucket(ctx, db.store, db.store.Now().Created.String(), o.from, o.Options)
		report.Resume = resume
		for _, f := range found {
			r := ModelReport{Model: f.Model, Records: f.Records, Entries: f.Entries, Claims: f.Claims, Counts: map[ProblemKind]ProblemCount{}, Unbuilt: f.Unbuilt, Paused: f.Paused}
			for kind, n := range f.Counts {
				r.Counts[ProblemKind(kind)] = ProblemCount(n)
			}
			for _, p := range f.Problems {
				r.Problems = append(r.Problems, problem(p))
			}
			report.Models = append(report.Models, r)
		}
		return err
	})
	return report, err
}

func problem(p checking.Problem) Problem {
	return Problem{Kind: ProblemKind(p.Kind), Key: p.Key, Record: p.Record, Detail: p.Detail, Repaired: p.Repaired}
}
