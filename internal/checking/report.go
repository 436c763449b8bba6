package checking

import "hash/maphash"

// ProblemKind is a way in which a bucket can be wrong.
type ProblemKind string

const (
	MissingEntry   ProblemKind = "missing entry"   // lookups by the index miss the record
	MissingClaim   ProblemKind = "missing claim"   // another record could take the unique value
	DuplicateValue ProblemKind = "duplicate value" // another record has the unique value
	CorruptRecord  ProblemKind = "corrupt record"  // its document cannot be read
	MisplacedKey   ProblemKind = "misplaced key"   // its primary key belongs at another key
	CorruptClaim   ProblemKind = "corrupt claim"   // it names no owner: no record can take the unique value
	CorruptEntry   ProblemKind = "corrupt entry"   // it cannot be read: lookups of it fail, and so do writes of its records
	StrayEntry     ProblemKind = "stray entry"     // no record needs it; harmless: readers drop it
	StrayClaim     ProblemKind = "stray claim"     // no record needs it; harmless: the next writer takes it
)

// Harmless reports whether a problem of this kind makes no answer wrong.
func (k ProblemKind) Harmless() bool { return k == StrayEntry || k == StrayClaim }

// Problem is one thing that Check found.
type Problem struct {
	Kind     ProblemKind
	Key      string // the key of the entry, the claim or the record that is wrong
	Record   string // the record's key; empty when it is not known
	Detail   string // more about it, for people; may be empty
	Repaired bool   // Check has repaired it
}

// Found is how many problems of a kind were found, and how many of them were repaired.
type Found struct{ Found, Repaired int }

// Report is what Check found in one model.
type Report struct {
	Model                    string
	Records, Entries, Claims int // how many there are; an entry that is a list counts once for each of its records

	Counts   map[ProblemKind]Found
	Problems []Problem // of each kind the first ones that were repaired, and the first others: Options.Examples

	Unbuilt []string // indexes that are not ready, in which nothing is missed
	Paused  string   // why the model was not checked; empty when it was
}

// Wrong is how many problems are neither harmless nor repaired.
func (r *Report) Wrong() (n int) {
	for kind, f := range r.Counts {
		if !kind.Harmless() {
			n += f.Found - f.Repaired
		}
	}
	return n
}

// Examples is how many problems of each kind a report keeps that were repaired, and as many
// others, unless the options say otherwise.
const Examples = 100

// mostTold is how many problems a findings remembers, so that it tells none twice: about 2 MB.
const mostTold = 1 << 16

// findings gathers what a check finds, in constant memory.
type findings struct {
	report Report
	most   int // examples of each kind, repaired and not
	kept   map[ProblemKind]Found
	each   func(Problem)
	seed   maphash.Seed
	told   map[uint64]struct{}
}

func newFindings(model string, o *Options) *findings {
	most := o.Examples
	if most == 0 {
		most = Examples
	}
	f := &findings{
		report: Report{Model: model, Counts: map[ProblemKind]Found{}}, most: most,
		kept: map[ProblemKind]Found{}, seed: maphash.MakeSeed(), told: map[uint64]struct{}{},
	}
	if o.Each != nil {
		f.each = func(p Problem) { o.Each(model, p) }
	}
	return f
}

// add counts a problem, unless it was told just now: a record that is written during the
// check may come to it twice.
func (f *findings) add(p Problem) {
	h := maphash.Comparable(f.seed, [3]string{string(p.Kind), p.Key, p.Record})
	if _, ok := f.told[h]; ok {
		return
	}
	if len(f.told) >= mostTold {
		clear(f.told)
	}
	f.told[h] = struct{}{}
	if (p.Kind == MissingClaim || p.Kind == DuplicateValue) && !p.Repaired {
		f.told[f.lack(p.Key)] = struct{}{}
	}
	n := f.report.Counts[p.Kind]
	n.Found++
	if p.Repaired {
		n.Repaired++
	}
	f.report.Counts[p.Kind] = n
	kept := f.kept[p.Kind]
	room := kept.Found < f.most
	if p.Repaired {
		room = kept.Repaired < f.most
		kept.Repaired++
	} else {
		kept.Found++
	}
	if room {
		f.kept[p.Kind] = kept
		f.report.Problems = append(f.report.Problems, p)
		f.nameOwner(p)
	}
	if f.each != nil {
		f.each(p)
	}
}

func (f *findings) lack(claim string) uint64 {
	return maphash.Comparable(f.seed, [3]string{"lacked", claim, ""})
}

// lacked reports whether it was told just now that a record lacks a claim: that says all of it.
func (f *findings) lacked(claim string) bool {
	_, ok := f.told[f.lack(claim)]
	return ok
}

// nameOwner says of a claim that cannot be read whose it is, once a record is found that
// lacks it.
func (f *findings) nameOwner(p Problem) {
	if p.Kind != MissingClaim || f.kept[CorruptClaim] == (Found{}) {
		return
	}
	for i, q := range f.report.Problems {
		if q.Kind == CorruptClaim && q.Key == p.Key && q.Record == "" {
			f.report.Problems[i].Record = p.Record
		}
	}
}
