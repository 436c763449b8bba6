// Package backup reads and writes backup files: natsorm's own, and those of the Node
// library sequelize-natskv. It knows keys and values, not what they mean.
//
// A file of natsorm's own is gzip of lines of JSON: a header, an entry for each key,
// and a trailer with the number of entries and a checksum, which a file that was
// cut off or altered does not have right. A key can come again: the later one holds.
// docs/format.md has every member.
package backup

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/natsorm/natsorm/internal/keys"
)

// Format is the version of natsorm's own files.
const Format = 1

// maxLine bounds the memory that a line of a hostile file takes: a message is at most
// 64 MB.
const maxLine = 160 << 20

var (
	// ErrFile says that a file is none that can be restored: cut off, altered, or no
	// backup at all.
	ErrFile = errors.New("natsorm: not a whole backup")

	errFormat = errors.New("made by a newer natsorm")
)

// Entry is a key in a backup.
type Entry struct {
	Key      string
	Value    []byte
	Revision uint64
	Deleted  bool // an earlier entry of the key does not hold
}

// Header says where a backup is from.
type Header struct {
	Bucket  string
	Created time.Time
}

// header, line and trailer are the lines of a file. Text is a value that is UTF-8.
type header struct {
	Natsorm string    `json:"natsorm"`
	Format  int       `json:"format"`
	Bucket  string    `json:"bucket"`
	Created time.Time `json:"created"`
}

type line struct {
	Key      string  `json:"key"`
	Revision uint64  `json:"revision"`
	Text     *string `json:"text,omitempty"`
	Bytes    *[]byte `json:"bytes,omitempty"`
	Deleted  bool    `json:"deleted,omitempty"`

	End    bool   `json:"end,omitempty"` // the trailer, with what follows
	Keys   int    `json:"entries,omitempty"`
	SHA256 string `json:"sha256,omitempty"`
}

// Writer writes a file of natsorm's own.
type Writer struct {
	zip *gzip.Writer
	out *bufio.Writer
	sum hash.Hash
	n   int
	buf []byte
}

// NewWriter begins a file.
func NewWriter(w io.Writer, h Header) (*Writer, error) {
	zip, err := gzip.NewWriterLevel(w, gzip.BestSpeed)
	if err != nil {
		return nil, err
	}
	b := &Writer{zip: zip, sum: sha256.New()}
	b.out = bufio.NewWriterSize(io.MultiWriter(b.sum, zip), 64<<10)
	first, err := json.Marshal(header{Natsorm: "backup", Format: Format, Bucket: h.Bucket, Created: h.Created})
	if err != nil {
		return nil, err
	}
	_, err = b.out.Write(append(first, '\n'))
	return b, err
}

// Write adds an entry.
func (b *Writer) Write(e Entry) (err error) {
	if err := check(e.Key); err != nil {
		return err
	}
	out := append(b.buf[:0], `{"key":`...)
	if out, err = jsontext.AppendQuote(out, e.Key); err != nil {
		return fmt.Errorf("key %q: %w", e.Key, err)
	}
	out = append(out, `,"revision":`...)
	out = strconv.AppendUint(out, e.Revision, 10)
	before := len(out)
	switch {
	case e.Deleted:
		out = append(out, `,"deleted":true`...)
	case utf8.Valid(e.Value):
		out = append(out, `,"text":`...)
		if out, err = jsontext.AppendQuote(out, e.Value); err != nil {
			return fmt.Errorf("key %q: %w", e.Key, err)
		}
	}
	// Control characters take six bytes each; base64 takes no more than that.
	if size := len(out) - before; size == 0 || !e.Deleted && size > base64.StdEncoding.EncodedLen(len(e.Value))+len(`,"bytes":""`) {
		out = append(out[:before], `,"bytes":"`...)
		out = base64.StdEncoding.AppendEncode(out, e.Value)
		out = append(out, '"')
	}
	b.buf = append(out, '}', '\n')
	b.n++
	_, err = b.out.Write(b.buf)
	return err
}

// Close ends the file, without which it is not whole. It does not close what it is
// written to.
func (b *Writer) Close() error {
	if err := b.out.Flush(); err != nil {
		return err
	}
	_, err := fmt.Fprintf(b.zip, `{"end":true,"entries":%d,"sha256":%q}`+"\n", b.n, hex.EncodeToString(b.sum.Sum(nil)))
	if err != nil {
		return err
	}
	return b.zip.Close()
}

// Read reads a file of either kind, and calls each with every entry. ErrFile, at the
// latest in the end, when the file is not whole; other errors are r's and each's.
func Read(r io.Reader, each func(Entry) error) (h Header, err error) {
	src := &source{r: r}
	defer func() {
		if src.err != nil {
			err = fmt.Errorf("read the backup: %w", src.err)
		}
	}()
	in := bufio.NewReaderSize(src, 64<<10)
	magic, err := in.Peek(2)
	if err != nil {
		return h, fmt.Errorf("%w: it is empty", ErrFile)
	}
	if bytes.Equal(magic, []byte{0x1f, 0x8b}) {
		return read(in, each)
	}
	return h, readSequelize(in, each)
}

// source remembers why it could not be read.
type source struct {
	r   io.Reader
	err error
}

func (s *source) Read(p []byte) (n int, err error) {
	n, err = s.r.Read(p)
	if err != nil && err != io.EOF {
		s.err = err
	}
	return n, err
}

func read(in io.Reader, each func(Entry) error) (Header, error) {
	zip, err := gzip.NewReader(in)
	if err != nil {
		return Header{}, fmt.Errorf("%w: %w", ErrFile, err)
	}
	lines := bufio.NewReaderSize(zip, 256<<10)
	sum := sha256.New()
	raw, err := nextLine(lines)
	if err != nil {
		return Header{}, err
	}
	sum.Write(raw)
	var h header
	if err := json.Unmarshal(raw, &h); err != nil || h.Natsorm != "backup" {
		return Header{}, fmt.Errorf("%w: its first line is not a backup's", ErrFile)
	}
	if h.Format < 1 || h.Format > Format {
		return Header{}, fmt.Errorf("%w: it has format %d, and this natsorm knows up to %d: %w", ErrFile, h.Format, Format, errFormat)
	}
	head := Header{Bucket: h.Bucket, Created: h.Created}
	for n := 0; ; n++ {
		raw, err := nextLine(lines)
		if err != nil {
			return head, err
		}
		var l line
		if err := json.Unmarshal(raw, &l); err != nil {
			return head, fmt.Errorf("%w: entry %d: %w", ErrFile, n+1, err)
		}
		if l.End {
			switch {
			case l.Keys != n:
				return head, fmt.Errorf("%w: it has %d entries, and says %d", ErrFile, n, l.Keys)
			case l.SHA256 != hex.EncodeToString(sum.Sum(nil)):
				return head, fmt.Errorf("%w: its checksum is wrong", ErrFile)
			}
			if _, err := lines.ReadByte(); err != io.EOF { // also gzip's own checksum
				return head, fmt.Errorf("%w: something follows its end (%w)", ErrFile, err)
			}
			return head, nil
		}
		sum.Write(raw)
		e := Entry{Key: l.Key, Revision: l.Revision, Deleted: l.Deleted}
		switch {
		case l.Text != nil:
			e.Value = []byte(*l.Text)
		case l.Bytes != nil:
			e.Value = *l.Bytes
		case !l.Deleted:
			return head, fmt.Errorf("%w: entry %d has no value", ErrFile, n+1)
		}
		if err := check(e.Key); err != nil {
			return head, err
		}
		if err := each(e); err != nil {
			return head, err
		}
	}
}

// nextLine is the next line with its end.
func nextLine(in *bufio.Reader) ([]byte, error) {
	var whole []byte
	for {
		part, err := in.ReadSlice('\n')
		if len(whole)+len(part) > maxLine {
			return nil, fmt.Errorf("%w: a line of it is longer than %d MB", ErrFile, maxLine>>20)
		}
		switch {
		case err == nil && whole == nil:
			return part, nil
		case err == nil:
			return append(whole, part...), nil
		case errors.Is(err, bufio.ErrBufferFull):
			whole = append(whole, part...)
		case err == io.EOF:
			return nil, fmt.Errorf("%w: it ends too early", ErrFile)
		default:
			return nil, fmt.Errorf("%w: %w", ErrFile, err)
		}
	}
}

// check refuses what no bucket can have as a key, such as a pattern.
func check(key string) error {
	if !keys.Valid(key) {
		return fmt.Errorf("%w: %.60q is no key", ErrFile, key)
	}
	return nil
}
