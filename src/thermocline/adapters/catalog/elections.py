"""`Elections` in SQL."""

from sqlalchemy import bindparam, delete, or_
from sqlalchemy.dialects import postgresql

from thermocline.adapters.catalog.claims import micros
from thermocline.adapters.catalog.dialects import now_micros
from thermocline.adapters.catalog.schema import leases
from thermocline.adapters.catalog.statements import Statement
from thermocline.adapters.catalog.transactions import Runner
from thermocline.domain.units import Seconds
from thermocline.ports.elections import Elections

_candidate = postgresql.insert(leases).values(
    name=bindparam("name"), holder=bindparam("holder"), lease_until=now_micros() + bindparam("lease")
)
WIN = Statement(
    _candidate.on_conflict_do_update(
        index_elements=[leases.c.name],
        set_={"holder": _candidate.excluded.holder, "lease_until": _candidate.excluded.lease_until},
        where=or_(leases.c.holder == _candidate.excluded.holder, leases.c.lease_until <= now_micros()),
    )
)
RESIGN = Statement(delete(leases).where(leases.c.name == bindparam("name"), leases.c.holder == bindparam("holder")))


class SqlElections(Elections):
    """Leases in the table `leases`."""

    def __init__(self, runner: Runner) -> None:
        self._runner = runner

    async def win(self, name: str, holder: str, *, lease: Seconds) -> bool:
        """Take or extend the lease `name` for `holder`; False while another holds it."""
        parameters = {"name": name, "holder": holder, "lease": micros(lease)}
        return await self._runner.write(lambda connection: connection.change(WIN, parameters)) > 0

    async def resign(self, name: str, holder: str) -> None:
        """Give the lease back early. Without effect if another holds it."""
        parameters = {"name": name, "holder": holder}
        await self._runner.write(lambda connection: connection.change(RESIGN, parameters))
