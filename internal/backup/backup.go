// Package backup reads and writes backup files: natsorm's own, and those of the Node
// library sequelize-natskv. It knows keys and values, but not what they mean, and it
// does not touch a bucket.
//
// # natsorm's own files
//
// A file is gzip of lines of JSON: a header, a line for each key with its value, and a
// trailer with the number of those lines and a checksum. A file that was cut off or
// altered fails one of the two. A key may come more than once, because it changed while
// the backup was taken: its last line is the one that counts. docs/format.md has every
// member of every line.
//
// Files are not trusted. A line, and with it the memory that reading takes, is bounded;
// and a key that could not be published to, or would match more than itself, is refused.
// But a reader learns only from the trailer whether the file is whole, so a restore
// reads the file twice: once to check it, and once to write what it says.
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

// Format is the version of natsorm's own files. A reader refuses a larger one.
const Format = 1

// maxLine is the longest line that is read, in bytes. The largest message of a
// nats-server has 64 MiB, and twice that in JSON with room to spare.
const maxLine = 160 << 20

var (
	// ErrFile says that a file cannot be restored, because it was cut off or altered,
	// or is not a backup.
	ErrFile = errors.New("natsorm: not a whole backup")

	errFormat = errors.New("made by a newer natsorm; upgrade this program to read it")
)

// Entry is one key of a backup.
type Entry struct {
	Key      string
	Value    []byte
	Revision uint64 // of the message in the bucket that was backed up
	Deleted  bool   // the key was deleted while the backup was taken: earlier lines of it do not count
}

// Header says what a backup is of. It is empty for a file of the Node library.
type Header struct {
	Bucket  string    // the bucket's name
	Created time.Time // when the backup began
}

// header is the first line of a file.
type header struct {
	Natsorm string    `json:"natsorm"` // always "backup"
	Format  int       `json:"format"`
	Bucket  string    `json:"bucket"`
	Created time.Time `json:"created"`
}

// line is any other line of a file: a key, or the trailer.
type line struct {
	Key      string  `json:"key"`
	Revision uint64  `json:"revision"`
	Text     *string `json:"text,omitempty"`  // the value as it is, if it is valid UTF-8
	Bytes    *[]byte `json:"bytes,omitempty"` // the value in base64, if it is not UTF-8 or base64 is shorter
	Deleted  bool    `json:"deleted,omitempty"`

	// Of the trailer.
	End    bool   `json:"end,omitempty"`
	Keys   int    `json:"entries,omitempty"` // how many lines there are between the header and the trailer
	SHA256 string `json:"sha256,omitempty"`  // of all bytes before the trailer, in hexadecimal
}

// Writer writes a file of natsorm's own. It is not safe for concurrent use.
type Writer struct {
	zip *gzip.Writer
	out *bufio.Writer // to sum and zip
	sum hash.Hash     // of all bytes so far
	n   int           // lines with a key so far
	buf []byte        // the last line, to use its memory again
}

// NewWriter begins a file by writing its header to w. The file is whole only after
// Close.
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

// Write adds a line for e. It fails with ErrFile when Read would refuse the key.
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
	// Text stays readable, but a control character takes six bytes in it. Where base64
	// is shorter, or the value is not text (size is 0), the value is written as base64.
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

// Close writes the trailer, which makes the file whole. It does not close the io.Writer
// that the file was written to.
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

// Read reads a file of either kind and calls each with every key in it, in the order of
// the file. It returns ErrFile when the file is not whole, which it may find out only at
// the end, after each was called. An error of r, or of each, ends it and is returned.
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

// source is a reader that keeps its error. So Read can tell a file that could not be
// read from one that is broken: the decompressor and the JSON decoder report both alike.
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

// read reads a file of natsorm's own.
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
		return Header{}, fmt.Errorf("%w: its first line is not the header of a backup", ErrFile)
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
			return head, fmt.Errorf("%w: line %d: %w", ErrFile, n+2, err)
		}
		if l.End {
			switch {
			case l.Keys != n:
				return head, fmt.Errorf("%w: it has %d lines of keys, but its last line says %d", ErrFile, n, l.Keys)
			case l.SHA256 != hex.EncodeToString(sum.Sum(nil)):
				return head, fmt.Errorf("%w: its checksum is wrong; it was altered or damaged", ErrFile)
			}
			if _, err := lines.ReadByte(); err != io.EOF { // reading to the end also checks gzip's own checksum
				if err == nil {
					err = errors.New("more data")
				}
				return head, fmt.Errorf("%w: something follows its last line, or it was damaged: %w", ErrFile, err)
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
			return head, fmt.Errorf("%w: line %d has no value", ErrFile, n+2)
		}
		if err := check(e.Key); err != nil {
			return head, err
		}
		if err := each(e); err != nil {
			return head, err
		}
	}
}

// nextLine is the next line, with the line feed at its end. It is valid until the next
// call.
func nextLine(in *bufio.Reader) ([]byte, error) {
	var whole []byte
	for {
		part, err := in.ReadSlice('\n')
		if len(whole)+len(part) > maxLine {
			return nil, fmt.Errorf("%w: it has a line of more than %d MiB", ErrFile, maxLine>>20)
		}
		switch {
		case err == nil && whole == nil:
			return part, nil
		case err == nil:
			return append(whole, part...), nil
		case errors.Is(err, bufio.ErrBufferFull):
			whole = append(whole, part...)
		case err == io.EOF:
			return nil, fmt.Errorf("%w: it ends before its last line; it was cut off", ErrFile)
		default:
			return nil, fmt.Errorf("%w: %w", ErrFile, err)
		}
	}
}

// check refuses what no bucket can have as a key, such as a pattern.
func check(key string) error {
	if !keys.Valid(key) {
		return fmt.Errorf("%w: it has the key %.60q, which no bucket can have", ErrFile, key)
	}
	return nil
}
