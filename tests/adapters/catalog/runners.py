"""A runner of transactions that stands before another one, for tests to come between."""

from collections.abc import Awaitable
from typing import TypeVar

from thermocline.adapters.catalog.transactions import Runner, Transaction
from thermocline.domain.units import Seconds

T = TypeVar("T")


class FrontRunner(Runner):
    """Passes everything on."""

    def __init__(self, inner: Runner) -> None:
        self.inner = inner
        self.long_reads = inner.long_reads

    def read(self, function: Transaction[T]) -> Awaitable[T]:
        """Run a function that changes nothing."""
        return self.inner.read(function)

    def write(self, function: Transaction[T], *, max_wait: Seconds | None = None) -> Awaitable[T]:
        """Run a function as one transaction."""
        return self.inner.write(function, max_wait=max_wait)

    async def aclose(self) -> None:
        """Close the other one."""
        await self.inner.aclose()
