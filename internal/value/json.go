package value

import (
	"encoding/base64"
	"fmt"
	"math"
	"strconv"
	"time"

	"github.com/go-json-experiment/json/jsontext"
)

// FromJSON reads raw, one JSON value of a document, as a column of type t. JSON null is
// Null for every type. The error quotes what was found and names the type; the caller
// adds the model and the column.
func FromJSON(raw []byte, t Type) (Value, error) {
	kind := jsontext.Value(raw).Kind()
	if kind == 'n' {
		return Null, nil
	}
	switch t {
	case Bool:
		if kind == 't' || kind == 'f' {
			return OfBool(kind == 't'), nil
		}
	case Int, Uint:
		if kind == '0' {
			bits, ok := integral(raw, t == Uint)
			if !ok {
				return Null, fmt.Errorf("number %s does not fit type %s", clip(raw), t)
			}
			return Value{typ: t, bits: bits}, nil
		}
	case Float:
		if kind == '0' {
			f, err := strconv.ParseFloat(string(raw), 64)
			if err != nil || math.IsInf(f, 0) {
				return Null, fmt.Errorf("number %s does not fit type float", clip(raw))
			}
			return OfFloat(f), nil
		}
	case Decimal:
		if kind == '0' {
			v, ok := OfDecimal(string(raw))
			if !ok {
				return Null, fmt.Errorf("number %s has an exponent beyond 1000000", clip(raw))
			}
			return v, nil
		}
	case String:
		if kind == '"' {
			s, err := unquote(raw)
			if err != nil {
				return Null, err
			}
			return OfString(s), nil
		}
	case Bytes:
		if kind == '"' {
			s, err := unquote(raw)
			if err != nil {
				return Null, err
			}
			b, err := base64.StdEncoding.DecodeString(s)
			if err != nil {
				return Null, fmt.Errorf("%s is not standard base64, which type bytes needs: %w", clip(raw), err)
			}
			return OfBytes(b), nil
		}
	case Time:
		if kind == '"' {
			s, err := unquote(raw)
			if err != nil {
				return Null, err
			}
			at, err := time.Parse(time.RFC3339Nano, s)
			if err != nil {
				return Null, fmt.Errorf("%s is not an RFC 3339 time, like \"2006-01-02T15:04:05Z\"", clip(raw))
			}
			return OfTime(at), nil
		}
	case JSON:
		text := jsontext.Value(raw).Clone()
		if err := text.Format(jsontext.ReorderRawObjects(true)); err != nil {
			return Null, err
		}
		return OfJSON(string(text)), nil
	default:
		return Null, fmt.Errorf("unknown type %q", t)
	}
	return Null, fmt.Errorf("%s is not of type %s", clip(raw), t)
}

// unquote is the text of a JSON string. It fails for one that is not valid UTF-8.
func unquote(raw []byte) (string, error) {
	s, err := jsontext.AppendUnquote(nil, raw)
	if err != nil {
		return "", err
	}
	return string(s), nil
}

// clip is what an error quotes of a document: the first 60 bytes.
func clip(raw []byte) string {
	const most = 60
	if len(raw) > most {
		return string(raw[:most]) + "…"
	}
	return string(raw)
}

// AppendJSON appends the JSON that a document holds for v.
func (v Value) AppendJSON(b []byte) []byte {
	switch v.typ {
	case String:
		b, _ = jsontext.AppendQuote(b, v.text) // a String is valid UTF-8
		return b
	case Bytes:
		b = append(b, '"')
		b = base64.StdEncoding.AppendEncode(b, []byte(v.text))
		return append(b, '"')
	case Time:
		b = append(b, '"')
		b = v.Time().AppendFormat(b, time.RFC3339Nano)
		return append(b, '"')
	case Decimal:
		return append(b, plainDecimal(v.text)...)
	default:
		return append(b, v.Text()...)
	}
}
