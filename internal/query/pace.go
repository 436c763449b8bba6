package query

// By how much a batch is larger than the one before.
const (
	growFast = 8 // for a caller that may stop early, and has not yet
	growSlow = 2 // for a caller that needs a known number of records
)

// FirstBatch is the size of the first batch, in records, for a caller that may stop
// early.
const FirstBatch = 16

// Pace says how large a source makes its batches. A caller that may stop early gets a
// small batch first and larger ones later. A caller that needs all records gets the
// largest batches at once.
type Pace struct {
	Size   int  // how many records the next batch has
	Inline bool // the next batch is worked on before another one is begun; see Batch

	most, growth int
	ahead        bool // after the first batch, others are begun before one is finished
}

// NewPace makes the pace for one of three callers. most is the largest batch.
//
//   - One that needs a known number of records (needs is not 0) gets about that many, and
//     nothing is read ahead until batches have grown to most: it rarely needs a second
//     batch.
//   - One that takes all records (all) gets the largest batches.
//   - One that may stop early gets FirstBatch, and more at a time after that.
func NewPace(needs int, all bool, most int) Pace {
	switch {
	case needs > 0:
		return Pace{Size: min(max(FirstBatch, needs), most), most: most, growth: growSlow, Inline: true}
	case !all:
		return Pace{Size: FirstBatch, most: most, growth: growFast, Inline: true, ahead: true}
	}
	return Pace{Size: most, most: most, growth: 1}
}

// Next is called after each batch.
func (p *Pace) Next() {
	if p.Size == p.most || p.ahead {
		p.Inline = false
	}
	p.Size = min(p.Size*p.growth, p.most)
}
