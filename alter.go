package natsorm

import (
	"context"
	"fmt"

	"github.com/natsorm/natsorm/internal/alter"
	"github.com/natsorm/natsorm/internal/catalogue"
	"github.com/natsorm/natsorm/internal/codec"
	"github.com/natsorm/natsorm/internal/records"
	"github.com/natsorm/natsorm/internal/schema"
	"github.com/natsorm/natsorm/internal/value"
)

// Alteration is a change that DB.Alter makes to a model, or says how Alter works.
type Alteration struct {
	change *alter.Change
	option func(*alterOptions)
}

type alterOptions struct {
	progress func(change string, done, total int)
	plan     *AlterPlan // of a dry run; nil: it is none
	err      error      // the first mistake
}

// Rewrite lets f change every record. f gets the record with all its columns, hidden ones too,
// and changes, adds or deletes members of the map. What it leaves alone keeps its bytes.
// The primary key cannot change.
//
// f is called by one goroutine at a time. It may be called several times for one record: when
// somebody else has changed the record meanwhile, and when Alter is called again after it was
// cut short. So f must see by the record whether it is done already, and have no other effect.
// An error of f ends the call, which names the record; a panic does so too.
//
// A record gets a new version, as by Update, and a watch sees it as updated. Its updatedAt
// time stays, unless f changes it: nobody has changed what the record says of the world.
func Rewrite(f func(Record) error) Alteration {
	if f == nil {
		f = func(Record) error {
			return fmt.Errorf("%w: nil function; give Rewrite one that changes a record", ErrInvalid)
		}
	}
	return changing(alter.Rewrite(func(r map[string]any) error { return f(r) }))
}

// DropIndex takes all indexes of these columns away: unique, ordered and folded ones and others.
// Where there are several, DryRun and the Logger say which; DropOneIndex takes one of them.
// Every program goes on without them: queries take another way, and a unique value may be
// given twice from now on. It takes a second and a half, and the time that the server takes to
// remove the entries, about 2 µs each, in which it answers nobody on this bucket.
//
// A program that declares the index adds it again when it is started again, so first deploy
// one that does not. An index that is not there is no error: Alter may have been cut short
// when it had dropped it. The Logger is told.
func DropIndex(columns ...string) Alteration { return changing(alter.DropIndex("", columns...)) }

// DropOneIndex is DropIndex for one index: that which has the columns of x, in their order, and is unique,
// ordered or folded where x is. Other indexes of these columns stay. The other fields of x count for
// nothing, so one from Schema.Indexes does too.
func DropOneIndex(x IndexSchema) Alteration { return changing(alter.DropIndex(x.kind(), x.Columns...)) }

// DropColumn takes a column out of the model and out of every record. A column that an index has
// is refused, as are the primary key and the times that natsorm sets. ErrConflict while such an index
// is being dropped.
//
// Drop a column when no program needs it any more. Programs that run and declare it go on: the
// Logger tells them, what they write of it is left out (a Record that has it is ErrInvalid), and a
// query on it is ErrInvalid. Define refuses the name with ErrSchema, because nobody can tell an old
// program that is started again from a new column of that name; FreeName ends that.
func DropColumn(name string) Alteration { return changing(alter.DropColumn(name)) }

// RenameColumn gives a column another name, in the model and in every record. It waits for a second
// and a half before it rewrites records, until every program has noticed. Indexes stay, and need
// not be built again.
//
// Programs that declare the former name and programs that declare the new one both read and
// write right, before, meanwhile and afterwards, under either name, until ForgetName. So first call
// Alter, then start the programs that declare the new name: one that is started before adds a
// column of that name, and RenameColumn is refused. A watch has the names that the model
// had when it began; it sees no change when a record gets the new name.
//
// Refused with ErrInvalid: the primary key; a column that does not exist; a name that another
// column has or had, or that records have in a member that is no column; and in the Sequelize
// layout a column that is indexed. ErrConflict when the column was renamed to something else.
// While Node services use the model, do not rename its columns: they know nothing of it.
func RenameColumn(from, to string) Alteration { return changing(alter.RenameColumn(from, to)) }

// ForgetName ends the time in which programs may use a former name of a column that was renamed.
// Those that declare it get ErrSchema from every call, and from Define.
func ForgetName(name string) Alteration { return changing(alter.ForgetName(name)) }

// FreeName lets a name that a column had, until it was dropped, or renamed and the name forgotten,
// be that of a new column. Call it when no program runs any more that declared it as it was: one
// that does gets ErrSchema from every call. It does nothing for another name.
func FreeName(name string) Alteration { return changing(alter.FreeName(name)) }

// ConvertColumn gives a column a type that has all values of the one that it has: Int and Uint
// become Float or Decimal, and String becomes Time. convert is nil. Records stay as they are,
// because these types have the same JSON; so a value that is none of the new type, such as an
// integer that no float is equal to or text that is no time, ends Alter with ErrInvalid, which
// names the record. Change it and call Alter again, or give the conversion up by ConvertColumn to
// the type that the column had.
//
// Programs that declare the former type and programs that declare the new one both read and write
// right, until ForgetType. So first call Alter, then start the programs that declare the new type:
// before Alter has ended, Define refuses them with ErrSchema. Meanwhile and afterwards, a program
// of the former type gets ErrInvalid for a value that the new type does not have; and afterwards
// ErrSchema, which names the record, when it reads one that its own type does not have, such as a
// fraction. Its conditions are of the new type.
//
// Refused with ErrInvalid: every other pair of types, and a function, because programs that run
// would not have it (docs/schema.md says how to go on); the primary key; a column that does not
// exist, has a role, or is indexed: drop the index, and declare it again afterwards. ErrConflict
// while the column is being converted to another type, or an index that has it is being dropped.
func ConvertColumn(name string, to Type, convert func(any) (any, error)) Alteration {
	return changing(alter.ConvertColumn(name, value.Type(to), convert != nil))
}

// ForgetType ends the time in which programs may declare a column with a type that it had before
// ConvertColumn. Those that do get ErrSchema from every call, and from Define.
func ForgetType(name string) Alteration { return changing(alter.ForgetType(name)) }

// AlterProgress makes Alter call f as it goes on, with the change that is being made, how many
// records were read for it, and how many there are, as far as that is known. f is called by one
// goroutine at a time, and waited for.
func AlterProgress(f func(change string, done, total int)) Alteration {
	return Alteration{option: func(o *alterOptions) { o.progress = f }}
}

// DryRun makes Alter write nothing, and fill plan with what it would do. It reads every record
// as the changes would, and returns the errors that they would end with. What a change before
// has not done, because nothing is written, the next one does not see: of several changes of
// which one needs what the other does, the second may be refused. ErrInvalid for a nil plan.
func DryRun(plan *AlterPlan) Alteration {
	return Alteration{option: func(o *alterOptions) {
		if o.plan = plan; plan == nil {
			o.err = fmt.Errorf("%w: DryRun got no plan to fill; give it a pointer to one", ErrInvalid)
		}
	}}
}

// AlterPlan says what Alter would do.
type AlterPlan struct {
	Changes []PlannedChange // in the order in which they were given
}

// PlannedChange says what Alter would do for one change.
type PlannedChange struct {
	Change    string // what is changed, such as "drop column nick"
	Catalogue bool   // the model's document in the catalogue would be written
	Read      int    // how many records are read
	Write     int    // how many of them would be written
	Remove    int    // about how many index entries and unique claims would be removed
	Note      string // what is odd: an index that is to be dropped and is not there, several of the same columns; or ""
}

func changing(c alter.Change) Alteration { return Alteration{change: &c} }

// Alter changes a model that has records, while programs use it: each of the changes, in their
// order. Nobody waits for it. Every record that it changes is written like any other, checked to
// be as it was read, so that no write of others is lost.
//
// If Alter is cut short by an error, a crash or ctx, what it has written stays, and calling it
// again with the same changes completes it, in any process. The first error ends it; changes
// before the one that failed stay. A record that cannot be changed is named by the error.
//
// Errors: ErrNotFound when the catalogue has no such model. ErrInvalid for a change that cannot
// be made, and for none. ErrConflict while the model is moved to another layout, and when another
// program has altered the same thing differently. ErrCorrupt for a record that cannot be read: mend or destroy it, and
// call Alter again. ErrUnique when a record would get another one's unique value. A *PartialError,
// which wraps one of these, when some records were changed before it. ErrInvalid inside a
// transaction.
func (db *DB) Alter(ctx context.Context, model string, changes ...Alteration) error {
	return db.call(ctx, operation{Name: "Alter", Outside: true}, func() error {
		var o alterOptions
		var list []alter.Change
		for _, c := range changes {
			if c.option != nil {
				c.option(&o)
			}
			if c.change != nil {
				list = append(list, *c.change)
			}
		}
		if o.err != nil {
			return o.err
		}
		if len(list) == 0 {
			return fmt.Errorf("%w: Alter of %s without a change; give it one, such as Rewrite", ErrInvalid, model)
		}
		generation := db.store.Generation()
		def, _, err := catalogue.Load(ctx, db.store, model)
		if err != nil {
			return err
		}
		now, err := records.New(db.store, def)
		if err != nil {
			return err
		}
		// Its codec declares no column, so no alteration is in its way.
		m := db.calls.NewModel(ctx, generation, now, codec.NewRecord[Record](&schema.Definition{Name: model}, nil))
		run := &alter.Run{Store: db.store, Handle: m.Handle, Dry: o.plan != nil, Progress: o.progress}
		done, err := run.Do(ctx, list)
		for _, p := range done {
			if p.Note != "" {
				db.cfg.Logger.Warn("natsorm: Alter: "+p.Note, "model", model, "change", p.Change)
			}
		}
		if o.plan != nil {
			*o.plan = AlterPlan{}
			for _, p := range done {
				o.plan.Changes = append(o.plan.Changes, PlannedChange(p))
			}
		}
		return err
	})
}
