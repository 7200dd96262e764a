"""What tests of the policy share: a machine on which a byte costs as much as a gigabyte, and days that pass."""

from pathlib import Path
from typing import Any

from tests.machine import Machine
from thermocline import Settings, StorageOrchestrator
from thermocline.domain.units import Seconds
from thermocline.services.tracking import ReadKind

DAY = 86400.0
BIG = b"x" * 1000
"""Costs 23 USD a month in the first class."""
PRICES: dict[str, dict[str, float]] = {
    "s3.standard": {"storage": 23e6},
    "s3.standard_ia": {"storage": 12.5e6, "retrieval": 10e6, "minimum_bytes": 0},
}


def policy_settings(**policy: Any) -> Settings:
    """Return settings with two classes and an archive, and this `[policy]`."""
    return Settings.model_validate(
        {
            "limits": {"sweep_max_share": 1.0},
            "prices": PRICES,
            "placements": {
                "standard": {"objects": "main", "prices": "s3.standard"},
                "infrequent": {"objects": "main", "storage_class": "STANDARD_IA", "prices": "s3.standard_ia"},
                "archive": {
                    "objects": "main",
                    "storage_class": "GLACIER",
                    "prices": "s3.deep_archive",
                    "restore": {"standard": {"delay": "1h", "usd_per_gb": 0.02}},
                },
            },
            "tiers": {"cold": {"placement": "infrequent"}},
            "policy": {"name": "idle", "daily_usd": "none", **policy},
        }
    )


def policy_machine(folder: Path, **policy: Any) -> Machine:
    """Return a machine with such settings."""
    return Machine(folder, settings=policy_settings(**policy))


def limited(machine: Machine, **limits: object) -> None:
    """Set some of `[limits]` for processes to come."""
    machine.settings = machine.settings.model_copy(update={"limits": machine.settings.limits.model_copy(update=limits)})


def pass_days(machine: Machine, days: float) -> None:
    """Let days pass."""
    machine.clock.advance(Seconds(days * DAY))


async def read(store: StorageOrchestrator, content_id: str, times: int = 1) -> None:
    """Let the storage serve reads, and the catalog know of them."""
    store.services.tracker.note(content_id, ReadKind.STORAGE, times)
    await store.services.tracking.flush()


async def make_copies(store: StorageOrchestrator) -> None:
    """Make every copy that is planned and due."""
    while await store.services.moving.run():
        pass
