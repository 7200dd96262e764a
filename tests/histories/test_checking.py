"""The checker of histories: each rule has a history that only it refuses, and one beside it that is allowed."""

import dataclasses

import pytest

from tests.histories.checking import Act, Bounds, Change, Read, Rule, check

BOUNDS = Bounds(elsewhere=2.0)


def write(
    value: str, version: int | None, begin: float, end: float | None, *, by: int = 0, public: bool = False
) -> Change:
    return Change(by, "a", Act.WRITE, begin, end, version, value, public)


def show(version: int | None, begin: float, end: float | None, *, public: bool, by: int = 0) -> Change:
    return Change(by, "a", Act.SHOW, begin, end, version, None, public)


def delete(begin: float, end: float | None, *, by: int = 0) -> Change:
    return Change(by, "a", Act.DELETE, begin, end)


def read(value: str | None, begin: float, *, by: int = 0, anybody: bool = False, takes: float = 0.1) -> Read:
    return Read(by, "a", begin, begin + takes, value, anybody)


ONE = write("one", 1, 0.0, 1.0)
TWO = write("two", 2, 2.0, 3.0)
SHOWN = show(2, 2.0, 3.0, public=True)
HIDDEN = show(3, 4.0, 5.0, public=False)

GOOD = {
    "what was written": ([ONE], [read("one", 1.5)]),
    "nothing before the first write": ([ONE], [read(None, 0.5)]),
    "a write under way, seen": ([ONE, TWO], [read("two", 2.1)]),
    "a write under way, not seen": ([ONE, TWO], [read("one", 2.9)]),
    "elsewhere older, within the bound": ([ONE, TWO], [read("one", 4.9, by=1)]),
    "elsewhere nothing, within the bound": ([ONE], [read(None, 2.9, by=1)]),
    "elsewhere the deleted, within the bound": ([ONE, delete(2.0, 3.0)], [read("one", 4.9, by=1)]),
    "deleted and made anew": ([ONE, delete(2.0, 3.0), write("two", 2, 4.0, 5.0)], [read(None, 3.1), read("two", 5.1)]),
    "a deletion that overlaps a write": ([ONE, delete(2.0, 3.5), TWO], [read("two", 9.0), read(None, 9.0)]),
    "a write of unknown end, seen late": ([ONE, write("two", None, 2.0, None)], [read("two", 90.0)]),
    "a write of unknown end, never seen": ([ONE, write("two", None, 2.0, None)], [read("one", 90.0)]),
    "shown": ([ONE, SHOWN], [read("one", 3.1, anybody=True)]),
    "hidden elsewhere, within the bound": ([ONE, SHOWN, HIDDEN], [read("one", 6.9, by=1, anybody=True)]),
    "hidden and shown again": ([ONE, SHOWN, HIDDEN, show(4, 6.0, 7.0, public=True)], [read("one", 9.9, anybody=True)]),
    "hidden from anybody, not from its owner": ([ONE], [read(None, 9.0, anybody=True), read("one", 9.0)]),
    "stored as public": ([write("one", 1, 0.0, 1.0, public=True)], [read("one", 1.1, anybody=True)]),
    "writes that overlap go by their versions": (
        [write("one", 1, 0.0, 5.0), write("two", 2, 0.0, 3.0, by=1)],
        [read("two", 9.0), read("two", 9.0, by=1)],
    ),
    "two reads at once": ([ONE, TWO], [read("two", 2.5, takes=1.0), read("one", 2.6)]),
    "a move changes no bytes": ([ONE, Change(0, "a", Act.MOVE, 2.0, 3.0, 2)], [read("one", 9.0)]),
    "one content is not another": ([ONE, dataclasses.replace(TWO, content_id="b")], [read("one", 9.0)]),
}

BAD = {
    "half of it": ([ONE], [dataclasses.replace(read("one", 1.5), whole=False)], Rule.WHOLE),
    "of another content": ([ONE, dataclasses.replace(TWO, content_id="b")], [read("two", 4.0)], Rule.WRITTEN),
    "before it was written": ([ONE, TWO], [read("two", 1.5)], Rule.WRITTEN),
    "older at home": ([ONE, TWO], [read("one", 3.1)], Rule.OWN),
    "nothing at home": ([ONE], [read(None, 1.1)], Rule.OWN),
    "deleted, at home": ([ONE, delete(2.0, 3.0)], [read("one", 3.1)], Rule.OWN),
    "hidden, at home": ([ONE, SHOWN, HIDDEN], [read("one", 5.1, anybody=True)], Rule.OWN),
    "older elsewhere": ([ONE, TWO], [read("one", 5.1, by=1)], Rule.ELSEWHERE),
    "deleted, elsewhere": ([ONE, delete(2.0, 3.0)], [read("one", 5.1, by=1)], Rule.ELSEWHERE),
    "nothing elsewhere": ([ONE], [read(None, 3.1, by=1)], Rule.ABSENT),
    "shown, but not to anybody": ([ONE, SHOWN], [read(None, 5.1, by=1, anybody=True)], Rule.ABSENT),
    "never shown": ([ONE], [read("one", 1.1, by=1, anybody=True)], Rule.PRIVATE),
    "hidden, elsewhere": ([ONE, SHOWN, HIDDEN], [read("one", 7.1, by=1, anybody=True)], Rule.PRIVATE),
    "replaced by what is private": (
        # The bytes are those of the new write, which nobody ever showed.
        [write("one", 1, 0.0, 1.0, public=True), TWO],
        [read("two", 5.1, by=1, anybody=True)],
        Rule.PRIVATE,
    ),
    "writes that overlap, the older one": (
        [write("one", 1, 0.0, 5.0), write("two", 2, 0.0, 3.0)],
        [read("one", 9.0, by=1)],
        Rule.ELSEWHERE,
    ),
    "back to the older": (
        # Acknowledged only at the end: no other rule knows that it had been made by then.
        [ONE, write("two", 2, 2.0, 20.0)],
        [read("two", 3.0, by=1), read("one", 5.2, by=1)],
        Rule.BACK,
    ),
}


@pytest.mark.parametrize("name", GOOD)
def test_what_is_allowed(name: str) -> None:
    changes, reads = GOOD[name]
    assert check(changes, reads, BOUNDS).violations == []


@pytest.mark.parametrize("name", BAD)
def test_what_only_one_rule_refuses(name: str) -> None:
    changes, reads, rule = BAD[name]
    assert [violation.rule for violation in check(changes, reads, BOUNDS).violations] == [rule]


def test_every_rule_has_a_history_that_only_it_refuses() -> None:
    assert {rule for _, _, rule in BAD.values()} == set(Rule)


def test_staleness_is_measured_also_where_it_is_allowed() -> None:
    verdict = check([ONE, TWO], [read("one", 4.5, by=1), read("one", 3.5, by=2)], BOUNDS)
    assert verdict.violations == []
    assert verdict.stalest[Rule.ELSEWHERE] == pytest.approx(1.5)
    assert "elsewhere 1.500 s" in str(verdict)


def test_home_has_a_bound_of_its_own() -> None:
    late = [read("one", 3.5)]
    assert [found.rule for found in check([ONE, TWO], late, BOUNDS).violations] == [Rule.OWN]
    assert check([ONE, TWO], late, Bounds(elsewhere=2.0, own=1.0)).violations == []
