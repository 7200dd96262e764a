"""`velocity`: the seed's rule. At least one read a day is HOT, at least 0.1 WARM, younger than a year WARM, else COLD.

Where the seed stops: what was then not read for a year is ARCHIVE. Reads a day are those of the last 30 days, and only
those that reach the storage: of the reads of one day, one. Those that caches answer say nothing about where bytes lie.
"""

from typing import Final

import numpy as np

from thermocline.economics.columns import RECENT_DAYS, Columns
from thermocline.economics.policies.policy import Decisions, Policy, Reason, Setting, ladder

HOT_READS_A_DAY: Final = 1.0
WARM_READS_A_DAY: Final = 0.1
YEAR_DAYS: Final = 365

HOT, WARM, COLD, ARCHIVE = range(4)


class Velocity(Policy):
    """Tiers stand for classes in their order: HOT for the first, the last class for all that are left."""

    def __init__(self, setting: Setting) -> None:
        self._places = ladder(setting, 4)

    def decide(self, day: int, columns: Columns) -> Decisions:
        """Return the seed's tiers as classes."""
        velocity = columns.recent_days / RECENT_DAYS
        rules = [
            (velocity >= HOT_READS_A_DAY, HOT, Reason.READ_DAILY),
            (velocity >= WARM_READS_A_DAY, WARM, Reason.READ_LATELY),
            (columns.age(day) < YEAR_DAYS, WARM, Reason.YOUNG),
            (columns.idle(day) >= YEAR_DAYS, ARCHIVE, Reason.SILENT_YEAR),
        ]
        holds = [condition for condition, _, _ in rules]
        tiers = np.select(holds, [tier for _, tier, _ in rules], COLD)
        reasons = np.select(holds, [reason for _, _, reason in rules], Reason.RARELY_READ)
        return Decisions(self._places[tiers], reasons.astype(np.int8))
