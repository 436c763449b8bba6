package natsorm

import (
	"context"
	"time"

	"github.com/natsorm/natsorm/internal/migration"
)

// Migration is a step of Migrate: a change of what a bucket holds, which is made once.
type Migration struct {
	// Name is what the bucket knows the step by, for ever: 1 to 64 characters of
	// A–Z a–z 0–9 _ -, of which the first is not "_".
	Name string

	// Up makes the change: it may make any call of db but Migrate, and should make them with
	// its context. That ends when the context of Migrate does, and when this program may have
	// lost its lease (see Migrate). Up is to be repeatable: when it was cut short,
	// by an error, a crash or a lost lease, it is called again, and finds what it has
	// done before. Define, ChangeLayout, Save and Upsert are repeatable, and so is an Update
	// whose condition selects what is still to be changed.
	Up func(ctx context.Context, db *DB) error
}

// Migrate carries out the steps that the bucket has not had yet, one after the other, in
// their order. Each is carried out once in the bucket, however many programs call Migrate
// at the same time, and is recorded there. applied are the names of those that this call
// has carried out; it is empty when there was nothing to do, or others did it. Without
// steps, Migrate does nothing.
//
//	applied, err := db.Migrate(ctx,
//		natsorm.Migration{Name: "2024-05-users", Up: addUsers},
//		natsorm.Migration{Name: "2024-06-lower-case", Up: lowerCase},
//	)
//
// The list grows at its end only. The steps that the bucket has had must be its beginning,
// in the same order: a list that lacks one of them, has them in another order, or has a new
// one before them is ErrSchema. A list that ends earlier is an older program's, beside which
// a newer one has been released, and there is nothing to do for it.
//
// Programs take turns. The one at work holds a lease in the bucket, which it renews; the
// others wait for it, as long as their contexts allow, so give ctx a deadline. When the
// program at work dies, another one goes on 15 seconds later, with the step that was begun.
// No clocks are compared: who waits sees that the lease is not renewed. A program that
// cannot renew its lease for 10 seconds, because it stands still or has no connection, takes
// it for lost: the context of its step ends, and when another one has begun the step, the
// error is ErrConflict, and the record is the other one's. What cannot be
// promised is that the step of a program that stood still does not send one more call when
// it goes on, beside the program that took its place. So steps are to be repeatable.
//
// When a step returns an error, that is recorded, the steps after it are not begun, and the
// next Migrate, of any program, begins with it. A panic of a step is recorded like an
// error, and goes on. When ctx ends while a step runs, and the step returns no error, it
// counts as done. Config.Logger is told which steps begin, are done and fail.
//
// Errors: a *MigrationError, which names the step, when a step has failed, or when anything
// else went wrong after a step was carried out; errors.Is and errors.As look into the
// cause. ErrSchema when the list contradicts the bucket; ErrInvalid for a name that cannot
// be one or comes twice, a nil Up, and inside of a transaction or another Migrate's step;
// ErrConflict as above; ErrCorrupt when a record of a step cannot be read;
// ErrUnknownOutcome when it is not known whether the end of a step was recorded; ErrPermission; and the
// context's error.
func (db *DB) Migrate(ctx context.Context, steps ...Migration) (applied []string, err error) {
	err = db.call(ctx, operation{Name: "Migrate", Outside: true}, func() error {
		list := make([]migration.Step, len(steps))
		for i, s := range steps {
			list[i].Name = s.Name
			if s.Up != nil {
				list[i].Up = func(ctx context.Context) error { return s.Up(ctx, db) }
			}
		}
		if err := migration.Check(ctx, list); err != nil || len(list) == 0 {
			return err
		}
		runner := migration.Runner{Store: db.store, Logger: db.cfg.Logger, Lapse: db.lapse}
		applied, err = runner.Run(ctx, list)
		return err
	})
	return applied, err
}

// AppliedMigration is what the bucket knows of a step that was begun.
type AppliedMigration struct {
	Name     string
	State    MigrationState
	Started  time.Time     // of the last try, by the clock of the program that made it
	Duration time.Duration // of the last try, to the millisecond; 0 while it runs
	Error    string        // of the last try, when it failed; at most 4 KiB of it
	Tries    int           // how often it was begun
}

// MigrationState says how far a step of Migrate is.
type MigrationState string

const (
	// MigrationRunning: the step was begun and has not ended. Its program may be dead; then
	// the next Migrate runs it again.
	MigrationRunning = MigrationState(migration.Running)
	// MigrationDone: the step was carried out, and is never begun again.
	MigrationDone = MigrationState(migration.Done)
	// MigrationFailed: the step returned an error, or panicked. The next Migrate runs it
	// again.
	MigrationFailed = MigrationState(migration.Failed)
)

// Migrations returns every step of Migrate that was begun in the bucket: first those that
// are done, in the order in which they were carried out, then those that run or have failed.
//
// Errors: ErrCorrupt when a record of a step cannot be read, ErrSchema when a newer natsorm
// has written it, ErrInvalid inside of a transaction, and the server's.
func (db *DB) Migrations(ctx context.Context) (all []AppliedMigration, err error) {
	err = db.call(ctx, operation{Name: "Migrations", Outside: true}, func() error {
		records, err := migration.List(ctx, db.store)
		for _, r := range records {
			all = append(all, AppliedMigration{
				Name: r.Name, State: MigrationState(r.State), Started: r.Started,
				Duration: time.Duration(r.Took) * time.Millisecond, Error: r.Error, Tries: r.Tries,
			})
		}
		return err
	})
	return all, err
}
