package natsorm_test

import (
	"encoding/csv"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"testing"

	"github.com/natsorm/natsorm"
	"github.com/natsorm/natsorm/internal/testbed"
	"github.com/natsorm/natsorm/natsormtest"
)

// ourAirports names the directory with the CSV files of ourairports.com, which
// are in the public domain. The tests are skipped without it.
const ourAirports = "NATSORM_OURAIRPORTS"

// airports is the directory. Under the race detector the tests are skipped too: they take minutes there, and
// do one thing after the other.
func airports(t *testing.T) string {
	t.Helper()
	dir := os.Getenv(ourAirports)
	switch {
	case dir == "":
		t.Skipf("set %s to a directory with countries.csv, regions.csv, navaids.csv and runways.csv from ourairports.com", ourAirports)
	case testbed.Race:
		t.Skip("takes minutes under the race detector")
	}
	return dir
}

// Every row of the data, with nulls where a cell is empty, through BulkCreate;
// then the counts of every value of the indexed columns, by index, by scan,
// and as the file has them.
func TestOurAirports(t *testing.T) {
	t.Parallel()
	dir := airports(t)
	type table struct {
		name    string
		indexed []string
		ints    map[string]bool
		floats  map[string]bool
	}
	tables := []table{
		{"countries", []string{"continent"}, nil, nil},
		{"regions", []string{"iso_country", "continent", "local_code"}, nil, nil},
		{"navaids", []string{"iso_country", "type", "ident"}, map[string]bool{"frequency_khz": true, "elevation_ft": true}, map[string]bool{"latitude_deg": true, "longitude_deg": true}},
		{"runways", []string{"airport_ident", "surface", "le_ident"}, map[string]bool{"airport_ref": true, "length_ft": true, "width_ft": true, "lighted": true, "closed": true}, nil},
	}
	db := natsormtest.New(t)
	for _, tab := range tables {
		t.Run(tab.name, func(t *testing.T) {
			ctx := within(t)
			f, err := os.Open(filepath.Join(dir, tab.name+".csv"))
			ok(t, err)
			defer f.Close()
			rows := csv.NewReader(f)
			header := must[[]string](t)(rows.Read())

			schema := natsorm.Schema{Name: tab.name}
			for _, column := range header {
				field := natsorm.ColumnSchema{Name: column, Type: natsorm.String}
				switch {
				case column == "id":
					field.Type, field.PrimaryKey = natsorm.Int, true
				case tab.ints[column]:
					field.Type = natsorm.Int
				case tab.floats[column]:
					field.Type = natsorm.Decimal
				}
				for _, x := range tab.indexed {
					field.Index = field.Index || x == column
				}
				schema.Columns = append(schema.Columns, field)
			}
			model := must[*natsorm.Model[natsorm.Record]](t)(natsorm.DefineRecord(ctx, db, schema))

			var batch []*natsorm.Record
			want := map[string]map[string]int{} // column, value, count
			nulls := map[string]int{}
			for _, column := range tab.indexed {
				want[column] = map[string]int{}
			}
			for {
				row, err := rows.Read()
				if err == io.EOF {
					break
				}
				ok(t, err)
				rec := natsorm.Record{}
				for i, column := range header {
					switch cell := row[i]; {
					case cell == "":
						rec[column] = nil
						nulls[column]++
					case schema.Columns[i].Type == natsorm.Int:
						rec[column] = must[int](t)(strconv.Atoi(cell))
					default:
						rec[column] = cell
					}
					if counts := want[column]; counts != nil && row[i] != "" {
						counts[row[i]]++
					}
				}
				batch = append(batch, &rec)
			}
			ok(t, model.BulkCreate(ctx, batch))
			if n := must[int](t)(model.Count(ctx)); n != len(batch) {
				t.Errorf("%d records of %d rows", n, len(batch))
			}

			byScan := map[string]map[string]int{}
			for _, column := range tab.indexed {
				byScan[column] = map[string]int{}
			}
			for rec, err := range model.Each(ctx) {
				ok(t, err)
				for _, column := range tab.indexed {
					if s, ok := (*rec)[column].(string); ok {
						byScan[column][s]++
					}
				}
			}
			lookups := 0
			for _, column := range tab.indexed {
				if len(byScan[column]) != len(want[column]) {
					t.Errorf("%s: %d values by scan, %d in the file", column, len(byScan[column]), len(want[column]))
				}
				for value, n := range want[column] {
					if byScan[column][value] != n {
						t.Errorf("%s %q: %d by scan, %d in the file", column, value, byScan[column][value], n)
					}
					lookups++
					if got := must[int](t)(model.Count(ctx, natsorm.Eq(column, value))); got != n {
						t.Errorf("%s %q: %d by index, %d in the file", column, value, got, n)
					}
				}
				if got := must[int](t)(model.Count(ctx, natsorm.IsNull(column))); got != nulls[column] {
					t.Errorf("%s: %d nulls by index, %d in the file", column, got, nulls[column])
				}
			}
			t.Logf("%d rows, %d values of %v", len(batch), lookups, tab.indexed)
		})
	}
}

// Runways longer than so many feet, by length, and by surface and length; radio beacons by frequency, and by country
// and frequency: as the files have them, in order.
func TestOurAirportsInOrder(t *testing.T) {
	t.Parallel()
	dir := airports(t)
	db := natsormtest.New(t)
	for _, c := range []struct {
		table, group, column string
		equal                string // a value of group
		least, most          int
	}{
		{"runways", "surface", "length_ft", "CON", 12_000, 13_000},
		{"navaids", "iso_country", "frequency_khz", "DE", 300, 320},
	} {
		t.Run(c.table, func(t *testing.T) {
			ctx := within(t)
			f, err := os.Open(filepath.Join(dir, c.table+".csv"))
			ok(t, err)
			defer f.Close()
			rows := csv.NewReader(f)
			header := must[[]string](t)(rows.Read())
			at := func(column string) int { return slices.Index(header, column) }
			m := must[*natsorm.Model[natsorm.Record]](t)(natsorm.DefineRecord(ctx, db, natsorm.Schema{
				Name:    c.table,
				Columns: []natsorm.ColumnSchema{{Name: "id", Type: natsorm.Int, PrimaryKey: true}, {Name: c.group, Type: natsorm.String}, {Name: c.column, Type: natsorm.Int, Ordered: true}},
				Indexes: []natsorm.IndexSchema{{Columns: []string{c.group, c.column}, Ordered: true}},
			}))
			type line struct {
				id    int
				group string
				value any // nil where the cell is empty
			}
			var lines []line
			var batch []*natsorm.Record
			for {
				row, err := rows.Read()
				if err == io.EOF {
					break
				}
				ok(t, err)
				l := line{must[int](t)(strconv.Atoi(row[0])), row[at(c.group)], nil}
				if cell := row[at(c.column)]; cell != "" {
					l.value = must[int](t)(strconv.Atoi(cell))
				}
				lines = append(lines, l)
				batch = append(batch, &natsorm.Record{"id": l.id, c.group: l.group, c.column: l.value})
			}
			ok(t, m.BulkCreate(ctx, batch))
			for _, desc := range []bool{false, true} {
				for name, q := range map[string]struct {
					where natsorm.Query
					keep  func(line) bool
				}{
					"all":     {natsorm.All(), func(line) bool { return true }},
					"more":    {natsorm.Gt(c.column, c.least), func(l line) bool { return l.value != nil && l.value.(int) > c.least }},
					"between": {natsorm.Between(c.column, c.least, c.most), func(l line) bool { return l.value != nil && l.value.(int) >= c.least && l.value.(int) <= c.most }},
					"of one":  {natsorm.Eq(c.group, c.equal), func(l line) bool { return l.group == c.equal }},
				} {
					var want []line
					for _, l := range lines {
						if q.keep(l) {
							want = append(want, l)
						}
					}
					slices.SortFunc(want, func(a, b line) int {
						n := 0
						switch {
						case a.value == nil || b.value == nil:
							n = boolRank(a.value != nil) - boolRank(b.value != nil)
						default:
							n = a.value.(int) - b.value.(int)
						}
						if desc {
							n = -n
						}
						if n == 0 {
							n = a.id - b.id
						}
						return n
					})
					order := natsorm.OrderBy(map[bool]string{false: c.column, true: "-" + c.column}[desc])
					if p := must[natsorm.Plan](t)(m.Explain(ctx, q.where, order, natsorm.Limit(20))); !p.Access.Sorted && len(want) > 1000 {
						t.Errorf("%s, desc %t, is not read in order: %v", name, desc, p)
					}
					got := 0
					for cursor := ""; ; {
						page, next, err := m.FindPage(ctx, q.where, order, natsorm.Limit(1000), natsorm.After(cursor))
						ok(t, err)
						for _, rec := range page {
							if got >= len(want) || (*rec)["id"] != int64(want[got].id) {
								t.Fatalf("%s, desc %t: at %d is %v", name, desc, got, *rec)
							}
							got++
						}
						if cursor = next; next == "" {
							break
						}
					}
					if got != len(want) {
						t.Errorf("%s, desc %t: %d, want %d", name, desc, got, len(want))
					}
					if n := must[int](t)(m.Count(ctx, q.where)); n != len(want) {
						t.Errorf("%s: counted %d, want %d", name, n, len(want))
					}
				}
			}
		})
	}
}
