package groupcommit_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/natsorm/natsorm/internal/groupcommit"
	"github.com/natsorm/natsorm/internal/testsize"
)

// machine is a server and its disk, simulated. It does one thing at a time, in the order
// in which things come: a change that goes alone, or a batch of all changes that wait to
// share one.
type machine struct {
	alone time.Duration // for a change
	batch time.Duration // for a batch, besides its changes
	each  time.Duration // for each change in it

	noise  float64       // what a step takes is up to that much more, or less
	pause  time.Duration // that a step takes longer now and then
	pauses float64       // how often

	think time.Duration // how long a writer waits until its next change
}

// turn is the time that a writer takes to end a change and begin the next one. They do so
// one after the other.
const turn = 3 * time.Microsecond

// simulation has writers that make one change after the other on a machine.
type simulation struct {
	machine
	rnd    *rand.Rand
	choose func(now time.Time, underWay int, away time.Duration) (share bool, s groupcommit.Sample)
	ended  func(now time.Time, s groupcommit.Sample)
	now    time.Time
	events []event // of the writers, in their order
	queue  []change
	busy   int           // changes under way: those in the queue, and those that were done but have not ended
	away   time.Duration // how long none was under way
	since  time.Time     // when the last one ended that left none
	left   int           // changes that may still begin in a burst
	bursts bool
}

// event is that a writer begins a change, or ends one.
type event struct {
	at     time.Time
	end    bool
	change change
}

type change struct {
	share  bool
	sample groupcommit.Sample
}

func simulate(m machine, c *groupcommit.Choice) *simulation {
	return &simulation{machine: m, rnd: rand.New(rand.NewPCG(1, 2)), now: time.Unix(1_000_000, 0), since: time.Unix(1_000_000, 0), choose: c.Begin, ended: c.End}
}

// forced is a simulation in which all changes go one way.
func forced(m machine, share bool) *simulation {
	s := simulate(m, nil)
	s.choose = func(time.Time, int, time.Duration) (bool, groupcommit.Sample) { return share, groupcommit.Sample{} }
	s.ended = func(time.Time, groupcommit.Sample) {}
	return s
}

// together is a simulation in which changes share where several are under way.
func together(m machine) *simulation {
	s := forced(m, true)
	var at time.Time
	s.choose = func(now time.Time, underWay int, _ time.Duration) (bool, groupcommit.Sample) {
		if underWay >= groupcommit.Sharers {
			at = now
		}
		return now.Sub(at) <= groupcommit.PeakFor, groupcommit.Sample{}
	}
	return s
}

// run lets so many writers work for a while, and returns how many changes they make.
func (s *simulation) run(writers int, d time.Duration) (done int) {
	end := s.now.Add(d)
	for len(s.events)+len(s.queue) < writers {
		s.events = append(s.events, event{at: s.now})
	}
	for s.now.Before(end) {
		for len(s.events) > 0 && !s.events[0].at.After(s.now) {
			e := s.events[0]
			s.events = s.events[1:]
			if !e.end {
				if s.bursts && s.left == 0 {
					continue
				}
				s.left--
				if s.busy++; s.busy == 1 {
					s.away += e.at.Sub(s.since)
				}
				share, sample := s.choose(e.at, s.busy, s.away)
				s.queue = append(s.queue, change{share, sample})
				continue
			}
			if s.busy--; s.busy == 0 {
				s.since = e.at
			}
			s.ended(e.at, e.change.sample)
			if len(s.events)+len(s.queue) < writers { // the others have gone
				s.add(event{at: e.at.Add(s.think)})
			}
		}
		if len(s.queue) == 0 && len(s.events) == 0 {
			break // the burst is over
		}
		if len(s.queue) == 0 {
			s.now = s.events[0].at
			continue
		}
		done += s.step()
	}
	return done
}

// burst lets writers make a number of changes between them, and returns how long that
// takes. Nothing happens in the pause that follows.
func (s *simulation) burst(writers, changes int, pause time.Duration) time.Duration {
	began := s.now
	s.bursts, s.left = true, changes
	s.run(writers, time.Hour)
	took := s.now.Sub(began)
	s.now = s.now.Add(pause)
	return took
}

// add adds an event in its place.
func (s *simulation) add(e event) {
	i := len(s.events)
	for i > 0 && s.events[i-1].at.After(e.at) {
		i--
	}
	s.events = slices.Insert(s.events, i, e)
}

// step does what came first.
func (s *simulation) step() (done int) {
	served, left := s.queue[:1:1], []change(nil)
	if !served[0].share {
		left = s.queue[1:]
	} else {
		for _, w := range s.queue[1:] {
			if w.share {
				served = append(served, w)
			} else {
				left = append(left, w)
			}
		}
	}
	took := s.alone
	if served[0].share {
		took = s.batch + time.Duration(len(served))*s.each
	}
	took += time.Duration(s.noise * (2*s.rnd.Float64() - 1) * float64(took))
	if s.rnd.Float64() < s.pauses {
		took += s.pause
	}
	s.now, s.queue = s.now.Add(took), left
	for i, w := range served {
		s.add(event{at: s.now.Add(time.Duration(i) * turn), end: true, change: w})
	}
	if served[0].share { // a group waits a little for those that shared the last batch
		s.now = s.now.Add(time.Duration(len(served))*turn + s.think/8)
	}
	return len(served)
}

// machines are what was measured on servers: memory and files, synced and not, with idle
// and busy processors.
var machines = map[string]machine{
	"memory":       {alone: 35 * time.Microsecond, batch: 20 * time.Microsecond, each: 32 * time.Microsecond, noise: 0.3},
	"file":         {alone: 40 * time.Microsecond, batch: 3 * time.Millisecond, each: 60 * time.Microsecond, noise: 0.3},
	"busy file":    {alone: 600 * time.Microsecond, batch: 40 * time.Millisecond, each: 100 * time.Microsecond, noise: 0.5},
	"synced":       {alone: 900 * time.Microsecond, batch: 4 * time.Millisecond, each: 60 * time.Microsecond, noise: 0.5},
	"busy synced":  {alone: 15 * time.Millisecond, batch: 50 * time.Millisecond, each: 500 * time.Microsecond, noise: 0.5},
	"with pauses":  {alone: 900 * time.Microsecond, batch: 4 * time.Millisecond, each: 60 * time.Microsecond, pause: 300 * time.Millisecond, pauses: 0.001},
	"file, pauses": {alone: 40 * time.Microsecond, batch: 3 * time.Millisecond, each: 60 * time.Microsecond, pause: 300 * time.Millisecond, pauses: 0.00001},
	"much to do":   {alone: 900 * time.Microsecond, batch: 4 * time.Millisecond, each: 60 * time.Microsecond, noise: 0.5, think: 5 * time.Millisecond},
}

// Whatever the machine, and however many writers, a choice is hardly worse than the better
// of the two ways, after it has had time to find out.
func TestAChoiceIsTheBetterWay(t *testing.T) {
	t.Parallel()
	for name, m := range machines {
		for _, writers := range testsize.Pick([]int{8}, []int{1, 16, 64}, []int{1, 2, 8, 16, 64, 256}) {
			t.Run(fmt.Sprint(name, " ", writers), func(t *testing.T) {
				t.Parallel()
				const long = 20 * time.Second
				s := simulate(m, new(groupcommit.Choice))
				s.run(writers, max(10*time.Second, time.Duration(10*writers)*m.alone))
				got := s.run(writers, long)
				alone, shared := forced(m, false).run(writers, long), forced(m, true).run(writers, long)
				if best := max(alone, shared); float64(got) < 0.9*float64(best) {
					t.Errorf("%d changes, but %d alone and %d shared", got, alone, shared)
				}
			})
		}
	}
}

// Where changes come in bursts, with nothing to do in between, the better way is found too:
// the end of a burst says nothing about the way that it ended with.
func TestAChoiceIsMadeInBursts(t *testing.T) {
	t.Parallel()
	const writers = 64
	for _, name := range []string{"synced", "file", "memory"} {
		for _, each := range []int{1, 2, 3, 5, 10, 20, 40} {
			t.Run(fmt.Sprint(name, " ", each), func(t *testing.T) {
				t.Parallel()
				m := machines[name]
				sum := func(s *simulation) (took time.Duration) {
					for range 2000 / each { // which take some seconds
						took += s.burst(writers, writers*each, 350*time.Millisecond)
					}
					return took
				}
				s := simulate(m, new(groupcommit.Choice))
				for range 10 {
					s.burst(writers, writers*each, 350*time.Millisecond)
				}
				got, alone, shared := sum(s), sum(forced(m, false)), sum(together(m))
				if best := min(alone, shared); float64(got) > float64(best)/0.9 {
					t.Errorf("%v, but %v alone and %v shared", got, alone, shared)
				}
			})
		}
	}
}

// When a machine gets busy or idle, or a disk slow or fast, the choice follows.
func TestAChoiceFollowsTheMachine(t *testing.T) {
	t.Parallel()
	for _, from := range []string{"file", "busy file", "synced", "busy synced"} {
		for _, to := range []string{"file", "busy file", "synced", "busy synced"} {
			if from == to {
				continue
			}
			for _, writers := range testsize.Pick([]int{8}, []int{16}, []int{8, 16, 64}) {
				t.Run(fmt.Sprint(from, " to ", to, " ", writers), func(t *testing.T) {
					t.Parallel()
					s := simulate(machines[from], new(groupcommit.Choice))
					s.run(writers, 10*time.Second)
					s.machine = machines[to]
					s.run(writers, testsize.Pick(15*time.Second, 30*time.Second, 80*time.Second))
					const long = 30 * time.Second
					got := s.run(writers, long)
					alone, shared := forced(machines[to], false).run(writers, long), forced(machines[to], true).run(writers, long)
					if best := max(alone, shared); float64(got) < 0.9*float64(best) {
						t.Errorf("%d changes, but %d alone and %d shared", got, alone, shared)
					}
				})
			}
		}
	}
}

// The choice follows the number of writers too, and a change that comes alone never shares.
func TestAChoiceFollowsTheWriters(t *testing.T) {
	t.Parallel()
	var c groupcommit.Choice
	m := machines["synced"]
	s := simulate(m, &c)
	for _, writers := range []int{64, 5, 64, 2} {
		s.run(writers, 10*time.Second)
		const long = 10 * time.Second
		got := s.run(writers, long)
		best := max(forced(m, false).run(writers, long), forced(m, true).run(writers, long))
		if float64(got) < 0.9*float64(best) {
			t.Errorf("%d writers make %d changes and not %d", writers, got, best)
		}
	}
	s.run(64, 30*time.Second)
	if share, _ := c.Begin(s.now, 64, s.away); !share {
		t.Error("64 do not share")
	}
	c.Begin(s.now.Add(2*time.Minute), 3, s.away) // a trial that was under way is given up
	if share, _ := c.Begin(s.now.Add(4*time.Minute), 3, s.away); share {
		t.Error("3 share")
	}
}

// A trial whose changes do not end is given up, and tried again later.
func TestATrialIsGivenUp(t *testing.T) {
	t.Parallel()
	now := time.Unix(1_000_000, 0)
	var c groupcommit.Choice
	begin := func() (measured groupcommit.Sample) {
		for range 100 {
			share, s := c.Begin(now, 8, 0)
			if share {
				t.Fatal("it goes the other way, and the present way is not measured")
			}
			if s != (groupcommit.Sample{}) {
				measured = s
			}
		}
		return measured
	}
	first := begin()
	if first == (groupcommit.Sample{}) {
		t.Error("nothing is measured")
	}
	now = now.Add(2 * time.Minute)
	if begin() != (groupcommit.Sample{}) {
		t.Error("it is tried again at once")
	}
	now = now.Add(2 * time.Second)
	if begin() == (groupcommit.Sample{}) {
		t.Error("it is not tried again")
	}
	c.End(now, first) // of a trial that is over, so it counts for none
	now = now.Add(time.Second)
	begin()
}

// A Load counts what is under way, and takes changes together only where that is faster.
func TestALoad(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := groupcommit.NewLoad()
		server := make(chan struct{}, 1) // one change at a time
		var shared atomic.Int64
		change := func() {
			share, end := l.Begin()
			defer end()
			if share {
				shared.Add(1)
				time.Sleep(2 * time.Millisecond)
				return
			}
			server <- struct{}{}
			time.Sleep(time.Millisecond)
			<-server
		}
		run := func(writers int) int64 {
			shared.Store(0)
			var wg sync.WaitGroup
			for range writers {
				wg.Go(func() {
					for until := time.Now().Add(10 * time.Second); time.Now().Before(until); {
						change()
					}
				})
			}
			wg.Wait()
			return shared.Load()
		}
		if n := run(3); n != 0 {
			t.Errorf("of three writers %d changes share", n)
		}
		if n := run(16); n < 16*4000 {
			t.Errorf("of 16 writers only %d changes share", n)
		}
		if n := run(1); n > 60 { // for as long as the 16 count
			t.Errorf("of one writer %d changes share", n)
		}
	})
}
