package exec

import (
	"context"
	"errors"
	"fmt"
	"strings"

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
	c := checker{m: m, repair: repair, expected: map[string]string{}}
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

	expected map[string]string // entries and claims that records hold, not yet found: the record's key
	stray    []store.Entry     // entries and claims that no record was seen to hold
	doubtful []string          // records that share a unique value with another
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
			c.expected[entry] = e.Key
		}
		for _, claim := range f.Claims {
			if _, ok := c.expected[claim.Key]; ok {
				c.doubtful = append(c.doubtful, e.Key)
				continue
			}
			c.expected[claim.Key] = e.Key
		}
	}
	return nil
}

func (c *checker) readEntries(ctx context.Context) error {
	for e, err := range c.m.store.Scan(ctx, keys.Entries(c.m.Def.Name), store.ScanOptions{}) {
		if err != nil {
			return err
		}
		if !c.m.isEntry(e.Key) {
			continue
		}
		c.report.Entries++
		if _, ok := c.expected[e.Key]; ok {
			delete(c.expected, e.Key)
		} else {
			c.stray = append(c.stray, e)
		}
	}
	return nil
}

func (c *checker) readClaims(ctx context.Context) error {
	for e, err := range c.m.store.Scan(ctx, keys.Claims(c.m.Def.Name), store.ScanOptions{}) {
		if err != nil {
			return err
		}
		if !c.m.isClaim(e.Key) {
			continue
		}
		c.report.Claims++
		owner, err := c.m.Layout.ReadOwner(e.Value)
		record, ok := c.expected[e.Key]
		switch {
		case err != nil:
			fault := Fault{Kind: CorruptClaim, Key: e.Key, Record: record, Detail: err.Error()}
			if c.repair {
				// A record that holds the value gets a new one, as it misses its own.
				res := c.m.store.Write(ctx, store.Op{Key: e.Key, Delete: true, Purge: true, Check: true, Expect: e.Revision})[0]
				fault.Repaired = res.Err == nil
			}
			c.report.Faults = append(c.report.Faults, fault)
		case ok && record == c.m.Layout.RecordKey(owner):
			delete(c.expected, e.Key)
		case !ok:
			c.stray = append(c.stray, e)
		}
	}
	return nil
}

// judge looks at every disagreement once more, in an order that lets a write
// in between only clear it.
func (c *checker) judge(ctx context.Context) error {
	for key, record := range c.expected {
		if err := c.judgeMissing(ctx, key, record); err != nil {
			return err
		}
	}
	for _, record := range c.doubtful {
		f, err := c.m.footprint(ctx, record)
		if err != nil {
			return err
		}
		for _, claim := range f.Claims {
			if err := c.judgeMissing(ctx, claim.Key, record); err != nil {
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
func (c *checker) judgeMissing(ctx context.Context, key, record string) error {
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
	claim := c.m.isClaim(key)
	if have.Live() && (!claim || string(have.Value) == string(c.m.Layout.Owner(f.ID))) {
		return nil
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
		err := c.m.writer.Place(ctx, f.Only(key))
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
func (c *checker) judgeStray(ctx context.Context, e store.Entry) error {
	fault := Fault{Kind: StrayEntry, Key: e.Key, Record: c.m.Layout.RecordOfEntry(e.Key)}
	if c.m.isClaim(e.Key) {
		owner, err := c.m.Layout.ReadOwner(e.Value)
		if err != nil {
			return nil // it was read a moment ago, and has changed
		}
		fault.Kind, fault.Record = StrayClaim, c.m.Layout.RecordKey(owner)
	}
	have, err := c.m.store.GetLatest(ctx, e.Key)
	if err != nil || have.Revision != e.Revision {
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
		if fault.Repaired, err = c.m.writer.Sweep(ctx, e, rec); err != nil {
			return err
		}
	}
	c.report.Faults = append(c.report.Faults, fault)
	return nil
}

// isEntry reports whether a key under <model>.index. is an entry of one of the
// model's indexes, and not what another program keeps there.
func (m *Model) isEntry(key string) bool { return m.isOf(key, false) }

func (m *Model) isClaim(key string) bool { return m.isOf(key, true) }

// isOf reports whether key has the form of an index of this kind: a token for
// each column, and in an entry one for the record.
func (m *Model) isOf(key string, unique bool) bool {
	tokens := strings.Split(key, ".")
	if len(tokens) < 4 || (tokens[1] == "unique") != unique {
		return false
	}
	columns := len(tokens) - 3
	if !unique {
		columns--
	}
	i := m.Def.Index(tokens[2], unique)
	return i >= 0 && len(m.Def.Indexes[i].Columns) == columns
}
