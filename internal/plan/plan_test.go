package plan

import (
	"flag"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/natsorm/natsorm/internal/cond"
	"github.com/natsorm/natsorm/internal/schema"
	"github.com/natsorm/natsorm/internal/value"
)

var update = flag.Bool("update", false, "write what the planner says to testdata/plans.txt")

// text is an access in one line.
func text(a Access) string {
	list := func(vals []value.Value) string {
		var out []string
		for i, v := range vals {
			if i == 5 && len(vals) > 6 {
				out = append(out, fmt.Sprintf("… %d more", len(vals)-i))
				break
			}
			out = append(out, v.Text())
		}
		return strings.Join(out, ", ")
	}
	switch a.Path {
	case Key:
		return "key (" + list(a.Keys) + ")"
	case Union, Intersect:
		var inputs []string
		for _, in := range a.Inputs {
			inputs = append(inputs, text(in))
		}
		return a.Path.String() + " of [" + strings.Join(inputs, "] [") + "]"
	case Range:
		var ranges []string
		for _, l := range a.Lookups {
			for _, in := range l.Intervals {
				ranges = append(ranges, "("+in.Text(l.Values)+")")
			}
		}
		return fmt.Sprintf("%s %s %s", a.Path, a.Index.Name, strings.Join(ranges, " "))
	case Index, Unique:
		var lookups []string
		for i, l := range a.Lookups {
			if i == 5 && len(a.Lookups) > 6 {
				lookups = append(lookups, fmt.Sprintf("… %d more", len(a.Lookups)-i))
				break
			}
			lookups = append(lookups, "("+list(l.Values)+")")
		}
		return fmt.Sprintf("%s %s %s", a.Path, a.Index.Name, strings.Join(lookups, " "))
	}
	return a.Path.String()
}

// golden is the model of testdata/plans.txt.
func golden() *schema.Definition {
	building := schema.NewIndex(schema.PlainIndex, "late")
	building.State = schema.Building
	return &schema.Definition{
		Name: "M", Shards: 16,
		Columns: []schema.Column{
			{Name: "id", Type: value.Int, PrimaryKey: true}, {Name: "a", Type: value.String}, {Name: "b", Type: value.Int}, {Name: "u", Type: value.String},
			{Name: "late", Type: value.Int}, {Name: "zero", Type: value.Int, ZeroNull: true}, {Name: "free", Type: value.Int}, {Name: "c", Type: value.Int}, {Name: "d", Type: value.Int},
			{Name: "e", Type: value.String}, {Name: "f", Type: value.String, ZeroNull: true}, {Name: "g", Type: value.Int}, {Name: "tags", Type: value.JSON},
			{Name: "o", Type: value.Int}, {Name: "p", Type: value.String},
		},
		Indexes: []schema.Index{
			schema.NewIndex(schema.PlainIndex, "a"), schema.NewIndex(schema.PlainIndex, "b"), schema.NewIndex(schema.PlainIndex, "a", "b"), schema.NewIndex(schema.PlainIndex, "c", "b", "a"),
			schema.NewIndex(schema.UniqueIndex, "u"), schema.NewIndex(schema.UniqueIndex, "u", "b"), building, schema.NewIndex(schema.PlainIndex, "zero"), schema.NewIndex(schema.PlainIndex, "d"),
			schema.NewIndex(schema.PlainIndex, "e"), schema.NewIndex(schema.UniqueIndex, "e"), schema.NewIndex(schema.UniqueIndex.Folded(), "e"),
			schema.NewIndex(schema.PlainIndex, "g", "f"), schema.NewIndex(schema.PlainIndex.Folded(), "f", "e", "g"), schema.NewIndex(schema.PlainIndex, "tags").Each(value.Int),
			schema.NewIndex(schema.OrderedIndex, "o"), schema.NewIndex(schema.OrderedIndex, "p", "o"),
		},
	}
}

// TestPlans holds the planner against testdata/plans.txt: a query in JSON, and
// under it the plan, with what it is expected to read and to ask. A line
// "known …" says what is known from there on: records, bytes of a record,
// entries for a value of an index. Run with -update to write the file anew, and
// read the difference.
func TestPlans(t *testing.T) {
	const file = "testdata/plans.txt"
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	def := golden()
	var known Stats
	var out strings.Builder
	limit := -1
	var order []Sort
	for _, line := range strings.Split(strings.TrimRight(string(raw), "\n"), "\n") {
		switch {
		case strings.HasPrefix(line, "\t"): // the last run's answer
			continue
		case strings.HasPrefix(line, "known"):
			known = parseKnown(t, line)
		case strings.HasPrefix(line, "limit "):
			if limit, err = strconv.Atoi(strings.Fields(line)[1]); err != nil {
				t.Fatal(err)
			}
			order = nil
			if strings.HasSuffix(line, " ordered") {
				order = []Sort{{Column: 0}}
			}
		case strings.HasPrefix(line, "{"):
			n, err := cond.Parse([]byte(expand(line)))
			if err != nil {
				t.Fatalf("%s: %v", line, err)
			}
			b, err := cond.Bind(n, def)
			if err != nil {
				t.Fatalf("%s: %v", line, err)
			}
			p := Make(def, Query{Filter: b, Limit: limit, Order: order}, known)
			fmt.Fprintf(&out, "%s\n\t%s\n", line, text(p.Access))
			if p.Path != Nothing {
				fmt.Fprintf(&out, "\t%d entries, %d records, %d requests, %v\n", p.Entries, p.Records, p.Cost.Requests, p.Cost.Time)
			}
			continue
		}
		fmt.Fprintln(&out, line)
	}
	if *update {
		if err := os.WriteFile(file, []byte(out.String()), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	got, want := strings.Split(out.String(), "\n"), strings.Split(string(raw), "\n")
	for i := range max(len(got), len(want)) {
		if i >= len(got) || i >= len(want) || got[i] != want[i] {
			t.Fatalf("%s:%d differs; the planner says\n%s", file, i+1, strings.Join(got[max(0, min(i-2, len(got))):min(i+3, len(got))], "\n"))
		}
	}
}

// expand writes out "1..5000" inside a condition.
func expand(line string) string {
	before, rest, ok := strings.Cut(line, "..")
	if !ok {
		return line
	}
	i := strings.LastIndexAny(before, "[,") + 1
	j := strings.IndexAny(rest, ",]")
	lo, err1 := strconv.Atoi(before[i:])
	hi, err2 := strconv.Atoi(rest[:j])
	if err1 != nil || err2 != nil {
		return line
	}
	var nums []string
	for n := lo; n <= hi; n++ {
		nums = append(nums, strconv.Itoa(n))
	}
	return expand(before[:i] + strings.Join(nums, ",") + rest[j:])
}

// parseKnown reads "known records=1000 bytes=200 a=50 b=x:3".
func parseKnown(t *testing.T, line string) Stats {
	var s Stats
	perIndex := map[string]int{}
	for _, field := range strings.Fields(line)[1:] {
		at := strings.LastIndexByte(field, '=') // the name of an index of lists has one too
		name, text := field[:at], field[at+1:]
		n, err := strconv.Atoi(text)
		if err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		switch name {
		case "records":
			s.Records = n
		case "bytes":
			s.RecordBytes = n
		default:
			perIndex[name] = n
		}
	}
	s.Matches = func(x schema.Index, vals []value.Value) int {
		if n, ok := perIndex[x.Name+":"+vals[0].Text()]; ok {
			return n
		}
		return perIndex[x.Name]
	}
	s.Within = func(x schema.Index, _ []value.Value, in []Interval) int {
		if n, ok := perIndex[x.Name+":"+in[0].Text(nil)]; ok {
			return n
		}
		return perIndex[x.Name]
	}
	return s
}
