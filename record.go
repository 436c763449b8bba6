package natsorm

// Record is a record of a model that has no Go type: column names to values.
// Reading gives int64, uint64, float64, bool, string, []byte, time.Time (in
// UTC), json.Number for decimals, what encoding/json gives for JSON columns
// (with json.Number), and nil for null; a column that the document does not
// have is left out. Writing takes every Go value that fits the column exactly.
type Record map[string]any
