package bucket

import "context"

// Purge asks the leader, with one request.
func (b *Bucket) Purge(ctx context.Context, pattern string, upTo uint64) error {
	if upTo == 0 {
		return nil
	}
	return b.Stream.Purge(ctx, pattern, upTo)
}
