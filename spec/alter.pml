/*
 * A column is renamed, under traffic: from a to b. What a program knows of the catalogue's
 * document, and its age, are as in schema.pml. The document is 0: the column is a; 1: it is b,
 * and was a; 2: the name a is free, and nobody reads such a member. The last step (FreeName) is
 * for the time when no program is left that knew document 0; the change waits for it.
 *
 * There is one record, and two programs that each add one to its column, with a read and a
 * write that is checked to be at the revision that was read. The first one creates the record. A
 * program that knows document 0 reads and writes member a, and keeps members that it does not
 * know. One that knows more reads b, or a where there is no b; writes b, and takes a away. The
 * message of a record says which document its writer knew (schema).
 *
 * Asserted: whatever is read of the column, by a program that read the document at any time
 * before, or that reads it now, has every addition whose caller was told, before the reading
 * began, that it is done. And when Alter has rewritten the records, whoever is told that his
 * addition is done finds the record without a.
 *
 * LATE: one writer; and when the name a is free, a program that declares it adds a column of that
 * name. Another program has renamed the column too, and is at its rewriting, in which it stands still
 * at any step: it goes by the document that it knows when it begins, or by the one that a record's
 * writer knew. Asserted too: the new column keeps its value.
 *
 * Mutations, each of which must fail:
 *   OLD_NAMES    LATE: the rewriting goes by the document that it is of
 *   OLD_VERSION  LATE: it does not look by which document a record was written
 *   NO_NEWER     a writer does not look whether a record is of a newer document than it knows
 *   NO_VIEW      a reader does not
 *   NO_HEADER    the pass does not say in a record which document it knew
 *   NO_FORMER    a program that knows document 1 does not read a
 *   NO_MEND      a writer that finds a newer document after its answer does nothing
 *   ONLY_OWN     it does nothing either when another program has written the record since
 *   NO_RECHECK   the age is not looked at after the answer
 *   NO_WAIT      the change does not wait
 *   NO_PASS      the records are not rewritten
 *   TOO_SOON     FreeName is called while a program works by document 0
 *   BLIND_PASS   they are rewritten without a condition
 * REACH1, REACH2 and REACH3 must fail too: they assert that no writer meets a newer record, that
 * none mends, and that no reader meets a newer record.
 */

#ifdef LATE
#define WRITERS 1
#define OTHERS 2              /* besides the writers and the reader: Alter, and Late */
#else
#define WRITERS 2
#define OTHERS 1
#endif
#define READER WRITERS
#define NONE 9
#define NEW 7                 /* the value of the new column */

byte doc;
byte a = NONE, b = NONE;      /* the members of the record */
byte schema;                  /* which document its writer knew */
byte revision;                /* 0: there is no record */
byte known[WRITERS + 1];      /* what each program knows of the document */
bool fresh[WRITERS + 1];      /* it is young */
bool old[WRITERS];            /* a call of the program works by document 0 */
bool rewritten;               /* Alter has returned */
byte told;                    /* how many callers were told that their addition is done */
byte ended;

#define AGED(w) (!fresh[w] || known[w] == doc)
#ifdef NO_WAIT
#define wait() skip
#else
#define wait() AGED(0) && AGED(WRITERS - 1) && AGED(READER)
#endif

#define LEARN(w) known[w] = doc; fresh[w] = true

/* What somebody who works by document k reads of the column. */
inline look(k, v) {
	if
#ifdef NO_FORMER
	:: k > 0 -> v = b
#else
	:: k == 1 -> v = (b != NONE -> b : a)
	:: k == 2 -> v = b
#endif
	:: k == 0 -> v = a
	fi;
	if
	:: v == NONE -> v = 0
	:: else
	fi
}

/* A write of the column by document k. */
inline put(k, v) {
	if
	:: k == 0 -> a = v
	:: else -> b = v; a = NONE
	fi;
	schema = k;
	revision++
}

/* Time passes for a program, and now and then it reads the document. */
proctype Knowledge(byte w) {
	do
	:: atomic { fresh[w] -> fresh[w] = false }
	:: atomic { !fresh[w] || known[w] != doc -> LEARN(w) }
	:: ended == WRITERS + OTHERS + 1 -> break
	od
}

/* records.(*Model).Write. Its program may die at any step. */
proctype Writer(byte w) {
	byte used, v, at;

	/* catalogue.(*Handle).Current */
	atomic { fresh[w] -> used = known[w]; old[w] = used == 0 };
again:
	/* commit.(*Writer).Apply reads the record. */
	atomic {
		at = revision;
		if
#ifndef NO_NEWER
		:: schema > used -> /* commit.NewerError: the change is made by the newer version */
#ifdef REACH1
			assert(false);
#endif
			LEARN(w);
			used = known[w]; old[w] = used == 0;
			goto again
#endif
		:: else -> look(used, v)
		fi
	};
	/* The commit, at any later time. */
	atomic {
		if
		:: revision != at -> goto again
		:: else -> put(used, v + 1); at = revision
		fi
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
		-> told++; look(doc, v); assert(v >= told); assert(!rewritten || a == NONE || a == NEW); break
	   }
	:: atomic { !fresh[w] -> LEARN(w) }
	:: atomic { fresh[w] && known[w] != used ->
		/* records.(*Model).mend. The record may be as another program has written it since, who
		   did not know the document either, and has died. */
#ifndef NO_MEND
		if
#ifdef ONLY_OWN
		:: used == 0 && revision == at && a != NONE ->
#else
		:: used == 0 && a != NONE ->
#endif
#ifdef REACH2
			assert(false);
#endif
			b = a; a = NONE; schema = known[w]; revision++; at = revision
		:: else
		fi;
#endif
		used = known[w]; old[w] = used == 0
	   }
	od;
gone:	old[w] = false; ended++
}

/* A read, by records.(*Model).View: of a record that was written by a newer document, the program
   asks for that first. */
proctype Reader() {
	byte used, v, before;

	atomic { fresh[READER] -> used = known[READER] };
	before = told;
	atomic {
		if
#ifndef NO_VIEW
		:: schema > used ->
#ifdef REACH3
			assert(false);
#endif
			LEARN(READER);
			look(doc, v)
#endif
		:: else -> look(used, v)
		fi;
		assert(v >= before)
	};
	ended++
}

/* alter.(*pass).record: the record gets the new name, if it has not. */
inline pass() {
#ifndef NO_PASS
	do
	:: atomic { a == NONE -> break }
	:: atomic { a != NONE -> was = a; at = revision };
		atomic {
			if
#ifndef BLIND_PASS
			:: revision != at
#endif
			:: else ->
				b = was; a = NONE; revision++;
#ifndef NO_HEADER
				schema = doc;
#endif
				break
			fi
		}
	od
#else
	skip
#endif
}

inline declare(d) {
	atomic { doc = d; look(doc, was); assert(was >= told) }
}

/* Alter with RenameColumn, and later with FreeName. */
proctype Alter() {
	byte was, at;

	declare(1);
	wait();
	pass();
	rewritten = true;
#ifndef TOO_SOON
	!old[0] && !old[WRITERS - 1];
#endif
	pass();
	declare(2);
#ifdef LATE
	atomic { a = NEW; schema = 2; revision++ }; /* a Save of the program with the new column */
#endif
	ended++
}

#ifdef LATE

/* Another program that renames the column, in its pass. */
proctype Late() {
	byte used, by, at, was;

	atomic { doc > 0 -> used = doc };
again:
	atomic {
		at = revision;
		was = a;
#if defined(OLD_NAMES)
		by = 1;
#elif defined(OLD_VERSION)
		by = used;
#else
		by = (schema > used -> doc : used);
#endif
		if
		:: by == 2 || a == NONE -> goto done /* it has the names */
		:: else
		fi
	};
	/* The write, at any later time. */
	atomic {
		if
		:: revision != at -> goto again
		:: else ->
			assert(was != NEW);
			if
			:: b == NONE -> b = was
			:: else
			fi;
			a = NONE; schema = by; revision++
		fi
	};
done:	ended++
}

#endif

init {
	atomic {
		byte i;
		for (i : 0 .. READER) {
			fresh[i] = true;
			run Knowledge(i)
		}
		for (i : 0 .. WRITERS - 1) { run Writer(i) }
		run Reader();
#ifdef LATE
		run Late();
#endif
		run Alter()
	}
}
