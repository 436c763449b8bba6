package building

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/natsorm/natsorm/internal/catalogue"
	"github.com/natsorm/natsorm/internal/errs"
	"github.com/natsorm/natsorm/internal/schema"
	"github.com/natsorm/natsorm/internal/store"
	"github.com/natsorm/natsorm/internal/workers"
)

const (
	// markEvery is how often a build marks how far it has come, and so how soon it hears of a pause.
	markEvery = 250 * time.Millisecond

	// pausedPoll is how often a paused build looks whether it may go on.
	pausedPoll = 250 * time.Millisecond
)

// marks is what a build knows of what the bucket keeps of builds of its model.
type marks struct {
	store    store.Store
	model    string
	def      *schema.Definition
	indexes  []schema.Index
	own      catalogue.Mark
	paused   func()
	every    time.Duration
	revision uint64 // at which WriteBuild can replace what is there
	there    bool   // there is something
	denied   bool   // this user may not write there, so the build is not marked
	last     time.Time
}

// begin waits while the model's builds are paused, and finds the mark to go on at.
func (m *marks) begin(ctx context.Context) error {
	b, err := m.look(ctx)
	if err != nil {
		return err
	}
	if b.Mark != nil && b.Mark.For(&m.own) {
		m.own.UpTo, m.own.Done = b.Mark.UpTo, b.Mark.Done
	}
	m.last = time.Now()
	return nil
}

// look reads what is there, and waits while the model's builds are paused.
func (m *marks) look(ctx context.Context) (catalogue.Build, error) {
	for told := false; ; told = true {
		b, revision, err := catalogue.ReadBuild(ctx, m.store, m.model)
		if err != nil && told {
			err = waited(err)
		}
		if err != nil {
			return b, err
		}
		m.revision, m.there = revision, b.Format > 0
		if !b.Paused {
			return b, nil
		}
		if !told {
			m.paused()
		}
		if err := workers.Sleep(ctx, pausedPoll); err != nil {
			return b, waited(err)
		}
	}
}

// waited is the error of a build that was paused.
func waited(err error) error {
	return fmt.Errorf("it is paused, by DB.PauseBuild; DB.ResumeBuild lets it go on: %w", err)
}

// reached notes that all records up to a revision have what they need, and writes that to the
// bucket now and then. ended says that the indexes are ready, because another program has built
// them. Once the build is failing nothing is written, so that the next one finds the same.
func (m *marks) reached(ctx context.Context, upTo uint64, done, total int, failing bool) (ended bool, err error) {
	m.own.UpTo, m.own.Done, m.own.Total = upTo, done, max(done, total)
	if m.denied || time.Since(m.last) < m.every {
		return false, nil
	}
	for {
		mark := &m.own
		if failing {
			mark = nil
		}
		revision, err := catalogue.WriteBuild(ctx, m.store, m.model, catalogue.Build{Mark: mark}, m.revision)
		if err == nil {
			m.revision, m.there, m.last = revision, true, time.Now()
			return false, nil
		}
		if errors.Is(err, errs.ErrPermission) {
			m.denied = true
			return false, nil
		}
		if !errors.Is(err, store.ErrWrongRevision) {
			return false, err
		}
		// It was paused, another program builds too, or has ended the build.
		if _, err := m.look(ctx); err != nil {
			return false, err
		}
		if ended, err := m.ready(ctx); err != nil || ended {
			return ended, err
		}
	}
}

// ready reports whether all indexes of the build are.
func (m *marks) ready(ctx context.Context) (bool, error) {
	def, _, err := catalogue.Read(ctx, m.store, m.model)
	if err != nil || def == nil || !def.Same(m.def) {
		return false, err
	}
	return !slices.ContainsFunc(m.indexes, func(x schema.Index) bool {
		i := def.Index(x.Name, x.Unique)
		return i < 0 || def.Indexes[i].State != schema.Ready || def.Indexes[i].Declared != x.Declared
	}), nil
}
