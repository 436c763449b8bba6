package maintenance

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/natsorm/natsorm/internal/catalogue"
	"github.com/natsorm/natsorm/internal/errs"
	"github.com/natsorm/natsorm/internal/keys"
	"github.com/natsorm/natsorm/internal/schema"
	"github.com/natsorm/natsorm/internal/store"
)

// ProblemKind is a way in which a bucket can be wrong.
type ProblemKind string

const (
	MissingEntry   ProblemKind = "missing entry"   // lookups by the index miss the record
	MissingClaim   ProblemKind = "missing claim"   // another record could take the unique value
	DuplicateValue ProblemKind = "duplicate value" // another record has the unique value
	CorruptRecord  ProblemKind = "corrupt record"  // its document cannot be read
	MisplacedKey   ProblemKind = "misplaced key"   // its primary key belongs at another key
	CorruptClaim   ProblemKind = "corrupt claim"   // it names no owner: nobody can take the unique value
	CorruptEntry   ProblemKind = "corrupt entry"   // a list of ids that cannot be read: lookups fail, and writes of its records
	StrayEntry     ProblemKind = "stray entry"     // harmless: readers drop it
	StrayClaim     ProblemKind = "stray claim"     // harmless: the next writer takes it
)

// Harmless reports whether no answer can be wrong because of it.
func (k ProblemKind) Harmless() bool { return k == StrayEntry || k == StrayClaim }

// Problem is one thing that Check found.
type Problem struct {
	Kind     ProblemKind
	Key      string // the entry, claim or record
	Record   string // the record's key
	Detail   string
	Repaired bool
}

// Report is what Check found of one model.
type Report struct {
	Model                    string
	Records, Entries, Claims int
	Problems                 []Problem
}

// Check compares every record of a model with its index entries and unique claims. It
// takes three scans, and looks at what does not agree once more, key by key, so that
// writes meanwhile do not look like problems. It holds the key of every entry in
// memory.
func Check(ctx context.Context, s store.Store, def *schema.Definition, repair bool) (Report, error) {
	m, err := open(s, def)
	if err != nil {
		return Report{Model: def.Name}, err
	}
	return m.check(ctx, repair)
}

// CheckAll checks every model of the catalogue.
func CheckAll(ctx context.Context, s store.Store, repair bool) ([]Report, error) {
	defs, err := catalogue.List(ctx, s)
	if err != nil {
		return nil, err
	}
	var out []Report
	for _, def := range defs {
		r, err := Check(ctx, s, def, repair)
		if err != nil {
			return out, err
		}
		out = append(out, r)
	}
	return out, nil
}

func (m *model) check(ctx context.Context, repair bool) (Report, error) {
	c := checker{m: m, repair: repair, report: Report{Model: m.def.Name}, expected: map[pointer]bool{}, claims: map[string]string{}}
	for _, step := range []func(context.Context) error{m.store.CatchUp, c.readRecords, c.readEntries, c.readClaims, c.judge} {
		if err := step(ctx); err != nil {
			return c.report, fmt.Errorf("natsorm: check %s: %w", m.def.Name, err)
		}
	}
	return c.report, nil
}

type checker struct {
	m      *model
	repair bool
	report Report

	expected map[pointer]bool  // that records need, and entries were not yet found to have
	claims   map[string]string // that records need, not yet found: the record's key
	stray    []stray           // entries and claims that no record was seen to need
	doubtful []string          // records that share a unique value with another
}

// pointer is an entry's to a record: an entry may be a list of several.
type pointer struct{ entry, record string }

// stray is an entry or a claim, and a record to which it leads that was not seen to
// need it.
type stray struct {
	store.Message
	record string
}

func (c *checker) readRecords(ctx context.Context) error {
	for e, err := range c.m.store.Scan(ctx, keys.Records(c.m.def.Name), store.ScanOptions{}) {
		if err != nil {
			return err
		}
		c.report.Records++
		f, err := c.m.layout.Of(e.Value)
		switch {
		case err != nil:
			c.report.Problems = append(c.report.Problems, Problem{Kind: CorruptRecord, Key: e.Key, Record: e.Key, Detail: err.Error()})
			continue
		case f.Record != e.Key:
			c.report.Problems = append(c.report.Problems, Problem{Kind: MisplacedKey, Key: e.Key, Record: e.Key, Detail: fmt.Sprintf("primary key %s belongs at %q", f.ID.Text(), f.Record)})
			continue
		}
		for _, entry := range f.Entries {
			c.expected[pointer{entry, e.Key}] = true
		}
		for _, claim := range f.Claims {
			if _, ok := c.claims[claim.Key]; ok {
				c.doubtful = append(c.doubtful, e.Key)
				continue
			}
			c.claims[claim.Key] = e.Key
		}
	}
	return nil
}

func (c *checker) readEntries(ctx context.Context) error {
	for e, err := range c.m.store.Scan(ctx, keys.Entries(c.m.def.Name), store.ScanOptions{}) {
		if err != nil {
			return err
		}
		if !c.m.layout.IsEntry(e.Key) {
			continue
		}
		records, err := c.m.layout.Pointers(nil, e.Key, e.Value)
		if err != nil {
			c.corrupt(ctx, Problem{Kind: CorruptEntry, Key: e.Key, Detail: err.Error()}, e)
		}
		for _, record := range records {
			c.report.Entries++
			if p := (pointer{e.Key, record}); c.expected[p] {
				delete(c.expected, p)
			} else {
				c.stray = append(c.stray, stray{e, record})
			}
		}
	}
	return nil
}

func (c *checker) readClaims(ctx context.Context) error {
	for e, err := range c.m.store.Scan(ctx, keys.Claims(c.m.def.Name), store.ScanOptions{}) {
		if err != nil {
			return err
		}
		if !c.m.layout.IsClaim(e.Key) {
			continue
		}
		c.report.Claims++
		owners, err := c.m.layout.Pointers(nil, e.Key, e.Value)
		record, ok := c.claims[e.Key]
		switch {
		case err != nil:
			c.corrupt(ctx, Problem{Kind: CorruptClaim, Key: e.Key, Record: record, Detail: err.Error()}, e)
		case ok && record == owners[0]:
			delete(c.claims, e.Key)
		case !ok:
			c.stray = append(c.stray, stray{e, owners[0]})
		}
	}
	return nil
}

// corrupt reports an entry or a claim that cannot be read. Repaired, it is deleted:
// a record that holds the value gets a new one, as it misses its own.
func (c *checker) corrupt(ctx context.Context, problem Problem, e store.Message) {
	if c.repair {
		res := c.m.store.Write(ctx, store.Op{Key: e.Key, Delete: true, Purge: true, Conditional: true, Expect: e.Revision})[0]
		problem.Repaired = res.Err == nil
	}
	c.report.Problems = append(c.report.Problems, problem)
}

// judge looks at every disagreement once more, in an order that lets a write
// in between only clear it.
func (c *checker) judge(ctx context.Context) error {
	if c.m.layout.Lists() != nil {
		return c.judgeLists(ctx)
	}
	for p := range c.expected {
		if err := c.judgeMissing(ctx, p.entry, p.record, false); err != nil {
			return err
		}
	}
	for key, record := range c.claims {
		if err := c.judgeMissing(ctx, key, record, true); err != nil {
			return err
		}
	}
	for _, record := range c.doubtful {
		f, err := c.m.footprint(ctx, record)
		if err != nil {
			return err
		}
		for _, claim := range f.Claims {
			if err := c.judgeMissing(ctx, claim.Key, record, true); err != nil {
				return err
			}
		}
	}
	for _, e := range c.stray {
		if err := c.judgeStray(ctx, e); err != nil {
			return err
		}
	}
	return nil
}

// judgeMissing confirms that the record lacks the entry or claim: it holds the
// value, the key is not there for it, and the record did not change meanwhile.
func (c *checker) judgeMissing(ctx context.Context, key, record string, claim bool) error {
	before, err := c.m.store.GetLatest(ctx, record)
	if err != nil || !before.Live() {
		return err
	}
	f, err := c.m.layout.Of(before.Value)
	if err != nil || !f.Holds(key) {
		return nil
	}
	have, err := c.m.store.GetLatest(ctx, key)
	if err != nil {
		return err
	}
	if have.Live() {
		to, err := c.m.layout.Pointers(nil, key, have.Value)
		if err == nil && slices.Contains(to, record) {
			return nil
		}
	}
	after, err := c.m.store.GetLatest(ctx, record)
	if err != nil || after.Revision != before.Revision {
		return err
	}
	problem := Problem{Kind: MissingEntry, Key: key, Record: record}
	if claim {
		problem.Kind = MissingClaim
		if have.Live() {
			problem.Detail = fmt.Sprintf("the claim is of %s %s", c.m.def.Name, have.Value)
			if owner, err := c.m.layout.ReadOwner(have.Value); err == nil {
				other, err := c.m.footprint(ctx, c.m.layout.RecordKey(owner))
				if err == nil && other.Holds(key) {
					problem.Kind = DuplicateValue
				}
			}
		}
	}
	if c.repair && problem.Kind != DuplicateValue {
		err := c.m.writer.Ensure(ctx, f.Only(key))
		if err != nil && !errors.Is(err, errs.ErrUnique) && !errors.Is(err, errs.ErrCorrupt) {
			return err
		}
		problem.Repaired = err == nil
	}
	c.report.Problems = append(c.report.Problems, problem)
	return nil
}

// judgeStray confirms that the record an entry or claim points at does not
// hold its value.
func (c *checker) judgeStray(ctx context.Context, e stray) error {
	problem := Problem{Kind: StrayEntry, Key: e.Key, Record: e.record}
	if c.m.layout.IsClaim(e.Key) {
		problem.Kind = StrayClaim
	}
	have, err := c.m.store.GetLatest(ctx, e.Key)
	if err != nil || !have.Live() || have.Revision != e.Revision {
		return err
	}
	rec, err := c.m.store.GetLatest(ctx, problem.Record)
	if err != nil {
		return err
	}
	rec.Key = problem.Record
	if rec.Live() {
		f, err := c.m.layout.Of(rec.Value)
		if err != nil || f.Holds(e.Key) {
			return nil // of a corrupt record, which is named already
		}
	}
	if c.repair {
		if problem.Repaired, err = c.m.writer.Sweep(ctx, e.Message, rec); err != nil {
			return err
		}
	}
	c.report.Problems = append(c.report.Problems, problem)
	return nil
}
