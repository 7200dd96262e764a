"""`JobRuns` in SQL."""

from collections.abc import Mapping
from typing import Any, Final

from sqlalchemy import bindparam, case, select
from sqlalchemy.dialects import postgresql

from thermocline.adapters.catalog.dialects import plain_text
from thermocline.adapters.catalog.record_rows import as_timestamp
from thermocline.adapters.catalog.schema import job_runs
from thermocline.adapters.catalog.statements import Statement
from thermocline.adapters.catalog.transactions import Runner
from thermocline.domain.units import Timestamp
from thermocline.domain.work import JobRun, JobTotals
from thermocline.ports.job_runs import JobRuns

_LATEST: Final = ("holder", "ran_at", "next_at", "last_error")
_new = postgresql.insert(job_runs).values({name: bindparam(name) for name in job_runs.c.keys()})  # noqa: SIM118 - columns are no mapping's
_is_later = _new.excluded.ran_at >= job_runs.c.ran_at
NOTE = Statement(
    _new.on_conflict_do_update(
        index_elements=[job_runs.c.name],
        set_={
            **{name: case((_is_later, _new.excluded[name]), else_=job_runs.c[name]) for name in _LATEST},
            "failed_at": case(
                (job_runs.c.failed_at.is_(None), _new.excluded.failed_at),
                (_new.excluded.failed_at > job_runs.c.failed_at, _new.excluded.failed_at),
                else_=job_runs.c.failed_at,
            ),
            "done": job_runs.c.done + _new.excluded.done,
            "failures": job_runs.c.failures + _new.excluded.failures,
        },
    )
)
ALL = Statement(select(*job_runs.c))


class SqlJobRuns(JobRuns):
    """Rows of the table `job_runs`."""

    def __init__(self, runner: Runner) -> None:
        self._runner = runner

    async def note(self, run: JobRun) -> None:
        """Add what a process did since it last noted; the latest run wins, whoever notes it later."""
        parameters: dict[str, Any] = {
            "name": run.name,
            "holder": run.holder,
            "ran_at": run.ran_at,
            "next_at": run.next_at,
            "failed_at": run.failed_at,
            "last_error": None if run.last_error is None else plain_text(run.last_error),
            "done": run.done,
            "failures": run.failures,
        }
        await self._runner.write(lambda connection: connection.change(NOTE, parameters))

    async def all(self) -> Mapping[str, JobTotals]:
        """Return what all processes noted, by the names of the jobs."""
        rows = await self._runner.read(lambda connection: connection.all(ALL, {}))
        return {
            row[0]: JobTotals(
                holder=row[1],
                ran_at=Timestamp(row[2]),
                next_at=as_timestamp(row[3]),
                failed_at=as_timestamp(row[4]),
                last_error=row[5],
                done=row[6],
                failures=row[7],
            )
            for row in rows
        }
