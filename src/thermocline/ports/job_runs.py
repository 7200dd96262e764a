"""When periodic work last ran, in whichever process: what an operator asks first."""

from abc import abstractmethod
from collections.abc import Mapping
from typing import Protocol

from thermocline.domain.work import JobRun, JobTotals


class JobRuns(Protocol):
    """One row per job. Losing a little of it is allowed."""

    @abstractmethod
    async def note(self, run: JobRun) -> None:
        """Add what a process did since it last noted; the latest run wins, whoever notes it later."""

    @abstractmethod
    async def all(self) -> Mapping[str, JobTotals]:
        """Return what all processes noted, by the names of the jobs."""
