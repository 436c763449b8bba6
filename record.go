package natsorm

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"strings"
	"time"

	jsonx "github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/natsorm/natsorm/internal/document"
	"github.com/natsorm/natsorm/internal/errs"
	"github.com/natsorm/natsorm/internal/schema"
	"github.com/natsorm/natsorm/internal/store"
	"github.com/natsorm/natsorm/internal/value"
)

// Record is a record of a model that has no Go type: column names to values.
// Reading gives int64, uint64, float64, bool, string, []byte, time.Time (in
// UTC), json.Number for decimals, what encoding/json gives for JSON columns
// (with json.Number), and nil for null; a column that the document does not
// have is left out. Writing takes every Go value that fits the column exactly.
type Record map[string]any

// recordCodec is the codec of Records.
type recordCodec struct {
	def *schema.Definition
}

func (c *recordCodec) encode(v *Record) ([]byte, error) {
	faults := &errs.ValidationError{Model: c.def.Name}
	set := make([]document.Member, 0, len(*v))
	for _, col := range c.def.Columns {
		x, ok := (*v)[col.Name]
		if !ok {
			continue
		}
		raw, err := value.ToJSON(x, col.Type)
		if err != nil {
			faults.Faults = append(faults.Faults, FieldFault{Field: col.Name, Problem: err.Error()})
			continue
		}
		set = append(set, document.Member{Name: col.Name, Raw: raw})
	}
	for name := range *v {
		if c.def.Position(name) < 0 {
			problem := "the column's name has other letter case"
			var unknown *errs.ValidationError
			if _, err := c.def.Resolve(name); errors.As(err, &unknown) {
				problem = unknown.Faults[0].Problem
			}
			faults.Faults = append(faults.Faults, FieldFault{Field: name, Problem: problem})
		}
	}
	if len(faults.Faults) > 0 {
		return nil, faults
	}
	return document.Patch([]byte("{}"), set)
}

func (c *recordCodec) decode(e store.Message, v *Record) error {
	corrupt := func(err error) error {
		return &errs.CorruptError{Model: c.def.Name, Key: e.Key, Err: err}
	}
	var raw map[string]jsontext.Value
	if err := jsonx.Unmarshal(e.Value, &raw); err != nil {
		return corrupt(err)
	}
	if raw == nil {
		return corrupt(document.ErrNotObject)
	}
	out := make(Record, len(raw))
	for _, col := range c.def.Columns {
		text, ok := raw[col.Name]
		if !ok {
			continue
		}
		val, err := value.FromJSON(text, col.Type)
		if err != nil {
			return corrupt(fmt.Errorf("column %s: %w", col.Name, err))
		}
		switch {
		case val.Type() == value.Decimal:
			out[col.Name] = json.Number(strings.TrimSpace(string(text)))
		case val.Type() == value.JSON:
			x, err := decodeJSON(val.Str())
			if err != nil {
				return corrupt(fmt.Errorf("column %s: %w", col.Name, err))
			}
			out[col.Name] = x
		default:
			out[col.Name] = val.Any()
		}
	}
	*v = out
	return nil
}

// decodeJSON is the value of a JSON column as a Record has it.
func decodeJSON(text string) (x any, err error) {
	dec := json.NewDecoder(strings.NewReader(text))
	dec.UseNumber()
	err = dec.Decode(&x)
	return x, err
}

func (c *recordCodec) clone(v *Record) *Record {
	w := maps.Clone(*v)
	if w == nil {
		w = Record{}
	}
	return &w
}

func (c *recordCodec) zeroKey(v *Record) bool {
	key := c.def.Key()
	val, err := value.Coerce((*v)[key.Name], key.Type)
	return err == nil && (val.IsNull() || value.Equal(val, value.Zero(key.Type)))
}

func (c *recordCodec) setKey(v *Record, id value.Value) error {
	(*v)[c.def.Key().Name] = id.Any()
	return nil
}

func (c *recordCodec) writes(column string) bool { return c.def.Position(column) >= 0 }

func (c *recordCodec) version(*Record) uint64     { return 0 }
func (c *recordCodec) setVersion(*Record, uint64) {}

func (c *recordCodec) stamp(v *Record, created, updated time.Time) {
	for _, col := range c.def.Columns {
		switch {
		case col.Role == schema.CreatedAt:
			if at, ok := (*v)[col.Name].(time.Time); (*v)[col.Name] == nil || ok && at.IsZero() {
				(*v)[col.Name] = created
			}
		case col.Role == schema.UpdatedAt:
			(*v)[col.Name] = updated
		}
	}
}
