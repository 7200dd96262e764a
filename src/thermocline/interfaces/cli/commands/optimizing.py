"""`optimize`, `explain`: where the policy wants content, and why."""

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from thermocline.domain.units import Seconds
from thermocline.interfaces.cli.commands.contents import ContentIdArgument
from thermocline.interfaces.cli.exits import InterruptedCommandError
from thermocline.interfaces.cli.opening import open_store, tidy
from thermocline.interfaces.cli.options import (
    ConfigOption,
    DataOption,
    DryRunOption,
    Invocation,
    JsonOption,
    invocation,
)
from thermocline.interfaces.cli.output import write_json, write_line
from thermocline.interfaces.cli.progress import Progress
from thermocline.interfaces.cli.running import run
from thermocline.interfaces.cli.shapes import size_text, table_lines

if TYPE_CHECKING:
    from thermocline.services.explanations import Explanation
    from thermocline.services.optimization_reports import OptimizationReport


def optimize(
    ctx: typer.Context,
    prefix: Annotated[str, typer.Option(metavar="PREFIX", help="Only contents whose id starts with this.")] = "",
    limit: Annotated[int | None, typer.Option(min=1, metavar="N", help="End after so many transitions.")] = None,
    dry_run: DryRunOption = False,  # noqa: FBT002 - a flag
    config: ConfigOption = None,
    data: DataOption = None,
    as_json: JsonOption = False,  # noqa: FBT002 - a flag
) -> None:
    """Move content to where the policy of the settings wants it, if that pays for itself; report what was done.

    Tiers that share a placement change at once; copies are planned, for a service or a worker to make.
    """
    run(_optimize(invocation(ctx, config, data, as_json), prefix, limit, dry_run=dry_run), is_long=True)


async def _optimize(call: Invocation, prefix: str, limit: int | None, *, dry_run: bool) -> None:
    done = 0
    async with open_store(call) as store:
        await store.services.optimizing.decider()  # its imports take a while, and are no progress
        totals = await store.services.totals.storage(max_age=Seconds(0.0))
        with Progress("optimize", total=sum(tier.count for tier in totals.tiers), in_bytes=False) as progress:

            def note(count: int) -> None:
                nonlocal done
                done += count
                progress.advance(count)

            try:
                report = await store.optimize_storage_tiers(dry_run=dry_run, prefix=prefix, limit=limit, progress=note)
            except asyncio.CancelledError as exc:
                raise InterruptedCommandError(
                    f"interrupted: {done} contents are decided on; the same command decides on the rest"
                ) from exc
        if not dry_run:
            await tidy(store)
    if call.as_json:
        write_json(report.as_dict())
        return
    for line in _report_lines(report):
        write_line(line)


def _report_lines(report: "OptimizationReport") -> list[str]:
    would_be, planned = (" would be made", "") if report.dry_run else ("", " planned")
    transitions = f"{report.transitions} transitions{would_be}: {report.in_place} in place"
    copies = f"{report.copies} copies ({size_text(report.copied_bytes)}){planned}"
    saved = f"saves {_usd(report.cost_savings)} a month, after {_usd(report.cost_usd)} for the copies"
    lines = [
        f"policy {report.policy}{f': {report.note}' if report.note else ''}",
        f"{report.examined} contents, {transitions}, {copies}",
        f"{saved} over {report.horizon_days:g} days; the mean read waits {report.performance_impact:+.3f} ms",
    ]
    if report.by_tiers:
        rows = [(source, target, str(count)) for (source, target), count in sorted(report.by_tiers.items())]
        lines += ["", *table_lines(("from", "to", "contents"), rows, right={2})]
    refused = {reason: count for reason, count in sorted(report.refused.items()) if count}
    if refused:
        rows2 = [(reason.replace("_", " "), str(count)) for reason, count in refused.items()]
        lines += ["", *table_lines(("stays because", "contents"), rows2, right={1})]
    if report.unpriced:
        lines.append(f"no prices for {', '.join(report.unpriced)}: name a class of [prices] there")
    if report.unverified:
        lines.append(f"unverified prices: {len(report.unverified)}; --json lists them, [prices] overrides them")
    if not report.is_complete:
        lines.append("ended at the limit; there may be more")
    return lines


def explain(
    ctx: typer.Context,
    content_id: ContentIdArgument,
    config: ConfigOption = None,
    data: DataOption = None,
    as_json: JsonOption = False,  # noqa: FBT002 - a flag
) -> None:
    """Say why a content has its tier, what would change that, and what it costs here and elsewhere."""
    run(_explain(invocation(ctx, config, data, as_json), content_id))


async def _explain(call: Invocation, content_id: str) -> None:
    async with open_store(call) as store:
        found = await store.explain_tier(content_id)
    if call.as_json:
        write_json(found.as_dict())
        return
    for line in _explanation_lines(found):
        write_line(line)


def _explanation_lines(found: "Explanation") -> list[str]:
    told: Mapping[str, Any] = found.as_dict()
    why = f"since {told['why']['moved_at'][:19]}Z, {told['why']['reason']}" if found.arrived else "stored there"
    lines = [f"{told['content_id']}: {told['tier']} in {told['placement']}, {why}"]
    if found.note:
        lines.append(f"policy {found.policy}: {found.note}")
    verdict = found.verdict
    if verdict is None:
        lines.append("no policy moves it: it lies where no tier is placed")
        return lines
    if verdict.tier != told["tier"]:
        lines.append(f"next: {verdict.tier} in {verdict.placement}, {verdict.reason}")
    elif verdict.refusal is None:
        lines.append(f"it stays: {verdict.reason}")
    else:
        lines.append(f"it stays: {verdict.refusal.replace('_', ' ')} ({verdict.reason})")
    lines += [f"{turn.when}: {turn.tier} in {turn.placement}, {turn.reason}" for turn in found.turns]
    rows = [
        (
            f"{cost.placement}{' (here)' if cost.is_here else ''}",
            " ".join(cost.tiers),
            "no prices" if cost.storage_usd_per_month is None else _usd(cost.storage_usd_per_month),
            "no prices" if cost.usd_per_month is None else _usd(cost.usd_per_month),
        )
        for cost in found.costs
    ]
    return [*lines, "", *table_lines(("placement", "tiers", "storage/month", "with reads/month"), rows, right={2, 3})]


def _usd(amount: float) -> str:
    """Return money as people read it, small amounts not as nothing."""
    return f"{amount:.2f} USD" if abs(amount) >= 1 or not amount else f"{amount:.3g} USD"
