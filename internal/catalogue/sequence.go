package catalogue

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strconv"

	"github.com/natsorm/natsorm/internal/errs"
	"github.com/natsorm/natsorm/internal/keys"
	"github.com/natsorm/natsorm/internal/store"
	"github.com/natsorm/natsorm/internal/workers"
)

// sequenceBlock is how many ids are taken from a sequence with one write. Those that a
// process has not used when it ends are lost: automatic ids have gaps.
const sequenceBlock = 100

// Sequence gives out a model's automatic integer ids, in blocks that it takes from
// _sequence.<model>. That key holds the first id that no process has taken, as a JSON
// number. It is safe for concurrent use.
type Sequence struct {
	store store.Store
	key   string

	turn       chan struct{} // a lock that a context can end the wait for: it holds one token, and next and end belong to the goroutine that has it
	generation func() uint64
	of         uint64 // the generation of the bucket that the block was taken from
	next, end  uint64 // the ids that are left of this process's block, without end
}

// NewSequence makes the sequence of a model. It takes no ids yet. generation counts the
// buckets that there were under the name: the ids of one are worth nothing in the next.
func NewSequence(s store.Store, model string, generation func() uint64) *Sequence {
	q := &Sequence{store: s, generation: generation, key: keys.Sequence(model), turn: make(chan struct{}, 1)}
	q.turn <- struct{}{}
	return q
}

// Next returns an id that no other caller gets. It skips this many ids first, because
// records whose ids were given by a program may have them. ErrCorrupt when the sequence's
// key holds no number.
func (q *Sequence) Next(ctx context.Context, skip uint64) (uint64, error) {
	select {
	case <-q.turn:
		defer func() { q.turn <- struct{}{} }()
	case <-ctx.Done():
		return 0, ctx.Err()
	}
	if now := q.generation(); now != q.of {
		q.of, q.next, q.end = now, 0, 0
	}
	if q.next+skip >= q.end {
		passed := uint64(0)
		if q.next+skip > q.end {
			passed = q.next + skip - q.end
		}
		if err := q.take(ctx, passed); err != nil {
			return 0, err
		}
	} else {
		q.next += skip
	}
	q.next++
	return q.next - 1, nil
}

// take takes a new block, after skipping this many ids. The write is checked, and the
// store settles it when its answer is lost; so no two processes have the same block.
func (q *Sequence) take(ctx context.Context, passed uint64) error {
	for try := 1; ; try++ {
		cur, err := q.store.GetLatest(ctx, q.key)
		if err != nil {
			return err
		}
		first := uint64(1)
		if cur.Live() {
			if first, err = strconv.ParseUint(string(cur.Value), 10, 64); err != nil {
				return fmt.Errorf("%w: sequence %s holds %q, not a number; put the next free id there", errs.ErrCorrupt, q.key, cur.Value)
			}
		}
		if first > math.MaxUint64-passed-sequenceBlock {
			return fmt.Errorf("%w: sequence %s is at %d, and there are no larger ids; put the next free id there", errs.ErrCorrupt, q.key, first)
		}
		first += passed
		end := first + sequenceBlock
		res := q.store.Write(ctx, store.Op{Key: q.key, Value: strconv.AppendUint(nil, end, 10), Conditional: true, Expect: cur.Revision, Settle: true})[0]
		if res.Err == nil {
			q.next, q.end = first, end
			return nil
		}
		if !errors.Is(res.Err, store.ErrWrongRevision) {
			return fmt.Errorf("natsorm: take ids from %s: %w", q.key, res.Err)
		}
		if err := workers.Backoff(ctx, try); err != nil {
			return err
		}
	}
}

// Advance sets a sequence to where a message of another bucket has it, if that is further.
// done is false when the message does not hold a number, so is not a sequence of
// natsorm's.
func Advance(ctx context.Context, s store.Store, m store.Message) (done bool, err error) {
	next, err := strconv.ParseUint(string(m.Value), 10, 64)
	if err != nil {
		return false, nil
	}
	for try := 1; ; try++ {
		cur, err := s.GetLatest(ctx, m.Key)
		if err != nil {
			return false, err
		}
		if have, err := strconv.ParseUint(string(cur.Value), 10, 64); cur.Live() && err == nil && have >= next {
			return true, nil
		}
		err = s.Write(ctx, store.Op{Key: m.Key, Value: m.Value, Conditional: true, Expect: cur.Revision, Settle: true})[0].Err
		if !errors.Is(err, store.ErrWrongRevision) {
			return true, err
		}
		if err := workers.Backoff(ctx, try); err != nil {
			return false, err
		}
	}
}
