package exec

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/natsorm/natsorm/internal/errs"
	"github.com/natsorm/natsorm/internal/keys"
	"github.com/natsorm/natsorm/internal/layout"
	"github.com/natsorm/natsorm/internal/schema"
	"github.com/natsorm/natsorm/internal/store"
)

// Define registers a declaration in the catalogue, or holds it against the one
// that is there, and builds the indexes that are new. It returns what holds.
func Define(ctx context.Context, s store.Store, code schema.Definition, defaultShards int) (*Model, error) {
	probe := code
	if probe.Shards == 0 {
		probe.Shards = layout.DefaultShards(probe.Layout, defaultShards)
	}
	if err := probe.Validate(); err != nil {
		return nil, err
	}
	if _, err := layout.New(&probe); err != nil {
		return nil, err
	}
	for {
		def, err := register(ctx, s, code, probe)
		if err != nil {
			return nil, err
		}
		m, err := NewModel(s, def)
		if err != nil {
			return nil, err
		}
		todo := building(def, &code)
		if len(todo) == 0 {
			return m, nil
		}
		if err := m.build(ctx); err != nil {
			if errors.Is(err, errs.ErrSchema) { // the records do not allow it
				if _, e := settle(ctx, s, def, todo, false); e != nil {
					err = errors.Join(err, e)
				}
			}
			return nil, err
		}
		settled, err := settle(ctx, s, def, todo, true)
		if err != nil {
			return nil, err
		}
		if !slices.ContainsFunc(todo, func(x schema.Index) bool { return !among(settled.Indexes, x) }) {
			return NewModel(s, settled)
		}
		// Another process found the records wanting and took an index out while
		// this one found them sound: declare it again.
	}
}

// register writes the merger of code and catalogue, fresh when there is none.
func register(ctx context.Context, s store.Store, code, fresh schema.Definition) (*schema.Definition, error) {
	for {
		stored, entry, err := load(ctx, s, code.Name)
		if err != nil {
			return nil, err
		}
		var def schema.Definition
		changed := true
		if stored == nil {
			def = fresh
			def.Indexes = append([]schema.Index(nil), fresh.Indexes...)
			for i := range def.Indexes { // there may be records that another program wrote
				def.Indexes[i].State = schema.Building
			}
		} else if def, changed, err = schema.Reconcile(*stored, code); err != nil {
			return nil, err
		}
		if !changed {
			return &def, nil
		}
		_, err = save(ctx, s, &def, entry.Revision)
		if errors.Is(err, store.ErrWrongRevision) {
			continue
		}
		return &def, err
	}
}

// settle ends the building of indexes in the catalogue: they are ready, or go.
// The entries and claims of those that go stay: another process may be building
// the same index, and count on them. They are harmless, as a crashed writer's.
func settle(ctx context.Context, s store.Store, def *schema.Definition, built []schema.Index, ready bool) (*schema.Definition, error) {
	for {
		stored, entry, err := load(ctx, s, def.Name)
		if err != nil {
			return nil, err
		}
		if stored == nil {
			return nil, fmt.Errorf("%w: %s disappeared from the catalogue while its indexes were built", errs.ErrSchema, def.Name)
		}
		stored.Indexes = slices.DeleteFunc(stored.Indexes, func(x schema.Index) bool {
			return !ready && x.State == schema.Building && among(built, x)
		})
		for i, x := range stored.Indexes {
			if ready && among(built, x) {
				stored.Indexes[i].State = schema.Ready
			}
		}
		for i := range stored.Columns { // what only this process knows
			if at := def.Position(stored.Columns[i].Name); at >= 0 {
				stored.Columns[i].ZeroNull = def.Columns[at].ZeroNull
			}
		}
		_, err = save(ctx, s, stored, entry.Revision)
		if errors.Is(err, store.ErrWrongRevision) {
			continue
		}
		return stored, err
	}
}

// building are the indexes that code declares and that are not ready. Others
// are their declarers' to build.
func building(def, code *schema.Definition) (out []schema.Index) {
	for _, x := range def.Indexes {
		if x.State != schema.Ready && among(code.Indexes, x) {
			out = append(out, x)
		}
	}
	return out
}

func among(list []schema.Index, x schema.Index) bool {
	return slices.ContainsFunc(list, func(y schema.Index) bool { return x.Name == y.Name && x.Unique == y.Unique })
}

// Load reads a model from the catalogue; ErrNotFound when it has none.
func Load(ctx context.Context, s store.Store, name string) (*schema.Definition, error) {
	if err := keys.CheckName(name); err != nil {
		return nil, fmt.Errorf("%w: model: %w", errs.ErrSchema, err)
	}
	def, _, err := load(ctx, s, name)
	if err == nil && def == nil {
		err = fmt.Errorf("%w: no model %q in the catalogue; define it first", errs.ErrNotFound, name)
	}
	return def, err
}

// Announced is what an entry of the catalogue says of where a model's records are, and
// whether that is changing. ok is false for what is no entry.
func Announced(raw []byte) (name, place string, moving, ok bool) {
	var def schema.Definition
	if json.Unmarshal(raw, &def) != nil {
		return "", "", false, false
	}
	return def.Name, Location(&def), def.Moving != nil, true
}

// Location says where a model's records are.
func Location(def *schema.Definition) string { return fmt.Sprint(def.Layout, " in ", def.Shards) }

// Settled is the model as the catalogue has it now: m itself while that has its
// layout, otherwise another one. paused says that its records are being moved.
func (m *Model) Settled(ctx context.Context) (now *Model, paused bool, err error) {
	def, _, err := load(ctx, m.store, m.Def.Name)
	switch {
	case err != nil:
		return nil, false, err
	case def == nil: // a bucket that is being restored
		return m, false, nil
	case Location(def) == Location(m.Def):
		return m, def.Paused(), nil
	}
	for i := range def.Columns { // what only this process knows
		if at := m.Def.Position(def.Columns[i].Name); at >= 0 {
			def.Columns[i].ZeroNull = m.Def.Columns[at].ZeroNull
		}
	}
	now, err = NewModel(m.store, def)
	return now, def.Paused(), err
}

// List reads the whole catalogue, by name.
func List(ctx context.Context, s store.Store) ([]*schema.Definition, error) {
	return list(ctx, s, false)
}

// list is List; with sound, entries that can not be read are left out.
func list(ctx context.Context, s store.Store, sound bool) ([]*schema.Definition, error) {
	var out []*schema.Definition
	for e, err := range s.Match(ctx, []string{keys.Schemas()}) {
		if err != nil {
			return nil, err
		}
		def, err := decode(e)
		if err == nil {
			_, err = layout.New(def)
		}
		if err != nil && sound {
			continue
		}
		if err != nil {
			return nil, err
		}
		out = append(out, def)
	}
	slices.SortFunc(out, func(a, b *schema.Definition) int { return strings.Compare(a.Name, b.Name) })
	return out, nil
}

func load(ctx context.Context, s store.Store, name string) (*schema.Definition, store.Message, error) {
	e, err := s.GetLatest(ctx, keys.Schema(name))
	if err != nil || !e.Live() {
		return nil, e, err
	}
	def, err := decode(e)
	return def, e, err
}

func decode(e store.Message) (*schema.Definition, error) {
	def := &schema.Definition{}
	if err := json.Unmarshal(e.Value, def); err != nil {
		return nil, fmt.Errorf("%w: catalogue key %s can not be read: %w", errs.ErrSchema, e.Key, err)
	}
	if def.Format > schema.Format {
		return nil, fmt.Errorf("%w: catalogue key %s has format %d, written by a newer natsorm; this one knows up to %d: upgrade this program", errs.ErrSchema, e.Key, def.Format, schema.Format)
	}
	return def, def.Validate()
}

func save(ctx context.Context, s store.Store, def *schema.Definition, expect uint64) (revision uint64, err error) {
	raw, err := json.Marshal(def)
	if err != nil {
		return 0, err
	}
	res := s.Write(ctx, store.Op{Key: keys.Schema(def.Name), Value: raw, Conditional: true, Expect: expect})[0]
	if res.Err != nil {
		return 0, fmt.Errorf("natsorm: write %s to the catalogue: %w", def.Name, res.Err)
	}
	return res.Revision, nil
}
