"""Exhaustive model of moves: movers, a planner, writer, deleter, holder, intent cleaner, and deletion after grace.

    python3 move.py            the rules of protocols.md: no violation is reachable
    python3 move.py RULE       a weaker rule; prints the shortest counterexample
    RULE: no-key-compare | no-hold-compare | no-plan-token | no-intent-at-commit | delete-before-commit

Checked in every state: the record never points to a missing object (I2), nor to the copy of older bytes (I1); nothing
that a hold has frozen moves; a plan is made once at most, and never after it was replaced or cancelled (I5). Checked
where nothing more can happen: every object is the record's or has a row that names it (I4).

Bytes are numbered: a content's record is (object key, number of its bytes). Requests sent to the object store may land
late, also after their sender died. Actors may die at any step. A claim's lease may end at any time.
Standard library only; seconds.
"""

import sys
from collections import deque
from typing import NamedTuple


class Record(NamedTuple):
    key: str
    bytes: int
    held: bool = False


class State(NamedTuple):
    record: Record | None
    objects: frozenset  # (key, bytes) that the store holds
    flying: frozenset  # (key, bytes) of copies and PUTs on their way
    intents: frozenset  # (key, "live" | "condemned")
    outbox: frozenset  # keys to delete after the grace
    plan: tuple | None  # (tier, token of its claim or None)
    made: tuple  # plans that were made: (tier, token)
    gone: frozenset  # tiers whose plans were replaced or cancelled
    moved_held: bool  # whether a move was committed while its content was held
    actors: tuple  # one (step, memory) per actor


START = State(
    Record("K0", 0), frozenset({("K0", 0)}), frozenset(), frozenset(), frozenset(), ("cold", None), (), frozenset(),
    False, (),
)  # fmt: skip
DONE, DEAD = ("done", None), ("dead", None)


def stored(s, key):
    """Return the number of the bytes under a key, or None."""
    return next((number for k, number in s.objects if k == key), None)


def named(s, key):
    return (s.record and s.record.key == key) or key in s.outbox or any(k == key for k, _ in s.intents)


def without(s, key):
    return frozenset(x for x in s.objects if x[0] != key)


def put(s, i, to, **change):
    return s._replace(actors=s.actors[:i] + (to,) + s.actors[i + 1 :], **change)


def mover(key):
    """Claims the plan, copies, commits. `memory` is (token, tier, the record as it was when the copy began)."""

    def steps(s, i, rule):
        step, memory = s.actors[i]
        if step == "start" and s.plan:
            # Also over another's claim: its lease has ended.
            tier, _ = s.plan
            yield f"mover {key} claims {tier}", put(s, i, ("read", (key, tier, None)), plan=(tier, key))
        elif step == "read":
            token, tier, _ = memory
            if s.record is None or s.record.held:
                yield f"mover {key} finds nothing to move", put(s, i, DONE)
            else:
                yield (
                    f"mover {key} reads the record, declares its intent",
                    put(s, i, ("copy", (token, tier, s.record)), intents=s.intents | {(key, "live")}),
                )
        elif step == "copy":
            _, _, source = memory
            if (key, "live") not in s.intents or stored(s, source.key) is None:
                yield f"mover {key} gives up: no intent or no source", put(s, i, DONE)
            else:
                yield (
                    f"mover {key} sends the copy of {source.key}",
                    put(s, i, ("verify", memory), flying=s.flying | {(key, source.bytes)}),
                )
        elif step == "verify" and stored(s, key) is not None:
            to = "delete" if rule == "delete-before-commit" else "commit"
            yield f"mover {key} verifies its copy", put(s, i, (to, memory))
        elif step == "delete":
            yield (
                f"mover {key} deletes {memory[2].key}",
                put(s, i, ("commit", memory), objects=without(s, memory[2].key)),
            )
        elif step == "commit":
            yield commit_move(s, i, key, memory, rule)
        if step not in ("start", "done", "dead"):
            yield f"mover {key} dies", put(s, i, DEAD)

    return steps


def commit_move(s, i, key, memory, rule):
    """One transaction."""
    token, tier, source = memory
    refused = (
        s.record is None
        or (s.record.key != source.key and rule != "no-key-compare")
        or (s.record.held and rule != "no-hold-compare")
        or (s.plan != (tier, token) and rule != "no-plan-token")
        or ((key, "live") not in s.intents and rule != "no-intent-at-commit")
    )
    if refused:
        return f"mover {key} is refused", put(s, i, DONE)
    return (
        f"mover {key} commits {tier}",
        put(
            s,
            i,
            DONE,
            record=Record(key, source.bytes, s.record.held),
            intents=frozenset(x for x in s.intents if x[0] != key),
            outbox=s.outbox | {s.record.key},
            plan=None,
            made=(*s.made, (tier, token)),
            moved_held=s.moved_held or s.record.held,
        ),
    )


def planner(s, i, rule):
    """Replaces the plan by another tier's, or cancels it."""
    if s.actors[i][0] == "start" and s.plan:
        yield "somebody plans archive instead", put(s, i, DONE, plan=("archive", None), gone=s.gone | {s.plan[0]})
        yield "somebody cancels the plan", put(s, i, DONE, plan=None, gone=s.gone | {s.plan[0]})


def writer(key, number):
    def steps(s, i, rule):
        step, _ = s.actors[i]
        if step == "start":
            yield f"writer {key} declares its intent", put(s, i, ("send", None), intents=s.intents | {(key, "live")})
        elif step == "send":
            if (key, "live") in s.intents:
                yield f"writer {key} sends", put(s, i, ("wait", None), flying=s.flying | {(key, number)})
            else:
                yield f"writer {key} gives up: no intent", put(s, i, DONE)
        elif step == "wait" and stored(s, key) is not None:
            yield f"writer {key} is answered", put(s, i, ("commit", None))
        elif step == "commit":
            if (s.record and s.record.held) or (key, "live") not in s.intents:
                yield f"writer {key} is refused", put(s, i, DONE)
            else:
                yield (
                    f"writer {key} commits",
                    put(
                        s,
                        i,
                        DONE,
                        record=Record(key, number),
                        intents=frozenset(x for x in s.intents if x[0] != key),
                        outbox=s.outbox | {s.record.key} if s.record else s.outbox,
                    ),
                )
        if step not in ("start", "done", "dead"):
            yield f"writer {key} dies", put(s, i, DEAD)

    return steps


def deleter(s, i, rule):
    if s.actors[i][0] == "start" and s.record and not s.record.held:
        gone = s.gone | {s.plan[0]} if s.plan else s.gone
        yield (
            "the content is deleted",
            put(s, i, DONE, record=None, outbox=s.outbox | {s.record.key}, plan=None, gone=gone),
        )


def holder(s, i, rule):
    step = s.actors[i][0]
    if step == "start" and s.record:
        yield "a hold is put on", put(s, i, ("held", None), record=s.record._replace(held=True))
    elif step == "held" and s.record:
        yield "the hold is released", put(s, i, DONE, record=s.record._replace(held=False))


def cleaner(s, i, rule):
    step, key = s.actors[i]
    if step == "start":
        for k, condition in s.intents:
            yield (
                f"the cleaner condemns {k}",
                put(s, i, ("delete", k), intents=s.intents - {(k, condition)} | {(k, "condemned")}),
            )
    elif step == "delete":
        yield f"the cleaner deletes {key}", put(s, i, ("wait", key), objects=without(s, key))
    elif step == "wait" and all(k != key for k, _ in s.flying):
        yield f"the cleaner deletes {key} again", put(s, i, ("drop", key), objects=without(s, key))
    elif step == "drop":
        left = frozenset(x for x in s.intents if x[0] != key)
        yield f"the cleaner drops the intent of {key}", put(s, i, ("start", None), intents=left)


def deliverer(s, i, rule):
    """Deletes what is queued, once the grace is over: at any time, as far as this model goes."""
    for key in s.outbox:
        is_free = (s.record is None or s.record.key != key) and all(k != key for k, _ in s.intents)
        if is_free:
            yield f"{key} is deleted after its grace", s._replace(objects=without(s, key), outbox=s.outbox - {key})
        else:
            yield f"{key} is kept: it is named", s._replace(outbox=s.outbox - {key})


def network(s):
    for request in s.flying:
        landed = s._replace(flying=s.flying - {request}, objects=without(s, request[0]) | {request})
        yield f"the request for {request[0]} lands", landed
        yield f"the request for {request[0]} is lost", s._replace(flying=s.flying - {request})


CASES = {
    "two movers": (mover("M1"), mover("M2"), cleaner, deliverer),
    "two movers and a hold": (mover("M1"), mover("M2"), holder, deliverer),
    "mover and writer": (mover("M1"), writer("W1", 1), cleaner, deliverer),
    "mover, writer, hold": (mover("M1"), writer("W1", 1), holder, deliverer),
    "mover, delete, writer": (mover("M1"), deleter, writer("W1", 1), deliverer),
    "two movers and a new plan": (mover("M1"), mover("M2"), planner, deliverer),
    "two movers and a delete": (mover("M1"), mover("M2"), deleter, cleaner),
}


def wrong_in(s):
    """Return what is wrong with a state, or None."""
    if s.record and stored(s, s.record.key) is None:
        return f"I2: the record points to {s.record.key}, which is gone"
    if s.record and stored(s, s.record.key) != s.record.bytes:
        return f"I2: {s.record.key} holds other bytes than its record says"
    written = max((n for k, n in s.objects if k.startswith("W") and not any(x == k for x, _ in s.intents)), default=0)
    if s.record and s.record.bytes < written and all(f[0] != f"W{written}" for f in s.flying):
        return f"I1: bytes {written} were committed, the record has {s.record.bytes} again"
    if s.moved_held:
        return "a held content was moved"
    if len({tier for tier, _ in s.made}) < len(s.made):
        return f"I5: the plan {s.made[-1][0]} was made twice"
    if s.made and s.made[-1][0] in s.gone:
        return f"I5: the plan {s.made[-1][0]} was made after it was replaced or cancelled"
    if not s.flying and all(a[0] in ("start", "done", "dead", "held") for a in s.actors):
        lost = sorted(k for k, _ in s.objects if not named(s, k))
        if lost:
            return f"I4: nothing names {lost[0]}"
    return None


def explore(actors, rule):
    start = START._replace(actors=(("start", None),) * len(actors))
    parent, queue = {start: None}, deque([start])
    while queue:
        s = queue.popleft()
        wrong = wrong_in(s)
        if wrong:
            trace = []
            while parent[s]:
                s, label = parent[s]
                trace.append(label)
            return f"{wrong}: " + " → ".join(trace[::-1]), len(parent)
        for label, after in [t for i, a in enumerate(actors) for t in a(s, i, rule)] + list(network(s)):
            if after not in parent:
                parent[after] = (s, label)
                queue.append(after)
    return None, len(parent)


if __name__ == "__main__":
    rule, bad = (sys.argv[1] if len(sys.argv) > 1 else "protocol"), False
    for name, actors in CASES.items():
        wrong, states = explore(actors, rule)
        bad |= wrong is not None
        print(f"{rule}, {name}: {states} states, {wrong or 'no violation'}")
    sys.exit(bad)
