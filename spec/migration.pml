/*
 * Migrations: programs that begin with the same step at the same time (package migration).
 *
 * One of them at a time holds the lease, a key that it writes again and again. The others
 * watch its revision. Who has seen it unchanged for as long as it lasts writes its own lease over
 * it. The step has a record, which says that it is running, done or failed.
 *
 * Time is not counted here. What is known of it is an order: the runner believes in its lease
 * from the sending of the last one that was acknowledged, for two thirds of the time that
 * watchers wait from their seeing it. So of three flags the first goes out first:
 *   believed[w]   by the clock of runner w it holds the lease
 *   young[w]      nobody can have seen the lease of w for as long as it lasts
 *   sending[w]    the same, of the lease that w is sending
 * Each goes out at any time: a runner may stall, and its network may, for any time.
 *
 * Asserted, as the invariants M1 to M3 of package migration: a step that is done is never
 * begun; nobody begins it while another one is at it and believes in its lease; and when a
 * program was told that the step is done, it stays so.
 *
 * Mutations, each of which must fail:
 *   NO_WAIT       the lease is taken without having watched it
 *   NO_CONDITION  the lease is taken as it is now, though it was renewed since it was seen
 *   NO_LOOK       the step begins without a look at the clock
 *   FROM_ANSWER   the lease counts from the answer to its renewal, not from its sending
 *   BLIND_BEGIN   that the step is running is written without a condition
 *   BLIND_END     how the step ended is written without a condition
 *   BLIND_RELEASE the lease is deleted without a condition
 * REACH1 and REACH2 must fail too: they assert that nobody ever takes the lease from one that
 * is at the step, and that no record is ever refused at its end.
 */

#ifndef RUNNERS
#define RUNNERS 2
#endif
#ifndef TRIES
#define TRIES 2
#endif
#define NOBODY RUNNERS

#define ABSENT 0
#define RUNNING 1
#define DONE 2
#define FAILED 3

byte holder = NOBODY;         /* whose lease the key has */
byte lease;                   /* its revision */
byte state = ABSENT;          /* what the step's record says */
byte record;                  /* its revision */
bool believed[RUNNERS];
bool young[RUNNERS];
bool sending[RUNNERS];
bool at_step[RUNNERS];        /* its Up is under way */
bool told;                    /* somebody was told that the step is done */
byte ended;

/* Time passes for a program. What was sent earlier is older. */
proctype Time(byte w) {
	do
	:: atomic { believed[w] -> believed[w] = false }
	:: atomic { !believed[w] && young[w] -> young[w] = false }
	:: atomic { !believed[w] && !young[w] && sending[w] -> sending[w] = false }
	:: ended == RUNNERS -> break
	od
}

inline acknowledged() {
#ifdef FROM_ANSWER
	atomic { believed[w] = true; sending[w] = false }
#else
	atomic { believed[w] = young[w]; sending[w] = false }
#endif
}

inline stays() {
	assert(!told || state == DONE)
}

/* migration.(*Runner).Run. */
proctype Runner(byte w) {
	byte tries, seen, mine, at, i;
	bool gone;

	do
	:: tries == TRIES || state == DONE -> break
	:: tries < TRIES && state != DONE ->
		tries++;
		/* wait: look at the lease, and at the end of the time for which it lasts again. */
		atomic {
			seen = lease;
			gone = holder == NOBODY
		};
		if
		:: gone
		:: !gone ->
#ifndef NO_WAIT
			(lease != seen || holder == NOBODY || !young[holder])
#else
			skip
#endif
		fi;
		/* take. */
		sending[w] = true;
		atomic {
#ifdef NO_CONDITION
			gone = false;
#else
			gone = lease != seen;
#endif
			if
			:: !gone ->
#ifdef REACH1
				assert(holder == NOBODY || !at_step[holder]);
#endif
				lease++; mine = lease; holder = w; young[w] = sending[w]
			:: gone -> sending[w] = false
			fi
		};
		if
		:: gone -> goto next /* another one was faster */
		:: !gone
		fi;
		acknowledged();
		/* step: read the record, and write that the step is running. */
		atomic {
			at = record;
			gone = state == DONE
		};
		if
		:: gone -> goto release
		:: !gone
		fi;
		atomic {
#ifdef BLIND_BEGIN
			gone = false;
#else
			gone = record != at;
#endif
			if
			:: !gone -> state = RUNNING; record++; at = record; stays()
			:: gone
			fi
		};
		if
		:: gone -> goto release
		:: !gone
		fi;
		/* The look at the clock, and the call of Up. */
		atomic {
#ifdef NO_LOOK
			gone = false;
#else
			gone = !believed[w];
#endif
			if
			:: !gone ->
				assert(state != DONE);
				for (i : 0 .. RUNNERS - 1) {
					assert(!(at_step[i] && believed[i]))
				}
				i = 0;
				at_step[w] = true
			:: gone
			fi
		};
		if
		:: gone -> goto release
		:: !gone
		fi;
		/* keep: it is renewed once, or not. */
		if
		:: skip
		:: sending[w] = true;
			atomic {
				if
				:: lease == mine -> lease++; mine = lease; young[w] = sending[w]; gone = false
				:: lease != mine -> gone = true; believed[w] = false; sending[w] = false /* it is another one's */
				fi
			};
			if
			:: gone
			:: !gone -> acknowledged()
			fi
		fi;
		/* Up returns, whatever its context says, and what became of it is recorded. */
		atomic {
			at_step[w] = false;
#ifdef BLIND_END
			gone = false;
#else
			gone = record != at;
#endif
			if
			:: !gone ->
				record++;
				if
				:: state = DONE; stays(); told = true
				:: state = FAILED; stays()
				fi
			:: gone ->
#ifdef REACH2
				assert(false)
#else
				skip
#endif
			fi
		};
release:	atomic {
			believed[w] = false; young[w] = false; sending[w] = false;
			if
#ifdef BLIND_RELEASE
			:: holder = NOBODY; lease++
#else
			:: lease == mine -> holder = NOBODY; lease++
			:: lease != mine
#endif
			fi
		};
next:		skip
	od;
	ended++
}

init {
	atomic {
		byte n;
		for (n : 0 .. RUNNERS - 1) {
			run Time(n);
			run Runner(n)
		}
	}
}
