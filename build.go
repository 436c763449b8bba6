package natsorm

import (
	"context"

	"github.com/natsorm/natsorm/internal/catalogue"
)

// BuildRate limits how many records a second Define takes when it builds an index. 0, the default,
// is as many as leave the server's other work alone: a build slows down by itself while others
// write to the bucket, or while answers take long. Records whose writers knew the index do not
// count: they have their entries. Define returns ErrSchema for a negative number.
//
// It is this call's. Another program that builds the index at the same time has its own.
func BuildRate(perSecond int) ModelOption { return func(o *modelOptions) { o.build.Rate = perSecond } }

// BuildProgress makes Define call f as it builds an index, with about how many records have their
// entries, and how many there are. It begins where an earlier build was cut short. f is
// called by one goroutine at a time, and waited for.
func BuildProgress(f func(done, total int)) ModelOption {
	return func(o *modelOptions) { o.build.Progress = f }
}

// PauseBuild holds up the building of a model's indexes, in every program, until ResumeBuild. A
// Define that builds stops within about a second, and waits, as does one that comes later; its
// Logger is told. When its context ends meanwhile, the error says that the build is paused, and
// the next Define goes on where that one has come to. The bucket keeps the pause, so it
// outlasts every program. A build that would end within a second may end all the same, and with
// the last one the pause ends. A Restore that has to build the index waits too. Reads and writes of the model go on, without the index. Programs of
// a natsorm that does not know of pauses build all the same.
//
// Errors: ErrNotFound when the catalogue has no such model, or none of its indexes is being built.
// ErrPermission for a user who may not write to the bucket. ErrInvalid inside a transaction.
func (db *DB) PauseBuild(ctx context.Context, model string) error {
	return db.call(ctx, operation{Name: "PauseBuild", Outside: true}, func() error {
		return catalogue.Pause(ctx, db.store, model)
	})
}

// ResumeBuild ends what PauseBuild has begun. A Define that waits goes on within a second. It is no
// error when nothing is paused. Its other errors are those of PauseBuild.
func (db *DB) ResumeBuild(ctx context.Context, model string) error {
	return db.call(ctx, operation{Name: "ResumeBuild", Outside: true}, func() error {
		return catalogue.Resume(ctx, db.store, model)
	})
}
