package backup

import (
	"bufio"
	"encoding/base64"
	"fmt"
	"io"
	"strconv"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// WriteSequelize writes the Node library's file to w, in the order of entries. Byte for
// byte it is JSON.stringify(data, null, 2) of {KEY: {value: BASE64, revision: N}, …}. It
// has no checksum, and no place for a deletion: each key must come once, and be there.
func WriteSequelize(w io.Writer, entries []Entry) error {
	out := bufio.NewWriterSize(w, 64<<10)
	var buf []byte
	for i, e := range entries {
		buf = append(buf[:0], "{\n  "...)
		if i > 0 {
			buf = append(buf[:0], ",\n  "...)
		}
		var err error
		if buf, err = jsontext.AppendQuote(buf, e.Key); err != nil {
			return fmt.Errorf("key %q: %w", e.Key, err)
		}
		buf = append(buf, ": {\n    \"value\": \""...)
		buf = base64.StdEncoding.AppendEncode(buf, e.Value)
		buf = append(buf, "\",\n    \"revision\": "...)
		buf = strconv.AppendUint(buf, e.Revision, 10)
		buf = append(buf, "\n  }"...)
		if _, err := out.Write(buf); err != nil {
			return err
		}
	}
	end := "\n}"
	if len(entries) == 0 {
		end = "{}"
	}
	if _, err := out.WriteString(end); err != nil {
		return err
	}
	return out.Flush()
}

// readSequelize reads the Node library's file, one key after the other, so that memory
// does not grow with the file.
func readSequelize(in io.Reader, each func(Entry) error) error {
	broken := func(err error) error {
		return fmt.Errorf("%w: it is neither natsorm's file nor the JSON of sequelize-natskv: %w", ErrFile, err)
	}
	dec := jsontext.NewDecoder(in)
	if kind := dec.PeekKind(); kind != '{' {
		_, err := dec.ReadToken()
		if err == nil {
			err = fmt.Errorf("it begins with %v, not with {", kind)
		}
		return broken(err)
	}
	if _, err := dec.ReadToken(); err != nil {
		return broken(err)
	}
	for dec.PeekKind() != '}' {
		name, err := dec.ReadToken()
		if err != nil {
			return broken(err)
		}
		e := Entry{Key: name.String()}
		var member struct {
			Value    *[]byte `json:"value"`
			Revision uint64  `json:"revision"`
		}
		if err := json.UnmarshalDecode(dec, &member); err != nil {
			return broken(err)
		}
		if member.Value == nil {
			return broken(fmt.Errorf("key %.60q has no value", e.Key))
		}
		if err := check(e.Key); err != nil {
			return err
		}
		e.Value, e.Revision = *member.Value, member.Revision
		if err := each(e); err != nil {
			return err
		}
	}
	if _, err := dec.ReadToken(); err != nil {
		return broken(err)
	}
	if _, err := dec.ReadToken(); err != io.EOF {
		return broken(fmt.Errorf("something follows its end"))
	}
	return nil
}
