package exec

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/natsorm/natsorm/internal/errs"
	"github.com/natsorm/natsorm/internal/keys"
	"github.com/natsorm/natsorm/internal/store"
)

// FaultKind is a way in which a bucket can be wrong.
type FaultKind string

const (
	MissingEntry   FaultKind = "missing entry"   // lookups by the index miss the record
	MissingClaim   FaultKind = "missing claim"   // another record could take the unique value
	DuplicateValue FaultKind = "duplicate value" // another record has the unique value
	CorruptRecord  FaultKind = "corrupt record"  // its document can not be read
	MisplacedKey   FaultKind = "misplaced key"   // its primary key belongs at another key
	CorruptClaim   FaultKind = "corrupt claim"   // it names no owner: nobody can take the unique value
	CorruptEntry   FaultKind = "corrupt entry"   // a list of ids that can not be read: lookups fail, and writes of its records
	StrayEntry     FaultKind = "stray entry"     // harmless: readers drop it
	StrayClaim     FaultKind = "stray claim"     // harmless: the next writer takes it
)

// Harmless reports whether no answer can be wrong because of this fault.
func (k FaultKind) Harmless() bool { return k == StrayEntry || k == StrayClaim }

// Fault is one thing that Check found.
type Fault struct {
	Kind     FaultKind
	Key      string // the entry, claim or record
	Record   string // the record's key
	Detail   string
	Repaired bool
}

// Report is what Check found of one model.
type Report struct {
	Records, Entries, Claims int
	Faults                   []Fault
}

// Check compares every record with the index. It takes three scans, and looks
// at what does not agree once more, key by key, so that writes meanwhile do
// not look like faults. It holds the key of every entry in memory.
func (m *Model) Check(ctx context.Context, repair bool) (Report, error) {
	c := checker{m: m, repair: repair, expected: map[place]bool{}, claims: map[string]string{}}
	for _, step := range []func(context.Context) error{m.store.CatchUp, c.readRecords, c.readEntries, c.readClaims, c.judge} {
		if err := step(ctx); err != nil {
			return c.report, fmt.Errorf("natsorm: check %s: %w", m.Def.Name, err)
		}
	}
	return c.report, nil
}

type checker struct {
	m      *Model
	repair bool
	report Report

	expected map[place]bool    // entries that records hold, not yet found
	claims   map[string]string // claims that records hold, not yet found: the record's key
	stray    []strayEntry      // entries and claims that no record was seen to hold
	doubtful []string          // records that share a unique value with another
}

// place is a record's in an entry.
type place struct{ key, record string }

// strayEntry leads to a record that was not seen to hold it.
type strayEntry struct {
	store.Message
	record string
}

func (c *checker) readRecords(ctx context.Context) error {
	for e, err := range c.m.store.Scan(ctx, keys.Records(c.m.Def.Name), store.ScanOptions{}) {
		if err != nil {
			return err
		}
		c.report.Records++
		f, err := c.m.Layout.Of(e.Value)
		switch {
		case err != nil:
			c.report.Faults = append(c.report.Faults, Fault{Kind: CorruptRecord, Key: e.Key, Record: e.Key, Detail: err.Error()})
			continue
		case f.Record != e.Key:
			c.report.Faults = append(c.report.Faults, Fault{Kind: MisplacedKey, Key: e.Key, Record: e.Key, Detail: fmt.Sprintf("primary key %s belongs at %q", f.ID.Text(), f.Record)})
			continue
		}
		for _, entry := range f.Entries {
			c.expected[place{entry, e.Key}] = true
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
	for e, err := range c.m.store.Scan(ctx, keys.Entries(c.m.Def.Name), store.ScanOptions{}) {
		if err != nil {
			return err
		}
		if !c.m.Layout.IsEntry(e.Key) {
			continue
		}
		records, err := c.m.Layout.Pointers(nil, e.Key, e.Value)
		if err != nil {
			c.corrupt(ctx, Fault{Kind: CorruptEntry, Key: e.Key, Detail: err.Error()}, e)
		}
		for _, record := range records {
			c.report.Entries++
			if p := (place{e.Key, record}); c.expected[p] {
				delete(c.expected, p)
			} else {
				c.stray = append(c.stray, strayEntry{e, record})
			}
		}
	}
	return nil
}

func (c *checker) readClaims(ctx context.Context) error {
	for e, err := range c.m.store.Scan(ctx, keys.Claims(c.m.Def.Name), store.ScanOptions{}) {
		if err != nil {
			return err
		}
		if !c.m.Layout.IsClaim(e.Key) {
			continue
		}
		c.report.Claims++
		owners, err := c.m.Layout.Pointers(nil, e.Key, e.Value)
		record, ok := c.claims[e.Key]
		switch {
		case err != nil:
			c.corrupt(ctx, Fault{Kind: CorruptClaim, Key: e.Key, Record: record, Detail: err.Error()}, e)
		case ok && record == owners[0]:
			delete(c.claims, e.Key)
		case !ok:
			c.stray = append(c.stray, strayEntry{e, owners[0]})
		}
	}
	return nil
}

// corrupt reports an entry or a claim that can not be read. Repaired, it is deleted:
// a record that holds the value gets a new one, as it misses its own.
func (c *checker) corrupt(ctx context.Context, fault Fault, e store.Message) {
	if c.repair {
		res := c.m.store.Write(ctx, store.Op{Key: e.Key, Delete: true, Purge: true, Conditional: true, Expect: e.Revision})[0]
		fault.Repaired = res.Err == nil
	}
	c.report.Faults = append(c.report.Faults, fault)
}

// judge looks at every disagreement once more, in an order that lets a write
// in between only clear it.
func (c *checker) judge(ctx context.Context) error {
	if c.m.Layout.Lists() != nil {
		return c.judgeLists(ctx)
	}
	for p := range c.expected {
		if err := c.judgeMissing(ctx, p.key, p.record, false); err != nil {
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
	f, err := c.m.Layout.Of(before.Value)
	if err != nil || !f.Holds(key) {
		return nil
	}
	have, err := c.m.store.GetLatest(ctx, key)
	if err != nil {
		return err
	}
	if have.Live() {
		to, err := c.m.Layout.Pointers(nil, key, have.Value)
		if err == nil && slices.Contains(to, record) {
			return nil
		}
	}
	after, err := c.m.store.GetLatest(ctx, record)
	if err != nil || after.Revision != before.Revision {
		return err
	}
	fault := Fault{Kind: MissingEntry, Key: key, Record: record}
	if claim {
		fault.Kind = MissingClaim
		if have.Live() {
			fault.Detail = fmt.Sprintf("the claim is of %s %s", c.m.Def.Name, have.Value)
			if owner, err := c.m.Layout.ReadOwner(have.Value); err == nil {
				other, err := c.m.footprint(ctx, c.m.Layout.RecordKey(owner))
				if err == nil && other.Holds(key) {
					fault.Kind = DuplicateValue
				}
			}
		}
	}
	if c.repair && fault.Kind != DuplicateValue {
		err := c.m.writer.Ensure(ctx, f.Only(key))
		if err != nil && !errors.Is(err, errs.ErrUnique) && !errors.Is(err, errs.ErrCorrupt) {
			return err
		}
		fault.Repaired = err == nil
	}
	c.report.Faults = append(c.report.Faults, fault)
	return nil
}

// judgeStray confirms that the record an entry or claim points at does not
// hold its value.
func (c *checker) judgeStray(ctx context.Context, e strayEntry) error {
	fault := Fault{Kind: StrayEntry, Key: e.Key, Record: e.record}
	if c.m.Layout.IsClaim(e.Key) {
		fault.Kind = StrayClaim
	}
	have, err := c.m.store.GetLatest(ctx, e.Key)
	if err != nil || !have.Live() || have.Revision != e.Revision {
		return err
	}
	rec, err := c.m.store.GetLatest(ctx, fault.Record)
	if err != nil {
		return err
	}
	rec.Key = fault.Record
	if rec.Live() {
		f, err := c.m.Layout.Of(rec.Value)
		if err != nil || f.Holds(e.Key) {
			return nil // of a corrupt record, which is named already
		}
	}
	if c.repair {
		if fault.Repaired, err = c.m.writer.Sweep(ctx, e.Message, rec); err != nil {
			return err
		}
	}
	c.report.Faults = append(c.report.Faults, fault)
	return nil
}
