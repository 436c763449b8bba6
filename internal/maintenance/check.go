package maintenance

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/natsorm/natsorm/internal/catalogue"
	"github.com/natsorm/natsorm/internal/commit"
	"github.com/natsorm/natsorm/internal/errs"
	"github.com/natsorm/natsorm/internal/keys"
	"github.com/natsorm/natsorm/internal/layout"
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
	CorruptClaim   ProblemKind = "corrupt claim"   // it names no owner: no record can take the unique value
	CorruptEntry   ProblemKind = "corrupt entry"   // it cannot be read: lookups of it fail, and so do writes of its records
	StrayEntry     ProblemKind = "stray entry"     // no record needs it; harmless: readers drop it
	StrayClaim     ProblemKind = "stray claim"     // no record needs it; harmless: the next writer takes it
)

// Harmless reports whether a problem of this kind makes no answer wrong.
func (k ProblemKind) Harmless() bool { return k == StrayEntry || k == StrayClaim }

// Problem is one thing that Check found.
type Problem struct {
	Kind     ProblemKind
	Key      string // the key of the entry, the claim or the record that is wrong
	Record   string // the record's key; empty when it is not known
	Detail   string // more about it, for people; may be empty
	Repaired bool   // Check has repaired it
}

// Report is what Check found in one model.
type Report struct {
	Model                    string
	Records, Entries, Claims int // how many there are; an entry that is a list counts once for each of its records
	Problems                 []Problem
}

// Check compares every record of a model with its index entries and unique claims. With
// repair it repairs what can be repaired without a decision of the user's.
//
// It reads the model in three scans: records, entries, claims. While they run, others
// write, so the three do not agree even in a bucket that is right. So what does not agree
// is a suspicion only: Check looks at each such index key once more, together with the
// records concerned, in an order in which a write in between can only clear the
// suspicion (judgeMissing, judgeStray).
//
// It holds the keys of all entries and claims of the model in memory. A crash leaves what
// was repaired until then.
func Check(ctx context.Context, s store.Store, def *schema.Definition, repair bool) (Report, error) {
	m, err := open(s, def)
	if err != nil {
		return Report{Model: def.Name}, err
	}
	return m.check(ctx, repair)
}

// CheckAll checks every model of the catalogue, one after the other.
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
	c := checker{m: m, repair: repair, report: Report{Model: m.def.Name}, expected: map[pointer]struct{}{}, disputes: map[string]*dispute{}}
	for _, step := range []func(context.Context) error{c.catchUp, c.readRecords, c.readEntries, c.readClaims, c.judge} {
		if err := step(ctx); err != nil {
			return c.report, fmt.Errorf("natsorm: check %s: %w", m.def.Name, err)
		}
	}
	return c.report, nil
}

// checker is one run of Check.
type checker struct {
	m      *model
	repair bool
	report Report

	expected map[pointer]struct{} // pointers that records need and that the scans have not found yet
	disputes map[string]*dispute  // by the index key
}

// pointer says that an entry or a claim, at key, leads to a record.
type pointer struct{ key, record string }

// dispute is an index key that does not agree with records, as far as the scans have
// shown. A list may be that of many records, so a key is judged for all of them at once.
type dispute struct {
	missing  []string // the keys of records to which it should lead, and does not
	stray    []string // the keys of records to which it leads, and should not
	revision uint64   // the key's revision when the scan found it to lead to them
}

func (c *checker) dispute(key string) *dispute {
	d := c.disputes[key]
	if d == nil {
		d = &dispute{}
		c.disputes[key] = d
	}
	return d
}

// catchUp lets the check see what the leader has.
func (c *checker) catchUp(ctx context.Context) error { return store.CatchUp(ctx, c.m.store) }

// readRecords notes which pointers the records need. The records come first, so that the
// scans of the index find what was written for them: an entry is written before its
// record.
func (c *checker) readRecords(ctx context.Context) error {
	for e, err := range c.m.store.Scan(ctx, keys.Records(c.m.def.Name), store.ScanOptions{}) {
		if err != nil {
			return err
		}
		c.report.Records++
		f, err := layout.At(c.m.layout, e.Key, e.Value)
		if err != nil {
			problem := Problem{Kind: CorruptRecord, Key: e.Key, Record: e.Key, Detail: err.Error()}
			if errors.Is(err, layout.ErrMisplaced) {
				problem.Kind, problem.Detail = MisplacedKey, fmt.Sprintf("primary key %s belongs at %q", f.ID.Text(), f.Record)
			}
			c.report.Problems = append(c.report.Problems, problem)
			continue
		}
		for key := range f.IndexKeys() {
			c.expected[pointer{key, e.Key}] = struct{}{}
		}
	}
	return nil
}

func (c *checker) readEntries(ctx context.Context) error {
	n, err := c.readIndex(ctx, keys.Entries(c.m.def.Name), c.m.layout.IsEntry, CorruptEntry)
	c.report.Entries = n
	return err
}

func (c *checker) readClaims(ctx context.Context) error {
	n, err := c.readIndex(ctx, keys.Claims(c.m.def.Name), c.m.layout.IsClaim, CorruptClaim)
	c.report.Claims = n
	return err
}

// readIndex compares the index keys under a pattern with the pointers that records need,
// and notes a dispute for each pointer that none needs. It returns how many pointers there
// are. ours tells the model's index keys from those of other programs.
func (c *checker) readIndex(ctx context.Context, pattern string, ours func(key string) bool, corrupt ProblemKind) (n int, err error) {
	for e, err := range c.m.store.Scan(ctx, pattern, store.ScanOptions{}) {
		if err != nil {
			return n, err
		}
		if !ours(e.Key) {
			continue
		}
		records, err := c.m.layout.Pointers(nil, e.Key, e.Value)
		if err != nil {
			c.corrupt(ctx, Problem{Kind: corrupt, Key: e.Key, Detail: err.Error()}, e)
		}
		for _, record := range records {
			n++
			p := pointer{e.Key, record}
			if _, ok := c.expected[p]; ok {
				delete(c.expected, p)
				continue
			}
			d := c.dispute(e.Key)
			d.stray, d.revision = append(d.stray, record), e.Revision
		}
	}
	return n, nil
}

// corrupt reports an entry or a claim that cannot be read. To repair it, it is deleted:
// a record that holds the value then misses its entry or claim, and gets a new one from
// judgeMissing. It is deleted only at the revision that was read.
func (c *checker) corrupt(ctx context.Context, problem Problem, e store.Message) {
	if c.repair {
		res := c.m.store.Write(ctx, store.Op{Key: e.Key, Delete: true, Purge: true, Conditional: true, Expect: e.Revision})[0]
		problem.Repaired = res.Err == nil
	}
	c.report.Problems = append(c.report.Problems, problem)
}

// judge looks at every dispute once more. The expected pointers that are left were found
// by no scan: they are missing.
func (c *checker) judge(ctx context.Context) error {
	for p := range c.expected {
		d := c.dispute(p.key)
		d.missing = append(d.missing, p.record)
	}
	for i, f := range c.report.Problems {
		if f.Kind == CorruptClaim && c.dispute(f.Key).missing != nil {
			c.report.Problems[i].Record = c.dispute(f.Key).missing[0]
		}
	}
	for key, d := range c.disputes {
		if len(d.missing) > 0 {
			if err := c.judgeMissing(ctx, key, d.missing); err != nil {
				return err
			}
			if c.m.layout.IsClaim(key) {
				continue // a claim has one owner: judgeMissing has judged the other record too
			}
		}
		if err := c.judgeStray(ctx, key, d); err != nil {
			return err
		}
	}
	return nil
}

// leads returns the keys of the records to which an entry or a claim leads.
func (c *checker) leads(e store.Message) (map[string]bool, error) {
	if !e.Live() {
		return nil, nil
	}
	records, err := c.m.layout.Pointers(nil, e.Key, e.Value)
	to := make(map[string]bool, len(records))
	for _, r := range records {
		to[r] = true
	}
	return to, err
}

// judgeMissing finds out which records really lack an entry or a claim at key, reports
// them, and repairs them if it is asked to.
//
// It reads the records, then the key, then the records again. A record that has the same
// revision both times did not change in between, because each read is at least as new as
// the one before (store.Store). So it held the value at the instant at which the key was
// read, and invariant I1 or I2 says that the key had to lead to it. A record that has
// changed is left alone: its writer has seen to its entries.
func (c *checker) judgeMissing(ctx context.Context, key string, records []string) error {
	before, err := store.GetMany(ctx, c.m.store, records)
	if err != nil {
		return err
	}
	have, err := c.m.store.Get(ctx, key)
	if err != nil {
		return err
	}
	to, err := c.leads(have)
	if err != nil && !c.m.layout.IsClaim(key) {
		return nil // a corrupt entry, which is reported already
	}
	after, err := store.GetMany(ctx, c.m.store, records)
	if err != nil {
		return err
	}
	var problems []*Problem
	var lacking []*layout.Footprint // of the records that can be repaired; a duplicate value needs the user
	var repairable []*Problem       // the problem of each in lacking
	for i, record := range records {
		if !before[i].Live() || to[record] || after[i].Revision != before[i].Revision {
			continue
		}
		f, err := c.m.layout.Of(before[i].Value)
		if err != nil || !f.Holds(key) {
			continue
		}
		problem := c.missing(ctx, record, have)
		problems = append(problems, problem)
		if problem.Kind != DuplicateValue {
			lacking, repairable = append(lacking, f.Only(key)), append(repairable, problem)
		}
	}
	if c.repair && len(lacking) > 0 {
		err = c.repairMissing(ctx, lacking, repairable)
	}
	for _, f := range problems {
		c.report.Problems = append(c.report.Problems, *f)
	}
	return err
}

// missing is the problem of a record to which an index key, as it was read, does not lead.
// It is a duplicate value when the key is a claim and its owner holds the value too.
func (c *checker) missing(ctx context.Context, record string, have store.Message) *Problem {
	problem := &Problem{Kind: MissingEntry, Key: have.Key, Record: record}
	if !c.m.layout.IsClaim(have.Key) {
		return problem
	}
	problem.Kind = MissingClaim
	if !have.Live() {
		return problem
	}
	problem.Detail = fmt.Sprintf("the claim is of %s %s", c.m.def.Name, have.Value)
	if owner, err := c.m.layout.ReadOwner(have.Value); err == nil {
		other, err := c.m.footprint(ctx, c.m.layout.RecordKey(owner))
		if err == nil && other.Holds(have.Key) {
			problem.Kind = DuplicateValue
		}
	}
	return problem
}

// footprint is the footprint of the record that is at key now; empty when there is none.
func (m *model) footprint(ctx context.Context, key string) (layout.Footprint, error) {
	e, err := m.store.GetLatest(ctx, key)
	if err != nil || !e.Live() {
		return layout.Footprint{}, err
	}
	f, err := m.layout.Of(e.Value)
	return f, errs.Corrupt(m.def.Name, e.Key, err)
}

// repairMissing gives records the entry or the claim that they lack at one index key, and
// notes in their problems which were repaired.
func (c *checker) repairMissing(ctx context.Context, lacking []*layout.Footprint, problems []*Problem) error {
	refused, err := c.m.writer.Ensure(ctx, lacking...)
	if errors.Is(err, errs.ErrInvalid) { // the entry would be too long
		for _, f := range problems {
			f.Detail = err.Error()
		}
		return nil
	}
	if err != nil {
		return err
	}
	for i, f := range problems {
		f.Repaired = !slices.ContainsFunc(refused, func(r commit.Refused) bool { return r.Record == lacking[i] })
	}
	return nil
}

// sweepTries is how often the repair of one list is tried while others keep changing it.
const sweepTries = 8

// judgeStray finds out to which records an entry or a claim leads that do not hold its
// value, reports them, and takes them out if it is asked to.
//
// It reads the key first and the records after it. A record that does not hold the value
// then may have a writer that has put the entry and is about to commit. For a report that
// does not matter, because strays are harmless. A repair fences the record before it takes
// it out (commit.Writer.Sweep): such a writer begins again and puts the entry again.
func (c *checker) judgeStray(ctx context.Context, key string, d *dispute) error {
	records := d.stray
	for try := 1; len(records) > 0; try++ {
		have, err := c.m.store.Get(ctx, key)
		if err != nil {
			return err
		}
		to, err := c.leads(have)
		if err != nil {
			return nil // reported already
		}
		if try == 1 && have.Revision != d.revision && len(to) == 1 {
			return nil // it was written since the scan, by a writer that is about to commit the record
		}
		records = slices.DeleteFunc(records, func(r string) bool { return !to[r] })
		found, err := store.GetMany(ctx, c.m.store, records)
		if err != nil {
			return err
		}
		var stray []store.Message
		repaired := map[string]bool{}
		for i, rec := range found {
			rec.Key = records[i]
			if rec.Live() {
				if f, err := c.m.layout.Of(rec.Value); err != nil || f.Holds(key) {
					continue // it holds the value, or is a corrupt record, which is reported already
				}
			}
			stray = append(stray, rec)
		}
		if c.repair && len(stray) > 0 {
			swept, again, err := c.m.writer.Sweep(ctx, have, stray...)
			if err != nil {
				return err
			}
			if again && try < sweepTries {
				continue
			}
			for _, rec := range swept {
				repaired[rec.Key] = true
			}
		}
		kind := StrayEntry
		if c.m.layout.IsClaim(key) {
			kind = StrayClaim
		}
		for _, rec := range stray {
			c.report.Problems = append(c.report.Problems, Problem{Kind: kind, Key: key, Record: rec.Key, Repaired: repaired[rec.Key]})
		}
		return nil
	}
	return nil
}
