"""What a recorded history of several processes may show of a content, and by how much it was stale.

Pure: a history goes in, a verdict comes out. Times are seconds of one clock that all processes share; an operation
took effect somewhere between its begin and its end. Nothing is assumed of operations that overlap, except what the
versions say that their receipts gave them.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from math import inf
from typing import Final, TypeVar


class Act(StrEnum):
    """What changes a content."""

    WRITE = "write"
    SHOW = "show"
    """Change of the visibility alone."""
    DELETE = "delete"
    MOVE = "move"


class Rule(StrEnum):
    """What a read may not do."""

    WHOLE = "bytes that are not whole"
    WRITTEN = "bytes that nobody wrote to this id"
    OWN = "older than this process's last acknowledged change"
    ELSEWHERE = "older than what another process had acknowledged, beyond the bound"
    PRIVATE = "private content shown to anybody, beyond the bound"
    ABSENT = "no content, though there was one, beyond the bound"
    BACK = "older than what this process had read before, beyond the bound"


@dataclass(frozen=True, slots=True)
class Change:
    """A change of one content. `end` is None if nobody knows what came of it: it may have been made, now or later."""

    process: int
    content_id: str
    act: Act
    begin: float
    end: float | None
    version: int | None = None
    """None also for deletions: they give no receipt."""
    value: str | None = None
    """What a write stored."""
    public: bool | None = None
    """What a write or a change of visibility made it; None: this stays."""

    def came_after(self, other: "Change") -> bool:
        """Whether this change was certainly made after the other."""
        if self.version is not None and other.version is not None:
            return self.version > other.version
        return other.end is not None and other.end < self.begin


@dataclass(frozen=True, slots=True)
class Read:
    """A read of one content: what it returned, None for no such content (or, to `anybody`, none that they may see)."""

    process: int
    content_id: str
    begin: float
    end: float
    value: str | None
    anybody: bool = False
    whole: bool = True


@dataclass(frozen=True, slots=True)
class Bounds:
    """For how many seconds after its acknowledgement a change may go unseen."""

    elsewhere: float
    own: float = 0.0
    """In the process that made it."""


@dataclass(frozen=True, slots=True)
class Violation:
    """A read that broke a rule, and the change that it should have seen."""

    rule: Rule
    read: Read
    change: Change | Read | None
    staleness: float

    def __str__(self) -> str:
        return f"{self.rule} ({self.staleness:.3f} s): {self.read} after {self.change}"


@dataclass(slots=True)
class Verdict:
    """What came of a check."""

    violations: list[Violation] = field(default_factory=list)
    stalest: dict[Rule, float] = field(default_factory=dict)
    """Of each rule the largest staleness that was met, allowed or not; 0 where nothing was stale."""
    reads: int = 0
    changes: int = 0

    def note(self, rule: Rule, read: Read, staleness: float, bound: float, change: "Change | Read | None") -> None:
        """Take in that a read was stale by so much where so much is allowed."""
        self.stalest[rule] = max(self.stalest.get(rule, 0.0), staleness)
        if staleness > bound:
            self.violations.append(Violation(rule, read, change, staleness))

    def __str__(self) -> str:
        stalest = ", ".join(f"{rule.name.lower()} {seconds:.3f} s" for rule, seconds in sorted(self.stalest.items()))
        return f"{self.changes} changes, {self.reads} reads; stalest: {stalest}"


def check(changes: Sequence[Change], reads: Sequence[Read], bounds: Bounds) -> Verdict:
    """Return every read that no order of the changes allows within the bounds."""
    verdict = Verdict(reads=len(reads), changes=len(changes))
    changes_of, reads_of = _by_content(changes), _by_content(reads)
    for content_id, its_reads in reads_of.items():
        content = _Content(content_id, changes_of[content_id], bounds, verdict)
        for read in its_reads:
            content.check(read)
        content.check_order(its_reads)
    return verdict


Event = TypeVar("Event", Change, Read)


def _by_content(events: Iterable[Event]) -> defaultdict[str, list[Event]]:
    found: defaultdict[str, list[Event]] = defaultdict(list)
    for event in events:
        found[event.content_id].append(event)
    return found


Ends = Callable[[Change], bool]


class _Content:
    """One content: before all changes there is none."""

    def __init__(self, content_id: str, changes: Sequence[Change], bounds: Bounds, verdict: Verdict) -> None:
        self._bounds = bounds
        self._verdict = verdict
        self._changes = changes
        self._writes = {change.value: change for change in changes if change.act is Act.WRITE}
        self._nothing = Change(-1, content_id, Act.DELETE, -inf, -inf, version=-1)
        self._versions = {value: write.version for value, write in self._writes.items()}

    def check(self, read: Read) -> None:
        if not read.whole:
            self._verdict.note(Rule.WHOLE, read, inf, 0.0, None)
        elif read.value is None:
            self._check_absence(read)
        else:
            self._check_bytes(read)

    def check_order(self, reads: Sequence[Read]) -> None:
        """Reads of one process do not go back, beyond the bound."""
        for process in {read.process for read in reads}:
            ordered = sorted(
                (read for read in reads if read.process == process and self._version_of(read) is not None),
                key=lambda read: read.begin,
            )
            ended = sorted(ordered, key=lambda read: read.end)
            newest: Read | None = None
            past = 0
            for read in ordered:
                version = self._version_of(read) or 0
                # By its end, the earliest read that met what is newer than this one.
                while past < len(ended) and ended[past].end < read.begin:
                    candidate = ended[past]
                    past += 1
                    if newest is None or (self._version_of(candidate) or 0) > (self._version_of(newest) or 0):
                        newest = candidate
                if newest is not None and (self._version_of(newest) or 0) > version:
                    self._verdict.note(Rule.BACK, read, read.begin - newest.end, self._bounds.elsewhere, newest)

    def _check_bytes(self, read: Read) -> None:
        write = self._writes.get(read.value)
        if write is None or write.begin > read.end:
            self._verdict.note(Rule.WRITTEN, read, inf, 0.0, write)
            return
        self._check_state(read, [write], lambda change: change.act in {Act.WRITE, Act.DELETE}, Rule.ELSEWHERE)
        if read.anybody:
            shown = [
                change
                for change in self._changes
                if change.public is True and change.begin <= read.end and not write.came_after(change)
            ]
            self._check_state(
                read, shown, lambda change: change.public is False or change.act is Act.DELETE, Rule.PRIVATE
            )

    def _check_absence(self, read: Read) -> None:
        hidden = [
            self._nothing,
            *(
                change
                for change in self._changes
                if change.begin <= read.end and (change.act is Act.DELETE or (read.anybody and change.public is False))
            ),
        ]

        def ends(change: Change) -> bool:
            return change.public is True if read.anybody else change.act is Act.WRITE

        self._check_state(read, hidden, ends, Rule.ABSENT)

    def _check_state(self, read: Read, sources: Sequence[Change], ends: Ends, rule: Rule) -> None:
        """Check that one of `sources` may have made what was read, and that nothing ended it too long before."""
        verdicts = [self._staleness(read, source, ends) for source in sources]
        if not verdicts:
            self._verdict.note(rule, read, inf, 0.0, None)
            return
        own, elsewhere = min(verdicts, key=lambda pair: (self._exceeds(pair), max(pair[0][0], pair[1][0])))
        self._verdict.note(Rule.OWN, read, own[0], self._bounds.own, own[1])
        self._verdict.note(rule, read, elsewhere[0], self._bounds.elsewhere, elsewhere[1])

    def _exceeds(self, pair: "tuple[_Late, _Late]") -> bool:
        return pair[0][0] > self._bounds.own or pair[1][0] > self._bounds.elsewhere

    def _staleness(self, read: Read, source: Change, ends: Ends) -> "tuple[_Late, _Late]":
        """Return for how long, when the read began, it was acknowledged that what `source` made was over.

        By this very process, and by others; with the change that ended it.
        """
        own = elsewhere = _IN_TIME
        for change in self._ending(source, ends):
            late = read.begin - change.end if change.end is not None else 0.0
            if change.process == read.process:
                own = max(own, (late, change), key=_lateness)
            else:
                elsewhere = max(elsewhere, (late, change), key=_lateness)
        return own, elsewhere

    def _ending(self, source: Change, ends: Ends) -> Iterator[Change]:
        for change in self._changes:
            if change.end is not None and ends(change) and change.came_after(source):
                yield change

    def _version_of(self, read: Read) -> int | None:
        return self._versions.get(read.value) if read.whole else None


_Late = tuple[float, Change | None]
_IN_TIME: Final[_Late] = (0.0, None)


def _lateness(late: _Late) -> float:
    return late[0]
