package checking

import (
	"hash/maphash"

	"github.com/natsorm/natsorm/internal/store"
)

// mostKnown is how many keys a tally remembers: about 2 MB.
const mostKnown = 1 << 16

// tally counts the keys of a scan in which a key that is written meanwhile may come twice.
// It remembers all keys while they are few. Of more it remembers a part, which it chooses by
// hash, and concludes from that part how many of the messages that may be repeats are.
// So its count is exact of up to mostKnown keys, and where nobody writes.
type tally struct {
	seed  maphash.Seed
	most  int                 // of keys to remember
	known map[uint64]struct{} // by the hash of a key
	mask  uint64              // keys whose hash has none of these bits are remembered

	sure                 int // of keys that cannot have come before
	doubtful             int // of keys that may have
	sampled, sampledAnew int // of those among the doubtful that are remembered: all, and those that were new
}

func newTally(most int) *tally {
	return &tally{seed: maphash.MakeSeed(), most: most, known: map[uint64]struct{}{}}
}

// come notes that a key comes, which counts n. repeat says that it may have come before. It
// reports whether it has, or that this is not known.
func (t *tally) come(key string, n int, repeat bool) (again, known bool) {
	h := maphash.String(t.seed, key)
	remembered := h&t.mask == 0
	_, has := t.known[h]
	if remembered && !has {
		t.known[h] = struct{}{}
		for len(t.known) > t.most {
			t.mask = t.mask<<1 | 1
			for old := range t.known {
				if old&t.mask != 0 {
					delete(t.known, old)
				}
			}
		}
	}
	if !repeat {
		t.sure += n
		return false, true
	}
	t.doubtful += n
	if remembered {
		t.sampled += n
		if !has {
			t.sampledAnew += n
		}
	}
	return has, remembered
}

// count is how much all keys count.
func (t *tally) count() int {
	if t.sampled == 0 {
		return t.sure + t.doubtful/2
	}
	return t.sure + int(float64(t.doubtful)*float64(t.sampledAnew)/float64(t.sampled))
}

// looked remembers the index keys that were looked at in a pass, so that a list that writers
// write all the time, and that a scan brings each time, is looked at once: what was wrong when
// the pass began was in it then. Beyond most of them it remembers no more.
type looked struct {
	seed maphash.Seed
	most int
	keys map[uint64]struct{}
}

func newLooked(most int) *looked {
	return &looked{seed: maphash.MakeSeed(), most: most, keys: map[uint64]struct{}{}}
}

// has reports whether a message is of a key that it has been given before, as far as it remembers.
func (l *looked) has(m store.Scanned) bool {
	h := maphash.String(l.seed, m.Key)
	if _, has := l.keys[h]; has {
		return m.Again
	}
	if len(l.keys) < l.most {
		l.keys[h] = struct{}{}
	}
	return false
}
