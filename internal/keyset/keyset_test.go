package keyset

import (
	"fmt"
	"math/rand/v2"
	"testing"
)

// A key comes for the first time once, whether it is written again during the reading or
// not: the set says what a map of all keys says.
func TestSetAgreesWithAMap(t *testing.T) {
	t.Parallel()
	const seed = 7
	for round := range uint64(20) {
		r := rand.New(rand.NewPCG(seed, round))
		before := r.IntN(3 * hashBlock) // so that blocks are full, and not
		s, seen := New(uint64(before)), map[string]bool{}
		for revision := 1; revision <= before; revision++ {
			key := fmt.Sprint("k", revision)
			if !s.First(key, uint64(revision)) {
				t.Fatalf("round %d: %s has come before", round, key)
			}
			seen[key] = true
		}
		for i := range 500 {
			key := fmt.Sprint("k", 1+r.IntN(before+500))
			if s.First(key, uint64(before+1+i)) == seen[key] {
				t.Fatalf("round %d: %s: it has come: %v", round, key, seen[key])
			}
			seen[key] = true
			if !s.Has(key) {
				t.Fatalf("round %d: the set does not have %s", round, key)
			}
		}
	}
}

// What has come is known also before any key comes again, and a key that is added at no
// revision in particular counts as one that has come.
func TestSetIsAskedEarly(t *testing.T) {
	t.Parallel()
	s := New(100)
	for revision := range uint64(50) {
		s.First(fmt.Sprint("k", revision), revision)
	}
	for i, want := range map[int]bool{7: true, 49: true, 50: false} {
		if s.Has(fmt.Sprint("k", i)) != want || s.Add(fmt.Sprint("k", i)) == want {
			t.Errorf("k%d has come: %v", i, !want)
		}
	}
	if s.First("k50", 60) || s.First("k7", 200) || !s.First("k51", 61) {
		t.Error("what was added, or came before it was asked, does not count")
	}
}
