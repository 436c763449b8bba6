/*
 * Unique claims. Records compete for one unique value, through one claim. A record
 * has the value (1), or it does not (0: it has another value, or does not exist).
 *
 * I2, asserted after every step that could break it: a live record with the
 * value owns the claim. A claim has one owner, so no two records have the value.
 *
 * Requests, revisions and crashes are as in index.pml. What a writer does with index
 * entries is left out.
 *
 * LEGACY starts with a record that has the value and no claim, because the unique
 * index is being built, or because another program wrote the record. I2 is then
 * asserted of every other record, and of this one once it has its claim.
 *
 * YIELD lets a phased writer give its claim back before its commit, and begin again, at any time. It
 * does so when it has to wait for another claim, which is not in the model.
 *
 * Mutations, each of which must break I2:
 *   NO_FENCE      a claim is taken without a fence of its owner
 *   BARE_ABANDON  abandon removes the claim without a fence
 *   BARE_YIELD    with YIELD: the claim is given back without a fence
 *   BARE_SWEEP    Sweep removes the claim without a fence
 *   NO_OBSERVE    the phased writer observes its old claim after the commit
 *   NO_CHECK      the batch puts the claim without its expected revision
 *   NO_RECORD     the batch does not check the record's revision
 *   BLIND         with LEGACY: the batch deletes the old claim, also another record's
 * REACH must fail too: it asserts that not everything happens in one run.
 */

#ifdef THREE
#define RECORDS 3
#else
#define RECORDS 2
#endif
#ifndef TRIES
#define TRIES 2 /* how often a writer starts again before its context ends */
#endif
#ifndef LOOKS
#define LOOKS 2 /* how often a writer looks at the claim in one try */
#endif

bool rec[RECORDS]; byte rrev[RECORDS]; /* records: does it have the value?; revision */
byte owner, crev;                      /* the claim: number of its record + 1, 0 for none; revision */
#ifdef LEGACY
bool legacy;                           /* record 1 never had its claim */
#endif

#ifdef REACH
byte did;
#define mark(bit) did = did | bit; assert(did != 15)
#else
#define mark(bit) skip
#endif

inline check() {
	for (k : 0 .. RECORDS - 1) {
#ifdef LEGACY
		if
		:: k == 1 && (!rec[1] || owner == 2) -> legacy = false
		:: else
		fi;
		assert(!rec[k] || owner == k + 1 || (k == 1 && legacy))
#else
		assert(!rec[k] || owner == k + 1)
#endif
	}
	k = 0
}

inline take(by) { owner = by + 1; crev++ }
inline free()   { owner = 0; crev++ }

/* commit.(*Writer).remove: one checked delete. Revision 0 means that no claim was
   observed, so there is nothing to delete. */
inline remove(revision) {
	if
	:: revision != 0 ->
		atomic {
			if
			:: crev == revision -> free(); check()
			:: else
			fi
		}
	:: else
	fi
}

/* commit.(*Writer).fence of record x, which was read at this revision. */
#define fence(x, revision, lost) \
	if \
	:: atomic { rrev[x] == revision -> rrev[x]++ } \
	:: atomic { rrev[x] != revision -> goto lost } \
	fi

/* commit.(*Writer).claim, one look: if another record owns the claim, that record is
   read. If it does not have the value, it is fenced. How long a writer waits before
   it fences is left out. */
inline judge() {
	atomic {
		looks++;
		seen = crev; who = owner;
		if
		:: looks > LOOKS -> goto done
		:: else
		fi
	}
	if
	:: who != 0 && who != id + 1 ->
		atomic {
			at = rrev[who - 1];
			if
			:: rec[who - 1] -> goto refused
			:: else
			fi
		}
#ifndef NO_FENCE
		fence(who - 1, at, look);
#endif
		at = 0
	:: else
	fi
}

inline observe() {
	atomic { seen = (owner == id + 1 -> crev : 0) }
}

/* commit.(*Writer).Apply with a phased executor. */
proctype Phased(byte id) {
	byte k, r, at, seen, who, placed, try, looks;
	bool old, want;

again:	atomic {
		old = rec[id]; r = rrev[id]; try++; looks = 0; seen = 0; who = 0; at = 0;
		if
		:: want = false
		:: want = true
		fi
	}
	if
	:: want && !old ->                             /* place: first without a look */
		if
		:: atomic { crev == placed -> take(id); placed = crev; check(); goto commit }
		:: crev != placed
		fi;
look:		judge();
		if
		:: atomic { crev == seen -> take(id); placed = crev; seen = 0; who = 0; check() }
		:: atomic { crev != seen -> goto look }
		fi
#ifndef NO_OBSERVE
	:: !want && old -> observe()
#else
	:: !want && old
#endif
	:: want == old
	fi;
commit:
#ifdef YIELD
	if
	:: placed != 0 && try < TRIES -> goto yield
	:: true
	fi;
#endif
	if
	:: atomic { rrev[id] == r -> rec[id] = want; rrev[id]++; check(); mark(1) }
	:: atomic {
		rrev[id] != r ->
		if
		:: try < TRIES -> goto again
		:: goto refused
		fi
	   }
	fi;
#ifdef NO_OBSERVE
	if
	:: !want && old -> observe()
	:: else
	fi;
#endif
	if
	:: want
	:: !want && seen != 0 -> remove(seen)
	:: !want && seen == 0 -> remove(placed)
	fi;
	goto done;

#ifdef YIELD
yield:	atomic {                                       /* commit.(*traces).giveBack */
		r = rrev[id];
		if
		:: rec[id] -> goto again
		:: else
		fi
	}
#ifndef BARE_YIELD
	fence(id, r, again);
#endif
	remove(placed);
	placed = 0;
	goto again;
#endif

refused:                                               /* commit.(*phased).abandon */
	if
	:: placed == 0 -> goto done
	:: else
	fi;
	atomic {
		r = rrev[id];
		if
		:: rec[id] -> goto done
		:: else
		fi
	}
#ifndef BARE_ABANDON
	fence(id, r, done);
#endif
	remove(placed);
	atomic { mark(2) }
done:	skip
}

/* What the batch checks, and whether it deletes the old claim. */
#if defined(NO_RECORD)
#define EXPECTED (!want || old || crev == seen)
#elif defined(NO_CHECK)
#define EXPECTED (rrev[id] == r)
#elif defined(LEGACY) && !defined(BLIND)
#define EXPECTED (rrev[id] == r && (want == old || (!want && seen == 0) || crev == seen))
#else
#define EXPECTED (rrev[id] == r && (!want || old || crev == seen))
#endif
#if defined(LEGACY) && !defined(BLIND)
#define OWN (seen != 0)
#else
#define OWN true
#endif

/* commit.(*Writer).Apply with an atomic executor, commit.(*atomic).execute: the
   claim is looked at and its owner fenced as above, and then there is one batch. It
   deletes the old claim without a check of the claim's revision; with LEGACY only
   when a look before has found that the claim is the record's own. */
proctype Atomic(byte id) {
	byte k, r, at, seen, who, try, looks;
	bool old, want;

again:	atomic {
		old = rec[id]; r = rrev[id]; try++; looks = 0; seen = 0; who = 0; at = 0;
		if
		:: want = false
		:: want = true
		fi
	}
	if
	:: want && !old ->
look:		judge();
#if defined(LEGACY) && !defined(BLIND)
	:: !want && old -> observe()
#else
	:: !want && old
#endif
	:: want == old
	fi;
	if
	:: atomic {
		EXPECTED ->
		if
		:: want && !old -> take(id)
		:: !want && old && OWN -> free()
		:: !want && old && !OWN
		:: want == old
		fi;
		rec[id] = want; rrev[id]++;
		check();
		mark(4)
	   }
	:: atomic {
		!EXPECTED ->
		if
		:: try < TRIES -> goto again
		:: else -> goto done
		fi
	   }
	fi;
refused: done: skip
}

/* commit.(*Writer).Sweep of a claim: it has seen the claim, and then read the record,
   which does not have the value. */
proctype Sweeper() {
	byte k, x, seen, r;

end:	atomic { owner != 0 -> x = owner - 1; seen = crev }
	atomic {
		r = rrev[x];
		if
		:: rec[x] -> goto done
		:: else
		fi
	}
#ifndef BARE_SWEEP
	fence(x, r, done);
#endif
	atomic {
		if
		:: crev == seen -> free(); check(); mark(8)
		:: else
		fi
	}
done:	skip
}

#ifdef LEGACY
/* commit.(*Writer).Place: the build of an index gives a record its claim. */
proctype Builder(byte id) {
	byte k, at, seen, who, looks;

	if
	:: !rec[id] -> goto done
	:: else
	fi;
look:	judge();
	if
	:: atomic { crev == seen -> take(id); check(); mark(16) }
	:: atomic { crev != seen -> goto look }
	fi;
refused: done: skip
}
#endif

/* The processes. Every writer can take the value and release it. */
init {
	atomic {
#if defined(LEGACY)
		legacy = true; rec[1] = true; rrev[1] = 1;
		run Builder(1); run Phased(0); run Phased(1); run Atomic(1)
#elif defined(YIELD) && defined(SAME)
		run Phased(0); run Phased(0); run Atomic(1)
#elif defined(YIELD)
		run Phased(0); run Phased(1); run Atomic(1)
#elif defined(SAME)
		run Phased(0); run Phased(0); run Atomic(0); run Atomic(1)
#elif defined(THREE)
		run Phased(0); run Phased(1); run Atomic(2); run Sweeper()
#elif defined(ALL)
		run Phased(0); run Phased(1); run Atomic(0); run Atomic(1); run Sweeper()
#else
		run Phased(0); run Phased(1); run Atomic(1); run Sweeper()
#endif
	}
}
