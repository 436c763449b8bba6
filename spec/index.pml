/*
 * Index entries. There is one record with one indexed column, whose values are 1 and
 * 2; 0 means that there is no record, or that its column is not indexed.
 *
 * I1, asserted after every step that could break it: a live record with value v
 * has its entry of v.
 *
 * Each request to the server is one step. Every key has a revision of its own,
 * which grows with each write of the key, deletes included. That is enough, because
 * the protocol only compares revisions of one key.
 *
 * A crash is a process that takes no more steps. I1 is asserted in every state, and
 * so also in those in which a process has stopped between any two of its steps.
 *
 * With EXPIRE the delete marker of an entry is gone at once, so the key has no revision, as
 * if it had never been written. Markers that go later lie between the two: no condition
 * tells them apart, because none is on the revision of an entry that is not there.
 *
 * Mutations, each of which must break I1:
 *   NO_OBSERVE    the old entry's revision is observed after the commit
 *   NO_FENCE      Sweep removes an entry without a fence, however old the entry is: a writer
 *                 may stall for longer
 *   NO_LOOK       Sweep does not look whether the record has the value
 *   LATE_LOOK     Sweep looks at the entry once more after the fence, and removes it as it is then
 *   NO_SEEN       Sweep removes an entry at whatever revision it has
 *   BARE_ABANDON  abandon removes an entry without a fence
 *   NO_BUMP       an entry that exists is not put again, so its revision stays
 *   NO_CHECK      the batch does not check the record's revision
 *   LATE_DELETE   the atomic writer deletes the old entry after its batch
 *   EARLY_DELETE  the atomic writer deletes the old entry before its batch
 * REACH must fail too: it asserts that not everything happens in one run.
 */

#ifndef PHASED
#define PHASED 2 /* phased writers */
#endif
#ifndef ATOMIC
#define ATOMIC 1 /* atomic writers */
#endif
#ifndef SWEEPERS
#define SWEEPERS 1
#endif
#ifndef TRIES
#define TRIES 2 /* how often a writer starts again before its context ends */
#endif

byte rec, rrev;        /* the record: value, revision */
bool ent[3];           /* by value: is there an entry? */
byte erev[3];          /* by value: the entry's revision */

#ifdef REACH
byte did;
#define mark(bit) did = did | bit; assert(did != 15)
#else
#define mark(bit) skip
#endif

#define I1 (rec == 0 || ent[rec])

/* the revision that a condition on the entry's key is compared with */
#ifdef EXPIRE
#define at(v) (ent[v] -> erev[v] : 0)
#else
#define at(v) erev[v]
#endif

inline put(v) { ent[v] = true; erev[v]++ }
inline del(v) { ent[v] = false; erev[v]++ }

/* commit.(*Writer).remove: one checked delete. Revision 0 means that no entry was
   observed, so there is nothing to delete. */
inline remove(v, revision) {
	if
	:: revision != 0 ->
		atomic {
			if
			:: at(v) == revision -> del(v); assert(I1)
			:: else
			fi
		}
	:: else
	fi
}

/* commit.(*phased).place: puts the entry that the record will need, whether or not
   there is one already. */
inline place() {
	if
	:: want != 0 && want != old ->
		atomic {
#ifdef NO_BUMP
			if
			:: !ent[want] -> put(want)
			:: else
			fi;
#else
			put(want);
#endif
			placed[want] = erev[want]
		}
	:: else
	fi
}

/* commit.(*Writer).observe: the revision of the entry that the record will no longer
   need, before the commit. */
inline observe() {
	if
	:: old != 0 && old != want -> atomic { seen = (ent[old] -> erev[old] : 0) }
	:: else
	fi
}

/* What commit.(*phased).execute removes after its commit: the old entry, at the
   revision that was observed, and entries that earlier tries put and the record does
   not need now. */
inline clean(v) {
	if
	:: v == want
	:: v != want && v == old && seen != 0 -> remove(v, seen)
	:: v != want && !(v == old && seen != 0) -> remove(v, placed[v])
	fi
}

/* commit.(*Writer).Apply with a phased executor. At each try Change.Next may want
   another value, or leave the record as it is. */
proctype Phased() {
	byte old, r, want, seen, v, try;
	byte placed[3];

again:	atomic {                               /* Apply: GetLatest, Next, NewPlan */
		old = rec; r = rrev; seen = 0; try++;
		if
		:: want = 0
		:: want = 1
		:: want = 2
		fi
	}
	if                                     /* prepare: both at the same time */
#ifdef NO_OBSERVE
	:: true -> place()
#else
	:: true -> place(); observe()
	:: true -> observe(); place()
#endif
	fi;
	if                                     /* execute: the commit */
	:: atomic { rrev == r -> rec = want; rrev++; assert(I1); mark(1) }
	:: atomic {
		rrev != r ->
		if
		:: try < TRIES -> goto again
		:: goto abandon
		fi
	   }
	fi;
#ifdef NO_OBSERVE
	observe();
#endif
	if                                     /* execute: remove, in any order */
	:: v = 1
	:: v = 2
	fi;
	clean(v); v = 3 - v; clean(v);
	goto done;

abandon:                                       /* commit.(*phased).abandon */
	if
	:: placed[1] == 0 && placed[2] == 0 -> goto done
	:: else
	fi;
	atomic { r = rrev; placed[rec] = 0 }
	if
	:: placed[1] == 0 && placed[2] == 0 -> goto done
	:: else
	fi;
#ifndef BARE_ABANDON
	if                                     /* commit.(*Writer).fence */
	:: atomic { rrev == r -> rrev++ }
	:: rrev != r -> goto done
	fi;
#endif
	remove(1, placed[1]);
	remove(2, placed[2]);
	atomic { mark(2) }
done:	skip
}

/* commit.(*Writer).Apply with an atomic executor, commit.(*atomic).execute: one
   batch, in which the old entry is deleted whatever its revision. */
proctype Atomic() {
	byte old, r, want, try;

again:	atomic {
		old = rec; r = rrev; try++;
		if
		:: want = 0
		:: want = 1
		:: want = 2
		fi
	}
#ifdef EARLY_DELETE
	if
	:: old != 0 && old != want -> atomic { del(old); assert(I1) }
	:: else
	fi;
#endif
	if
	:: atomic {
#ifdef NO_CHECK
		true ->
#else
		rrev == r ->
#endif
		if
		:: want != 0 && want != old -> put(want)
		:: else
		fi;
#if !defined(LATE_DELETE) && !defined(EARLY_DELETE)
		if
		:: old != 0 && old != want -> del(old)
		:: else
		fi;
#endif
		rec = want; rrev++;
		assert(I1);
		mark(4)
	   }
	:: atomic {
		rrev != r ->
		if
		:: try < TRIES -> goto again
		:: else -> goto done
		fi
	   }
	fi;
#ifdef LATE_DELETE
	if
	:: old != 0 && old != want -> atomic { del(old); assert(I1) }
	:: else
	fi;
#endif
done:	skip
}

/* commit.(*Writer).Sweep, as Check calls it: it has seen an entry at a revision, and
   then read the record, which does not have the value. */
proctype Sweeper() {
	byte v, seen, r;

end:	atomic {
		if
		:: ent[1] -> v = 1
		:: ent[2] -> v = 2
		fi;
		seen = erev[v]
	}
	atomic {
		r = rrev;
#ifndef NO_LOOK
		if
		:: rec == v -> goto done
		:: else
		fi
#endif
	}
#ifndef NO_FENCE
	if
	:: atomic { rrev == r -> rrev++ }
	:: rrev != r -> goto done
	fi;
#endif
#ifdef LATE_LOOK
	seen = at(v);
#endif
	atomic {
		if
#ifdef NO_SEEN
		:: ent[v] -> del(v); assert(I1)
#else
		:: at(v) == seen -> del(v); assert(I1); mark(8)
#endif
		:: else
		fi
	}
done:	skip
}

init {
	byte i;
	atomic {
		for (i : 1 .. PHASED) { run Phased() }
		for (i : 1 .. ATOMIC) { run Atomic() }
		for (i : 1 .. SWEEPERS) { run Sweeper() }
	}
}
