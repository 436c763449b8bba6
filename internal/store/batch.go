package store

const (
	// MaxBatch is how many messages the server takes in a batch.
	MaxBatch = 1000

	// MaxBatchBytes bounds the keys and values of a batch. The server queues 128 MB
	// for a stream and turns away what is more.
	MaxBatchBytes = 32 << 20
)

// Batch is writes that are done together, or not at all.
type Batch struct {
	Ops    []Op    // at least one; each key once
	Guards []Guard // on keys that no op writes

	// After, when it is set, guards all keys at once: it is the bucket's last
	// revision.
	After *uint64

	// Lone says that the batch is right only where the bucket is not Replicable (Traits), as
	// one is that relies on a guard on a pattern. Otherwise it is ErrReplicable. A batch
	// with an op that has Lone has it too.
	Lone bool

	// Shared says that the ops may go in one batch with those of other calls. If their
	// conditions do not hold, only this call fails. It has no guards.
	Shared bool
}

// Guard is a condition of a batch: the last revision of a key, or of all keys
// under a pattern together. On a bucket with replicas a pattern does not guard against
// writes that are under way, because there the server checks those by their literal keys.
type Guard struct {
	Key      string
	Revision uint64
}

// Messages is how many messages the batch takes. A message carries one condition:
// guards go with the ops that have none of their own, and the other guards take a
// message each.
func (b *Batch) Messages() int {
	free := 0
	for _, op := range b.Ops {
		if !op.Conditional {
			free++
		}
	}
	return len(b.Ops) + max(0, len(b.Guards)-free)
}
