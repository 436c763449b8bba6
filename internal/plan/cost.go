package plan

import (
	"time"

	"github.com/natsorm/natsorm/internal/keys"
	"github.com/natsorm/natsorm/internal/readsize"
	"github.com/natsorm/natsorm/internal/schema"
	"github.com/natsorm/natsorm/internal/store"
	"github.com/natsorm/natsorm/internal/value"
)

// The cost of an access is the sum of what its parts take. These were measured with the
// server in the same process (nats-server 2.15.2 with file storage, nats.go 1.55, Go
// 1.26, 2 cores of an x86 server; records of 100 bytes, 1 kB and 10 kB; the best of 30
// runs). The planner only compares accesses with each other, so the proportions matter
// and not the times. Over a network every part takes longer, requests most of all.
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
// So a record read by its key costs more than twice as much as an entry, and nearly
// twice as much as a record in a scan. An index that selects more than about two fifths
// of a model is not worth using. A second index is worth using when its entries cost
// less than the records that they save.
const (
	requestCost = 15 * time.Microsecond  // a request, with its answer
	lookupCost  = 2 * time.Microsecond   // each further lookup in one request
	entryCost   = 1600 * time.Nanosecond // an entry in the answer to a request
	keyCost     = 3600 * time.Nanosecond // a record by its key, besides its bytes
	streamCost  = 2100 * time.Nanosecond // an entry or a record from a consumer, besides its bytes
	listCost    = 100 * time.Nanosecond  // a key that the server lists to find those that match
	startCost   = 250 * time.Microsecond // the requests of a scan that finds nothing

	// Nanoseconds for each byte of a record: read by its key, and in a scan.
	keyByteCost    = 0.45
	streamByteCost = 1.1
)

// What is assumed of a model while nothing is known of it.
const (
	unknownRecords = 1_000_000 // large, so that an index is preferred to a scan
	unknownBytes   = 200       // of a record, with key and headers
	unknownMatches = 10        // entries of a value in an index of one column; each further column divides it by 5
)

// worthwhile is the part of the cost of the best single index below which an
// intersection is taken. It is well below 1 because the number of records that are in
// both indexes is a guess.
const worthwhile = 0.8

const (
	// maxLookups is the largest number of lookups in a plan. Lists of values for
	// several columns multiply, and beyond this number a scan reads less.
	maxLookups = 4096

	// fetchChunk is the largest number of records that are read with one request by
	// their keys, and fetchBytes the number of bytes that they are expected to have at
	// the most. Several such requests are under way at a time.
	fetchBytes = 2 << 20
	fetchChunk = 256

	// A model of at most smallModel records, with fetchBytes bytes in all, is read with
	// one request rather than scanned. With a limit, the number is smallLimited: a scan
	// may end early, and this request cannot.
	smallModel   = 1000
	smallLimited = 200

	// lookAgainRequests is the number of further requests of lookups that do not fit into
	// one request. A record may get another value between two of them, so the revision
	// is read before the first, and after the last what was written since is read, which
	// most often is nothing, and is then asked once more, isolated from batches.
	lookAgainRequests = 3

	// writtenRequests is how many of these there are where the first request gives the revision: to read what was
	// written since, and to ask once more.
	writtenRequests = 2

	// entryBytes is about the size of an entry with its headers.
	entryBytes = 250

	// listedBytes is about the size of one record's id in an entry that is a list.
	listedBytes = 10
)

// scanRequests is the number of requests of a scan of this many keys, of bytes bytes
// each on average. Besides those for the messages there are four: for the last revision,
// for a consumer, for what follows the last message, and for the consumer's removal. A
// scan that ends early, because enough records matched, does not ask what follows.
func (pl *planner) scanRequests(keys, bytes int) int {
	if pl.needs > 0 && keys > pl.needs {
		return 3 + readsize.Requests(pl.needs, bytes)
	}
	return 4 + readsize.Requests(keys, bytes)
}

// ListTime is how long the server takes to look at so many keys.
func ListTime(keys int) time.Duration { return time.Duration(keys) * listCost }

// ScanTime is how long it takes to read all records.
func ScanTime(def *schema.Definition, stats Stats) time.Duration {
	pl := planner{def: def, stats: stats}
	return pl.cost(pl.scan()).Time
}

// small reports whether a scan reads the whole model with one request.
func (pl *planner) small() bool {
	most := smallModel
	if pl.needs > 0 {
		most = smallLimited
	}
	n := pl.stats.Records
	return pl.stats.Fresh && n > 0 && n <= most && n*pl.stats.recordBytes() <= fetchBytes
}

// Stats is what is known of a model's records and indexes, mostly from earlier queries
// of the process. Numbers may be out of date: they decide what a query costs, never what
// it finds. The zero Stats knows nothing.
type Stats struct {
	Records     int  // how many records the model has; 0: not known
	Fresh       bool // Records was counted just now, and the bucket may be read with one request (see OneRequest)
	RecordBytes int  // the average size of a record, with key and headers, in bytes; 0: not known

	// Matches estimates how many entries an index has for these values of its first
	// columns; 0 when nothing is known. A nil Matches knows nothing.
	Matches func(x schema.Index, values []value.Value) int

	// Within estimates the same for a range of an ordered index: the values of all its columns but
	// the last, and intervals of that one. A nil Within knows nothing.
	Within func(x schema.Index, values []value.Value, in []Interval) int

	// Finds reports whether the entries (or the claim) of these values in an index lead
	// to every record that has them. In a layout that keeps no entries for absent
	// members, those of null do not. A nil Finds always says yes.
	Finds func(x schema.Index, values []value.Value) bool

	// EntryKeys is how many keys the entries are that a value has when this many
	// records have it. Nil: one for each record.
	EntryKeys func(records int) int
}

func (s Stats) entryKeys(records int) int {
	if s.EntryKeys == nil {
		return records
	}
	return s.EntryKeys(records)
}

// finds reports whether Finds says yes for every combination of values.
func (s Stats) finds(x schema.Index, combos [][]value.Value) bool {
	for _, vals := range combos {
		if s.Finds != nil && !s.Finds(x, vals) {
			return false
		}
	}
	return true
}

// FetchChunk is the number of records to read with one request by their keys: fewer when
// they are large, at least 2.
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

// matches is Matches, or what is assumed when nothing is known.
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

// within is Within, or what is assumed when nothing is known: a third of the records, or a few for
// each single value.
func (s Stats) within(x schema.Index, values []value.Value, in []Interval) int {
	if s.Within != nil {
		if n := s.Within(x, values, in); n > 0 {
			return n
		}
	}
	points := 0
	for _, i := range in {
		if !i.point() {
			return max(1, s.records()/3)
		}
		points += unknownMatches
	}
	return points
}

// Cost is what it takes to answer a query.
type Cost struct {
	Keys     int           // messages received: entries, claims and records, delete markers included
	Requests int           // requests sent; each counts, also when several are under way together
	Bytes    int64         // bytes received
	Time     time.Duration // as if every part came after the other, on the machine described above
}

// cost is the cost of an access: its lookups, then the records that they lead to.
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
	case Range:
		c = pl.rangeCost(a)
	case Intersect:
		c.Requests, c.Time = 1, requestCost // for the revision before the first lookup
		for _, in := range a.Inputs {
			if in.Path == Range {
				c.add(pl.rangeCost(in))
			} else {
				c.add(pl.lookupCost(in.Lookups))
			}
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

// SamplesCost is the cost of samples that were read to plan a query.
func SamplesCost(keys, requests int, bytes int64) Cost {
	return Cost{Keys: keys, Requests: requests, Bytes: bytes, Time: time.Duration(requests)*(requestCost+rangePatterns*lookupCost) + time.Duration(keys)*entryCost}
}

// Add adds another cost.
func (c *Cost) Add(d Cost) { c.add(d) }

func (c *Cost) add(d Cost) {
	c.Keys += d.Keys
	c.Requests += d.Requests
	c.Bytes += d.Bytes
	c.Time += d.Time
}

// lookupCost is the cost of reading the entries of lookups.
func (pl *planner) lookupCost(lookups []Lookup) (c Cost) {
	groups := Groups(lookups)
	if len(groups) > 1 { // records may have changed between the requests
		c.Requests += lookAgainRequests
		c.Time += lookAgainRequests * requestCost
	} else if len(groups) == 1 && groups[0][0].Large {
		c.Requests++
		c.Time += requestCost
	}
	for _, group := range groups {
		matches, listed := 0, 0 // messages to read, and further ids in those that are lists
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

// rangeCost is the cost of reading the entries of a range: with one request, or from sample to sample.
func (pl *planner) rangeCost(a Access) (c Cost) {
	entries := a.Entries
	if !a.Sorted {
		entries = pl.enough(entries)
	}
	parts, sent := 1, 1
	if a.Sorted || a.Lookups[0].Large {
		reads := 1 + entries/rangePart
		parts = pl.levels() + reads
		sent = parts
		if reads > 1 { // records may have changed between them
			sent += writtenRequests
		}
	}
	patterns := 0
	for _, in := range a.Lookups[0].Intervals {
		patterns += pointPatterns
		if !in.point() {
			patterns += rangePatterns - pointPatterns
		}
	}
	patterns *= len(a.Lookups)
	read := entries + a.Samples
	c.Keys, c.Requests, c.Bytes = read, sent, int64(read)*entryBytes
	c.Time = time.Duration(sent)*requestCost + time.Duration(parts*patterns)*lookupCost + time.Duration(read)*entryCost
	return c
}

// levels is how many levels of samples a walk of an ordered index begins with.
func (pl *planner) levels() int {
	if n := pl.stats.Records; n > 0 && n <= FewSamples {
		return 1
	}
	return keys.Samples
}

// FewSamples is up to how many records an ordered index has so few samples that those of the first level are read
// at once, without asking those of the second one where they are.
const FewSamples = 2 * keys.SampleRate * keys.SampleRate

// How many patterns a single value has in an ordered index, and about how many a range has.
const (
	pointPatterns = 2
	rangePatterns = 20
)

// rangePart is about how many entries one request reads of a range.
const rangePart = 512

// AllLookups are the lookups of an access, or those of all its inputs.
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

// Groups divides lookups into groups that one request each asks for, in their order. A
// group has at most MaxMatches lookups with, by their estimates, at most MaxMatches
// entries together. A lookup that is Large is a group of its own, and a consumer reads
// it.
func Groups(lookups []Lookup) [][]Lookup {
	var out [][]Lookup
	start, sum := 0, 0
	for i, l := range lookups {
		if i > start && (sum+l.Keys > store.MaxMatches || i-start == store.MaxMatches || l.Large || lookups[start].Large) {
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
