/*
 * Schema changes under traffic. Every write is made under the catalogue's document that
 * its program knows. What a program knows has an age: the time since it last read the
 * document, and found it so. Knowledge is fresh while its age is below a limit. A change of
 * the schema writes its document, and then waits for longer than that limit before it
 * relies on it: so whoever did not know the document by then is no longer fresh, and
 * notices.
 *
 * A program looks at the age AFTER the answer to its commit: only then is it sure that the
 * commit was not later than that. If it is not fresh, it reads the document; if that has
 * changed, it makes its write good by the new one, or undoes it, before its call returns.
 *
 * Time is not counted here. fresh[w] turns false at any moment, and the change waits until
 * nobody is fresh who does not know its document.
 *
 * BUILD (the default): the document is 0: without the index; 1: writers keep the index; 2:
 * it is ready, and readers rely on it; or 3: it was given up, because two records have one
 * value. The index is unique: the entry of a value is its claim. Both writers want the
 * same value for their records. Asserted: a record whose writer was told that it is done
 * owns the claim when the index is ready. So no lookup misses it, and no two have it.
 *
 * MOVE: the records go to other keys. The document is 0: the old keys; 1: calls wait; 2: the
 * new keys. Asserted: a record whose writer was told that it is done is at its new key
 * when those count.
 *
 * DROP: the index is taken away. The document is 0: it is ready; 1: nobody is to use it; 2:
 * its entries may be deleted. The records are there all the time. Asserted: no lookup misses
 * one.
 *
 * BACK: the records go to other keys and back again. The document is 0: the old keys; 1: calls
 * wait; 2: the new keys; 3: calls wait; 4: the old keys. The records are there all the time, and
 * nobody writes. Asserted: no lookup misses one. PLACE is its own mutation: a lookup that was made by
 * the old keys counts also when these are the right ones again, whatever was in between.
 *
 * EMPTY: the server removes all records and entries at once. The document is 0: as ever; 1:
 * calls wait; 2: all are gone that were there. What is removed is what was written before
 * a mark, a revision that the bucket reaches after the wait. A second program may do the
 * same, and stall: it removes at any later time. A writer puts its entry first. Asserted: a record
 * whose writer was told that it is done has gone, or has its entry.
 *
 * LATER: as BUILD, but each caller gives up before its answer, and its program lives. The commit
 * is done at any later time, and the program looks when it is. Asserted, when all have ended and the
 * index is ready: a record that is there owns the claim, though nobody was told of it. It has the
 * mutations NO_RECHECK, EARLY, NO_MEND and NO_UNDO: a program that does not look, or not after the
 * commit, or leaves what it finds.
 *
 * Mutations, each of which must fail:
 *   NO_RECHECK   the age is not looked at after the answer
 *   EARLY        it is looked at before the commit is sent
 *   NO_WAIT      the change does not wait
 *   NO_MEND      the document is read, and the write is not made good
 *   NO_UNDO      a write whose value another record has is told to be done
 *   BLIND        having heard nothing counts as having read the document
 *   STALE        the document is read from a replica that may be behind
 *   SCAN_FIRST   the records are scanned before the wait
 *   NO_MARK      whatever is there is removed
 * REACH1, REACH2 and REACH3 must fail too: they assert that nobody ever mends, undoes, and
 * gives the index up.
 */

#define WRITERS 2
#define NOBODY WRITERS

byte doc;                     /* the catalogue's document */
byte before;                  /* the one that a replica may still have */
bool old[WRITERS];            /* the record of each writer is at its old key, or there is one place only */
bool new[WRITERS];            /* it is at its new key */
byte claim = NOBODY;          /* whose the value is */
bool entries;                 /* DROP: the entries are there */
byte known[WRITERS];          /* what each program knows of the document */
bool fresh[WRITERS];          /* it is young */
bool fenced[WRITERS];         /* its claim was taken behind a fence: its commit will be refused */
byte ended;                   /* who has nothing more to do: writers or readers, and the change */
bool told[WRITERS];           /* the caller was told that the write is done */
byte era = 1;                 /* EMPTY: 1 until the mark, then 2 */
byte rec[WRITERS];            /* EMPTY: in which era the record was written; 0: it is not there */
byte entry[WRITERS];          /* EMPTY: the same of its entry */

#ifdef STALE
#define READ(w) if :: known[w] = doc :: known[w] = before fi; fresh[w] = true
#else
#define READ(w) known[w] = doc; fresh[w] = true
#endif

/* What holds for a call that was told that it is done. */
inline right(w) {
#if defined(MOVE)
	assert(!(told[w] && doc == 2) || new[w])
#elif defined(EMPTY)
	assert(!(told[w] && doc == 2) || !rec[w] || entry[w])
#else
	assert(!(told[w] && doc == 2) || claim == w)
#endif
}

/* Time passes for a program, and now and then it reads the document. */
proctype Knowledge(byte w) {
	do
	:: atomic { fresh[w] -> fresh[w] = false }
	:: atomic { !fresh[w] || known[w] != doc -> READ(w) }
#ifdef BLIND
	:: atomic { !fresh[w] -> fresh[w] = true }
#endif
	:: ended == WRITERS + 1 -> break
	od
}

/* A program can die at this step. */
inline may_die() {
#ifdef LATER
	skip
#else
	if
	:: goto gone
	:: skip
	fi
#endif
}

#if !defined(DROP) && !defined(BACK)

/* records.(*Model).Write. It ends without having told anything when its program dies,
   which it can at any step. */
proctype Writer(byte w) {
	byte used;
#ifdef EARLY
	bool young;
#endif

	/* catalogue.(*Handle).Current: what is old is read again before anything is sent. */
	atomic { fresh[w] -> used = known[w] }
#if defined(MOVE) || defined(EMPTY)
	if
	:: used == 1 -> atomic { known[w] != 1 && fresh[w] -> used = known[w] } /* calls wait */
	:: else
	fi;
#ifdef EMPTY
	entry[w] = era;
#endif
#else
	/* commit.(*Writer).Apply: the claim first, when the document has the index. */
	if
	:: used == 1 || used == 2 ->
		if
		:: atomic { claim == NOBODY || claim == w -> claim = w }
		:: atomic { claim != NOBODY && claim != w -> goto gone } /* ErrUnique */
		fi
	:: else
	fi;
#endif
	may_die();
#ifdef EARLY
	young = fresh[w] && known[w] == used;
#endif
	/* The commit, at any later time. */
	atomic {
#ifdef MOVE
		if
		:: used == 2 -> new[w] = true
		:: else -> old[w] = true
		fi
#elif defined(EMPTY)
		rec[w] = era
#else
		if
		:: fenced[w] -> goto gone
		:: else -> old[w] = true
		fi
#endif
	};
	may_die();
	/* The answer. */
	do
	:: atomic {
#if defined(NO_RECHECK)
		true
#elif defined(EARLY)
		young
#else
		fresh[w] && known[w] == used
#endif
		->
#ifndef LATER
			told[w] = true; right(w);
#endif
			break
	   }
#if defined(EARLY)
	:: atomic { !young -> READ(w) };
#else
	:: atomic { !fresh[w] || known[w] != used -> READ(w) };
#endif
#ifdef EARLY
		young = true;
#endif
		if
		:: known[w] == used
		:: known[w] != used ->
#ifdef REACH1
			assert(false);
#endif
#if defined(MOVE) || defined(EMPTY)
			atomic { known[w] != 1 && fresh[w] -> used = known[w] }; /* calls wait */
#ifndef NO_MEND
			atomic {
				if
#ifdef MOVE
				:: used == 2 && old[w] -> old[w] = false; new[w] = true /* commit.(*Writer).Move */
#else
				:: used == 2 && rec[w] -> entry[w] = era /* commit.(*Writer).Ensure */
#endif
				:: else
				fi
			}
#endif
#else
			used = known[w];
#ifndef NO_MEND
			if
			:: used == 1 || used == 2 ->
				if
				:: atomic { claim == NOBODY || claim == w -> claim = w }
				:: atomic { claim != NOBODY && claim != w ->
#ifdef REACH2
					assert(false);
#endif
#ifndef NO_UNDO
					old[w] = false; goto gone /* ErrUnique */
#else
#ifndef LATER
					told[w] = true; right(w);
#endif
					goto gone
#endif
				   }
				fi
			:: else
			fi
#endif
#endif
		fi;
		may_die()
	od;
gone:	ended++
}

#endif

/* Everybody is too old, or knows the document. */
#define AGED(w) (!fresh[w] || known[w] == doc)
#ifdef NO_WAIT
#define wait() skip
#else
#define wait() AGED(0) && AGED(WRITERS - 1)
#endif

inline declare(d) {
	atomic { before = doc; doc = d }
}

#if defined(MOVE)

/* maintenance.(*LayoutChange).Run. */
proctype Schema() {
	byte w;

	declare(1);
	wait();
	for (w : 0 .. WRITERS - 1) {
		atomic {
			if
			:: old[w] -> old[w] = false; new[w] = true
			:: else
			fi
		}
	}
	atomic {
		before = doc; doc = 2;
		for (w : 0 .. WRITERS - 1) { right(w) }
	};
	ended++
}

#elif defined(EMPTY)

#ifdef NO_MARK
#define OLD(x) x
#else
#define OLD(x) x == 1
#endif

/* The server's purge, of the records and then of the entries. */
inline purge() {
	atomic {
		for (w : 0 .. WRITERS - 1) {
			if
			:: OLD(rec[w]) -> rec[w] = 0
			:: else
			fi
		}
	};
	atomic {
		for (w : 0 .. WRITERS - 1) {
			if
			:: OLD(entry[w]) -> entry[w] = 0
			:: else
			fi
		}
		for (w : 0 .. WRITERS - 1) { right(w) }
	}
}

/* maintenance.Empty. */
proctype Schema() {
	byte w;

	declare(1);
	wait();
	era = 2;
	purge();
	atomic {
		before = doc; doc = 2;
		for (w : 0 .. WRITERS - 1) { right(w) }
	};
	ended++
}

/* Another program that does the same, and is late. */
proctype Late() {
	byte w;

	era == 2;
	purge()
}

#elif defined(DROP) || defined(BACK)

#ifdef DROP

proctype Schema() {
	declare(1);
	wait();
	declare(2);
	entries = false;
	ended++
}

#else

/* maintenance.(*LayoutChange).Run, twice. old[0] is whether the record is at its old key. */
proctype Schema() {
	declare(1);
	wait();
	old[0] = false;
	declare(2);
	declare(3);
	wait();
	old[0] = true;
	declare(4);
	ended++
}

#endif

#ifdef PLACE
#define SAME(a, b) (a == b || a % 4 == 0 && b % 4 == 0)
#else
#define SAME(a, b) (a == b)
#endif

/* A lookup, of a record that is there all the time. */
proctype Reader(byte w) {
	byte used;
	bool found;
#ifdef EARLY
	bool young;
#endif

	do
#ifdef BACK
	:: atomic { fresh[w] && known[w] % 2 == 0 -> used = known[w] };
#else
	:: atomic { fresh[w] -> used = known[w] };
#endif
#ifdef EARLY
		young = fresh[w] && known[w] == used;
#endif
		if
#ifdef BACK
		:: found = (used != 2) == old[0]
#else
		:: used == 0 -> found = entries
		:: else -> found = true /* by another index, or a scan */
#endif
		fi;
		if
		:: atomic {
#if defined(NO_RECHECK) || defined(NO_MEND)
			true
#elif defined(EARLY)
			young
#else
			fresh[w] && SAME(known[w], used)
#endif
			-> break
		   }
#ifdef EARLY
		:: !young
#else
		:: !fresh[w] || !SAME(known[w], used)
#endif
		fi
	od;
	assert(found);
	ended++
}

#else

/* maintenance.Define, which builds the index. */
proctype Schema() {
	byte w;
	bool twice;

#ifdef SCAN_FIRST
	declare(1);
#else
	declare(1);
	wait();
#endif
	for (w : 0 .. WRITERS - 1) {
		atomic {
			if
			:: old[w] && claim == NOBODY -> claim = w
			:: old[w] && claim != NOBODY && claim != w && old[claim] -> twice = true
			:: old[w] && claim != NOBODY && claim != w && !old[claim] -> fenced[claim] = true; claim = w
			:: else
			fi
		}
	}
#ifdef SCAN_FIRST
	wait();
#endif
	if
	:: twice ->
#ifdef REACH3
		assert(false);
#endif
		declare(3)
	:: else ->
		atomic {
			before = doc; doc = 2;
			for (w : 0 .. WRITERS - 1) { right(w) }
		}
	fi;
	ended++
}

#endif

init {
	atomic {
		byte i;
		for (i : 0 .. WRITERS - 1) {
			fresh[i] = true;
			run Knowledge(i);
#if defined(DROP) || defined(BACK)
			run Reader(i)
#else
			run Writer(i)
#endif
		}
		entries = true;
#ifdef BACK
		old[0] = true;
#endif
#ifdef EMPTY
		run Late();
#endif
		run Schema()
	}
#ifdef LATER
	ended == WRITERS + 1;
	atomic {
		byte w;
		for (w : 0 .. WRITERS - 1) {
			assert(!(old[w] && doc == 2) || claim == w)
		}
	}
#endif
}
