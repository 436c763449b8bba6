/*
 * The type of a column is changed, under traffic, to one that holds every value of records (ConvertColumn).
 * What a program knows of the catalogue's document, and its age, are as in schema.pml. The document is 0: the
 * column has the old type; 1: it is being converted, has the old type, and what is written fits both; 2: it
 * has the new type. Programs that declare the old type go on.
 *
 * A value is BOTH, which fits both types; OLD, which fits the old one only; or NEW, which fits the new one
 * only. There is one record, with a value of the old type. Two programs of the old type each write a value, with
 * a read and a write that is checked to be at the revision that was read. One reads. A program of the new type,
 * which Define lets in when the column has that type, reads and writes.
 *
 * Asserted: the program of the new type finds no OLD value whose caller was told that it is written (sure), and
 * nobody is told so of one while the column has the new type; whoever takes the column for one of the old type
 * finds no NEW value; and no write is taken back but one's own.
 *
 * GIVE_UP: one writer; and while the change stands still at any step, another program gives it up, and converts the column
 * again. The document is 2 when it was given up, 3 when the column is being converted again, and 4 when it has the
 * new type.
 *
 * Mutations, each of which must fail:
 *   NO_CHECK     a writer does not look whether a value fits both types
 *   NO_NEWER     a writer does not look whether a record is of a newer document than it knows
 *   NO_VIEW      a reader does not
 *   NO_MEND      a writer that finds a newer document after its answer does nothing
 *   NO_RECHECK   the age is not looked at after the answer
 *   NO_WAIT      the change does not wait
 *   NO_PASS      the change does not look at the records
 *   EARLY        Define lets in the new type while the column is being converted
 *   BLIND_UNDO   a write is taken back without a condition
 *   NO_SINCE     GIVE_UP: the change does not look whether it is its own conversion that it ends
 * REACH1 to REACH4 must fail too: they assert that no writer meets a newer record, that none takes a write
 * back, that no reader meets a newer record, and that the program of the new type finds nothing that a dead
 * writer has left.
 */

#ifdef GIVE_UP
#define WRITERS 1
#define PLAIN(d) ((d) == 0 || (d) == 2)
#define LAST 4
#else
#define WRITERS 2
#define PLAIN(d) ((d) == 0)
#define LAST 2
#endif
#define READER WRITERS
#define YOUNG WRITERS

#define BOTH 1
#define OLD 2
#define NEW 3

byte doc;
byte val;                     /* the column of the record */
bool sure = true;             /* the caller of the write was told that it is done */
byte schema;                  /* which document its writer knew */
bool same[WRITERS + 1];       /* the record is at the revision that each writer has read or written last */
byte known[WRITERS + 1];      /* what each program knows of the document */
bool fresh[WRITERS + 1];      /* it is young */
bool ended[WRITERS + 1];

#define AGED(w) (!fresh[w] || known[w] == doc)
#ifdef NO_WAIT
#define wait() skip
#else
#define wait() AGED(0) && AGED(WRITERS - 1) && AGED(READER)
#endif

#define LEARN(w) known[w] = doc; fresh[w] = true

/* A write of the record by somebody: whoever has read it before finds it changed. */
#define WROTE(w) same[0] = w == 0; same[WRITERS - 1] = w == WRITERS - 1; same[YOUNG] = w == YOUNG

/* Time passes for a program, and now and then it reads the document. */
proctype Knowledge(byte w) {
	do
	:: atomic { fresh[w] && !ended[w] -> fresh[w] = false; known[w] = 0 }
	:: atomic { (!fresh[w] || known[w] != doc) && !ended[w] -> LEARN(w) }
	:: atomic { ended[w] -> fresh[w] = false; known[w] = 0; break }
	od
}

/* records.(*Model).Write of a program of the old type, which may die at any step. */
proctype Writer(byte w) {
	byte used, v, before;
	bool wasSure;

	/* catalogue.(*Handle).Current */
	atomic { fresh[w] -> used = known[w] };
again:
	/* commit.(*Writer).Apply reads the record. */
	atomic {
		same[w] = true;
		if
#ifndef NO_NEWER
		:: schema > used -> /* commit.NewerError: the change is made by the newer version */
#ifdef REACH1
			assert(false);
#endif
			LEARN(w);
			used = known[w];
			goto again
#endif
		:: else -> assert(val != NEW || used == LAST)
		fi
	};
	/* The commit of a value, at any later time. */
	atomic {
		if
		:: !same[w] -> goto again
		:: else
		fi;
		if
		:: v = BOTH
#ifdef NO_CHECK
		:: v = OLD
#else
		:: PLAIN(used) -> v = OLD /* otherwise records.(*Model).fits refuses it */
#endif
		fi;
		before = val; wasSure = sure;
		val = v; sure = false; schema = used;
		WROTE(w)
	};
	if
	:: goto gone
	:: skip
	fi;
	/* The answer: records.(*Model).settled. */
	do
	:: atomic {
#ifdef NO_RECHECK
		true
#else
		fresh[w] && known[w] == used
#endif
		-> if
		   :: same[w] -> sure = true; assert(doc != LAST || val != OLD)
		   :: else
		   fi;
		   break
	   }
	:: atomic { !fresh[w] -> LEARN(w) }
	:: atomic { fresh[w] && known[w] != used -> used = known[w] };
#ifndef NO_MEND
		/* records.(*Model).mend */
		if
		:: v == OLD && !PLAIN(used) ->
			atomic {
#ifndef BLIND_UNDO
				if
				:: same[w] ->
#else
					assert(same[w] || !sure);
#endif
#ifdef REACH2
					assert(false);
#endif
					val = before; sure = wasSure; schema = used; WROTE(w)
#ifndef BLIND_UNDO
				:: else
				fi
#endif
			};
			break /* the error says why */
		:: else
		fi
#endif
	od;
gone:	atomic { used = 0; v = 0; before = 0; wasSure = false; same[w] = false; ended[w] = true }
}

/* A read by a program of the old type, by records.(*Model).View. */
proctype Reader() {
	byte used;

	atomic { fresh[READER] -> used = known[READER] };
	atomic {
		if
#ifndef NO_VIEW
		:: schema > used ->
#ifdef REACH3
			assert(false);
#endif
			LEARN(READER);
			used = known[READER]
#endif
		:: else
		fi;
		assert(val != NEW || used == LAST);
		used = 0;
		ended[READER] = true
	}
}

/* A program of the new type: Define, and a read and a write. One that is not let in has ended. */
proctype Young() {
	if
#ifdef EARLY
	:: doc > 0 ->
#else
	:: doc == LAST ->
#endif
again:		atomic {
			same[YOUNG] = true;
			assert(val != OLD || !sure)
#ifdef REACH4
			; assert(val != OLD)
#endif
		};
		atomic {
			if
			:: !same[YOUNG] -> goto again
			:: else ->
				if
				:: val = BOTH
				:: val = NEW
				fi;
				sure = true; schema = doc; WROTE(YOUNG)
			fi
		}
	:: skip
	fi
}

/* alter.ConvertColumn, when the document says that the column is being converted, since a document. A record
   that does not fit ends it. */
inline convert(since) {
	wait();
#ifndef NO_PASS
	if
	:: val == OLD -> goto failed
	:: else
	fi;
#endif
	atomic {
		if
#ifdef NO_SINCE
		:: doc == 1 || doc == 3 -> doc = LAST
#else
		:: doc == since -> doc = LAST
#endif
		:: else /* another program has ended it, or given it up */
		fi
	}
}

proctype Alter() {
	doc = 1;
	convert(1);
failed:	skip
}

#ifdef GIVE_UP

proctype Again() {
	if
	:: atomic { doc == 1 -> doc = 2 };
		doc = 3;
		convert(3)
	:: skip
	fi;
failed:	skip
}

#endif

init {
	atomic {
		byte i;
		for (i : 0 .. READER) {
			fresh[i] = true;
			run Knowledge(i)
		}
		if
		:: val = BOTH
		:: val = OLD
		fi;
		for (i : 0 .. WRITERS - 1) { run Writer(i) }
		run Reader();
		run Young();
#ifdef GIVE_UP
		run Again();
#endif
		run Alter()
	}
}
