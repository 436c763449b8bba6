package natsorm

import "time"

// LayoutAlone makes ChangeLayout wait for no other program: for tests in which there is
// none.
func LayoutAlone() ChangeLayoutOption {
	return func(o *changeLayoutOptions) { o.grace = time.Millisecond }
}

// CatalogueLooks is how many requests the DB has made to know the catalogue, beside those of
// calls.
func CatalogueLooks(db *DB) int { return db.calls.Knowledge.Looks() }

// Lapse sets how long a lease of the DB's Migrate lasts after it was written: for tests that
// wait for one.
func Lapse(db *DB, d time.Duration) { db.lapse = d }
