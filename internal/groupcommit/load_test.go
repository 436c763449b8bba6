package groupcommit_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/natsorm/natsorm/internal/groupcommit"
)

func TestSharersAreCounted(t *testing.T) {
	t.Parallel()
	var l groupcommit.Load
	for i := range 6 {
		if enough := l.Begin(); enough != (i >= 3) {
			t.Errorf("with %d changes under way: %v", i+1, enough)
		}
	}
	for range 4 {
		l.End()
	}
	if l.Begin() {
		t.Error("three changes are enough")
	}
}

// What single writes cost is told from many at a time only, and soon forgotten.
func TestSlowWrites(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name     string
		changes  int
		messages int // every 10 ms
		slow     bool
	}{
		{"a disk", 4, 10, true},
		{"a memory", 4, 1000, false},
		{"nobody else", 3, 10, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var l groupcommit.Load
				for range c.changes {
					l.Begin()
				}
				note := func(times int) {
					for range times {
						l.Note(c.messages)
						time.Sleep(10 * time.Millisecond)
					}
				}
				note(3)
				if l.Slow() {
					t.Error("it is judged too soon")
				}
				note(30)
				if l.Slow() != c.slow {
					t.Errorf("it is slow: %v", !c.slow)
				}
				time.Sleep(6 * time.Second)
				if l.Slow() {
					t.Error("it is slow after a pause")
				}
				note(3)
				if l.Slow() {
					t.Error("what was before a pause counts")
				}
			})
		})
	}
}

// A pause of the server is no cost of writing.
func TestAPauseIsNotSlow(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var l groupcommit.Load
		for range 4 {
			l.Begin()
		}
		for range 30 {
			l.Note(1000)
			time.Sleep(10 * time.Millisecond)
		}
		time.Sleep(3 * time.Second)
		l.Note(1)
		if l.Slow() {
			t.Error("a pause of three seconds is slow")
		}
	})
}
