"""Counts of reads are bounded, whatever is read."""

from thermocline.services.tracking import AccessTracker, ReadKind


def test_contents_beyond_the_capacity_are_counted_in_total_only() -> None:
    tracker = AccessTracker(2)
    for name in ("a", "b", "c", "a"):
        tracker.note(name, ReadKind.STORAGE)
    tracker.note("c", ReadKind.MEMORY)
    assert tracker.totals == [1, 4]
    assert tracker.dropped == 2
    assert tracker.drain() == {"a": [0, 2], "b": [0, 1]}
    tracker.note("c", ReadKind.MEMORY)
    assert tracker.drain() == {"c": [1, 0]}
