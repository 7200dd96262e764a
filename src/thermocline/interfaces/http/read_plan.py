"""How a read is answered: a pure function of what was asked and what the content is (RFC 9110 §13.2.2, §14)."""

from dataclasses import dataclass

from thermocline.interfaces.http.conditionals import ReadConditions, Verdict, evaluate, range_applies
from thermocline.interfaces.http.facts import ContentFacts
from thermocline.interfaces.http.ranges import Unselected, select_ranges

OK, PARTIAL, NOT_MODIFIED, PRECONDITION_FAILED, RANGE_NOT_SATISFIABLE = 200, 206, 304, 412, 416


@dataclass(frozen=True, slots=True)
class ReadRequest:
    """What was asked."""

    is_head: bool
    conditions: ReadConditions
    range: str | None = None


@dataclass(frozen=True, slots=True)
class ReadPlan:
    """What to answer: a status and, with 206, the half-open ranges to send."""

    status: int
    ranges: tuple[tuple[int, int], ...] = ()

    @property
    def has_content(self) -> bool:
        """Whether bytes of the content are part of the answer to a GET."""
        return self.status in {OK, PARTIAL}


def plan_read(request: ReadRequest, facts: ContentFacts) -> ReadPlan:
    """Return how to answer `request` for this state of the content."""
    match evaluate(request.conditions, etag=facts.etag, modified_at=facts.modified_at):
        case Verdict.FAILED:
            return ReadPlan(PRECONDITION_FAILED)
        case Verdict.NOT_MODIFIED:
            return ReadPlan(NOT_MODIFIED)
        case Verdict.PROCEED:
            pass
    # Ranges are defined for GET only: HEAD describes the whole (§14.2).
    if request.range is None or request.is_head or not range_applies(request.conditions.if_range, facts.etag):
        return ReadPlan(OK)
    ranges = select_ranges(request.range, facts.size)
    if ranges is Unselected.UNSATISFIABLE:
        return ReadPlan(RANGE_NOT_SATISFIABLE)
    if isinstance(ranges, Unselected):
        return ReadPlan(OK)
    return ReadPlan(PARTIAL, ranges)
