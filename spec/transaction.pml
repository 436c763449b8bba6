/*
 * Serializable transactions, over three records and the lookup of one value of an
 * indexed column. A record has the value (1), or it does not (0: it has another value,
 * or does not exist). Each record has an entry of its own for the value.
 *
 * A transaction looks the value up, reads the record of every entry that it found and
 * its own record, and drops those without the value. It commits one batch, if nothing
 * that it looked at has changed. Each record is guarded by the revision of its key,
 * also one that does not exist or was dropped. The lookup is guarded by
 *   - a head key. Every write that adds an entry bumps it: an atomic writer in its
 *     batch, a phased writer after the entry and before its commit. Or,
 *   - with PATTERN, the last revision under the wildcard of the entries, which only a
 *     server without replicas checks soundly. Or,
 *   - with MIXED, both, on one server of which not everybody knows that it is one. The
 *     plain writers and transaction 0 know it: they bump no head, and transaction 0 is
 *     guarded by the pattern alone. Transaction 1 does not know it, bumps the head and is
 *     guarded by both.
 * A write that only removes an entry does not bump the head.
 *
 * What must hold, asserted at each commit of a transaction:
 *   - Its answer is current: the records that it found to have the value are those
 *     that have it now. Then transactions are serializable in the order of their
 *     commits.
 * and asserted after each write of a record:
 *   - DOCTORS: a doctor leaves when the transaction sees two or more on call; at
 *     least one stays on call (no write skew). Plain writers only add doctors.
 *   - BOOKINGS: a slot is booked when the transaction sees no booking; it is never
 *     booked twice (no phantom). Plain writers only remove bookings.
 * Without these two, transactions and plain writers may write any value.
 *
 * AUDIT adds a transaction that only reads. It reads everything twice, and if nothing
 * has changed in between, its answer was the state of one instant.
 *
 * With PATTERN and EXPIRE the delete markers of entries go at any time, so the last
 * revision under the wildcard falls. It may fall to the one that a transaction has seen.
 * Then what has come since has gone too, at this instant. So with AUDIT it is that of the
 * second look at the guard of which the answer is the state, and the records have to be
 * read again at or after it.
 *
 * Requests, revisions and crashes are as in index.pml.
 *
 * Mutations, each of which must fail:
 *   NO_HEAD          writers that add do not bump the head
 *   NO_RECORD_GUARD  only the transaction's own record is guarded
 *   NO_DROPPED_GUARD records that were dropped are not guarded
 *   HEAD_FIRST       the phased writer bumps the head before it puts the entry
 *   HEAD_LAST        the phased writer bumps the head after its commit
 *   HEAD_LATE        the transaction reads the head after the lookup
 *   HEAD_ALONE       with MIXED: transaction 1 is guarded by the head alone
 *   NO_RECHECK       with AUDIT: nothing is read a second time
 * REACH must fail too: it asserts that not everything happens in one run.
 */

#define N 3

bool rec[N]; byte rrev[N]; /* records: does it have the value?; revision */
bool ent[N]; byte erev[N]; /* their entries: is there one?; revision */
#if defined(PATTERN) || defined(MIXED)
byte last;                 /* the last revision that was given under the pattern of the entries */
#endif
#ifdef EXPIRE
byte pos[N];               /* with EXPIRE: of each entry, or of its marker; 0 for none */
#endif
#ifndef PATTERN
byte head;                 /* revision of the head key */
#endif

#ifdef REACH
byte did;
#define mark(bit) did = did | bit; assert(did != 15)
#else
#define mark(bit) skip
#endif

#if defined(DOCTORS)
#define RIGHT (rec[0] + rec[1] + rec[2] >= 1)
#elif defined(BOOKINGS)
#define RIGHT (rec[0] + rec[1] + rec[2] <= 1)
#else
#define RIGHT true
#endif
/* I1 of index.pml, without which no lookup would be right */
#define I1 ((!rec[0] || ent[0]) && (!rec[1] || ent[1]) && (!rec[2] || ent[2]))

#if defined(PATTERN) || defined(MIXED)
#define bump()  skip
#ifdef EXPIRE
#define moved(i) last++; pos[i] = last
#define MOST(a, b) (a > b -> a : b)
#define guard   (pos[0] > pos[1] -> MOST(pos[0], pos[2]) : MOST(pos[1], pos[2]))
#define at_entry(i) (ent[i] -> erev[i] : 0)
#else
#define moved(i) last++
#define guard   last
#define at_entry(i) erev[i]
#endif
#else
#define at_entry(i) erev[i]
#define moved(i) skip
#ifdef NO_HEAD
#define bump()  skip
#else
#define bump()  head++
#endif
#define guard   head
#endif

/* what a transaction does about its new entry, and what must hold for its commit */
#ifdef MIXED
#define announce() if :: own == 1 -> head++ :: else fi
#ifdef HEAD_ALONE
#define unmoved    (own == 0 -> at == guard : headAt == head)
#else
#define unmoved    (at == guard && (own == 0 || headAt == head))
#endif
#else
#define announce() bump()
#define unmoved    (at == guard)
#endif

inline put(i) { ent[i] = true;  erev[i]++; moved(i) }
inline del(i) { ent[i] = false; erev[i]++; moved(i) }
inline write(i, v) { rec[i] = v; rrev[i]++; assert(I1); assert(RIGHT) }

/* Reads the guard of the lookup, and then makes the lookup. When one request does both,
   that is the case in which nothing happens in between. With PATTERN the answer of the
   lookup has the last revision itself. */
inline lookup() {
#if defined(MIXED)
	atomic { at = guard; headAt = head; for (i : 0 .. N - 1) { found[i] = ent[i] } i = 0 }
#elif defined(PATTERN)
	atomic { at = guard; for (i : 0 .. N - 1) { found[i] = ent[i] } i = 0 }
#elif defined(HEAD_LATE)
	atomic { for (i : 0 .. N - 1) { found[i] = ent[i] } i = 0 }
	at = guard
#else
	at = guard;
	atomic { for (i : 0 .. N - 1) { found[i] = ent[i] } i = 0 }
#endif
}

/* Reads a record that was found: one request for each. */
inline read(i) {
	if
	:: found[i] -> atomic { r[i] = rrev[i]; has[i] = rec[i] }
	:: else
	fi
}

#define same(i) (has[i] == rec[i])

#if defined(NO_RECORD_GUARD)
#define GUARDED(i) (i == own)
#elif defined(NO_DROPPED_GUARD)
#define GUARDED(i) (i == own || has[i])
#else
#define GUARDED(i) found[i]
#endif
#define still(i) (!GUARDED(i) || rrev[i] == r[i])

/* A transaction that may change its own record. */
proctype Transaction(byte own) {
	byte i, at;
#ifdef MIXED
	byte headAt;
#endif
	bool want;
	bool found[N], has[N]; byte r[N];

	lookup();
	atomic { found[own] = true }
	read(0); read(1); read(2);
	if
#if defined(DOCTORS)
	:: has[own] && has[0] + has[1] + has[2] >= 2 -> want = false
	:: else -> goto done
#elif defined(BOOKINGS)
	:: has[0] + has[1] + has[2] == 0 -> want = true
	:: else -> goto done
#else
	:: want = false
	:: want = true
#endif
	fi;
	atomic {
		if
		:: unmoved && still(0) && still(1) && still(2) ->
			assert(same(0) && same(1) && same(2));
			if
			:: want && !has[own] -> put(own); announce()
			:: !want && has[own] -> del(own)
			:: else
			fi;
			write(own, want);
			mark(1)
		:: else -> mark(2)
		fi
	}
done:	skip
}

#ifdef AUDIT
inline again(i) {
	if
	:: !found[i] || r[i] == rrev[i]
	:: found[i] && r[i] != rrev[i] -> goto done
	fi
}

proctype Audit() {
	byte i, at;
	bool found[N], has[N], was[N]; byte r[N];

	lookup();
	read(0); read(1); read(2);
	atomic { for (i : 0 .. N - 1) { was[i] = rec[i] } i = 0 }
#ifndef NO_RECHECK
	if
#ifdef EXPIRE
	:: atomic { at == guard -> for (i : 0 .. N - 1) { was[i] = rec[i] } i = 0 }
#else
	:: at == guard
#endif
	:: at != guard -> goto done
	fi;
	again(0); again(1); again(2);
#endif
	assert(has[0] == was[0] && has[1] == was[1] && has[2] == was[2]);
done:	skip
}
#endif

/* Which changes plain writers may make. */
#if defined(DOCTORS)
#define MAY(old, want) (want || !old)
#elif defined(BOOKINGS)
#define MAY(old, want) (!want)
#else
#define MAY(old, want) true
#endif

inline choose() {
	atomic {
		if
		:: i = 0
		:: i = 1
		:: i = 2
		fi;
		r = rrev[i]; old = rec[i];
		if
		:: MAY(old, true) -> want = true
		:: MAY(old, false) -> want = false
		fi
	}
}

/* commit.(*phased).execute, one try. */
proctype Phased() {
	byte i, r, seen;
	bool old, want;

	choose();
	if                                     /* place, with the head; observe */
	:: want && !old ->
#ifdef HEAD_FIRST
		atomic { bump() }
		atomic { put(i) }
#else
		atomic { put(i) }
#ifndef HEAD_LAST
		atomic { bump() }
#endif
#endif
	:: !want && old -> atomic { seen = (ent[i] -> erev[i] : 0) }
	:: want == old
	fi;
	if
	:: atomic { rrev[i] == r -> write(i, want); mark(4) }
	:: atomic { rrev[i] != r -> goto done }
	fi;
#ifdef HEAD_LAST
	if
	:: want && !old -> atomic { bump() }
	:: else
	fi;
#endif
	if                                     /* remove */
	:: seen != 0 ->
		atomic {
			if
			:: at_entry(i) == seen -> del(i); assert(I1)
			:: else
			fi
		}
	:: else
	fi;
done:	skip
}

/* commit.(*atomic).execute, one try. */
proctype Atomic() {
	byte i, r;
	bool old, want;

	choose();
	atomic {
		if
		:: rrev[i] == r ->
			if
			:: want && !old -> put(i); bump()
			:: !want && old -> del(i)
			:: else
			fi;
			write(i, want);
			mark(8)
		:: else
		fi
	}
}

/* commit.(*Writer).Sweep, and commit.(*phased).abandon, which takes the same steps. */
proctype Sweeper() {
	byte i, seen, r;

end:	atomic {
		if
		:: ent[0] -> i = 0
		:: ent[1] -> i = 1
		:: ent[2] -> i = 2
		fi;
		seen = erev[i]
	}
	atomic {
		r = rrev[i];
		if
		:: rec[i] -> goto done
		:: else
		fi
	}
	if
	:: atomic { rrev[i] == r -> rrev[i]++ }
	:: rrev[i] != r -> goto done
	fi;
	atomic {
		if
		:: at_entry(i) == seen -> del(i); assert(I1)
		:: else
		fi
	}
done:	skip
}

/* The server removes markers. */
#ifdef EXPIRE
proctype Expiry() {
end:	do
	:: atomic { !ent[0] && pos[0] != 0 -> pos[0] = 0 }
	:: atomic { !ent[1] && pos[1] != 0 -> pos[1] = 0 }
	:: atomic { !ent[2] && pos[2] != 0 -> pos[2] = 0 }
	od
}
#endif

init {
	atomic {
#if defined(DOCTORS)
		rec[0] = true; ent[0] = true; rrev[0] = 1; erev[0] = 1;
		rec[1] = true; ent[1] = true; rrev[1] = 1; erev[1] = 1;
#else
		rec[2] = true; ent[2] = true; rrev[2] = 1; erev[2] = 1;
#endif
#ifdef EXPIRE
		for (last : 0 .. N - 1) { pos[last] = (ent[last] -> last + 1 : 0) }
		last = N;
		run Expiry();
#endif
#ifdef AUDIT
		run Audit();
#else
		run Transaction(0);
#endif
		run Transaction(1);
		run Phased(); run Atomic(); run Sweeper()
	}
}
