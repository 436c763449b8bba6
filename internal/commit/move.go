package commit

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"github.com/natsorm/natsorm/internal/errs"
	"github.com/natsorm/natsorm/internal/store"
)

// Relocation is a record, as it was read, and the key that it is to have.
type Relocation struct {
	Record store.Message
	To     string
}

const (
	// movedTogether is how many records move in one batch, which has two messages for each. Where
	// the server stages batches in files, one of 300 messages takes it 6.5 ms, and one of a
	// thousand 55 (two cores, nats-server 2.15.2).
	movedTogether = 128

	// movedBytes is about how many bytes of documents move in one batch, if they are large.
	movedBytes = 4 << 20
)

// Move writes records to other keys, and deletes them at the old ones. ErrExists when another
// record is at a new key; store.ErrWrongRevision when a record has changed since it was
// read. Then some of the records may have been moved: each of them is at one of its two keys.
//
// Where the bucket takes no batches the new key is written first. A crash in between leaves the
// same document at both keys; moving it again deletes it at the old one. A record that changes
// in between stays where it is. Only if both happen, the crash and then the change, two
// documents are left, and the next move is ErrExists.
func (w *Writer) Move(ctx context.Context, moves ...Relocation) error {
	most := movedTogether
	for len(moves) > 0 {
		n, size := 0, 0
		for n < min(most, len(moves)) && (n == 0 || size < movedBytes) {
			size += len(moves[n].Record.Value)
			n++
		}
		err := w.moveTogether(ctx, moves[:n])
		switch {
		case errors.Is(err, store.ErrBatchTooLarge) && n > 1: // the server's own limit is a lower one
			most = n / 2
			continue
		case errors.Is(err, store.ErrNoBatches), errors.Is(err, store.ErrBatchTooLarge):
			n = 1
			err = w.movePhased(ctx, moves[0])
		}
		if err != nil {
			return err
		}
		moves = moves[n:]
	}
	return nil
}

// moveTogether moves records in one batch, all of them or none.
func (w *Writer) moveTogether(ctx context.Context, moves []Relocation) error {
	there, err := w.at(ctx, moves)
	if err != nil {
		return err
	}
	ops := make([]store.Op, 0, 2*len(moves))
	for i, m := range moves {
		if there[i].Live() && !bytes.Equal(there[i].Value, m.Record.Value) {
			if there[i], err = w.store.GetLatest(ctx, m.To); err != nil {
				return err
			}
			if there[i].Live() {
				return errTaken(m)
			}
		}
		ops = append(ops, putMoved(m, there[i].Revision), goneMoved(m))
	}
	_, err = w.store.Batch(ctx, store.Batch{Ops: ops})
	return err
}

// at reads what is at the new keys. The batch is checked to be right about it.
func (w *Writer) at(ctx context.Context, moves []Relocation) ([]store.Message, error) {
	there := make([]store.Message, len(moves))
	if len(moves) == 1 {
		m, err := w.store.GetLatest(ctx, moves[0].To)
		there[0] = m
		return there, err
	}
	to := make([]string, len(moves))
	for i, m := range moves {
		to[i] = m.To
	}
	err := w.store.GetEach(ctx, to, func(i int, m store.Message) { there[i] = m })
	return there, err
}

// movePhased moves a record by one write after the other.
func (w *Writer) movePhased(ctx context.Context, m Relocation) error {
	there, err := w.store.GetLatest(ctx, m.To)
	switch {
	case err != nil:
		return err
	case there.Live() && bytes.Equal(there.Value, m.Record.Value):
		return w.store.Write(ctx, goneMoved(m))[0].Err
	case there.Live():
		return errTaken(m)
	}
	copied := w.store.Write(ctx, putMoved(m, there.Revision))[0]
	if copied.Err != nil {
		return copied.Err
	}
	err = w.store.Write(ctx, goneMoved(m))[0].Err
	if errors.Is(err, store.ErrWrongRevision) { // the copy is of an older state: it would be in the way of the next move
		back := w.store.Write(ctx, store.Op{Key: m.To, Delete: true, Conditional: true, Expect: copied.Revision, Settle: true})[0].Err
		if back != nil {
			err = errors.Join(err, back)
		}
	}
	return err
}

func putMoved(m Relocation, over uint64) store.Op {
	return store.Op{Key: m.To, Value: m.Record.Value, Schema: m.Record.Schema, Conditional: true, Expect: over, Settle: true}
}

func goneMoved(m Relocation) store.Op {
	return store.Op{Key: m.Record.Key, Delete: true, Conditional: true, Expect: m.Record.Revision, Settle: true}
}

func errTaken(m Relocation) error {
	return fmt.Errorf("%w: %s cannot be moved to %s, where another record is already; delete one of them", errs.ErrExists, m.Record.Key, m.To)
}
