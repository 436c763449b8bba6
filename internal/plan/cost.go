package plan

import (
	"time"

	"github.com/natsorm/natsorm/internal/batch"
	"github.com/natsorm/natsorm/internal/schema"
	"github.com/natsorm/natsorm/internal/value"
)

// The cost rules: what the parts of an access take, measured in process against
// a server on the same machine (nats-server 2.15.2 with file storage, nats.go
// 1.55, Go 1.26, 2 cores of an x86 server; records of 100 bytes, 1 kB and 10 kB,
// the best of 30 runs). The planner compares paths by their sum, so only the
// proportions matter: over a network every part grows, the requests most.
//
//	                                        100 B    1 kB    10 kB
//	one record by key, one request          14 µs   20 µs    32 µs
//	1,000 records by key, each             3.6 µs  4.2 µs   7.6 µs
//	1,000 entries of a value, each         1.6 µs
//	no entry, one request                   11 µs
//	20,000 records by a scan, each         2.2 µs  3.4 µs  13.4 µs
//	a consumer's start, each key it lists  0.1 µs
//	a scan of nothing, five requests       250 µs
//	one more pattern in a request            2 µs
//
// So reading a record by its key costs more than twice an entry, and nearly
// twice what it costs in a scan: an index that selects more than about two
// fifths of a model is not worth it, and of two indexes both are, when reading
// the second one's entries costs less than the records it saves.
const (
	requestCost = 15 * time.Microsecond
	lookupCost  = 2 * time.Microsecond // one of several lookups in a request
	entryCost   = 1600 * time.Nanosecond
	keyCost     = 3600 * time.Nanosecond
	streamCost  = 2100 * time.Nanosecond
	listCost    = 100 * time.Nanosecond
	startCost   = 250 * time.Microsecond // a scan's requests

	keyByteCost    = 0.45 // ns for each byte of a record read by its key
	streamByteCost = 1.1  // and in a scan
)

// What is assumed of a model that nothing is known of.
const (
	unknownRecords = 1_000_000
	unknownBytes   = 200
	unknownMatches = 10 // entries that a value has in an index of one column; with each further column a fifth
)

// worthwhile is how much cheaper an intersection must be than one index: how
// many records are in both is a guess.
const worthwhile = 0.8

const (
	// maxLookups bounds the lookups that lists of values multiply to; beyond
	// it a scan reads less.
	maxLookups = 4096

	// MaxMatches is how many entries the server gives for one request; more are
	// read by a consumer.
	MaxMatches = 1024

	// fetchChunk and fetchBytes are how many records, of how many bytes, are read
	// with one request, several of which are under way.
	fetchChunk = 256
	fetchBytes = 2 << 20

	// smallModel and smallBytes are how many records, of how many bytes, are
	// read with one request rather than scanned; smallLimited is it when the
	// first ones are enough.
	smallModel   = 1000
	smallBytes   = 2 << 20
	smallLimited = 200

	// lookAgainRequests is what lookups cost that are not made with one request, because
	// values may go from record to record between them: the revision at the start, what
	// was written since, which most often is nothing, and the same once more, isolated.
	lookAgainRequests = 3

	// entryBytes is about the size of an entry with its headers.
	entryBytes = 250

	// listedBytes is about what a record's id takes in an entry that is a list.
	listedBytes = 10
)

// scanRequests is what a scan of so many keys asks: the last revision, a
// consumer, its messages, whether anything follows, and the consumer's removal.
// One that is broken off, because there is enough, does not ask what follows.
func (pl *planner) scanRequests(keys, bytes int) int {
	if pl.needs > 0 && keys > pl.needs {
		return 3 + batch.Requests(pl.needs, bytes)
	}
	return 4 + batch.Requests(keys, bytes)
}

// small reports whether the whole model is read with one request.
func (pl *planner) small() bool {
	most := smallModel
	if pl.needs > 0 {
		most = smallLimited
	}
	n := pl.stats.Records
	return pl.stats.Fresh && n > 0 && n <= most && n*pl.stats.recordBytes() <= smallBytes
}

// Stats is what is known of a model's records and indexes. The zero Stats
// knows nothing.
type Stats struct {
	Records     int  // 0: not known
	Fresh       bool // Records was right a moment ago, and one request sees them all
	RecordBytes int  // on average, with key and headers; 0: not known

	// Matches is about how many entries an index has for these values of its
	// first columns; 0 when that is not known. It may be nil.
	Matches func(x schema.Index, values []value.Value) int

	// Finds reports whether the entries, or the claim, of an index lead to every record
	// with these values of its first columns. Nil: those of an index always do.
	Finds func(x schema.Index, values []value.Value) bool

	// Lists says that the entries of a value are one list.
	Lists bool
}

func (s Stats) finds(x schema.Index, combos [][]value.Value) bool {
	for _, vals := range combos {
		if s.Finds != nil && !s.Finds(x, vals) {
			return false
		}
	}
	return true
}

// FetchChunk is how many records are read with one request.
func (s Stats) FetchChunk() int {
	return min(max(2, fetchBytes/s.recordBytes()), fetchChunk)
}

func (s Stats) records() int {
	if s.Records == 0 {
		return unknownRecords
	}
	return s.Records
}

func (s Stats) recordBytes() int {
	if s.RecordBytes == 0 {
		return unknownBytes
	}
	return s.RecordBytes
}

func (s Stats) matches(x schema.Index, values []value.Value) int {
	if s.Matches != nil {
		if n := s.Matches(x, values); n > 0 {
			return n
		}
	}
	n := unknownMatches
	for range len(values) - 1 {
		n /= 5
	}
	return max(1, n)
}

// Cost is what answering a query takes.
type Cost struct {
	Keys     int   // entries and records received, delete markers included
	Requests int   // sent to the server, those under way together counted each
	Bytes    int64 // received
	Time     time.Duration
}

// cost is what an access costs.
func (pl *planner) cost(a Access) Cost {
	var c Cost
	bytes := pl.stats.recordBytes()
	switch a.Path {
	case Nothing:
		return c
	case Scan:
		if pl.small() {
			c = Cost{Keys: pl.stats.Records, Requests: 1, Bytes: int64(pl.stats.Records) * int64(bytes)}
			c.Time = requestCost + time.Duration(c.Keys)*entryCost + time.Duration(streamByteCost*float64(c.Bytes))
			return c
		}
		c.Requests = pl.scanRequests(a.Records, bytes)
		c.Keys = a.Records
		c.Bytes = int64(a.Records) * int64(bytes)
		c.Time = startCost + time.Duration(pl.stats.records())*listCost + time.Duration(a.Records)*streamCost + time.Duration(streamByteCost*float64(c.Bytes))
		return c
	case Intersect:
		c.Requests, c.Time = 1, requestCost // as of when the entries are
		for _, in := range a.Inputs {
			c.add(pl.lookupCost(in.Lookups))
		}
	default:
		c.add(pl.lookupCost(a.AllLookups()))
	}
	chunk := pl.stats.FetchChunk()
	fetch := Cost{Keys: a.Records, Requests: (a.Records + chunk - 1) / chunk, Bytes: int64(a.Records) * int64(bytes)}
	fetch.Time = time.Duration(fetch.Requests)*requestCost + time.Duration(a.Records)*keyCost + time.Duration(keyByteCost*float64(fetch.Bytes))
	c.add(fetch)
	return c
}

func (c *Cost) add(d Cost) {
	c.Keys += d.Keys
	c.Requests += d.Requests
	c.Bytes += d.Bytes
	c.Time += d.Time
}

// lookupCost is what reading the entries of lookups costs.
func (pl *planner) lookupCost(lookups []Lookup) (c Cost) {
	groups := Groups(lookups)
	if len(groups) > 1 { // what was written between them
		c.Requests += lookAgainRequests
		c.Time += lookAgainRequests * requestCost
	} else if len(groups) == 1 && groups[0][0].Large {
		c.Requests++
		c.Time += requestCost
	}
	for _, group := range groups {
		matches, listed := 0, 0
		for _, l := range group {
			matches += l.Keys
			listed += l.Matches - l.Keys
		}
		read := pl.enough(matches)
		c.Keys += read
		c.Bytes += int64(read)*entryBytes + int64(listed)*listedBytes
		c.Time += time.Duration(matches+listed) * listCost
		if group[0].Large {
			c.Requests += pl.scanRequests(matches, entryBytes)
			c.Time += startCost + time.Duration(read)*streamCost
		} else {
			c.Requests++
			c.Time += requestCost + time.Duration(len(group)-1)*lookupCost + time.Duration(read)*entryCost
		}
	}
	return c
}

// AllLookups are the lookups of an access and of its inputs.
func (a *Access) AllLookups() []Lookup {
	if len(a.Inputs) == 0 {
		return a.Lookups
	}
	var out []Lookup
	for i := range a.Inputs {
		out = append(out, a.Inputs[i].AllLookups()...)
	}
	return out
}

// Groups divides lookups into those that one request asks for: as many as the
// server answers for together, as far as can be told. One that has more by
// itself is alone, to be read by a consumer.
func Groups(lookups []Lookup) [][]Lookup {
	var out [][]Lookup
	start, sum := 0, 0
	for i, l := range lookups {
		if i > start && (sum+l.Keys > MaxMatches || i-start == MaxMatches || l.Large || lookups[start].Large) {
			out = append(out, lookups[start:i])
			start, sum = i, 0
		}
		sum += l.Keys
	}
	if start < len(lookups) {
		out = append(out, lookups[start:])
	}
	return out
}
