/*
 * Lost answers: a commit carries a message id, and the server drops a second
 * message with an id that it has stored. When the commit's answer is lost, a probe
 * with the same id settles whether it landed: published to a key of its own,
 * without expectations, it is stored, so the commit has not landed and never can;
 * or it is dropped as a duplicate, so the commit has landed. When the probe's
 * answer is lost too, the next probe may be a duplicate of the one before: so the
 * caller looks whether the message that has the id is under the probe's key.
 *
 * Asserted: the caller never says "landed" of a commit that has not, nor "not
 * landed" of one that has or ever does.
 *
 * A message is lost, or reaches the server at any later time; there it is dropped,
 * refused, or in process, and then stored or, when the leader changes, given up.
 * Others change the record meanwhile, so that a late commit is refused, or its
 * message is overwritten after it landed. 
 *
 * It is assumed that the caller settles within the duplicate window, that no
 * message is in flight for longer, and that a probe's message lives for longer.
 *
 * Mutations, each of which must fail:
 *   NO_LOOK      a duplicate of a later probe is taken for the commit
 *   SHARED_KEY   all callers probe with one key, which keeps one message; it is
 *                the same when the probe's message expires before the caller looks
 *   NO_WAIT      a probe's "in process" is taken for a duplicate
 *   NO_ID        the probe has another id
 *   TRUST_ACK    a late answer to the commit, "duplicate", is taken for success
 *   LATE         the id is forgotten before the caller settles
 * REACH1 and REACH2 must fail too: the caller never says "landed", "not landed".
 */

#define PROBES 3

mtype = { none, stored, duplicate, refused, busy }  /* answers */
mtype = { open, landed, missed, unknown }           /* what the caller says */

#define NOBODY 0
#define COMMIT 1
#define PROBE  2

byte id;                     /* whose message has the id */
byte pending;                /* whose message is in process */
bool moved;                  /* the record is not at the revision that the commit expects */
bool done;                   /* the commit has landed */
bool kept;                   /* the probe's message is still there */
mtype answer[PROBES + 1];    /* to the commit (0) and to each probe, each to an inbox of its own */
mtype said = open;

/* The server's side of a message: n is 0 for the commit, or the probe's number. */
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
   answer that is not there when the caller gives up is lost to it. */
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

/* Others: they change the record before or after the commit. */
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
