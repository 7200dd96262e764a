"""Which calls of ports only read: beside them a process that dies leaves what it left after its last change."""

READS = {
    ("catalog.columns.sweep", "next"),
    ("catalog.cursors", "load"),
    ("catalog.outbox", "unnamed"),
    ("catalog.planned", "among"),
    ("catalog.policy_budget", "spent"),
    ("catalog.records", "describe"),
    ("catalog.records", "expired"),
    ("catalog.records", "find"),
    ("catalog.records", "page"),
    ("catalog.recovery", "is_recovering"),
    ("catalog.restores", "find"),
    ("catalog.sweeps", "content_id_after"),
    ("catalog.sweeps", "due"),
    ("catalog.sweeps", "unnamed"),
    ("objects", "fetch"),
    ("objects", "head"),
    ("objects", "restore_state"),
    ("objects.list_pages", "next"),
    ("objects.list_range", "next"),
    ("objects.stream", "next"),
}


def call_of(point: str) -> tuple[str, str]:
    """Return the part and the method that a point of `Faults` names."""
    part, _, method = point.partition("#")[0].rpartition(".")
    return part, method


def only_reads(point: str) -> bool:
    """Whether the call at this point changes nothing."""
    return call_of(point) in READS
