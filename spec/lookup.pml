/*
 * Lookups. A query looks up the entries of a value, reads the records to which they
 * lead, and drops those that do not have the value. Meanwhile writers hand the value over
 * from record to record, so that at every instant some record has it. The query must find
 * the value in one of its places, and every record that has it all the time.
 *
 * The query notes a revision before its first lookup. When it has dropped a candidate that
 * was written after that revision, or has made several lookups, it reads the records that
 * were written since, as they are at one moment, and looks whether they have the value
 * (query.rowsOf, access.lookups.Written).
 *
 * A writer is phased: it puts the entry of the next record, commits that record, commits
 * the last one without the value, and deletes its entry. Or it is atomic, and does all
 * of that in one batch (MOVES of either kind, in any order). An entry that a writer has
 * not deleted yet, or never will (a crash), may stay.
 *
 * SEVERAL: the entries come from several lookups, one for each record.
 * AGAIN: in place of what was written since, the entries are looked up again, in one request
 * with the records that are known; and again, while they lead to records that were not.
 *
 * Mutations, each of which must fail:
 *   NO_LOOK      nothing is read again
 *   NO_SEVERAL   with SEVERAL: only a dropped candidate makes it read again
 *   TORN         what was written since is read record by record, not at one moment
 *   ENTRIES      only records whose entry was put since are read again
 *   LATE         the revision is noted after the lookups
 *   ONCE         with AGAIN: it is not asked again for records that were not known
 *   APART        with AGAIN: the records are read after the entries, in another request
 * REACH must fail too: it asserts that nothing is ever read again.
 */

#define RECORDS 3
#ifndef MOVES
#define MOVES 3
#endif

byte seq = 1;                /* the bucket's last revision */
bool has[RECORDS];           /* the record has the value */
byte rev[RECORDS];           /* the record's revision */
bool entry[RECORDS];
byte put[RECORDS];           /* the entry's revision */
byte holder;                 /* the record that was given the value last */

proctype Writer() {
	byte n, to, from;
	do
	:: n < MOVES ->
		n++;
		from = holder;
		if
		:: to = (from + 1) % RECORDS
		:: to = (from + 2) % RECORDS
		fi;
		if
		:: atomic {                        /* a batch */
			seq++; entry[to] = true; put[to] = seq;
			seq++; has[to] = true; rev[to] = seq;
			seq++; has[from] = false; rev[from] = seq;
			seq++; entry[from] = false;
			holder = to
		   }
		:: atomic { seq++; entry[to] = true; put[to] = seq };
		   atomic { seq++; has[to] = true; rev[to] = seq; holder = to };
		   atomic { seq++; has[from] = false; rev[from] = seq };
		   if
		   :: atomic { seq++; entry[from] = false }
		   :: skip                         /* the writer crashed */
		   fi
		fi
	:: else -> break
	od
}

proctype Query() {
	byte i, asOf, read;
	bool candidate[RECORDS], seen[RECORDS], found[RECORDS], late, any, more, got[RECORDS];

#ifndef LATE
	asOf = seq;
#endif
#ifdef SEVERAL
	do
	:: i < RECORDS -> atomic { candidate[i] = entry[i]; i++ }
	:: else -> break
	od;
#else
	d_step {
		do
		:: i < RECORDS -> candidate[i] = entry[i]; i++
		:: else -> break
		od
	}
#endif
#ifdef LATE
	asOf = seq;
#endif

	/* The records, in any order. */
	do
	:: candidate[0] && !seen[0] -> atomic { seen[0] = true; found[0] = has[0]; late = late || !has[0] && rev[0] > asOf }
	:: candidate[1] && !seen[1] -> atomic { seen[1] = true; found[1] = has[1]; late = late || !has[1] && rev[1] > asOf }
	:: candidate[2] && !seen[2] -> atomic { seen[2] = true; found[2] = has[2]; late = late || !has[2] && rev[2] > asOf }
	:: else -> break
	od;

#if defined(SEVERAL) && !defined(NO_SEVERAL)
	late = true;
#endif
#ifndef NO_LOOK
	if
	:: late ->
#ifdef REACH
		assert(false);
#endif
		i = 0;
#ifdef AGAIN
		do
		:: true ->
#ifdef APART
			d_step {
				more = false;
				do
				:: i < RECORDS -> more = more || entry[i] && !candidate[i]; candidate[i] = candidate[i] || entry[i]; i++
				:: else -> i = 0; break
				od
			};
#endif
			d_step {
#ifndef APART
				more = false;
#endif
				do
				:: i < RECORDS ->
					got[i] = candidate[i] && has[i];
#ifndef APART
					more = more || entry[i] && !candidate[i];
					candidate[i] = candidate[i] || entry[i];
#endif
					i++
				:: else -> i = 0; break
				od
			};
			skip;
			if
#ifndef ONCE
			:: more -> skip
#endif
			:: else -> break
			fi
		od;
		skip;
		d_step {
			found[0] = found[0] || got[0];
			found[1] = found[1] || got[1];
			found[2] = found[2] || got[2]
		}
#elif defined(TORN)
		do
		:: i < RECORDS -> atomic { found[i] = found[i] || rev[i] > asOf && has[i]; i++ }
		:: else -> break
		od
#else
		d_step {
			do
			:: i < RECORDS ->
#ifdef ENTRIES
				found[i] = found[i] || entry[i] && put[i] > asOf && has[i];
#else
				found[i] = found[i] || rev[i] > asOf && has[i];
#endif
				i++
			:: else -> break
			od
		}
#endif
	:: else
	fi;
#endif

	skip;
	d_step {
		any = found[0] || found[1] || found[2];
		assert(any);
		/* One that has had it since before the lookup. */
		assert(!(has[0] && rev[0] <= asOf) || found[0]);
		assert(!(has[1] && rev[1] <= asOf) || found[1]);
		assert(!(has[2] && rev[2] <= asOf) || found[2])
	}
}

init {
	atomic {
		has[0] = true; entry[0] = true; rev[0] = 1; put[0] = 1;
		run Writer();
		run Query()
	}
}
