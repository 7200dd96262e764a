"""Exhaustive model of what one process remembers of a content that is not there: readers, changes here and elsewhere.

    python3 cache_absence.py            the rules of services/absences.py: no violation is reachable
    python3 cache_absence.py RULE       a weaker rule; prints the shortest counterexample
    RULE: note-without-mark | mark-after-asking | forget-after-acknowledgement | count-only-what-is-noted |
    absence-without-end

Violation: the process says that there is no content, though since the last change that was acknowledged or heard of
here there always was one. And: an absence that is not true any more, of which nothing was heard, and which never ends:
what is not heard of is bounded by the lifetime of the absence.
Versions flip the content: it exists at odd ones. State: catalog version · newest version known here · whether an
absence is noted · how often something was heard · two readers · changes under way here · versions made elsewhere
that are to be heard.
A reader is (step, mark, version seen). Standard library only.
"""

import sys
from collections import deque

IDLE = ("idle", 0, 0)
CHANGES = 3


def exists(version):
    return version % 2 == 1


def moves(state, rule):
    """Yield (label, next state) for every step of some actor."""
    catalog, known, noted, heard, readers, here, there = state

    def after(*, catalog=catalog, known=known, noted=noted, heard=heard, readers=readers, here=here, there=there):
        return catalog, known, noted, heard, readers, here, there

    def reader(i, *to):
        return readers[:i] + (to,) + readers[i + 1 :]

    for i, (step, mark, seen) in enumerate(readers):
        if step == "idle" and not noted:
            yield f"R{i} looks for it", after(readers=reader(i, "marked", heard, 0))
        elif step == "marked":
            yield f"R{i} sees version {catalog}", after(readers=reader(i, "seen", mark, catalog))
        elif step == "seen" and rule == "mark-after-asking":
            yield f"R{i} takes its mark", after(readers=reader(i, "answers", heard, seen))
        elif step in {"seen", "answers"}:
            may_note = not exists(seen) and (mark == heard or rule == "note-without-mark")
            label = "notes that there is none" if may_note else "notes nothing"
            yield f"R{i} {label}", after(noted=noted or may_note, readers=reader(i, *IDLE))
    if catalog < CHANGES:
        made = catalog + 1
        yield f"{made} is committed here", after(catalog=made, here=here + ((made, "committed"),))
        yield f"{made} is committed elsewhere", after(catalog=made, there=there + (made,))
    counts = noted or rule != "count-only-what-is-noted"
    for each in here:
        made, step = each
        others = tuple(other for other in here if other != each)
        if rule == "forget-after-acknowledgement":
            if step == "committed":
                yield f"{made} is acknowledged", after(known=max(known, made), here=others + ((made, "told"),))
            else:
                yield f"{made} forgets", after(noted=False, heard=heard + counts, here=others)
        elif step == "committed":
            yield f"{made} forgets", after(noted=False, heard=heard + counts, here=others + ((made, "told"),))
        else:
            yield f"{made} is acknowledged", after(known=max(known, made), here=others)
    for made in there:
        left = tuple(other for other in there if other != made)
        yield f"{made} is heard of", after(known=max(known, made), noted=False, heard=heard + counts, there=left)
    if noted and rule != "absence-without-end":
        yield "the absence ends", after(noted=False)


def violated(state):
    catalog, known, noted = state[:3]
    # Made since what is known, a deletion may be what it tells.
    return noted and all(exists(version) for version in range(known, catalog + 1))


def is_stuck(state, rule):
    """Whether what is told is not true any more, and nothing but hearing of it would end it."""
    catalog, _, noted = state[:3]
    if not noted or not exists(catalog):
        return False
    return not any(not after[2] for label, after in moves(state, rule) if label == "the absence ends")


def explore(rule):
    start = (0, 0, False, 0, (IDLE,) * 2, (), ())
    parent, queue = {start: None}, deque([start])
    while queue:
        state = queue.popleft()
        for label, after in moves(state, rule):
            if violated(after) or is_stuck(after, rule):
                trace = [label]
                while parent[state]:
                    state, label = parent[state]
                    trace.append(label)
                return trace[::-1], len(parent)
            if after not in parent:
                parent[after] = (state, label)
                queue.append(after)
    return None, len(parent)


if __name__ == "__main__":
    rule = sys.argv[1] if len(sys.argv) > 1 else "protocol"
    trace, states = explore(rule)
    print(f"{rule}: {states} states, " + ("no violation" if trace is None else "violation: " + " → ".join(trace)))
    sys.exit(trace is not None)
