package checking

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/natsorm/natsorm/internal/catalogue"
	"github.com/natsorm/natsorm/internal/commit"
	"github.com/natsorm/natsorm/internal/errs"
	"github.com/natsorm/natsorm/internal/keys"
	"github.com/natsorm/natsorm/internal/layout"
	"github.com/natsorm/natsorm/internal/schema"
	"github.com/natsorm/natsorm/internal/store"
	"github.com/natsorm/natsorm/internal/workers"
)

// Mend is what a check mends.
type Mend int

const (
	Nothing Mend = iota
	Strays       // entries and claims that no record needs
	Indexes      // entries and claims
	All          // also records that are not at their key
)

// Options says what a check does. The zero value only looks.
type Options struct {
	Mend     Mend
	Examples int                                       // how many problems of each kind a report keeps; 0: Examples
	Each     func(model string, p Problem)             // nil, or called with every problem, by one goroutine
	Progress func(model, step string, done, total int) // nil, or called by one goroutine; counts messages
	From     *Place                                    // where an earlier check was cut short; nil: from the beginning

	known int // how many keys a tally remembers; 0: mostKnown
}

// Check checks one model; see the package. errs.ErrDropped when it was dropped.
func Check(ctx context.Context, s store.Store, def *schema.Definition, o Options) (Report, error) {
	r, _, err := check(ctx, s, def, o)
	return r, err
}

// CheckAll checks every model of the catalogue, one after the other, in the order of their
// names. When it is cut short, it returns what it found until then, and the place to go on
// from. ErrInvalid for a place of Options.From that the bucket does not have any more.
func CheckAll(ctx context.Context, s store.Store, o Options) (out []Report, at *Place, err error) {
	at, o.From = o.From, nil
	defs, err := catalogue.List(ctx, s)
	if err != nil {
		return nil, at, err
	}
	if at != nil {
		if defs, err = at.rest(defs); err != nil {
			return nil, at, err
		}
	}
	for i, def := range defs {
		if i > 0 || at == nil {
			at = placeIn(def)
		}
		o.From = at
		var r Report
		r, at, err = check(ctx, s, def, o)
		if errors.Is(err, errs.ErrDropped) {
			continue
		}
		out = append(out, r)
		if err != nil {
			return out, at, err
		}
	}
	return out, nil, nil
}

// check is Check, and where it was cut short; a dropped model is an error.
func check(ctx context.Context, s store.Store, def *schema.Definition, o Options) (Report, *Place, error) {
	c := &checker{store: s, o: o, findings: newFindings(def.Name, &o)}
	if o.From != nil {
		c.from = *o.From
	}
	err := c.use(def)
	if err == nil {
		c.place = c.from
		err = c.run(ctx)
	}
	for errors.Is(err, errMoved) { // all keys are others
		c.findings = newFindings(def.Name, &o)
		c.from, c.place, c.suspects = Place{}, Place{}, nil
		if err = c.use(c.def); err == nil {
			err = c.run(ctx)
		}
	}
	if errors.Is(err, errPaused) {
		return c.report, nil, nil
	}
	if err != nil {
		at := placeIn(c.def)
		at.Pass, at.At = c.place.Pass, c.place.At
		return c.report, at, fmt.Errorf("natsorm: check %s: %w", def.Name, err)
	}
	return c.report, nil, nil
}

// pass is one reading of a part of the model.
type pass int

// The passes, in their order. The first three count what there is, and sum it up; the others
// look at what does not agree.
const (
	sumRecords pass = iota + 1
	sumEntries
	sumClaims
	lookRecords
	lookEntries
	lookClaims
	lookHeads // only of a sweep
)

func (p pass) pattern(model string) string {
	switch p {
	case sumRecords, lookRecords:
		return keys.Records(model)
	case sumEntries, lookEntries:
		return keys.Entries(model)
	case lookHeads:
		return keys.Heads(model)
	}
	return keys.Claims(model)
}

func (p pass) String() string {
	return map[pass]string{
		sumRecords: "records", sumEntries: "index entries", sumClaims: "unique values",
		lookRecords: "records that do not agree", lookEntries: "index entries that do not agree", lookClaims: "unique values that do not agree",
	}[p]
}

const (
	// together is how many messages of a scan are worked on at once, and togetherBytes about
	// how many bytes of them, if they are large.
	together      = 512
	togetherBytes = 1 << 20

	// mostSuspects is how many suspects wait to be judged, and longest about how long they do.
	mostSuspects = 4096
	longest      = time.Second
)

// errMoved says that the model was moved to another layout: all its keys are others.
var errMoved = errors.New("the model was moved to another layout")

// errPaused says that the model's records are being moved or removed, and nobody does it.
var errPaused = errors.New("the model is paused")

// checker is one check of one model. It is for one goroutine.
type checker struct {
	store store.Store
	o     Options
	*findings

	def       *schema.Definition
	layout    layout.Layout
	writer    *commit.Writer
	passNewer bool // records of newer versions count as of this one: the catalogue has none
	sawNewer  bool // one was met

	balance *balance
	looked  *looked // of the present pass
	pass    pass
	from    Place // what an earlier check has reported

	suspects []suspect
	oldest   time.Time // when the first of them was found
	youngest time.Time // when the last of them was found
	patience time.Duration
	place    Place // whatever was found before it has been judged

	sweep *sweep // nil in a check
}

// use makes the check work by a version of the model.
func (c *checker) use(def *schema.Definition) error {
	l, err := layout.New(def)
	if err != nil {
		return err
	}
	c.def, c.layout, c.writer, c.passNewer = def, l, commit.NewWriter(c.store, l), false
	c.report.Unbuilt = nil
	for _, x := range def.Indexes {
		if x.State != schema.Ready {
			c.report.Unbuilt = append(c.report.Unbuilt, fmt.Sprintf("%s %s (%s)", x.Kind(), x.Name, x.State))
		}
	}
	return nil
}

const (
	// abandoned is how long a model may be paused before the check goes on without it, and
	// poll the pause between two looks.
	abandoned = 10 * time.Second
	poll      = 20 * time.Millisecond
)

// renew works by the version of the model that is in force, and reports whether that is
// another one than before. While the model's records are being moved or removed it waits.
// errMoved when they have other keys now; errs.ErrDropped when the model is gone.
func (c *checker) renew(ctx context.Context) (changed bool, err error) {
	if c.store.Traits().Replicable {
		if _, err := c.store.Revision(ctx, store.Agreed); err != nil {
			return false, err
		}
	}
	for began := time.Now(); ; {
		now, _, err := catalogue.Read(ctx, c.store, c.def.Name)
		switch {
		case err != nil:
			return false, err
		case now == nil && c.sweep == nil: // it is being restored; or nobody has declared it
			return false, nil
		case now == nil, now.Dropped, c.def.Revision > 0 && !now.Same(c.def):
			return false, catalogue.Dropped(c.def.Name)
		case now.Paused() && time.Since(began) > abandoned:
			c.report.Paused = "its records are being moved to another layout; call ChangeLayout again if no program is doing it"
			if now.Emptying != nil {
				c.report.Paused = "all its records are being removed; call Truncate or DropModel again if no program is doing it"
			}
			return false, errPaused
		case now.Paused():
			if err := workers.Sleep(ctx, poll); err != nil {
				return false, err
			}
			continue
		case now.Revision == c.def.Revision:
			return false, nil
		}
		moved := now.Layout != c.def.Layout || now.Shards != c.def.Shards
		if err := c.use(now); err != nil {
			return false, err
		}
		if moved {
			return false, errMoved
		}
		return true, nil
	}
}

// run is the check, from the beginning.
func (c *checker) run(ctx context.Context) error {
	if _, err := c.renew(ctx); err != nil && !errors.Is(err, errMoved) {
		return err
	}
	c.balance = newBalance()
	known := cmp.Or(c.o.known, mostKnown)
	records, entries, claims := newTally(known), newTally(known), newTally(known)
	defer func() {
		c.report.Records, c.report.Entries, c.report.Claims = records.count(), entries.count(), claims.count()
	}()
	for _, step := range []struct {
		pass pass
		look func(context.Context, []store.Scanned) error
	}{
		{sumRecords, func(ctx context.Context, batch []store.Scanned) error { return c.sumRecords(ctx, batch, records) }},
		{sumEntries, func(_ context.Context, batch []store.Scanned) error { return c.sumIndex(batch, entries, c.isEntry) }},
		{sumClaims, func(_ context.Context, batch []store.Scanned) error { return c.sumIndex(batch, claims, c.isClaim) }},
		{lookRecords, c.lookRecords},
		{lookEntries, func(ctx context.Context, batch []store.Scanned) error { return c.lookIndex(ctx, batch, c.isEntry) }},
		{lookClaims, func(ctx context.Context, batch []store.Scanned) error { return c.lookIndex(ctx, batch, c.isClaim) }},
	} {
		if step.pass == lookRecords && c.balance.balanced() {
			return nil
		}
		if err := c.read(ctx, step.pass, step.look); err != nil {
			return err
		}
	}
	return nil
}

func (c *checker) isEntry(key string) bool { return c.layout.IsEntry(key) }
func (c *checker) isClaim(key string) bool { return c.layout.IsClaim(key) }

// read reads what a pass is about, and judges what is suspect of it. It sees what was there
// before it, as the leader has it.
func (c *checker) read(ctx context.Context, p pass, look func(context.Context, []store.Scanned) error) error {
	if err := store.CatchUp(ctx, c.store); err != nil {
		return err
	}
	c.pass, c.looked = p, newLooked(cmp.Or(c.o.known, mostKnown))
	if c.place.before(p) {
		c.place = Place{Pass: p}
	}
	pattern, total, done := p.pattern(c.def.Name), 0, 0
	if c.o.Progress != nil {
		var err error
		if total, err = c.store.Count(ctx, pattern, store.About); err != nil {
			return err
		}
	}
	tell := func(total int) {
		if c.o.Progress != nil {
			c.o.Progress(c.def.Name, p.String(), done, total)
		}
	}
	batch, bytes, began := make([]store.Scanned, 0, together), 0, time.Now()
	last, ordered := uint64(0), true // a scan beside writers that never stop may end with keys in any order
	work := func() error {
		at := batch[len(batch)-1].At
		if err := look(ctx, batch); err != nil {
			return err
		}
		done += len(batch)
		clear(batch)
		batch, bytes = batch[:0], 0
		if len(c.suspects) >= mostSuspects || len(c.suspects) > 0 && time.Since(c.oldest) > longest {
			if err := c.judge(ctx); err != nil {
				return err
			}
		}
		if len(c.suspects) == 0 && ordered && (c.place.Pass < p || c.place.Pass == p && c.place.At < at) {
			c.place.Pass, c.place.At = p, at
		}
		tell(max(done, total))
		if c.sweep != nil {
			err := c.sweep.Pace(ctx, time.Since(began))
			began = time.Now()
			return err
		}
		return nil
	}
	for m, err := range store.Repeating(ctx, c.store, pattern) {
		if err != nil {
			return err
		}
		ordered = ordered && m.At >= last
		last = m.At
		batch = append(batch, m)
		if bytes += len(m.Key) + len(m.Value); len(batch) == together || bytes >= togetherBytes {
			if err := work(); err != nil {
				return err
			}
		}
	}
	if len(batch) > 0 {
		if err := work(); err != nil {
			return err
		}
	}
	tell(done)
	return c.judge(ctx)
}

// version makes sure that a record can be judged: of a newer version of the model, whose
// names are not known, that one is read first.
func (c *checker) version(ctx context.Context, rec store.Message) error {
	if !commit.Newer(c.layout, rec) || c.passNewer {
		return nil
	}
	changed, err := c.renew(ctx)
	if err == nil {
		c.passNewer = !changed || commit.Newer(c.layout, rec) // what says so is from another bucket
	}
	return err
}

// awaits reports whether an index key belongs to an index of which records may lack entries:
// one that is not built to its end.
func (c *checker) awaits(key string) bool {
	if len(c.report.Unbuilt) == 0 {
		return false
	}
	unique := c.layout.IsClaim(key)
	name, _ := keys.IndexOf(c.def.Name, key, unique)
	i := c.def.Index(name, unique)
	return i < 0 || c.def.Indexes[i].State != schema.Ready
}

// sumRecords notes which pointers records need. The records come first, so that the scans of
// the index find what was written for them: an entry is written before its record.
func (c *checker) sumRecords(ctx context.Context, batch []store.Scanned, count *tally) error {
	for _, m := range batch {
		again, known := count.come(m.Key, 1, m.Again)
		if err := c.version(ctx, m.Message); err != nil {
			return err
		}
		f, err := layout.At(c.layout, m.Key, m.Value)
		if err != nil {
			c.suspect(suspect{what: badRecord, key: m.Key}, m.At)
			continue
		}
		for key := range f.IndexKeys() {
			switch {
			case c.awaits(key):
			case !known:
				c.balance.doubt(key)
			case !again:
				c.balance.need(pointer{key, m.Key})
			}
		}
	}
	return nil
}

// sumIndex notes which pointers there are. ours tells the model's index keys from those of
// other programs.
func (c *checker) sumIndex(batch []store.Scanned, count *tally, ours func(key string) bool) error {
	for _, m := range batch {
		if !ours(m.Key) {
			continue
		}
		records, err := c.layout.Pointers(nil, m.Key, m.Value)
		if err != nil {
			c.suspect(suspect{what: badIndex, key: m.Key}, m.At)
			continue
		}
		again, known := count.come(m.Key, len(records), m.Again)
		switch {
		case c.awaits(m.Key):
		case !known:
			c.balance.doubt(m.Key)
		case !again:
			for _, record := range records {
				c.balance.find(pointer{m.Key, record})
			}
		}
	}
	return nil
}

// lookRecords looks for the pointers that records need, as far as sums do not agree.
func (c *checker) lookRecords(ctx context.Context, batch []store.Scanned) error {
	need := map[string][]string{} // by the index key, the records that need it
	at := map[string]store.Scanned{}
	for _, m := range batch {
		if err := c.version(ctx, m.Message); err != nil {
			return err
		}
		f, err := layout.At(c.layout, m.Key, m.Value)
		if err != nil {
			continue // reported already
		}
		for key := range f.IndexKeys() {
			if !c.awaits(key) && c.balance.open(key) {
				need[key] = append(need[key], m.Key)
				at[m.Key] = m
			}
		}
	}
	have, err := c.leads(ctx, need)
	if err != nil {
		return err
	}
	for key, records := range need {
		for _, record := range records {
			if !have[key].to[record] {
				old := c.def.Reindexed() > 0 && at[record].Schema <= c.def.Reindexed()
				c.suspect(suspect{what: missing, key: key, record: record, old: old}, at[record].At)
			}
		}
	}
	return nil
}

// lookIndex looks whether the records to which index keys lead hold their values, as far as
// sums do not agree; in a sweep, always.
func (c *checker) lookIndex(ctx context.Context, batch []store.Scanned, ours func(key string) bool) error {
	type lead struct {
		key    string
		at     store.Scanned
		record string
	}
	var leads []lead
	look := func() error {
		records := make([]string, len(leads))
		for i, l := range leads {
			records[i] = l.record
		}
		holds := make([]bool, len(leads))
		err := c.store.GetEach(ctx, records, func(i int, m store.Message) {
			holds[i] = commit.Holds(c.layout, m, leads[i].key)
		})
		for i, l := range leads {
			if !holds[i] && err == nil {
				c.suspect(suspect{what: stray, key: l.key, record: l.record, revision: l.at.Revision}, l.at.At)
			}
		}
		leads = leads[:0]
		return err
	}
	for _, m := range batch {
		if !ours(m.Key) {
			if c.sweep != nil {
				c.sweep.leftover(c, m)
			}
			continue
		}
		if c.awaits(m.Key) || c.sweep == nil && !c.balance.open(m.Key) || c.looked.has(m) {
			continue
		}
		records, err := c.layout.Pointers(nil, m.Key, m.Value)
		if err != nil {
			continue // reported already
		}
		for _, record := range records {
			if leads = append(leads, lead{m.Key, m, record}); len(leads) == together {
				if err := look(); err != nil {
					return err
				}
			}
		}
	}
	if len(leads) > 0 {
		return look()
	}
	return nil
}
