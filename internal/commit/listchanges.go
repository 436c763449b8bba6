package commit

import (
	"bytes"
	"fmt"
	"slices"

	"github.com/natsorm/natsorm/internal/errs"
	"github.com/natsorm/natsorm/internal/keys"
	"github.com/natsorm/natsorm/internal/layout"
	"github.com/natsorm/natsorm/internal/store"
	"github.com/natsorm/natsorm/internal/value"
)

// listChanges gathers what several plans do to lists, so that each list is written
// once, checked to be at the revision that was read.
type listChanges struct {
	model string
	lists layout.Lists
	of    map[string]*listChange // by the list's key
}

// listChange is the records that join one list, and those that leave it.
type listChange struct {
	join  []value.Value // primary keys
	leave []string      // record keys
	doc   []byte        // the document of one that joins, for error texts
}

// newListChanges is empty: nothing changes yet.
func newListChanges(model string, lists layout.Lists) *listChanges {
	return &listChanges{model: model, lists: lists, of: map[string]*listChange{}}
}

// add adds what a plan does to lists.
func (c *listChanges) add(p *Plan) {
	for _, key := range p.Entries {
		c.join(key, p.Doc, p.after.ID)
	}
	for _, key := range p.Release {
		ch := c.at(key)
		ch.leave = append(ch.leave, p.Record)
	}
}

// join lets records join the list at key. doc is the document of one of them, for error
// texts, or nil.
func (c *listChanges) join(key string, doc []byte, ids ...value.Value) {
	ch := c.at(key)
	ch.join, ch.doc = append(ch.join, ids...), doc
}

func (c *listChanges) at(key string) *listChange {
	if c.of[key] == nil {
		c.of[key] = &listChange{}
	}
	return c.of[key]
}

// keys returns the keys of the lists that change, sorted, as keyLocks wants them.
func (c *listChanges) keys() []string {
	out := make([]string, 0, len(c.of))
	for key := range c.of {
		out = append(out, key)
	}
	slices.Sort(out)
	return out
}

// ops returns the writes of the lists in held, as they were just read. limit is the
// largest value that the bucket takes, in bytes.
//
// A list that a record joins is written even when the record is in it already. The
// write changes the list's revision, so a writer that has read the list and is about to
// take the record out is refused. A list that records only leave is written when that
// changes it. ErrInvalid when a list that is joined grows beyond limit, ErrCorrupt when
// one cannot be read.
func (c *listChanges) ops(held []store.Message, limit int) ([]store.Op, error) {
	ops := make([]store.Op, 0, len(held))
	for _, have := range held {
		ch := c.of[have.Key]
		next, err := ch.apply(c.lists, have)
		switch {
		case err != nil:
			return nil, c.corrupt(have.Key, err)
		case len(next) > limit && len(ch.join) > 0:
			return nil, c.tooLong(have.Key, ch, next, limit)
		case len(ch.join) == 0 && bytes.Equal(next, have.Value):
			continue
		}
		ops = append(ops, listOp(have, next))
	}
	return ops, nil
}

func (ch *listChange) apply(l layout.Lists, have store.Message) (list []byte, err error) {
	if have.Live() {
		list = have.Value
	}
	if len(ch.leave) > 0 {
		if list, err = l.Leave(list, ch.leave...); err != nil {
			return nil, err
		}
	}
	if len(ch.join) > 0 {
		list, err = l.Join(list, ch.join...)
	}
	return list, err
}

// listOp writes a list, checked to be at the revision at which have was read. A nil list
// deletes the key, with a plain delete marker and no purge.
func listOp(have store.Message, list []byte) store.Op {
	return store.Op{Key: have.Key, Value: list, Delete: list == nil, Conditional: true, Expect: have.Revision}
}

func (c *listChanges) corrupt(key string, err error) error {
	return errs.Corrupt(c.model, key, fmt.Errorf("%w; Check with Repair rebuilds it", err))
}

func (c *listChanges) tooLong(key string, ch *listChange, list []byte, limit int) error {
	column, text := c.lists.Value(ch.doc, key)
	if column == "" { // only the key is known
		column, _ = keys.IndexOf(c.model, key, false)
		text = key
	}
	const most = 100 // bytes of a value in an error text
	if len(text) > most {
		text = text[:most] + "…"
	}
	return errs.Invalidf(c.model, column, "the value %q would be shared by %d records, whose ids take %d bytes in one entry, %s",
		text, bytes.Count(list, []byte{','})+1, len(list), store.PayloadLimit(limit, "use the native layout, whose entries are one record's each (ChangeLayout moves a model there), another value, or "))
}
