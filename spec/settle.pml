/*
 * Lost answers. A commit carries a message id, and the server drops a second message
 * with an id that it has stored. When the answer to the commit is lost, the caller
 * publishes a probe: a message with the same id, to a key of its own, without
 * conditions. If the server stores the probe, the commit has not landed and never can.
 * If it drops the probe as a duplicate, the commit has landed. When the answer to the
 * probe is lost too, the next probe may be a duplicate of the one before. So the caller
 * then looks whether the message that has the id is under the probe's key.
 *
 * Asserted: the caller never says "landed" of a commit that has not landed, and never
 * "not landed" of one that has landed or will land.
 *
 * A message is lost, or reaches the server at any later time. There it is dropped,
 * refused, or taken in process; in process, it is then stored, or given up when the
 * leader changes. Other writers change the record meanwhile, so that a late commit is
 * refused, or its message is overwritten after it has landed.
 *
 * It is assumed that the caller settles the outcome within the duplicate window, that
 * no message is in flight for longer than that, and that a probe's message lives for
 * longer.
 *
 * Mutations, each of which must fail:
 *   NO_LOOK      when a later probe is a duplicate, the caller does not look whose
 *                message has the id, and takes it for the commit's
 *   SHARED_KEY   all callers probe with one key, which keeps one message. A probe's
 *                message that expires before the caller looks has the same effect
 *   NO_WAIT      the answer "in process" to a probe is taken for "duplicate"
 *   NO_ID        the probe has another id
 *   TRUST_ACK    a late answer to the commit, "duplicate", is taken for success
 *   LATE         the server forgets the id before the caller has settled the outcome
 * REACH1 and REACH2 must fail too: they assert that the caller never says "landed",
 * and never says "not landed".
 */

#define PROBES 3

mtype = { none, stored, duplicate, refused, busy }  /* answers */
mtype = { open, landed, missed, unknown }           /* what the caller says */

#define NOBODY 0
#define COMMIT 1
#define PROBE  2

byte id;                     /* which message the server has stored with the id: NOBODY, COMMIT or PROBE */
byte pending;                /* which message is in process: the same */
bool moved;                  /* the record is not at the revision that the commit expects */
bool done;                   /* the commit has landed */
bool kept;                   /* the probe's message is still there */
mtype answer[PROBES + 1];    /* to the commit (0) and to each probe; each has a reply subject of its own */
mtype said = open;

/* What happens to a message. n is 0 for the commit, or the number of the probe. */
proctype Message(byte n) {
	if
	:: goto gone                       /* lost on the way */
	:: atomic {
		if
		:: id != NOBODY -> answer[n] = duplicate; goto gone
#ifdef NO_ID
		:: n > 0 -> answer[n] = stored; goto gone
#endif
		:: id == NOBODY && pending != NOBODY -> answer[n] = busy; goto gone
		:: id == NOBODY && pending == NOBODY && n == 0 && moved -> answer[n] = refused; goto gone
		:: id == NOBODY && pending == NOBODY && !(n == 0 && moved) -> pending = (n == 0 -> COMMIT : PROBE)
		fi
	   }
	fi;
	if
	:: atomic {
		id = pending; pending = NOBODY; answer[n] = stored;
		if
		:: n == 0 ->
			done = true; moved = true;
			assert(said != missed)
		:: else -> kept = true
		fi
	   }
	:: atomic { pending = NOBODY }     /* the leader changed */
	fi;
gone:	skip
}

/* commit.(*phased).execute and commit.(*atomic).execute, from the commit on. An
   answer that has not come when the caller goes on is lost. */
proctype Caller() {
	byte n;

	run Message(0);
	if
	:: atomic { answer[0] == stored -> said = landed }
	:: atomic { answer[0] == refused -> said = missed }
	:: n = 1
	fi;
	do
	:: said != open -> break
	:: said == open && n > PROBES -> said = unknown /* ErrUnknownOutcome */
	:: said == open && n <= PROBES ->
		run Message(n);
		if
		:: atomic { answer[n] == stored -> said = missed }
		:: atomic {
			answer[n] == duplicate ->
			if
#ifndef NO_LOOK
			:: n > 1 && id == PROBE && kept -> said = missed
			:: !(n > 1 && id == PROBE && kept) -> said = landed
#else
			:: said = landed
#endif
			fi
		   }
#ifdef NO_WAIT
		:: atomic { answer[n] == busy -> said = landed }
#else
		:: answer[n] == busy -> n++
#endif
#ifdef TRUST_ACK
		:: atomic { answer[0] == duplicate -> said = landed }
#endif
		:: n++                     /* the answer is lost */
		fi
	od;
	assert(said != landed || done);
	assert(said != missed || !done)
#if defined(REACH1)
	; assert(said != landed)
#elif defined(REACH2)
	; assert(said != missed)
#endif
}

/* Another writer, which changes the record before or after the commit. */
proctype Other() {
	moved = true
}

#ifdef SHARED_KEY
/* Another caller's probe under the same key. */
proctype Another() {
end:	atomic { kept -> kept = false }
}
#endif

#ifdef LATE
proctype Window() {
end:	atomic { id != NOBODY -> id = NOBODY }
}
#endif

init {
	atomic {
		byte i;
		for (i : 0 .. PROBES) { answer[i] = none }
		run Caller(); run Other();
#ifdef SHARED_KEY
		run Another();
#endif
#ifdef LATE
		run Window();
#endif
	}
}
