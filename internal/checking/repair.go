package checking

import (
	"context"
	"errors"
	"slices"

	"github.com/natsorm/natsorm/internal/commit"
	"github.com/natsorm/natsorm/internal/errs"
	"github.com/natsorm/natsorm/internal/layout"
	"github.com/natsorm/natsorm/internal/store"
)

// settle repairs what was found, if it is to, and reports it. When that is cut short, what was not
// begun is left to the check that goes on, which finds it once more. What was begun is reported
// as not repaired, because that is not known; if it was not, it is found once more too.
func (c *checker) settle(ctx context.Context, found []finding) error {
	err := c.mend(ctx, found)
	for i := range found {
		if err == nil || found[i].Repaired || found[i].begun {
			c.add(found[i].Problem)
		}
	}
	return err
}

// mend repairs what can be repaired without a decision of the user's, and notes that it is.
func (c *checker) mend(ctx context.Context, found []finding) error {
	if c.o.Mend == Nothing {
		return nil
	}
	var lacking []*finding
	strays := map[string][]*finding{}
	for i := range found {
		f := &found[i]
		var err error
		switch {
		case f.Kind == StrayEntry || f.Kind == StrayClaim:
			strays[f.Key] = append(strays[f.Key], f)
		case c.o.Mend < Indexes:
		case f.lacks != nil:
			lacking = append(lacking, f)
		case f.Kind == CorruptEntry || f.Kind == CorruptClaim:
			// A record that holds the value then misses its entry or claim, and gets a new one. It is
			// deleted only at the revision that was read.
			removed, _ := store.Remove(ctx, c.store, f.broken)
			f.begun, f.Repaired = true, removed == 1
		case f.moves != nil && c.o.Mend == All:
			f.begun = true
			f.Repaired, err = c.move(ctx, f)
		}
		if err != nil {
			return err
		}
	}
	if err := c.give(ctx, lacking); err != nil {
		return err
	}
	for key, of := range strays {
		if err := c.take(ctx, key, of); err != nil {
			return err
		}
	}
	return nil
}

// move moves a record to its key, if no other one is there. One that is written meanwhile
// stays.
func (c *checker) move(ctx context.Context, f *finding) (moved bool, err error) {
	err = c.writer.Move(ctx, commit.Relocation{Record: f.broken, To: f.moves.Record})
	if errors.Is(err, errs.ErrExists) || errors.Is(err, store.ErrWrongRevision) {
		return false, nil
	}
	if err == nil {
		_, err = c.writer.Ensure(ctx, f.moves)
	}
	return err == nil, err
}

// give gives records the entries and claims that they lack.
func (c *checker) give(ctx context.Context, lacking []*finding) error {
	if len(lacking) == 0 {
		return nil
	}
	footprints := make([]*layout.Footprint, len(lacking))
	for i, f := range lacking {
		footprints[i], f.begun = f.lacks, true
	}
	refused, err := c.writer.Ensure(ctx, footprints...)
	switch {
	case errors.Is(err, errs.ErrInvalid) && len(lacking) > 1: // the entry of one of them would be too long
		for i := range lacking {
			if err := c.give(ctx, lacking[i:i+1]); err != nil {
				return err
			}
		}
		return nil
	case errors.Is(err, errs.ErrInvalid):
		lacking[0].Detail = err.Error()
		return nil
	case err != nil:
		return err
	}
	for _, f := range lacking {
		f.Repaired = !slices.ContainsFunc(refused, func(r commit.Refused) bool { return r.Record == f.lacks })
	}
	return nil
}

// sweepTries is how often the repair of one list is tried while others keep changing it.
const sweepTries = 8

// take takes records out of an entry or a claim whose value they do not hold.
//
// It reads the key once more, and then the records, and fences each of them (commit.Writer.Sweep):
// a writer that has put the entry and is about to commit, however long it has stalled, begins
// again and puts the entry again.
func (c *checker) take(ctx context.Context, key string, found []*finding) error {
	for try := 1; len(found) > 0; {
		have, err := c.store.Get(ctx, key)
		if err != nil || !have.Live() {
			return err
		}
		pointers, err := c.layout.Pointers(nil, have.Key, have.Value)
		if err != nil {
			return nil // reported already
		}
		to := make(map[string]bool, len(pointers))
		for _, r := range pointers {
			to[r] = true
		}
		found = slices.DeleteFunc(slices.Clone(found), func(f *finding) bool { return !to[f.Record] })
		// As many of the records as fit into memory; the others come with the next round.
		names := make([]string, len(found))
		for i, f := range found {
			names[i] = f.Record
		}
		records, holds, left, bytes := make([]store.Message, len(names)), make([]bool, len(names)), make([]bool, len(names)), 0
		for i, name := range names {
			records[i].Key = name // one that is not there may be left out
		}
		err = c.store.GetEach(ctx, names, func(i int, m store.Message) {
			m.Key = names[i]
			if holds[i] = commit.Holds(c.layout, m, key); holds[i] {
				return
			}
			if left[i] = bytes > heldBytes; left[i] {
				return
			}
			records[i] = m
			bytes += len(m.Value)
		})
		if err != nil {
			return err
		}
		var gone []store.Message
		var of, later []*finding
		for i, m := range records {
			switch {
			case holds[i]:
			case left[i]:
				later = append(later, found[i])
			default:
				gone, of = append(gone, m), append(of, found[i])
			}
		}
		if len(gone) == 0 {
			return nil
		}
		if c.sweep != nil {
			if err := c.sweep.May(ctx); err != nil {
				return err
			}
		}
		for _, f := range of {
			f.begun = true
		}
		swept, again, err := c.writer.Sweep(ctx, have, gone...)
		if err != nil {
			return err
		}
		if again {
			if try++; try > sweepTries {
				return nil
			}
			continue
		}
		for _, f := range of {
			f.Repaired = slices.ContainsFunc(swept, func(m store.Message) bool { return m.Key == f.Record })
		}
		found = later
	}
	return nil
}
