package bucket

import (
	"hash/maphash"
	"slices"
)

// hashBlock is how many hashes are kept together: a slice that grows would be
// copied, and take twice its size while it is.
const hashBlock = 8192

// delivered remembers which keys a scan has delivered, by 64 random bits of
// each. Only a key that is written during the scan can come twice, with a
// revision after the start; so the hashes, 8 bytes for each key, are put in
// order only when the first of those comes.
type delivered struct {
	start  uint64 // every message after it may be of a key delivered before
	seed   maphash.Seed
	blocks [][]uint64 // of keys from before start, as they came
	sorted []uint64   // all of them, once it is needed
	late   map[uint64]struct{}
}

func newDelivered(start uint64) *delivered {
	return &delivered{start: start, seed: maphash.MakeSeed()}
}

// first notes that a key comes, and reports whether that is for the first time.
// Revisions ascend.
func (d *delivered) first(key string, revision uint64) bool {
	h := maphash.String(d.seed, key)
	if revision <= d.start {
		n := len(d.blocks)
		if n == 0 || len(d.blocks[n-1]) == hashBlock {
			d.blocks = append(d.blocks, make([]uint64, 0, hashBlock))
			n++
		}
		d.blocks[n-1] = append(d.blocks[n-1], h)
		return true
	}
	if d.late == nil {
		d.late = map[uint64]struct{}{}
		d.sorted = slices.Concat(d.blocks...)
		d.blocks = nil
		slices.Sort(d.sorted)
	}
	if d.holds(h) {
		return false
	}
	d.late[h] = struct{}{}
	return true
}

// has reports whether a key has come, of a scan without a start.
func (d *delivered) has(key string) bool { return d.holds(maphash.String(d.seed, key)) }

func (d *delivered) holds(h uint64) bool {
	if _, found := slices.BinarySearch(d.sorted, h); found {
		return true
	}
	_, found := d.late[h]
	return found
}
