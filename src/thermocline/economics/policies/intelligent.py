"""`intelligent`: S3 Intelligent-Tiering, by itself where the vendor has it, else its rule on the classes there are.

The rule: 30 days without a read, one class down; 90 days, another; a read brings it back at once; what is smaller than
128 KB stays. As the vendor's own class there are no fees for coming back, but one for being watched.
"""

from typing import Final

import numpy as np

from thermocline.economics.columns import Columns
from thermocline.economics.policies.policy import Decisions, Policy, Reason, Setting

SILENCES: Final = (30, 90)
SMALLEST_BYTES: Final = 131_072
CLASS_NAMES: Final = frozenset({"s3.intelligent"})


class Intelligent(Policy):
    """Everything large enough goes into the vendor's class, if the sheet has it."""

    def __init__(self, setting: Setting) -> None:
        names = [prices.name for prices in setting.sheet.classes]
        own = [place for place, name in enumerate(names) if name in CLASS_NAMES]
        self._own = own[0] if own else None
        self._last = len(setting.classes) - 1
        smallest = setting.sheet.classes[own[0]].value("monitored_bytes") if own else SMALLEST_BYTES
        self._is_small = setting.sheet.sizes < smallest

    def decide(self, day: int, columns: Columns) -> Decisions:
        """Return the vendor's class, or the one that its rule names."""
        if self._own is not None:
            return Decisions(
                np.where(self._is_small, columns.places, self._own).astype(np.int8),
                np.where(self._is_small, Reason.TOO_SMALL, Reason.WATCHED).astype(np.int8),
            )
        reached = np.minimum(np.searchsorted(SILENCES, columns.idle(day), side="right"), self._last)
        places = np.where(self._is_small, 0, reached).astype(np.int8)
        reasons = np.select([self._is_small, reached > 0], [Reason.TOO_SMALL, Reason.SILENT], Reason.READ_AGAIN)
        return Decisions(places, reasons.astype(np.int8))
