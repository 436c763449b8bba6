package codec

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	jsonx "github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/natsorm/natsorm/internal/document"
	"github.com/natsorm/natsorm/internal/errs"
	"github.com/natsorm/natsorm/internal/row"
	"github.com/natsorm/natsorm/internal/schema"
	"github.com/natsorm/natsorm/internal/store"
	"github.com/natsorm/natsorm/internal/value"
)

// NewRecord is the codec of maps from column names to values. A hidden column is in them
// only when declared has it; otherwise it stays as it is in the bucket.
func NewRecord[R ~map[string]any](def *schema.Definition, declared *schema.Definition) Codec {
	c := &records[R]{def: def, columns: def.Columns}
	if slices.ContainsFunc(def.Columns, func(col schema.Column) bool { return col.Hidden }) {
		c.columns = slices.DeleteFunc(slices.Clone(def.Columns), func(col schema.Column) bool {
			return col.Hidden && (declared == nil || declared.Position(col.Name) < 0)
		})
	}
	return c
}

// records is the codec of maps from column names to values. They carry no version.
type records[R ~map[string]any] struct {
	def     *schema.Definition
	columns []schema.Column // that are in the maps
}

func (c *records[R]) New() any { return new(R) }

// of is the map that v points to.
func (c *records[R]) of(v any) R { return *v.(*R) }

func (c *records[R]) Assign(v, w any) { *v.(*R) = c.of(w) }

// has reports whether a column is in the maps.
func (c *records[R]) has(name string) bool {
	return slices.ContainsFunc(c.columns, func(col schema.Column) bool { return col.Name == name })
}

func (c *records[R]) Encode(v any) ([]byte, error) {
	faults := &errs.ValidationError{Model: c.def.Name}
	set := make([]document.Member, 0, len(c.of(v)))
	for _, col := range c.columns {
		x, ok := c.of(v)[col.Name]
		if !ok {
			continue
		}
		raw, err := value.ToJSON(x, col.Type)
		if err != nil {
			faults.Faults = append(faults.Faults, errs.FieldFault{Field: col.Name, Problem: err.Error()})
			continue
		}
		set = append(set, document.Member{Name: col.Name, Raw: raw})
	}
	for name := range c.of(v) {
		if !c.has(name) {
			problem := "the column's name has other letter case"
			if c.def.Position(name) >= 0 {
				problem = "the column is hidden; only a program that declares it can write it"
			}
			var unknown *errs.ValidationError
			if _, err := c.def.Resolve(name); errors.As(err, &unknown) {
				problem = unknown.Faults[0].Problem
			}
			faults.Faults = append(faults.Faults, errs.FieldFault{Field: name, Problem: problem})
		}
	}
	if len(faults.Faults) > 0 {
		return nil, faults
	}
	return document.Patch([]byte("{}"), set)
}

func (c *records[R]) Decode(m store.Message, v any) error {
	corrupt := func(err error) error { return errs.Corrupt(c.def.Name, m.Key, err) }
	var raw map[string]jsontext.Value
	if err := jsonx.Unmarshal(m.Value, &raw); err != nil {
		return corrupt(err)
	}
	if raw == nil {
		return corrupt(document.ErrNotObject)
	}
	out := make(R, len(raw))
	for _, col := range c.columns {
		text, ok := raw[col.Name]
		if !ok {
			continue
		}
		val, err := value.FromJSON(text, col.Type)
		if err != nil {
			return corrupt(fmt.Errorf("column %s: %w", col.Name, err))
		}
		if out[col.Name], err = goValue(val, text); err != nil {
			return corrupt(fmt.Errorf("column %s: %w", col.Name, err))
		}
	}
	*v.(*R) = out
	return nil
}

// goValue is a value as a map has it; raw is its JSON.
func goValue(v value.Value, raw []byte) (any, error) {
	switch v.Type() {
	case value.Decimal:
		return json.Number(strings.TrimSpace(string(raw))), nil
	case value.JSON:
		return Any(v.Str())
	default:
		return v.Any(), nil
	}
}

func (c *records[R]) DecodeRow(r *row.Row, only []string, v any) error {
	s := r.Shape()
	if s == nil {
		return decodeDocument(c, c.def.Name, r, only, v)
	}
	out := make(R, len(c.columns))
	for _, col := range c.columns {
		if only != nil && !slices.Contains(only, col.Name) {
			continue
		}
		i := s.Position(col.Name, col.Type)
		if i < 0 {
			return decodeDocument(c, c.def.Name, r, only, v)
		}
		if !r.Has(i) {
			continue
		}
		val := r.Value(i)
		var raw []byte
		if val.Type() == value.Decimal {
			raw = r.AppendRaw(nil, i)
		}
		x, err := goValue(val, raw)
		if err != nil {
			return errs.Corrupt(c.def.Name, r.Key(), fmt.Errorf("column %s: %w", col.Name, err))
		}
		out[col.Name] = x
	}
	*v.(*R) = out
	return nil
}

// Any is the value of a JSON column as a map has it: as encoding/json decodes it, with
// json.Number.
func Any(text string) (x any, err error) {
	dec := json.NewDecoder(strings.NewReader(text))
	dec.UseNumber()
	err = dec.Decode(&x)
	return x, err
}

func (c *records[R]) Clone(v any) any {
	w := maps.Clone(c.of(v))
	if w == nil {
		w = R{}
	}
	return &w
}

func (c *records[R]) ZeroKey(v any) bool {
	key := c.def.Key()
	val, err := value.Coerce(c.of(v)[key.Name], key.Type)
	return err == nil && (val.IsNull() || value.Equal(val, value.Zero(key.Type)))
}

func (c *records[R]) SetKey(v any, id value.Value) error {
	c.of(v)[c.def.Key().Name] = id.Any()
	return nil
}

func (c *records[R]) Writes(column string) bool { return c.has(column) }

func (c *records[R]) Type(column string) value.Type {
	for _, col := range c.columns {
		if col.Name == column {
			return col.Type
		}
	}
	return ""
}

func (c *records[R]) Version(any) uint64     { return 0 }
func (c *records[R]) SetVersion(any, uint64) {}

func (c *records[R]) NeedsCreated(v any) bool {
	for _, col := range c.def.Columns {
		if col.Role == schema.CreatedAt {
			at, ok := c.of(v)[col.Name].(time.Time)
			return c.of(v)[col.Name] == nil || ok && at.IsZero()
		}
	}
	return false
}

func (c *records[R]) Stamp(v any, created, updated time.Time) {
	for _, col := range c.def.Columns {
		switch {
		case col.Role == schema.CreatedAt:
			if at, ok := c.of(v)[col.Name].(time.Time); c.of(v)[col.Name] == nil || ok && at.IsZero() {
				c.of(v)[col.Name] = created
			}
		case col.Role == schema.UpdatedAt:
			c.of(v)[col.Name] = updated
		}
	}
}
