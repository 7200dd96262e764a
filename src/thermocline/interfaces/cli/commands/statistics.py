"""`stats`: how much there is, and what the background work is doing, in any process of this catalog."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Any

import typer

from thermocline.interfaces.cli.opening import open_store
from thermocline.interfaces.cli.options import ConfigOption, DataOption, Invocation, JsonOption, invocation
from thermocline.interfaces.cli.output import write_json, write_line
from thermocline.interfaces.cli.running import run
from thermocline.interfaces.cli.shapes import size_text, table_lines

CACHE_NOTE = (
    "Each process has a cache of its own, and this one has just begun: a service tells its own at /v1/stats/cache."
)


class Subject(StrEnum):
    """What there are statistics of."""

    STORAGE = "storage"
    WORK = "work"
    CACHE = "cache"
    SAVINGS = "savings"


def stats(
    ctx: typer.Context,
    subject: Annotated[
        Subject | None, typer.Argument(metavar="[storage|work|cache|savings]", help="Only this.")
    ] = None,
    config: ConfigOption = None,
    data: DataOption = None,
    as_json: JsonOption = False,  # noqa: FBT002 - a flag
) -> None:
    """Show what is stored by tier, and when which background work last ran, in any process."""
    run(_stats(invocation(ctx, config, data, as_json), subject))


async def _stats(call: Invocation, subject: Subject | None) -> None:
    from thermocline.interfaces import statistics

    async with open_store(call) as store:
        services = store.services
        found: dict[str, Any] = {}
        if subject in {None, Subject.STORAGE}:
            found["storage"] = await statistics.storage_statistics(services)
        if subject in {None, Subject.WORK}:
            found["work"] = await statistics.catalog_work(services)
        if subject is Subject.CACHE:
            scope = "this process" if services.adapters.shared is None else "all processes"
            found["cache"] = {"scope": scope, **await services.statistics.read()}
        if subject is Subject.SAVINGS:
            found["savings"] = (await services.saving.read()).as_dict()
    if call.as_json:
        write_json(found if subject is None else found[subject.value])
        return
    lines: list[str] = []
    for name, values in found.items():
        lines += ["", *_SHOWN[name](values)] if lines else _SHOWN[name](values)
    for line in lines:
        write_line(line)


def _storage(values: Mapping[str, Any]) -> list[str]:
    rows = [
        (name, str(shown["count"]), size_text(shown["bytes"]), _usd(shown["usd_per_month"]))
        for name, shown in (*values["tiers"].items(), ("total", values["total"]))
    ]
    return table_lines(("tier", "contents", "size", "USD/month"), rows, right={1, 2, 3})


def _work(values: Mapping[str, Any]) -> list[str]:
    jobs = [
        (
            name,
            _moment(job["last_run"], "never"),
            _moment(job["next_run"], "-"),
            str(job["done"]),
            str(job["failures"]),
            job["last_error"] or "",
        )
        for name, job in values["jobs"].items()
    ]
    backlog = [
        *((f"outbox: {kind}", str(state["waiting"]), _dead(state["dead"])) for kind, state in values["outbox"].items()),
        ("intents", str(values["intents"]), ""),
        ("quarantine", str(values["quarantine"]["objects"]), ""),
        ("moves", str(values["moves"]["waiting"]), _moving(values["moves"])),
        ("restores", str(values["restores"]["requested"]), _failing(values["restores"]["failing"])),
    ]
    return [
        *table_lines(("job", "last run", "next run", "done", "failed", "last error"), jobs, right={3, 4}),
        "",
        *table_lines(("backlog", "waiting", ""), backlog, right={1}),
        "",
        _planning(values["policy"]),
        _spending(values["restores"]),
    ]


def _spending(restores: Mapping[str, Any]) -> str:
    budget = restores["daily_budget_usd"]
    bound = "no limit" if budget is None else f"at most {budget:.6g}"
    return f"spent on restores today: {restores['spent_today_usd']:.6g} USD, {bound}"


def _planning(policy: Mapping[str, Any]) -> str:
    done, today, most = policy["pass"], policy["planned_today"], policy["daily_limits"]["usd"]
    bound = "no limit" if most is None else f"at most {most:.6g}"
    told = "no pass yet"
    if done is not None:
        told = f"{'pass of' if done['ended_at'] else 'pass under way since'} {_moment(done['begun_at'], '')}: "
        told += f"{done['examined']} contents, {done['changed']} changed, {done['refused']} refused"
    return (
        f"policy {policy['name']}, {told}; copies planned today: {today['moves']} for {today['usd']:.6g} USD, {bound}"
    )


def _cache(values: Mapping[str, Any]) -> list[str]:
    rows = [
        (
            kind,
            level,
            str(counts["hits"]),
            str(counts["misses"]),
            f"{counts['hit_ratio']:.0%}",
            str(counts["sets"]),
            size_text(counts["total_size"]),
        )
        for kind, levels in values.items()
        if kind != "scope"
        for level, counts in levels.items()
        if isinstance(counts, Mapping)
    ]
    table = table_lines(("type", "level", "hits", "misses", "ratio", "sets", "size"), rows, right={2, 3, 4, 5, 6})
    return [*table, *([CACHE_NOTE] if values["scope"] == "this process" else [])]


def _savings(values: Mapping[str, Any]) -> list[str]:
    rows = [
        (
            reason,
            str(sums["moves"]),
            str(sums["copies"]),
            size_text(sums["bytes"]),
            f"{sums['predicted_usd_per_month']:.4g}",
            f"{sums['predicted_usd']:.4g}",
            f"{sums['realised_usd']:.4g}",
        )
        for reason, sums in (*values["by_reason"].items(), ("total", values["total"]))
    ]
    heads = ("policy: reason", "moves", "copies", "copied", "predicted/month", "predicted", "realised USD")
    table = table_lines(heads, rows, right={1, 2, 3, 4, 5, 6})
    return [*table, *([] if values["complete"] else ["there are older moves, which are left out"])]


_SHOWN = {"storage": _storage, "work": _work, "cache": _cache, "savings": _savings}


def _usd(amount: float | None) -> str:
    return "no prices" if amount is None else f"{amount:.4g}"


def _moment(written: str | None, otherwise: str) -> str:
    return f"{written[:19]}Z" if written else otherwise


def _dead(count: int) -> str:
    return f"{count} failed too often" if count else ""


def _moving(moves: Mapping[str, Any]) -> str:
    left = moves["seconds_left"]
    told = [
        _failing(moves["failing"]),
        f"{moves['given_up']} given up" if moves["given_up"] else "",
        f"{moves['made_per_second']:.3g} a second, {left:.0f} s left" if moves["waiting"] and left is not None else "",
    ]
    return ", ".join(part for part in told if part)


def _failing(count: int) -> str:
    return f"{count} failing" if count else ""
