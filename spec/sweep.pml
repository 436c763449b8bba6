/*
 * Leftovers. A sweep deletes index entries of an index that the model does not have: a
 * program that did not know that it was dropped has put them. Meanwhile the index may be
 * declared again, and then its entries are needed. Strays, of an index that the model has,
 * are the sweeper of index.pml.
 *
 * There is one record, which is live and has the value all the while, and its entry.
 * Asserted after every step: while the index is ready, the record has its entry.
 *
 * The sweeper takes the bucket's revision first, and then reads the model's document. What it
 * finds at or below that revision, of an index that is not in the document, it deletes, at the
 * revision at which it has seen it. It may stall for any time before each of its steps.
 * The one who declares the index puts the entry, whether it is there or not.
 *
 * Mutations, each of which must fail:
 *   DOC_FIRST   the document is read before the revision is taken
 *   NO_BOUND    what is above the revision is deleted too
 *   BLIND       the entry is deleted at whatever revision it has
 *   KEEP        the one who declares the index leaves an entry that is there as it is
 * REACH must fail too: it asserts that a sweep never deletes anything.
 */

#define ROUNDS 2 /* how often the index is declared, and dropped again */

byte last;             /* the bucket's last revision */
bool ent = true;       /* the entry is there: a leftover at first */
byte erev;             /* its revision */
bool declared, ready;

#define OK (!ready || ent)

inline put() { last++; ent = true; erev = last }

/* Of a document in which the index was: it writes by what it knew, at any time. */
proctype Straggler() {
	atomic { put() }
}

/* maintenance.Define, and its build; then maintenance.DropIndex, of which only the documents are
   here: the keys stay, as if its removal had come before the straggler. */
proctype Schema() {
	byte round;

	do
	:: round < ROUNDS ->
		atomic { declared = true; last++ }
		atomic {
#ifdef KEEP
			if
			:: !ent -> put()
			:: else
			fi
#else
			put()
#endif
		}
		atomic { ready = true; last++; assert(OK) }
		atomic { ready = false; declared = false; last++; round++ }
	:: round == ROUNDS -> break
	od
}

/* checking.Sweep */
proctype Sweeper() {
	byte upTo, seen;
	bool gone;

#ifdef DOC_FIRST
	gone = !declared;
	upTo = last;
#else
	upTo = last;
	gone = !declared;
#endif
	if
	:: gone
	:: !gone -> goto done
	fi;
	if
#ifdef NO_BOUND
	:: atomic { ent -> seen = erev }
	:: !ent -> goto done
#else
	:: atomic { ent && erev <= upTo -> seen = erev }
	:: !(ent && erev <= upTo) -> goto done
#endif
	fi;
	if
#ifdef BLIND
	:: atomic { true -> last++; ent = false; assert(OK) }
#else
	:: atomic {
		ent && erev == seen -> last++; ent = false; assert(OK);
#ifdef REACH
		assert(false)
#endif
	   }
	:: !(ent && erev == seen)
#endif
	fi;
done:	skip
}

init {
	atomic { run Straggler(); run Schema(); run Sweeper(); run Sweeper() }
}
