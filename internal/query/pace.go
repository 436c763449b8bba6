package query

// By how much a chunk is larger than the one before.
const (
	growFast = 8 // for a caller that may stop early, and has not yet
	growSlow = 2 // for a caller that needs a known number of records
)

// FirstChunk is the size of the first chunk, in records, for a caller that may stop
// early.
const FirstChunk = 16

// Pace says how large a source makes its chunks. A caller that may stop early gets a
// small chunk first and larger ones later. A caller that needs all records gets the
// largest chunks at once.
type Pace struct {
	Size   int  // how many records the next chunk has
	Inline bool // the next chunk is worked on before another one is begun; see Chunk

	most, growth int
	ahead        bool // after the first chunk, others are begun before one is finished
}

// NewPace makes the pace for one of three callers. most is the largest chunk.
//
//   - One that needs a known number of records (needs is not 0) gets about that many, and
//     nothing is read ahead until chunks have grown to most: it rarely needs a second
//     chunk.
//   - One that takes all records (all) gets the largest chunks.
//   - One that may stop early gets FirstChunk, and more at a time after that.
func NewPace(needs int, all bool, most int) Pace {
	switch {
	case needs > 0:
		return Pace{Size: min(max(FirstChunk, needs), most), most: most, growth: growSlow, Inline: true}
	case !all:
		return Pace{Size: FirstChunk, most: most, growth: growFast, Inline: true, ahead: true}
	}
	return Pace{Size: most, most: most, growth: 1}
}

// Next is called after each chunk.
func (p *Pace) Next() {
	if p.Size == p.most || p.ahead {
		p.Inline = false
	}
	p.Size = min(p.Size*p.growth, p.most)
}
