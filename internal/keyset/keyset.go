// Package keyset remembers which keys of a stream a reader has met, in 8 bytes for each.
package keyset

import (
	"hash/maphash"
	"slices"
)

// hashBlock is how many hashes are kept together: a slice that grows would be
// copied, and take twice its size while it is.
const hashBlock = 8192

// Set remembers which keys have come, by 64 random bits of each. Only a key that is
// written during the reading can come twice, with a revision after the start; so the
// hashes are put in order only when the first of those comes, or when it is asked what has
// come. It is for one goroutine.
type Set struct {
	start  uint64 // every message after it may be of a key delivered before
	seed   maphash.Seed
	blocks [][]uint64 // of keys from before start, as they came
	sorted []uint64   // all of them, once it is needed
	late   map[uint64]struct{}
}

// New makes a set for a reading that begins when start is the last revision. Messages up
// to there come once for each key.
func New(start uint64) *Set {
	return &Set{start: start, seed: maphash.MakeSeed()}
}

// First notes that a key comes, and reports whether that is for the first time.
// Revisions ascend.
func (s *Set) First(key string, revision uint64) bool {
	h := maphash.String(s.seed, key)
	if revision <= s.start && s.late == nil {
		n := len(s.blocks)
		if n == 0 || len(s.blocks[n-1]) == hashBlock {
			s.blocks = append(s.blocks, make([]uint64, 0, hashBlock))
			n++
		}
		s.blocks[n-1] = append(s.blocks[n-1], h)
		return true
	}
	return s.add(h)
}

// Add is First of a key that may have come at any revision.
func (s *Set) Add(key string) bool { return s.add(maphash.String(s.seed, key)) }

func (s *Set) add(h uint64) bool {
	if s.holds(h) {
		return false
	}
	s.late[h] = struct{}{}
	return true
}

// Has reports whether a key has come.
func (s *Set) Has(key string) bool { return s.holds(maphash.String(s.seed, key)) }

func (s *Set) holds(h uint64) bool {
	if s.late == nil {
		s.late = map[uint64]struct{}{}
		s.sorted = slices.Concat(s.blocks...)
		s.blocks = nil
		slices.Sort(s.sorted)
	}
	if _, found := slices.BinarySearch(s.sorted, h); found {
		return true
	}
	_, found := s.late[h]
	return found
}
