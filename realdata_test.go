package natsorm_test

import (
	"encoding/csv"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/natsorm/natsorm"
	"github.com/natsorm/natsorm/natsormtest"
)

// ourAirports names the directory with the CSV files of ourairports.com, which
// are in the public domain. The test is skipped without it.
const ourAirports = "NATSORM_OURAIRPORTS"

// Every row of the data, with nulls where a cell is empty, through BulkCreate;
// then the counts of every value of the indexed columns, by index, by scan,
// and as the file has them.
func TestOurAirports(t *testing.T) {
	t.Parallel()
	dir := os.Getenv(ourAirports)
	if dir == "" {
		t.Skipf("set %s to a directory with countries.csv, regions.csv, navaids.csv and runways.csv from ourairports.com", ourAirports)
	}
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
