/*
 * Counts from entries. There are two records with one indexed column, whose values are 1 and 2; 0 means
 * that there is no record. A reader proves that all entries are exact, and later counts the
 * records of each value by their entries, while others write.
 *
 * COUNT, asserted when an answer is given: for each value, it is the number of records that had the value
 * at one moment, B, at which the records were asked for that were written since the proof.
 *
 * Each request to the server is one step. rev is the bucket's revision. A batch takes one here, which is
 * enough, because nobody sees it in part.
 *
 * A crash is a process that takes no more steps: a writer may end after each.
 *
 * Mutations, each of which must break COUNT:
 *   NO_PROOF    entries are taken for exact without a proof
 *   NO_QUIET    the two numbers of a proof need not be of one moment
 *   NO_ENTRIES  a record is not doubted whose entry was written since the proof
 *   NO_RECORDS  a record is not doubted that was itself written since
 *   HALF        of a record whose entry was written since, only that entry is doubted, and its others count
 *   NO_LOOK     the entries of records that were written since are not looked for
 *   NO_LATE     the entries are not looked at once more at the end
 *   NO_CHECK    the record of a suspect may have been written after B
 *   BLIND       a writer that does not know the index writes a record, and dies
 * REACH must fail too: it asserts that no suspect has another value than the first one.
 */

#ifndef PHASED
#define PHASED 1
#endif
#ifndef ATOMIC
#define ATOMIC 1
#endif
#ifndef BUILDERS
#define BUILDERS 1
#endif
#ifndef ANSWERS
#define ANSWERS 1 /* how often the reader uses its proof */
#endif

byte rev = 1;
byte rec[2], rrev[2];  /* the records: value, revision */
bool ent[6];           /* at(r, v): is there an entry? */
byte erev[6];          /* its last revision, also of a delete marker */

#define at(r, v) (3 * (r) + (v))

inline put(r, v)  { rev++; ent[at(r, v)] = true; erev[at(r, v)] = rev }
inline del(r, v)  { rev++; ent[at(r, v)] = false; erev[at(r, v)] = rev }

inline any(r) {
	if
	:: r = 0
	:: r = 1
	fi
}

/* another value, or none */
inline another(r) {
	if
	:: old != 0 -> want = 0
	:: old != 1 -> want = 1
	:: old != 2 -> want = 2
	:: old != 0 -> want = old /* another column is written */
	fi
}

/* commit.(*phased).execute; what a crash leaves, it leaves for ever */
proctype phased() {
	byte r, old, want, read, seen;
	atomic { r = 0; old = rec[r]; read = rrev[r]; another(r) }; /* the records, and the values, are alike */
	if
	:: want != 0 && want != old ->
		atomic { put(r, want) }
	:: else
	fi;
	if
	:: old != 0 && old != want -> atomic { seen = (ent[at(r, old)] -> erev[at(r, old)] : 0) }
	:: else
	fi;
	if
	:: goto dead
	:: skip
	fi;
	atomic {
		if
		:: rrev[r] == read -> rev++; rec[r] = want; rrev[r] = rev
		:: else -> goto dead
		fi
	};
	if
	:: goto dead
	:: seen != 0 ->
		atomic {
			if
			:: ent[at(r, old)] && erev[at(r, old)] == seen -> del(r, old)
			:: else
			fi
		}
	:: else
	fi;
dead:	skip
}

/* commit.(*atomic).execute */
proctype batch() {
	byte r, old, want, read;
	atomic { any(r); old = rec[r]; read = rrev[r]; another(r) };
	atomic {
		if
		:: rrev[r] == read ->
			rev++;
			rec[r] = want; rrev[r] = rev;
			if
			:: want != 0 && want != old -> ent[at(r, want)] = true; erev[at(r, want)] = rev
			:: else
			fi;
			if
			:: old != 0 && old != want -> ent[at(r, old)] = false; erev[at(r, old)] = rev
			:: else
			fi
		:: else
		fi
	}
}

/* commit.(*Writer).Ensure, by a build, a repair or a restore: the entry of a record as it was read */
proctype builder() {
	byte r, old;
	atomic { any(r); old = rec[r] };
	if
	:: old != 0 -> atomic { put(r, old) }
	:: else
	fi
}

#ifdef BLIND
proctype blind() {
	byte r, old, want;
	atomic { any(r); old = rec[r]; another(r); rev++; rec[r] = want; rrev[r] = rev }
}
#endif

#define has(r, v) (rec[r] == v -> 1 : 0)
#define count(v) (ent[at(0, v)] + ent[at(1, v)])
#define records ((rec[0] != 0 -> 1 : 0) + (rec[1] != 0 -> 1 : 0))

/* exact.Index: Prove, then Count. */
proctype reader() {
	byte proof, n, m, i, r, v;
	bool live[6];       /* entries that were written since the proof: their last message, */
	byte known[6];      /* and its revision; 0: none */
	byte changed[2];    /* the same of records */
	bool touched[2], suspect[2];
	byte answer[3], truth[3], is[2];
	byte reads;

	/* Index.Prove */
	proof = rev;
#ifndef NO_PROOF
	n = records;
	m = count(1) + count(2);
	if
	:: n != m -> goto done
	:: else
	fi;
#ifndef NO_QUIET
	if
	:: rrev[0] > proof || rrev[1] > proof -> goto done
	:: else
	fi;
	if
	:: erev[1] > proof || erev[2] > proof || erev[4] > proof || erev[5] > proof -> goto done
	:: else
	fi;
#endif
#endif

	do
	:: reads == ANSWERS -> break
	:: else ->
		reads++;
		/* Index.advance: the entries up to moment A, */
		atomic {
			i = 0;
			do
			:: i == 6 -> break
			:: i < 6 && erev[i] > proof -> known[i] = erev[i]; live[i] = ent[i]; i++
			:: i < 6 && erev[i] <= proof -> i++
			od;
			i = 0
		};
		/* and the records up to moment B. */
		atomic {
			r = 0;
			do
			:: r == 2 -> break
			:: else ->
#ifndef NO_RECORDS
				if
				:: rrev[r] > proof -> changed[r] = rrev[r]
				:: else
				fi;
#endif
#ifdef NO_ENTRIES
				touched[r] = (changed[r] != 0);
#else
				touched[r] = (changed[r] || known[at(r, 1)] || known[at(r, 2)]);
#endif
				suspect[r] = false; is[r] = 0;
				r++
			od;
			truth[1] = has(0, 1) + has(1, 1); truth[2] = has(0, 2) + has(1, 2);
			r = 0
		};
		/* Index.counted: for each value the number of entries, without those of touched records */
		v = 1;
		do
		:: atomic { v == 3 -> v = 0; break }
		:: atomic { v < 3 -> answer[v] = count(v); r = 0 };
			do
			:: atomic { r == 2 -> r = 0; v++; break }
			:: atomic { r < 2 ->
					if
					:: !touched[r]
					:: touched[r] && known[at(r, v)] ->
						if
						:: live[at(r, v)] && answer[v] > 0 -> answer[v]--; suspect[r] = true
						:: live[at(r, v)] && answer[v] == 0 -> goto done /* errMoved */
						:: !live[at(r, v)]
						fi
					:: touched[r] && !known[at(r, v)] ->
#ifdef HALF
						if
						:: !changed[r] -> goto skipped
						:: else
						fi;
#endif
#ifndef NO_LOOK
						if
						:: ent[at(r, v)] && answer[v] > 0 -> answer[v]--; suspect[r] = true
						:: ent[at(r, v)] && answer[v] == 0 -> goto done
						:: !ent[at(r, v)]
						fi;
#endif
						skip
					fi;
#ifdef HALF
skipped:
#endif
					r++
				}
			od
		od;
		/* Index.read: the suspects */
		do
		:: atomic { r == 2 -> r = 0; break }
		:: atomic { r < 2 ->
				if
				:: suspect[r] ->
#ifndef NO_CHECK
					if
					:: rrev[r] > proof && rrev[r] > changed[r] -> goto done /* errMoved */
					:: else
					fi;
#endif
					is[r] = rec[r]
				:: else
				fi;
				r++
			}
		od;
#ifndef NO_LATE
		/* what was written to the entries after A */
		if
		:: (erev[1] > proof && erev[1] > known[1]) || (erev[2] > proof && erev[2] > known[2]) ||
			(erev[4] > proof && erev[4] > known[4]) || (erev[5] > proof && erev[5] > known[5]) -> goto done
		:: else
		fi;
#endif
		atomic {
			assert(answer[1] + (is[0] == 1 -> 1 : 0) + (is[1] == 1 -> 1 : 0) == truth[1]);
			assert(answer[2] + (is[0] == 2 -> 1 : 0) + (is[1] == 2 -> 1 : 0) == truth[2]);
#ifdef REACH
			assert(!suspect[0] || is[0] != 2);
#endif
			answer[1] = 0; answer[2] = 0; truth[1] = 0; truth[2] = 0;
			suspect[0] = false; suspect[1] = false; is[0] = 0; is[1] = 0
		}
	od;
done:	skip
}

init {
	byte i;
	atomic {
		/* any records, each with its entry */
		do
		:: i == 2 -> break
		:: else ->
			if
			:: rec[i] = 0
			:: rec[i] = 1
			:: i == 1 -> rec[i] = 2
			fi;
			if
			:: rec[i] != 0 -> rrev[i] = 1; ent[at(i, rec[i])] = true; erev[at(i, rec[i])] = 1
			:: else
			fi;
			i++
		od;
		i = 0;
		do
		:: i == PHASED -> break
		:: i < PHASED -> run phased(); i++
		od;
		i = 0;
		do
		:: i == ATOMIC -> break
		:: i < ATOMIC -> run batch(); i++
		od;
		i = 0;
		do
		:: i == BUILDERS -> break
		:: i < BUILDERS -> run builder(); i++
		od;
#ifdef BLIND
		run blind();
#endif
		run reader()
	}
}
