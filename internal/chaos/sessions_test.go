package chaos

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"testing"
	"time"

	"github.com/natsorm/natsorm"
)

// note is a record that its owner counts up. Mark is another text each time.
type note struct {
	ID      int64  `json:"id"    orm:"primaryKey"`
	Owner   int64  `json:"owner" orm:"index"`
	Count   int64  `json:"count"`
	Mark    string `json:"mark"  orm:"index"`
	Version uint64 `json:"-"     orm:"version"`
}

const notesEach = 3 // of an owner

func mark(id, count int64) string { return fmt.Sprintf("%d/%d", id, count) }

// session is what a client knows about notes, because it wrote or read them.
type session struct {
	a      *arena
	client int64
	known  map[int64]note // the newest it knows of each
}

// saw holds a note that was read against what the session knew before.
func (s *session) saw(how string, n *note) {
	before, ok := s.known[n.ID]
	switch {
	case ok && n.Version < before.Version:
		s.a.violation(how+" goes back in time", "client %d knew %+v and reads %+v", s.client, before, *n)
		return
	case ok && n.Count < before.Count:
		s.a.violation(how+" finds an old value with a new version", "client %d knew %+v and reads %+v", s.client, before, *n)
		return
	}
	s.known[n.ID] = *n
}

// found holds the notes that a query found against those that the session
// knows it has to find.
func (s *session) found(how string, got []*note, must func(note) bool) {
	ids := map[int64]bool{}
	for _, n := range got {
		ids[n.ID] = true
	}
	for _, n := range s.known {
		if must(n) && !ids[n.ID] {
			s.a.violation(how+" misses a record", "client %d knows %+v and gets %d others", s.client, n, len(got))
		}
	}
	for _, n := range got {
		s.saw(how, n)
	}
}

// A client reads what it wrote, and never older than it has read, whichever
// replica answers it: by key, by index and by scan, while nodes die and its
// connection moves from one to another.
func TestSessions(t *testing.T) {
	a := newArena(t)
	clients := pick(8, 16)
	models, sessions := make([]*natsorm.Model[note], clients), make([]*session, clients)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	for c := range clients {
		db := a.client(c)
		models[c] = define[note](a, db)
		if c < nodes {
			a.answers(ctx, db, c)
		}
		sessions[c] = &session{a: a, client: int64(c), known: map[int64]note{}}
	}
	var reads, writes atomic.Int64
	faults := []Fault{KillLeader, Hop, SlowFollower, KillFollower}

	a.run(clients, faults, func(ctx context.Context, client int, rnd *rand.Rand) {
		m, s := models[client], sessions[client]
		mine := int64(client*notesEach + rnd.IntN(notesEach))
		other := int64(rnd.IntN(clients * notesEach))
		var err error
		switch d := rnd.IntN(100); {
		case d < 35: // count one of its own up
			now, there := s.known[mine]
			next := note{ID: mine, Owner: s.client, Count: now.Count + 1, Mark: mark(mine, now.Count+1)}
			if _, err = m.Upsert(ctx, &next); err == nil {
				writes.Add(1)
				if there && next.Version <= now.Version {
					a.violation("a write does not raise the version", "%+v, then %+v", now, next)
				}
				s.known[mine] = next
				// At once, when replicas are furthest behind.
				switch rnd.IntN(3) {
				case 0:
					err = s.byKey(ctx, m, mine)
				case 1:
					err = s.byMark(ctx, m, mine)
				default:
					err = s.byScan(ctx, m)
				}
			}
		case d < 60:
			err = s.byKey(ctx, m, other)
		case d < 70:
			err = s.byMark(ctx, m, mine)
		case d < 90:
			owner := other / notesEach
			var got []*note
			if got, err = m.FindAll(ctx, natsorm.Eq("owner", owner)); err == nil {
				s.found("a lookup by index", got, func(n note) bool { return n.Owner == owner })
			}
		default:
			err = s.byScan(ctx, m)
		}
		if err != nil {
			a.unlucky(err)
		} else {
			reads.Add(1)
		}
	})
	t.Logf("%d reads, %d writes", reads.Load(), writes.Load())
	a.report()
}

func (s *session) byKey(ctx context.Context, m *natsorm.Model[note], id int64) error {
	n, err := m.FindByPK(ctx, id)
	if errors.Is(err, natsorm.ErrNotFound) {
		if before, ok := s.known[id]; ok {
			s.a.violation("a read by key misses a record", "client %d knows %+v", s.client, before)
		}
		return nil
	}
	if err == nil {
		s.saw("a read by key", n)
	}
	return err
}

// byMark looks one of the client's own up by the value that it last wrote. A
// write without an answer may have given it the next one meanwhile.
func (s *session) byMark(ctx context.Context, m *natsorm.Model[note], id int64) error {
	n, ok := s.known[id]
	if !ok {
		return nil
	}
	got, err := m.FindAll(ctx, natsorm.In("mark", n.Mark, mark(id, n.Count+1)))
	if err == nil {
		s.found("a lookup of what was written", got, func(o note) bool { return o.ID == id })
	}
	return err
}

func (s *session) byScan(ctx context.Context, m *natsorm.Model[note]) error {
	got, err := m.FindAll(ctx)
	if err == nil {
		s.found("a scan", got, func(note) bool { return true })
	}
	return err
}
