package maintenance

import (
	"log/slog"
	"time"

	"github.com/natsorm/natsorm/internal/store"
)

// QuickSweeper is a Sweeper that does not rest, and takes strays soon.
func QuickSweeper(s store.Store, every time.Duration, l *slog.Logger) *Sweeper {
	return &Sweeper{Store: s, Every: every, Logger: l, age: time.Millisecond, rest: 1}
}
