package groupcommit

import (
	"math"
	"time"
)

const (
	// sharers is how many changes must be under way at the same time for sharing to be
	// worth while.
	sharers = 4

	// A window has samplesEach times as many samples as changes are under way, which is as
	// many batches; but not fewer than minSamples or more than maxSamples. And it lasts at
	// least minWindow, because a pause of the machine is 10 ms and more.
	samplesEach = 4
	minSamples  = 32
	maxSamples  = 256
	minWindow   = 20 * time.Millisecond

	// The other way is given up early when its window takes this many times as long as the
	// one before it.
	clearlyWorse = 2

	// maxWindow ends a trial that gets nowhere: the load has gone, or the server has.
	maxWindow = time.Minute

	// The pause between trials is so many times the time for which changes went the other
	// way. So trials of a way that is much worse cost one part in trialShare. Of the pause
	// only the time counts in which changes are under way, because they may come in bursts.
	trialShare = 40
	minPause   = time.Second
	maxPause   = time.Minute

	// peakFor is how long it counts that many changes were under way. Those that share a
	// batch end together, so just after it few are under way.
	peakFor = 100 * time.Millisecond

	// A way replaces the present one when a change takes less than this share of the time.
	better = 0.9

	// Where one of the windows of the present way has so many times the mean of the other,
	// something else happened in it, and it does not count.
	unlike = 2
)

// Choice finds out which of two ways to make changes is faster, by making some of them the
// other way now and then. It has no clock: it is told when changes begin and end. It is
// for one goroutine. The zero value chooses the first way.
//
// Changes may come in bursts, and a window may last over several of them: the time in which
// none is under way never counts.
//
// # A trial
//
// A trial has three windows one after the other: the present way, the other way, and the
// present way again. In each window all changes go one way, because changes that share are
// fast only where others share too. First come as many changes as are under way, which
// still meet those of the window before. Then come the samples. The window ends when all
// samples have ended. What counts is the mean time of a sample. With many writers, each of
// which begins its next change when the last one has ended, that is the inverse of their
// rate.
//
// The other way is chosen if it is clearly better than both windows of the present one
// together; or if these are unlike, because of a pause or of a load that came or went, than
// the better of them. Which way is right depends on the disk, the processor, how many
// changes there are and what they write; none of that has to be known. When it changes,
// the next trial finds out. Ways that differ by less than the noise are not told apart.
//
// The first trial is short, because a program has just started and its first changes wait
// for it: it has fewer samples, and ends after two windows if the other way is clearly
// better. If that was an error, the next one mends it soon.
//
// # Rejected
//
//   - To judge by the time that a message takes, as it was before: on a busy machine writes
//     to files that are not synced took as long as syncing does, and sharing, which was
//     then chosen, made them several times slower.
//   - To compare rates: where fewer changes come than either way could do, both have the
//     rate at which they come.
//   - To try the other way with single changes: one that shares a batch with nobody is as
//     slow as a batch.
type Choice struct {
	second bool          // the way that holds
	due    time.Time     // when the next trial may begin, less the time away
	away   time.Duration // how long no change was under way
	peak   int           // the most changes under way lately
	at     time.Time     // when they were

	tried  bool // there was a trial
	trial  trialStage
	window window        // the present one, while trial is not idle
	before time.Duration // the mean of the first window
	took   time.Duration // how long the first window took
	other  time.Duration // the mean of the second window
	spent  time.Duration // how long changes went the other way, and those were under way
}

type trialStage int

const (
	idle trialStage = iota
	before
	other
	after
)

// window is a part of a trial during which all changes go one way.
type window struct {
	id      uint64 // not 0, and used only once
	second  bool
	began   time.Time
	away    time.Duration // Choice.away at its beginning
	warm    int           // how many changes have begun before the samples
	samples int           // begun
	full    bool          // no more samples are taken
	open    int           // samples that have not ended
	sum     time.Duration
}

// Sample is a change whose time counts. The zero Sample is one whose time does not.
type Sample struct {
	window uint64
	began  time.Time
}

// Begin notes that a change begins while, with it, this many are under way. away is how long
// none was, so far. It returns the way that the change is to go. If it is to be measured,
// End must be called when it ends.
func (c *Choice) Begin(now time.Time, underWay int, away time.Duration) (second bool, s Sample) {
	c.away = away
	if underWay >= c.peak || now.Sub(c.at) > peakFor {
		c.peak, c.at = underWay, now
	}
	c.giveUp(now)
	if c.trial == idle && c.peak >= sharers && !now.Add(-away).Before(c.due) {
		c.open(now, before)
	}
	if c.filled(now) {
		c.window.full = true
		c.close(now)
	}
	w := &c.window
	switch {
	case c.trial == idle:
		return c.second && c.peak >= sharers, Sample{}
	case w.warm < c.peak:
		w.warm++
		return w.second, Sample{}
	case w.full:
		return w.second, Sample{}
	}
	if c.trial == after && w.samples == 0 {
		c.spent += c.age(now)
	}
	w.samples++
	w.open++
	w.full = c.filled(now) // this may be the last change for a while
	return w.second, Sample{window: w.id, began: now}
}

// filled reports whether the window has all its samples.
func (c *Choice) filled(now time.Time) bool {
	each := samplesEach
	if !c.tried {
		each = 1
	}
	return c.window.samples >= min(maxSamples, max(minSamples, each*c.peak)) && c.age(now) >= minWindow
}

// age is for how long changes were under way in the window.
func (c *Choice) age(now time.Time) time.Duration {
	return now.Sub(c.window.began) - (c.away - c.window.away)
}

// End notes that a change has ended, whether it was done or not.
func (c *Choice) End(now time.Time, s Sample) {
	if w := &c.window; s.window != 0 && s.window == w.id {
		w.open--
		w.sum += now.Sub(s.began)
		c.close(now)
	}
}

// open begins a window of the trial.
func (c *Choice) open(now time.Time, stage trialStage) {
	c.trial = stage
	c.window = window{id: c.window.id + 1, second: c.second != (stage == other), began: now, away: c.away}
}

// close ends the window if all its samples have ended, and goes on with the next one.
func (c *Choice) close(now time.Time) {
	w := &c.window
	if !w.full || w.open > 0 {
		return
	}
	mean, took := w.sum/time.Duration(w.samples), c.age(now)
	switch c.trial {
	case before:
		c.before, c.took = mean, took
		c.open(now, other)
	case other:
		c.other, c.spent = mean, took
		if !c.tried && clearlyWorse*mean < c.before {
			c.second = !c.second
			c.end(now)
			return
		}
		c.open(now, after)
	case after:
		present := (c.before + mean) / 2
		if max(c.before, mean) > unlike*min(c.before, mean) {
			present = min(c.before, mean)
		}
		if float64(c.other) < better*float64(present) {
			c.second = !c.second
		}
		c.end(now)
	}
}

// giveUp ends a trial without a result when its window takes too long.
func (c *Choice) giveUp(now time.Time) {
	age, most := c.age(now), max(2*minWindow, clearlyWorse*c.took)
	switch {
	case c.trial == idle:
	case c.trial == other && age > most:
		c.other, c.spent = math.MaxInt64, most // not age: perhaps nothing was done for a while
		c.open(now, after)
	case age > maxWindow:
		c.end(now)
	}
}

// end ends the trial.
func (c *Choice) end(now time.Time) {
	c.due = now.Add(min(maxPause, max(minPause, trialShare*c.spent)) - c.away)
	c.trial, c.spent, c.tried = idle, 0, true
	c.window = window{id: c.window.id + 1, second: c.second}
}
