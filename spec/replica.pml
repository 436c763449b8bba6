/*
 * What a replica's answer proves. A follower that was away gets a snapshot: first it
 * removes the messages that the snapshot says are gone, then the leader sends what follows
 * the follower's last message, without what is gone by the time of sending, and then the
 * follower applies the log again. All the while it answers reads. A session that knows an
 * older state than the follower's revision takes such an answer, which may lack a key
 * that was there all along. So the session asks the leader about what an answer lacks
 * (prove in internal/session): for the last message of a key; of a pattern, whether anything was
 * written under it since, and the second time, whether there are other keys. If there are, and the answer need not be of
 * one moment, these are read by themselves, each with a proof of its own.
 *
 * Asserted: of every key that the session knows, an answer that is believed has that
 * revision or a later one.
 *
 * A key has one message. A delete marker is a message like others, and does not expire.
 * The leader does what a majority would. A read of the leader or of the follower is one
 * step; between two of them anything may happen. The snapshot is made at any time, and the
 * follower may take it at any time: it is not looked at why.
 *
 * Variants:
 *   REPLACED     the second proof alone, and a leader that was replaced may give it, which
 *                stays as it was at some time
 *   OLD          reads of one key; a leader that was replaced, and knows what the session knows, may
 *                answer for its last message
 *
 * Mutations, each of which must fail:
 *   NO_PROOF     an answer is believed that is as far as the session
 *   BEFORE       it is believed when it is as far as the leader was before the request
 *   UP_TO        it is believed when it is as far as the leader was after an answer before it
 *   NO_LAST      with REPLACED: it is not looked how far the leader is
 *   NEXT         with OLD: it is asked whether anything was written to the key since, and not for its last
 *                message
 *   BARE_KEY     a key that is read by itself is believed to be absent without a proof
 * REACH must fail too: it asserts that no answer is ever believed after a doubt; and REACH_KEY,
 * that no key is read by itself.
 */

#ifndef WRITES
#define WRITES 4
#endif
#define KEYS   2
#define TRIES  3

/* The leader. */
byte last;                 /* its last revision */
byte key[WRITES + 1];      /* which key a revision was written to */
byte lead[KEYS];           /* the revision of each key; 0: none */

/* The snapshot. */
byte snap;
byte kept[KEYS];

/* The follower. */
byte reached;              /* its last revision */
byte has[KEYS];

/* A leader that was replaced, as it was. */
bool replaced;
byte oldLast;
byte old[KEYS];

active proctype Writer() {
	byte k;
	do
	:: last < WRITES -> atomic {
		if
		:: k = 0
		:: k = 1
		fi;
		last++;
		key[last] = k;
		lead[k] = last
	}
	:: last > snap -> atomic {         /* compacts its log */
		snap = last;
		kept[0] = lead[0];
		kept[1] = lead[1]
	}
#if defined(REPLACED) || defined(OLD)
	:: !replaced -> atomic {
		replaced = true;
		oldLast = last;
		old[0] = lead[0];
		old[1] = lead[1]
	}
#endif
	:: last == WRITES -> break
	od
}

active proctype Follower() {
	byte upTo, keep[KEYS], k;
	do
	:: reached < last && reached >= snap -> atomic {   /* applies the log */
		reached++;
		has[key[reached]] = reached
	}
	:: reached < snap -> atomic {                       /* processSnapshot */
		upTo = snap;
		keep[0] = kept[0];
		keep[1] = kept[1]
	};
		k = 0;
		do
		:: k < KEYS -> atomic {                     /* SyncDeleted */
			if
			:: has[k] != keep[k] -> has[k] = 0
			:: else
			fi;
			k++
		}
		:: else -> break
		od;
		do
		:: reached < upTo -> atomic {               /* runCatchup */
			reached++;
			if
			:: lead[key[reached]] == reached -> has[key[reached]] = reached
			:: else                             /* gone by now: left out */
			fi
		}
		:: else -> atomic { upTo = 0; keep[0] = 0; keep[1] = 0; k = 0; break }
		od;
		do                                          /* the log, whether it was compacted again or not */
		:: reached < last -> atomic {
			reached++;
			has[key[reached]] = reached
		}
		:: break
		od
	:: reached == WRITES -> break
	od
}

active proctype Session() {
	byte knows[KEYS], got[KEYS];
	byte floor, asOf, before, after, tries, k;
	bool pattern, exact, proven, lacks[KEYS];

	atomic {                                            /* it has seen or written this */
		floor = last;
		knows[0] = lead[0];
		knows[1] = lead[1];
		if
#ifndef OLD
		:: pattern = true
		:: pattern = true; exact = true             /* of one moment */
#endif
		:: pattern = false                          /* key 0 alone */
		fi
	}
	do
	:: tries < TRIES ->
		tries++;
#ifdef BEFORE
		before = last;
#endif
		atomic {
			reached >= floor;
			asOf = reached;
			got[0] = has[0];
			got[1] = has[1]
		};
		proven = !pattern && got[0] != 0;
#ifdef NO_PROOF
		proven = true;
#endif
#ifdef BEFORE
		proven = proven || asOf >= before;
#endif
#ifdef UP_TO
		proven = proven || after > 0 && asOf >= after;
		if
		:: after == 0 -> after = last; floor = after
		:: else
		fi;
#endif
		if
		:: proven
#if !defined(NO_PROOF) && !defined(BEFORE) && !defined(UP_TO)
#ifndef REPLACED
		:: !proven && !pattern ->                   /* the key's last message */
			if
			:: atomic { lead[0] == 0 -> proven = true }
			:: atomic { lead[0] != 0 ->         /* the answer lacks it: again */
				if
				:: lead[0] > asOf -> floor = lead[0]
				:: else
				fi
			   }
#ifdef OLD
			:: atomic { replaced && oldLast >= floor ->
				if
#ifdef NEXT
				:: old[0] <= asOf -> proven = true
#else
				:: old[0] == 0 -> proven = true
#endif
				:: else
				fi
			   }
#endif
			fi
		:: !proven && pattern && tries == 1 -> atomic { /* does anything follow? The first message that does */
			if
			:: lead[0] <= asOf && lead[1] <= asOf -> proven = true
			:: lead[0] > asOf && !(lead[1] > asOf && lead[1] < lead[0]) -> floor = lead[0]
			:: lead[1] > asOf && !(lead[0] > asOf && lead[0] < lead[1]) -> floor = lead[1]
			fi
		}
		:: !proven && pattern && tries > 1 ->
#else
		:: !proven ->
#endif
			if
			:: before = last;                   /* first how far it is, then the keys */
				atomic {
					lacks[0] = lead[0] != 0 && got[0] == 0;
					lacks[1] = pattern && lead[1] != 0 && got[1] == 0;
					proven = !lacks[0] && !lacks[1];
					after = before
				}
#ifdef REPLACED
			:: replaced -> atomic {
				lacks[0] = old[0] != 0 && got[0] == 0;
				lacks[1] = pattern && old[1] != 0 && got[1] == 0;
				proven = !lacks[0] && !lacks[1];
				after = oldLast
			}
#endif
			fi;
			if
#ifndef NO_LAST
			:: after < floor -> proven = false
#endif
			:: else ->
				if
				:: !proven && after > floor -> floor = after
				:: else
				fi;
				if
				:: !proven && pattern && !exact ->  /* the keys that it lacks, by themselves */
#ifdef REACH_KEY
					assert(false);
#endif
					k = 0;
					do
					:: k < KEYS && !lacks[k] -> k++
					:: k < KEYS && lacks[k] ->
						atomic {
							reached >= floor;
							asOf = reached;
							got[k] = has[k]
						};
						if
						:: got[k] != 0 -> lacks[k] = false
#ifdef BARE_KEY
						:: else -> lacks[k] = false
#else
						:: else -> atomic {
							if
							:: lead[k] <= asOf -> lacks[k] = false
							:: else -> floor = lead[k]
							fi
						}
#endif
						fi
					:: else -> break
					od;
					proven = true
				:: else
				fi
			fi;
			atomic { before = 0; after = 0; k = 0; lacks[0] = false; lacks[1] = false }
#else
		:: !proven
#endif
		fi;
		if
		:: proven ->
#ifdef REACH
			assert(tries == 1);
#endif
			assert(got[0] >= knows[0]);
			assert(!pattern || got[1] >= knows[1]);
			break
		:: else
		fi
	:: else -> break
	od
}
