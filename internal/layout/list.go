package layout

import (
	"bytes"
	"errors"
	"fmt"
	"slices"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/natsorm/natsorm/internal/value"
)

var errNoList = errors.New("no JSON array of ids")

// readList reads what a list's key holds: a JSON array of primary keys. As in the Node
// library, white space is an empty list.
func readList(held []byte) ([]jsontext.Value, error) {
	if len(bytes.TrimSpace(held)) == 0 {
		return nil, nil
	}
	dec := jsontext.NewDecoder(bytes.NewBuffer(held))
	if dec.PeekKind() != '[' {
		return nil, errNoList
	}
	if _, err := dec.ReadToken(); err != nil {
		return nil, fmt.Errorf("%w: %w", errNoList, err)
	}
	ids := make([]jsontext.Value, 0, bytes.Count(held, []byte{','})+1)
	for dec.PeekKind() != ']' {
		v, err := dec.ReadValue()
		if err != nil {
			return nil, fmt.Errorf("%w: %w", errNoList, err)
		}
		ids = append(ids, v.Clone())
	}
	if _, err := dec.ReadToken(); err != nil {
		return nil, fmt.Errorf("%w: %w", errNoList, err)
	}
	if rest := held[dec.InputOffset():]; len(bytes.TrimSpace(rest)) > 0 {
		return nil, fmt.Errorf("%w: something follows it", errNoList)
	}
	return ids, nil
}

// writeList writes a list as JSON.stringify does; nil when it is empty.
func writeList(ids []jsontext.Value) []byte {
	if len(ids) == 0 {
		return nil
	}
	out := []byte{'['}
	for i, id := range ids {
		if i > 0 {
			out = append(out, ',')
		}
		out = append(out, id...)
	}
	return append(out, ']')
}

func (l *sequelize) Join(held []byte, ids ...value.Value) ([]byte, error) {
	list, err := readList(held)
	if err != nil {
		return nil, err
	}
	have := make(map[string]bool, len(list))
	for _, id := range list {
		have[string(id)] = true
	}
	for _, id := range ids {
		if own := l.Owner(id); !have[string(own)] {
			have[string(own)] = true
			list = append(list, own)
		}
	}
	return writeList(list), nil
}

func (l *sequelize) Leave(held []byte, records ...string) ([]byte, error) {
	gone := make(map[string]bool, len(records))
	for _, record := range records {
		gone[record] = true
	}
	return l.without(held, func(record string) bool { return gone[record] })
}

// without returns a list without the records that gone reports. gone is given their
// keys.
func (l *sequelize) without(held []byte, gone func(record string) bool) ([]byte, error) {
	list, err := readList(held)
	if err != nil {
		return nil, err
	}
	return writeList(slices.DeleteFunc(list, func(raw jsontext.Value) bool {
		key, ok := l.pointer(raw)
		return ok && gone(key)
	})), nil
}

// pointer is the key of the record that an element of a list leads to. ok is false for an
// element of another type than the primary key: it leads to no record of this model.
func (l *sequelize) pointer(raw jsontext.Value) (key string, ok bool) {
	id, err := value.FromJSON(raw, l.primary)
	if err != nil || id.IsNull() {
		return "", false
	}
	return l.RecordKey(id), true
}
