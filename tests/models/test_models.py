"""The protocols' exhaustive models: our rules hold in every reachable state, each weaker rule breaks."""

import pytest

from tests.models import cache_absence, cache_fence, commit, move


@pytest.mark.parametrize("case", commit.CASES)
def test_commit_protocol_holds(case: str) -> None:
    wrong, states = commit.explore(commit.CASES[case], "protocol")
    assert wrong is None
    assert states > 500


@pytest.mark.parametrize(
    "rule", ["unfenced-commit", "cleanup-on-error", "ask-then-list", "old-key-from-read", "no-second-delete"]
)
def test_weaker_commit_rules_break(rule: str) -> None:
    assert any(commit.explore(actors, rule)[0] for actors in commit.CASES.values())


@pytest.mark.parametrize("case", move.CASES)
def test_move_protocol_holds(case: str) -> None:
    wrong, states = move.explore(move.CASES[case], "protocol")
    assert wrong is None
    assert states > 500


@pytest.mark.parametrize(
    ("rule", "broken"),
    [
        ("no-key-compare", "I1: "),
        ("no-hold-compare", "a held content was moved: "),
        ("no-plan-token", "I5: "),
        ("no-intent-at-commit", "I2: "),
        ("delete-before-commit", "I2: "),
    ],
)
def test_weaker_move_rules_break(rule: str, broken: str) -> None:
    found = [wrong for actors in move.CASES.values() if (wrong := move.explore(actors, rule)[0])]
    assert found
    assert all(wrong.startswith(broken) for wrong in found)


def test_cache_fence_holds() -> None:
    trace, states = cache_fence.explore("protocol")
    assert trace is None
    assert states > 1000


@pytest.mark.parametrize(
    "rule", ["fence-only", "unlink", "write-through", "renewal-by-lease", "tombstone-spares-refresh", "failover"]
)
def test_weaker_cache_rules_gain_what_is_stale(rule: str) -> None:
    assert cache_fence.explore(rule, evictions=0)[0] is not None


@pytest.mark.parametrize("rule", ["evict-values-only", "evict-keeps-token", "refresh-by-version"])
def test_weaker_evictions_come_to_nothing(rule: str) -> None:
    assert cache_fence.explore(rule, evictions=0)[0] is None
    trace, _ = cache_fence.explore(rule)
    assert trace is not None
    assert any("a pattern evicts" in step for step in trace)


def test_a_token_that_never_ends_keeps_everybody_out() -> None:
    trace, _ = cache_fence.explore("refresh-without-end")
    assert trace is not None
    assert any("dies" in step for step in trace)


def test_cache_absence_holds() -> None:
    trace, states = cache_absence.explore("protocol")
    assert trace is None
    assert states > 1000


@pytest.mark.parametrize(
    "rule",
    [
        "note-without-mark",
        "mark-after-asking",
        "forget-after-acknowledgement",
        "count-only-what-is-noted",
        "absence-without-end",
    ],
)
def test_weaker_rules_tell_that_there_is_nothing(rule: str) -> None:
    assert cache_absence.explore(rule)[0] is not None
