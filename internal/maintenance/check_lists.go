package maintenance

import (
	"context"
	"errors"
	"slices"

	"github.com/natsorm/natsorm/internal/errs"
	"github.com/natsorm/natsorm/internal/layout"
	"github.com/natsorm/natsorm/internal/store"
)

// disputed is a list that does not agree with its records.
type disputed struct {
	missing []string // the keys of records that are not in it
	stray   []string // and of those in it that were not seen to hold the value
}

// judgeLists judges every list by itself, all of its records at the same time: one
// list may be of all records.
func (c *checker) judgeLists(ctx context.Context) error {
	lists := map[string]*disputed{}
	at := func(key string) *disputed {
		if lists[key] == nil {
			lists[key] = &disputed{}
		}
		return lists[key]
	}
	for p := range c.expected {
		d := at(p.entry)
		d.missing = append(d.missing, p.record)
	}
	for _, e := range c.stray {
		d := at(e.Key)
		d.stray = append(d.stray, e.record)
	}
	for key, d := range lists {
		if err := c.judgeMissingIn(ctx, key, d.missing); err != nil {
			return err
		}
		if err := c.judgeStrayIn(ctx, key, d.stray); err != nil {
			return err
		}
	}
	return nil
}

// judgeMissingIn is judgeMissing of many records.
func (c *checker) judgeMissingIn(ctx context.Context, key string, records []string) error {
	if len(records) == 0 {
		return nil
	}
	before, err := c.m.store.GetMany(ctx, records)
	if err != nil {
		return err
	}
	have, err := c.m.store.GetLatest(ctx, key)
	if err != nil {
		return err
	}
	in, err := c.in(have)
	if err != nil {
		return nil // a corrupt list, which is named already
	}
	after, err := c.m.store.GetMany(ctx, records)
	if err != nil {
		return err
	}
	var missing []*layout.Footprint
	first := len(c.report.Problems)
	for i, record := range records {
		if !before[i].Live() || in[record] || after[i].Revision != before[i].Revision {
			continue
		}
		if f, err := c.m.layout.Of(before[i].Value); err == nil && f.Holds(key) {
			missing = append(missing, f.Only(key))
			c.report.Problems = append(c.report.Problems, Problem{Kind: MissingEntry, Key: key, Record: record})
		}
	}
	if !c.repair || len(missing) == 0 {
		return nil
	}
	err = c.m.writer.Enlist(ctx, missing)
	if errors.Is(err, errs.ErrInvalid) { // it would be too long
		for i := range c.report.Problems[first:] {
			c.report.Problems[first+i].Detail = err.Error()
		}
		return nil
	}
	for i := range c.report.Problems[first:] {
		c.report.Problems[first+i].Repaired = err == nil
	}
	return err
}

// in is which records a list leads to.
func (c *checker) in(list store.Message) (map[string]bool, error) {
	if !list.Live() {
		return nil, nil
	}
	records, err := c.m.layout.Pointers(nil, list.Key, list.Value)
	in := make(map[string]bool, len(records))
	for _, r := range records {
		in[r] = true
	}
	return in, err
}

// sweepTries bounds how often a list is tried to be swept that others are changing.
const sweepTries = 8

// judgeStrayIn is judgeStray of many records.
func (c *checker) judgeStrayIn(ctx context.Context, key string, records []string) error {
	for try := 1; len(records) > 0; try++ {
		have, err := c.m.store.GetLatest(ctx, key)
		if err != nil {
			return err
		}
		in, err := c.in(have)
		if err != nil {
			return nil
		}
		records = slices.DeleteFunc(records, func(r string) bool { return !in[r] })
		found, err := c.m.store.GetMany(ctx, records)
		if err != nil {
			return err
		}
		var stray []store.Message
		for i, rec := range found {
			rec.Key = records[i]
			if rec.Live() {
				if f, err := c.m.layout.Of(rec.Value); err != nil || f.Holds(key) {
					continue // the list is right, or it is a corrupt record, which is named already
				}
			}
			stray = append(stray, rec)
		}
		swept := false
		if c.repair && len(stray) > 0 {
			if stray, swept, err = c.m.writer.SweepList(ctx, have, stray); err != nil {
				return err
			}
			if !swept && try < sweepTries {
				continue
			}
		}
		for _, rec := range stray {
			c.report.Problems = append(c.report.Problems, Problem{Kind: StrayEntry, Key: key, Record: rec.Key, Repaired: swept})
		}
		return nil
	}
	return nil
}
