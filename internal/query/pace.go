package query

// How fast batches grow for a caller who may stop early, and for one who needs a
// known number.
const (
	growFast = 8
	growSlow = 2
)

// FirstBatch is how many records a caller gets at first who may stop early.
const FirstBatch = 16

// Pace is how large a source makes its batches. A caller who may stop early gets few
// records at first, then more at a time; one who needs all of them gets as many as a
// batch can have.
type Pace struct {
	Size   int  // of the next batch
	Inline bool // whether that one is worked on before others are begun

	most, growth int
	ahead        bool // others are begun after the first one
}

// NewPace begins with most records for a caller who needs all, with a few for one who
// may stop early, and with about as many as it needs for one that says so (needs is
// not 0): for that one nothing is read ahead before much was read in vain.
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
