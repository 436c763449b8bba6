package catalogue

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"sync"

	"github.com/natsorm/natsorm/internal/errs"
	"github.com/natsorm/natsorm/internal/schema"
	"github.com/natsorm/natsorm/internal/store"
)

// Declarations are what a program has declared in a bucket. The zero value has none. It is
// safe for concurrent use.
type Declarations struct {
	mu     sync.Mutex
	types  map[string]declaration // by the model's name, where that is the type's own
	unique map[string][]unique    // by the model's name: its unique indexes that were declared
	warned map[string]bool        // what the Logger was told of: models whose undeclared indexes, and others with dropped columns
}

type declaration struct {
	by  reflect.Type
	def *schema.Definition
}

// unique is a unique index that was declared.
type unique struct {
	declared []string // its columns, as they were declared
	now      []string // the same, as they are called in the catalogue
}

// By notes that a type declares a model under its own name. Two packages may each have a
// type of that name, which mean different things: their records would overwrite each
// other. Types with the same columns are taken for one.
func (d *Declarations) By(t reflect.Type, def *schema.Definition) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if old, ok := d.types[def.Name]; ok && old.by != t && !old.def.SameColumns(def) {
		return fmt.Errorf("%w: model %s is declared by %s and by %s, which have other columns; give one of them another name with natsorm.Name, or both the same columns", errs.ErrSchema, def.Name, typeName(old.by), typeName(t))
	}
	if d.types == nil {
		d.types = map[string]declaration{}
	}
	d.types[def.Name] = declaration{t, def}
	return nil
}

// typeName is a type's name with its package.
func typeName(t reflect.Type) string { return t.PkgPath() + "." + t.Name() }

// Warns reports, once for each subject, such as a model, that it is to be warned about.
func (d *Declarations) Warns(model string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.warned[model] {
		return false
	}
	if d.warned == nil {
		d.warned = map[string]bool{}
	}
	d.warned[model] = true
	return true
}

// Indexes notes which unique indexes the program has declared of a model, which the catalogue has
// as stored.
func (d *Declarations) Indexes(def, stored *schema.Definition) {
	d.mu.Lock()
	if d.unique == nil {
		d.unique = map[string][]unique{}
	}
	list := d.unique[def.Name]
	for _, x := range def.Indexes {
		if x.Unique && !slices.ContainsFunc(list, func(u unique) bool { return slices.Equal(u.declared, x.Columns) }) {
			list = append(slices.Clip(list), unique{x.Columns, x.Columns})
		}
	}
	d.unique[def.Name] = list // also of a model without any
	d.mu.Unlock()
	d.Renamed(stored)
}

// Renamed notes that columns of a model have other names now.
func (d *Declarations) Renamed(stored *schema.Definition) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for at, u := range d.unique[stored.Name] {
		for _, kind := range []schema.Kind{schema.UniqueIndex, schema.UniqueIndex.Folded()} {
			if i := stored.IndexOf(u.declared, kind); i >= 0 {
				d.unique[stored.Name][at].now = stored.Indexes[i].Columns
			}
		}
	}
}

// Mark notes in the *errs.UniqueErrors of err which indexes the program does not declare. To those
// that it declares by former names of columns it gives these names.
func (d *Declarations) Mark(err error) {
	switch e := err.(type) {
	case nil:
	case *errs.UniqueError:
		d.mu.Lock()
		defer d.mu.Unlock()
		list, known := d.unique[e.Model]
		is := func(name func(unique) []string) int {
			return slices.IndexFunc(list, func(u unique) bool { return slices.Equal(name(u), e.Columns) })
		}
		as, now := is(func(u unique) []string { return u.declared }), is(func(u unique) []string { return u.now })
		if as < 0 && now >= 0 {
			e.Columns = list[now].declared
		}
		if undeclared := known && as < 0 && now < 0; undeclared != e.Undeclared {
			e.Undeclared = undeclared
		}
	case interface{ Unwrap() error }:
		d.Mark(e.Unwrap())
	case interface{ Unwrap() []error }:
		for _, err := range e.Unwrap() {
			d.Mark(err)
		}
	}
}

// Covered is an errs.ErrSchema when the catalogue has something of the model that a declaration does
// not have.
func Covered(ctx context.Context, s store.Store, code *schema.Definition) error {
	stored, _, err := Load(ctx, s, code.Name)
	if errors.Is(err, errs.ErrNotFound) {
		return nil
	}
	if err == nil {
		err = code.Covers(stored)
	}
	return err
}
