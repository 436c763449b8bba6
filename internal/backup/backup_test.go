package backup

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/natsorm/natsorm/internal/keys"
)

var entries = []Entry{
	{Key: "User.shard_1.1", Value: []byte(`{"id":1,"name":"Zoë \"<&>"}`), Revision: 7},
	{Key: "User.index.name.Zo_=x.1", Value: []byte{}, Revision: 8},
	{Key: "bytes", Value: []byte{0xff, 0}, Revision: 9},
	{Key: "control", Value: []byte("\x00\x01\x02\x03\x04\x05\x06\x07\x00\x00\x00\x00\x00"), Revision: 10},
	{Key: "User.shard_1.1", Revision: 11, Deleted: true},
}

const golden = `{"natsorm":"backup","format":1,"bucket":"shop","created":"2024-05-06T07:08:09Z"}
{"key":"User.shard_1.1","revision":7,"text":"{\"id\":1,\"name\":\"Zoë \\\"<&>\"}"}
{"key":"User.index.name.Zo_=x.1","revision":8,"text":""}
{"key":"bytes","revision":9,"bytes":"/wA="}
{"key":"control","revision":10,"bytes":"AAECAwQFBgcAAAAAAA=="}
{"key":"User.shard_1.1","revision":11,"deleted":true}
{"end":true,"entries":5,"sha256":"%s"}
`

func write(t testing.TB, entries []Entry) []byte {
	t.Helper()
	var file bytes.Buffer
	w, err := NewWriter(&file, Header{Bucket: "shop", Created: time.Date(2024, 5, 6, 7, 8, 9, 0, time.UTC)})
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if err := w.Write(e); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return file.Bytes()
}

// The bytes of a file, and what is read of it.
func TestGolden(t *testing.T) {
	file := write(t, entries)
	zip, err := gzip.NewReader(bytes.NewReader(file))
	if err != nil {
		t.Fatal(err)
	}
	plain, err := io.ReadAll(zip)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.SplitAfter(string(plain), "\n")
	sum := lines[len(lines)-2]
	sum = sum[strings.Index(sum, `256":"`)+6 : len(sum)-3]
	if got, want := string(plain), fmt.Sprintf(golden, sum); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
	var got []Entry
	h, err := Read(bytes.NewReader(file), func(e Entry) error {
		e.Value = bytes.Clone(e.Value)
		got = append(got, e)
		return nil
	})
	if err != nil || h.Bucket != "shop" || len(got) != len(entries) {
		t.Fatalf("%+v, %v, %d entries", h, err, len(got))
	}
	for i, e := range entries {
		if fmt.Sprint(got[i]) != fmt.Sprint(e) {
			t.Errorf("entry %d is %+v, want %+v", i, got[i], e)
		}
	}
}

// A key that no file can be restored with is refused when it is written.
func TestWriteRefusesKeys(t *testing.T) {
	w, err := NewWriter(io.Discard, Header{})
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"", ".a", "a.", "a..b", "a b", "a.*", "a.>", "a\x00", "\xff", strings.Repeat("x", keys.MaxLength+1)} {
		if err := w.Write(Entry{Key: key}); !errors.Is(err, ErrFile) {
			t.Errorf("%.20q: %v", key, err)
		}
	}
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

// That the file cannot be read is not the file's fault.
func TestReadErrors(t *testing.T) {
	broken := errors.New("broken disk")
	file := write(t, entries)
	for _, n := range []int{0, 1, 20, len(file) / 2, len(file) - 1} {
		_, err := Read(io.MultiReader(bytes.NewReader(file[:n]), failing{broken}), func(Entry) error { return nil })
		if !errors.Is(err, broken) || errors.Is(err, ErrFile) {
			t.Errorf("after %d bytes: %v", n, err)
		}
	}
}

// FuzzRead: whatever the file, it is read or refused, and what is written is read.
func FuzzRead(f *testing.F) {
	f.Add(write(f, entries))
	f.Add([]byte(`{"a.b": {"value": "AA==", "revision": 1}}`))
	f.Add([]byte("{}"))
	f.Add([]byte{0x1f, 0x8b, 8, 0})
	f.Fuzz(func(t *testing.T, file []byte) {
		var got []Entry
		_, err := Read(bytes.NewReader(file), func(e Entry) error { got = append(got, e); return nil })
		if err != nil && !errors.Is(err, ErrFile) {
			t.Fatal(err)
		}
		if err == nil {
			write(t, got)
		}
	})
}

// FuzzReadLines is FuzzRead inside of the compression.
func FuzzReadLines(f *testing.F) {
	f.Add([]byte(fmt.Sprintf(golden, "x")))
	f.Add([]byte("{}\n{}\n"))
	f.Fuzz(func(t *testing.T, lines []byte) {
		var file bytes.Buffer
		zip := gzip.NewWriter(&file)
		if _, err := zip.Write(lines); err != nil {
			t.Fatal(err)
		}
		if err := zip.Close(); err != nil {
			t.Fatal(err)
		}
		if _, err := Read(&file, func(Entry) error { return nil }); err != nil && !errors.Is(err, ErrFile) {
			t.Fatal(err)
		}
	})
}
