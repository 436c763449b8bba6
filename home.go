package natsorm

import (
	"github.com/natsorm/natsorm/internal/catalogue"
	"github.com/natsorm/natsorm/internal/records"
	"github.com/natsorm/natsorm/internal/schema"
)

// home knows where a model's records are now, for all handles that were made of one.
type home = catalogue.Handle[*records.Model]

func newHome(db *DB, m *records.Model) *home {
	return catalogue.NewHandle(db.announcements, m.Def, m, func(def *schema.Definition) (*records.Model, error) {
		return records.New(db.store, def)
	})
}
