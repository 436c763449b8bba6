package building

import (
	"testing"
	"testing/synctest"
	"time"
)

// A rate is kept to within a few per cent, whether rounds take no time, nearly all of it, or now and
// then too long; and a build that cannot keep it does not make up for that later.
func TestRateIsKept(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		rate, records int
		took          func(round int) time.Duration
		least, most   time.Duration
	}{
		"at once": {1000, 10_000, func(int) time.Duration { return 0 }, 9900 * time.Millisecond, 10 * time.Second},
		"busy":    {1000, 10_000, func(int) time.Duration { return 49 * time.Millisecond }, 9900 * time.Millisecond, 10 * time.Second},
		"a pause now and then": {1000, 10_000, func(n int) time.Duration {
			if n%20 == 5 {
				return 150 * time.Millisecond
			}
			return 10 * time.Millisecond
		}, 9900 * time.Millisecond, 10200 * time.Millisecond},
		"a long pause": {1000, 10_000, func(n int) time.Duration {
			return time.Duration(n/100) * 2 * time.Second * time.Duration(1-min(1, n%100))
		}, 11600 * time.Millisecond, 12 * time.Second},
		"too slow":      {1000, 1000, func(int) time.Duration { return 100 * time.Millisecond }, 2 * time.Second, 2 * time.Second},
		"one by one":    {3, 30, func(int) time.Duration { return time.Millisecond }, 9600 * time.Millisecond, 10 * time.Second},
		"many a second": {100_000, 500_000, func(int) time.Duration { return 5 * time.Millisecond }, 4900 * time.Millisecond, 5010 * time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newPace(c.rate, false)
				began := time.Now()
				for done, round := 0, 0; done < c.records; round++ {
					n := min(p.size(), c.records-done)
					if err := p.before(t.Context(), n); err != nil {
						t.Fatal(err)
					}
					time.Sleep(c.took(round))
					done += n
				}
				if took := time.Since(began); took < c.least || took > c.most {
					t.Errorf("%d records at %d in a second took %v", c.records, c.rate, took)
				}
			})
		})
	}
}

// Others are noticed by what they write, and by how long requests take; and are gone when a second
// has passed without either.
func TestOthersAreNoticed(t *testing.T) {
	t.Parallel()
	now := time.Now()
	p := newPace(0, false)
	revision := uint64(10)
	wrote := func(own, others int) float64 {
		now, revision = now.Add(lookEvery), revision+uint64(own+others)
		p.wrote += own
		p.look(now, revision)
		return p.share(now)
	}
	for range 20 {
		if wrote(2000, 0) != 1 || p.size() != fullRound {
			t.Fatal("nobody is at work")
		}
	}
	if wrote(2000, 3) != 1 {
		t.Error("a few messages are nothing, as of a mark and a renewal")
	}
	if wrote(2000, 10) != writersShare {
		t.Error("ten messages of others in 50 ms were not noticed")
	}
	if wrote(2000, 0) != writersShare {
		t.Error("others are away for 50 ms")
	}
	now = now.Add(busyFor)
	if wrote(2000, 0) != 1 {
		t.Error("others are gone")
	}

	took := func(median time.Duration) float64 {
		now = now.Add(measureEvery)
		p.note(now, median)
		return p.share(now)
	}
	const quick = 100 * time.Microsecond
	for range 20 {
		if took(quick) != 1 || took(3*quick) != 1 {
			t.Fatal("nobody is at work")
		}
	}
	if took(50*quick) != 1 {
		t.Error("one slow answer is a pause of the machine")
	}
	if took(5*quick) != slowShare {
		t.Error("slow answers were not noticed")
	}
	took(quick)
	if took(quick); took(quick) != 1 {
		t.Error("answers are quick again")
	}
}

// Beside others a round is small, and the build rests for most of the time.
func TestOthersAreServed(t *testing.T) {
	t.Parallel()
	p := newPace(0, false)
	p.writers = time.Now().Add(time.Minute)
	p.looked, p.measuredAt = time.Now(), time.Now()
	if p.size() != busyRound {
		t.Errorf("rounds of %d", p.size())
	}
	began := time.Now()
	p.began = began.Add(-3 * time.Millisecond)
	if err := p.after(t.Context(), nil, busyRound); err != nil {
		t.Fatal(err)
	}
	if rested := time.Since(began); rested < 15*time.Millisecond {
		t.Errorf("it rests for %v after 3 ms of work", rested)
	}
}
