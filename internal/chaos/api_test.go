package chaos

import (
	"context"

	"github.com/natsorm/natsorm"
)

const (
	replicasPromise = true
	noCopies        = true
)

func latest[T any](m *natsorm.Model[T]) *natsorm.Model[T] { return m.Latest() }

func findCell(ctx context.Context, _ *natsorm.DB, m *natsorm.Model[cell], id int64) (*cell, error) {
	return m.Latest().FindByPK(ctx, id)
}

func findReading(ctx context.Context, _ *natsorm.DB, m *natsorm.Model[reading], id int64) (*reading, error) {
	return m.Latest().FindByPK(ctx, id)
}
