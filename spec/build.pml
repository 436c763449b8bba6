/*
 * The building of an index that goes on where an earlier one was cut short (internal/building).
 *
 * Builders read the records in the order of their revisions, put the entry of each, and write now
 * and then a mark: up to which revision all records have theirs. A builder may die at any step,
 * with a put under way that is done at any later time, or never. The next one goes on at the mark,
 * and two may build at the same time. Writers change records meanwhile, and maintain the
 * index while the catalogue has it. What they know of the catalogue is in schema.pml: here they
 * know it. The index may be dropped, its entries purged, and the index be declared again: then
 * a mark of the first declaration means nothing. Asserted: while the index is ready, each record
 * has its entry.
 *
 * A builder passes over a record whose message says that its writer knew the declaration that is
 * built: that one has put the entry.
 *
 * With WRITES two writers change one record, and nobody drops the index.
 *
 * Mutations, each of which must fail (BLIND with WRITES):
 *   EARLIER  a builder goes on at a mark of an earlier declaration
 *   UNACKED  the mark is written before the entry is acknowledged
 *   UNSORTED records are read in any order
 *   SKIP     the mark says the bucket's last revision
 *   OLD      a builder passes over records of writers that knew an earlier declaration
 *   BLIND    a writer takes the entry of its old value away without a condition
 * REACH1 and REACH2 must fail too: they assert that nobody ever goes on at a mark, and that the
 * index is never ready after that.
 */

#define RECORDS 2
#define VALUES 2
#define BUILDERS 2
#define KEY(r, v) ((r) * VALUES + (v))
#define NONE 255

byte last;                       /* the last revision of a record */
byte rec[RECORDS];               /* the revision of each record */
byte val[RECORDS];               /* its value */
byte wrote[RECORDS];             /* which declaration its writer knew; 0 for none */
bool entry[RECORDS * VALUES];    /* each entry is there */
byte put[RECORDS * VALUES];      /* a bit for each writer: it was put since that has seen it */
byte state;                      /* of the index: 0 absent, 1 building, 2 ready */
byte declared;                   /* which declaration it is of */
bool marked;                     /* there is a mark */
byte markOf;                     /* the declaration that it is of */
byte markUp;                     /* its revision */
byte under[BUILDERS] = NONE;     /* the entry that a builder has sent, and that is not there yet */
byte ended;                      /* how many builders have */
bool resumed;                    /* for REACH */

inline right() {
	assert(state != 2 || (entry[KEY(0, val[0])] && entry[KEY(1, val[1])]))
}

/* The network, and the server: what was sent is done later, or never. */
proctype Net(byte b) {
	do
	:: ended == BUILDERS -> break
	:: atomic { under[b] != NONE -> entry[under[b]] = true; put[under[b]] = 3; under[b] = NONE }
	od
}

/* building.Run, which ends without having done all when its program dies. */
proctype Builder(byte b) {
	byte mine, pos, r, v, upto;
	bool found, pass;

	if
	:: atomic { state == 1 -> mine = declared }
	:: goto gone
	fi;
	atomic {
		if
#ifdef EARLIER
		:: marked -> pos = markUp
#else
		:: marked && markOf == mine -> pos = markUp
#endif
		:: !marked || markOf != mine
		fi;
		if
		:: pos > 0 -> resumed = true;
#ifdef REACH1
			assert(false);
#endif
		:: else
		fi
	};
	do
	:: atomic {
		/* The next record of the scan. */
		found = false;
#ifdef UNSORTED
		if
		:: rec[0] > pos -> r = 0; found = true
		:: rec[1] > pos -> r = 1; found = true
		:: rec[0] <= pos && rec[1] <= pos
		fi;
#else
		if
		:: rec[0] > pos && (rec[1] <= pos || rec[0] < rec[1]) -> r = 0; found = true
		:: rec[1] > pos && (rec[0] <= pos || rec[1] < rec[0]) -> r = 1; found = true
		:: rec[0] <= pos && rec[1] <= pos
		fi;
#endif
		v = val[r]; upto = rec[r];
#ifdef OLD
		pass = wrote[r] > 0
#else
		pass = wrote[r] == mine
#endif
	   };
		if
		:: !found -> break
		:: found && pass -> pos = upto; goto mark
		:: found && !pass
		fi;
		under[b] = KEY(r, v);
#ifdef UNACKED
		atomic { marked = true; markOf = mine; markUp = upto };
#endif
		if
		:: under[b] == NONE -> pos = upto
		:: goto gone
		fi;
mark:		if
		:: atomic {
			marked = true; markOf = mine;
#ifdef SKIP
			markUp = last
#else
			markUp = pos
#endif
		   }
		:: skip
		:: goto gone
		fi
	od;
	marked = false;
	if
	:: goto gone
	:: skip
	fi;
	atomic {
		if
		:: state == 1 && declared == mine -> state = 2; right();
#ifdef REACH2
			assert(!resumed);
#endif
		:: else
		fi
	};
gone:	ended++
}

/* A write of a record, in phases: the entry of the new value, the commit, and then the entry of the
   old one goes, as it was seen before. */
proctype Writer(byte me; byte r; byte v) {
	byte old, read, knew;
	bool seen;

	atomic { knew = (state > 0 -> declared : 0); old = val[r]; read = rec[r]; seen = entry[KEY(r, old)]; put[KEY(r, old)] = put[KEY(r, old)] & (3 - me) };
	if
	:: knew -> atomic { entry[KEY(r, v)] = true; put[KEY(r, v)] = 3 }
	:: else
	fi;
	atomic {
		/* In between the index was declared: the writer finds out, and makes its write good before its
		   call returns, and before the building begins (schema.pml). So here its commit is with it. */
		if
		:: rec[r] == read ->
			last++; rec[r] = last; val[r] = v; wrote[r] = knew;
			if
			:: state > 0 && knew != declared -> entry[KEY(r, v)] = true; put[KEY(r, v)] = 3
			:: else
			fi;
			right()
		:: rec[r] != read -> goto gone
		fi
	};
	if
	:: knew && old != v ->
		atomic {
			if
#ifdef BLIND
			:: true
#else
			:: seen && !(put[KEY(r, old)] & me)
#endif
				-> entry[KEY(r, old)] = false; right()
#ifndef BLIND
			:: else
#endif
			fi
		}
	:: else
	fi;
gone:	skip
}

#ifndef WRITES

/* maintenance.DropIndex, and another declaration of the index. */
proctype Drop() {
	byte k;

	if
	:: atomic { state > 0 -> state = 0 };
		atomic {
			for (k : 0 .. RECORDS * VALUES - 1) {
				entry[k] = false
			}
		};
		atomic { declared++; state = 1 }
	:: true
	fi
}

#endif

init {
	atomic {
		byte i;
		rec[0] = 1; rec[1] = 2; last = 2;
		state = 1; declared = 1;
		for (i : 0 .. BUILDERS - 1) {
			run Net(i);
			run Builder(i)
		}
		run Writer(1, 0, 1);
#ifdef WRITES
		run Writer(2, 0, 0)
#else
		run Drop()
#endif
	}
}
