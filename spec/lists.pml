/*
 * Index entries that are lists of records. There is one record with one indexed
 * column, whose values are 1 and 2; 0 means that there is no record, or that its column
 * is not indexed. Another record joins both lists, and stays in them.
 *
 * I1, asserted after every step that could break it: a live record with value v is
 * in the list of v; the other record is in every list that it has joined.
 *
 * Each request to the server is one step, and every key has a revision of its own.
 * A list is read, changed, and written with the check that it is still at the revision
 * that was read. Where the code repeats that until it succeeds, it is one step here.
 *
 * Mutations, each of which must break I1:
 *   NO_OBSERVE   the list that the record leaves is read after the commit, and the
 *                record is taken out of it without a fence
 *   NO_FENCE     leave takes the record out without a fence
 *   NO_BUMP      a list that the record is in already is not written when it joins
 *   NO_RECORD    the batch does not check the record's revision
 *   NO_LIST      the batch does not check the lists' revisions
 *   BARE         the phased writer writes the list that the record leaves as it has
 *                read it, without a check of the list's revision
 * REACH must fail too: it asserts that not everything happens in one run.
 */

#ifndef PHASED
#define PHASED 1 /* phased writers */
#endif
#ifndef ATOMIC
#define ATOMIC 1 /* atomic writers */
#endif
#ifndef TRIES
#define TRIES 2 /* how often a writer starts again before its context ends */
#endif

byte rec, rrev;      /* the record: value, revision */
bool in[3];          /* by value: is the record in the list? */
bool other[3];       /* by value: is the other record in the list? */
bool joined[3];      /* by value: has the other record joined the list? */
byte lrev[3];        /* by value: the list's revision */

#ifdef REACH
byte did;
#define mark(bit) did = did | bit; assert(did != 15)
#else
#define mark(bit) skip
#endif

#define I1 ((rec == 0 || in[rec]) && (!joined[1] || other[1]) && (!joined[2] || other[2]))

/* Writes a list: whether the record is in it (mine), and the other one (theirs). */
inline list(v, mine, theirs) { in[v] = mine; other[v] = theirs; lrev[v]++ }

/* commit.(*Writer).leave, one try: reads the list, reads the record, fences the record,
   and writes the list without it. */
inline leave(v) {
	atomic { lr = lrev[v]; there = in[v]; theirs = other[v] }
	if
	:: there ->
		atomic { rr = rrev; there = (rec != v) }
		if
		:: there ->
#ifndef NO_FENCE
			if
			:: atomic { rrev == rr -> rrev++ }
			:: rrev != rr -> lr = 255
			fi;
#endif
			atomic {
				if
				:: lrev[v] == lr -> list(v, false, theirs); mark(1); assert(I1)
				:: else
				fi
			}
		:: else
		fi
	:: else
	fi
}

/* commit.(*listed).execute without batches. */
proctype Phased() {
	byte old, r, want, try, lr, rr, seen;
	bool there, theirs, was, wasTheirs;
	bool came[3];

again:	atomic {                               /* Apply: GetLatest, Next, NewPlan */
		old = rec; r = rrev; try++;
		if
		:: want = 0
		:: want = 1
		:: want = 2
		fi
	}
#ifndef NO_OBSERVE
	atomic { seen = lrev[old]; was = in[old]; wasTheirs = other[old] }
#endif
	if                                     /* join */
	:: want != 0 && want != old ->
		atomic {
#ifdef NO_BUMP
			if
			:: !in[want] -> list(want, true, other[want])
			:: else
			fi;
#else
			list(want, true, other[want]);
#endif
			came[want] = true
		}
	:: else
	fi;
	if                                     /* the commit */
	:: atomic { rrev == r -> rec = want; rrev++; assert(I1); mark(2) }
	:: atomic {
		rrev != r ->
		if
		:: try < TRIES -> goto again
		:: goto abandon
		fi
	   }
	fi;
#ifdef NO_OBSERVE
	atomic { seen = lrev[old]; was = in[old]; wasTheirs = other[old] }
#endif
	if                                     /* leave the list, if it is as it was observed */
	:: old != 0 && old != want && was ->
		atomic {
			if
#ifdef BARE
			:: true -> list(old, false, wasTheirs); there = false; assert(I1)
#else
			:: lrev[old] == seen -> list(old, false, wasTheirs); there = false; assert(I1)
			:: lrev[old] != seen -> there = true
#endif
			fi
		}
		if
		:: there -> leave(old)
		:: else
		fi
	:: else
	fi;
	came[want] = false;

abandon:                                       /* also after a commit: leave the lists that earlier tries joined */
	if
	:: came[1] -> leave(1)
	:: else
	fi;
	if
	:: came[2] -> leave(2)
	:: else
	fi
}

#ifdef NO_RECORD
#define RECORD true
#else
#define RECORD (rrev == r)
#endif
#ifdef NO_LIST
#define LISTS true
#else
#define LISTS ((!was || lrev[old] == from) && (want == 0 || want == old || lrev[want] == to))
#endif

/* commit.(*listed).execute with batches: the lists are read, and then written in one
   batch with the record, in which the server checks all of them. A list that does not
   have the record is not written. */
proctype Atomic() {
	byte old, r, want, try, from, to;
	bool was, fromTheirs, toTheirs;

again:	atomic {
		old = rec; r = rrev; try++;
		if
		:: want = 0
		:: want = 1
		:: want = 2
		fi
	}
	atomic {                               /* GetMany */
		from = lrev[old]; was = old != 0 && old != want && in[old]; fromTheirs = other[old];
		to = lrev[want]; toTheirs = other[want]
	}
	if
	:: atomic {
		(RECORD && LISTS)
		->
		if
		:: want != 0 && want != old -> list(want, true, toTheirs)
		:: else
		fi;
		if
		:: was -> list(old, false, fromTheirs)
		:: else
		fi;
		rec = want; rrev++; assert(I1); mark(4)
	   }
	:: atomic {
		else ->
		if
		:: try < TRIES -> goto again
		:: goto done
		fi
	   }
	fi;
done:	skip
}

/* commit.(*Writer).Sweep, as Check calls it when it repairs. */
proctype Sweeper() {
	byte lr, rr;
	bool there, theirs;
	if
	:: leave(1)
	:: leave(2)
	fi
}

/* A writer of the other record, which joins both lists and stays. */
proctype Other() {
	atomic { list(1, in[1], true); joined[1] = true }
	atomic { list(2, in[2], true); joined[2] = true; mark(8) }
}

init {
	byte i;
	atomic {
		if
		:: rec = 0
		:: rec = 1; in[1] = true
		:: in[1] = true /* left by a writer that crashed */
		fi;
		for (i : 1 .. PHASED) { run Phased() }
#if ATOMIC > 0
		for (i : 1 .. ATOMIC) { run Atomic() }
#endif
		run Sweeper();
		run Other()
	}
}
