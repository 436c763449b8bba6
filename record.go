package natsorm

// Record is a record of a model without a Go type: values by the names of their
// columns.
//
// Reading gives an int64, uint64, float64, bool, string, []byte, time.Time (in UTC), or
// json.Number for a decimal; for a JSON column what encoding/json gives, with
// json.Number; and nil for null. A column that the document does not have is left out.
// Writing accepts every Go value that fits the column exactly.
type Record map[string]any
