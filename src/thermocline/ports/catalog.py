"""The catalog as a whole: one database behind several small ports."""

from abc import abstractmethod
from typing import Protocol

from thermocline.ports.accesses import Accesses
from thermocline.ports.adopted_objects import AdoptedObjects
from thermocline.ports.bulk_writes import BulkWrites
from thermocline.ports.change_feed import ChangeFeed
from thermocline.ports.columns import Columns
from thermocline.ports.cursors import Cursors
from thermocline.ports.elections import Elections
from thermocline.ports.intents import Intents
from thermocline.ports.job_runs import JobRuns
from thermocline.ports.moves import Moves
from thermocline.ports.outbox import Outbox
from thermocline.ports.policy_budget import PolicyBudget
from thermocline.ports.read_history import ReadHistory
from thermocline.ports.records import Records
from thermocline.ports.recovery import Recovery
from thermocline.ports.restores import Restores
from thermocline.ports.savings import Savings
from thermocline.ports.sweeps import Sweeps
from thermocline.ports.tokens import Tokens
from thermocline.ports.totals import Totals


class Catalog(Protocol):
    """One database. Its parts share transactions where their documentation says so."""

    records: Records
    intents: Intents
    bulk: BulkWrites
    outbox: Outbox
    moves: Moves
    restores: Restores
    accesses: Accesses
    sweeps: Sweeps
    tokens: Tokens
    changes: ChangeFeed
    elections: Elections
    job_runs: JobRuns
    totals: Totals
    cursors: Cursors
    columns: Columns
    recovery: Recovery
    adopted: AdoptedObjects
    policy_budget: PolicyBudget
    read_history: ReadHistory
    savings: Savings

    @abstractmethod
    async def installation(self) -> str:
        """Return the installation id, chosen when the catalog was made."""

    @abstractmethod
    async def check(self) -> None:
        """Return if the catalog answers; raises `UnavailableError` otherwise."""
