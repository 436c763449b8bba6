package bucket

import (
	"context"
	"errors"

	"github.com/natsorm/natsorm/internal/errs"
	"github.com/natsorm/natsorm/internal/store"
)

// squeeze sends deletions that were refused because the bucket is full again, without their
// message ids. On a bucket without replicas the server takes a message that replaces one of
// its key, if it is not larger; and without the id a marker is hardly larger than the headers
// of the record that natsorm wrote there. If this answer is lost, it cannot be settled.
//
// The ops are conditional, so one that was refused can be sent again.
func (b *Bucket) squeeze(ctx context.Context, ops []store.Op, results []store.Result) {
	for i, op := range ops {
		if op.Delete && op.Conditional && op.Settle && errors.Is(results[i].Err, errs.ErrFull) {
			op.Settle = false
			results[i] = store.Result{}
			b.write(ctx, []store.Op{op}, results[i:i+1])
		}
	}
}
