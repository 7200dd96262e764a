"""Laws of `JobRuns`."""
# ruff: noqa: D102 - the name of a test states its law

import asyncio
from dataclasses import replace

from thermocline.domain.units import Timestamp
from thermocline.domain.work import JobRun, JobTotals
from thermocline.testing.contracts.catalog.base import CatalogContract
from thermocline.testing.contracts.catalog.steps import OpenCatalog, one_process, two_processes

RUN = JobRun("expire", "here", Timestamp(1000), Timestamp(2000), None, None, done=3, failures=0)


class JobRunsContract(CatalogContract):
    """Laws of `JobRuns`."""

    async def test_what_processes_did_adds_up_and_the_latest_run_shows(self, open_catalog: OpenCatalog) -> None:
        async with two_processes(open_catalog) as (one, other):
            assert await one.catalog.job_runs.all() == {}
            await one.catalog.job_runs.note(RUN)
            await other.catalog.job_runs.note(replace(RUN, name="sweep", ran_at=Timestamp(5), next_at=None))
            failed = JobRun(
                "expire", "there", Timestamp(1500), None, Timestamp(1500), "Error: it's 'down'", done=4, failures=2
            )
            await other.catalog.job_runs.note(failed)
            assert await one.catalog.job_runs.all() == {
                "expire": JobTotals("there", Timestamp(1500), None, Timestamp(1500), failed.last_error, 7, 2),
                "sweep": JobTotals("here", Timestamp(5), None, None, None, 3, 0),
            }
            await one.catalog.job_runs.note(replace(RUN, ran_at=Timestamp(1600), done=0))
            assert (await other.catalog.job_runs.all())["expire"] == JobTotals(
                "here", Timestamp(1600), Timestamp(2000), Timestamp(1500), None, 7, 2
            )

    async def test_what_is_noted_late_counts_and_hides_nothing(self, open_catalog: OpenCatalog) -> None:
        async with one_process(open_catalog) as steps:
            await steps.catalog.job_runs.note(RUN)
            late = replace(RUN, ran_at=Timestamp(900), failed_at=Timestamp(900), last_error="old", failures=1)
            await steps.catalog.job_runs.note(late)
            shown = (await steps.catalog.job_runs.all())["expire"]
            assert shown == JobTotals("here", Timestamp(1000), Timestamp(2000), Timestamp(900), None, 6, 1)
            await steps.catalog.job_runs.note(replace(late, failed_at=Timestamp(800)))
            assert (await steps.catalog.job_runs.all())["expire"].failed_at == Timestamp(900)

    async def test_nothing_is_lost_between_processes(self, open_catalog: OpenCatalog) -> None:
        async with two_processes(open_catalog) as (one, other):
            await asyncio.gather(*(steps.catalog.job_runs.note(RUN) for steps in (one, other) * 10))
            assert (await one.catalog.job_runs.all())["expire"].done == 60
