"""`warm`: what is likely to be read is brought into the caches."""

import asyncio
from collections import Counter
from typing import TYPE_CHECKING, Annotated, Any

import typer

from thermocline.domain.predictions import Prediction
from thermocline.domain.units import LARGEST_SIZE, parse_size
from thermocline.interfaces.cli.commands.contents import parse_life
from thermocline.interfaces.cli.exits import ExitCode, InterruptedCommandError, UsageError
from thermocline.interfaces.cli.opening import open_store
from thermocline.interfaces.cli.options import (
    ConfigOption,
    DataOption,
    DryRunOption,
    Invocation,
    JsonOption,
    invocation,
)
from thermocline.interfaces.cli.output import flush_output, write_json, write_line
from thermocline.interfaces.cli.prediction_files import read_predictions
from thermocline.interfaces.cli.progress import Progress
from thermocline.interfaces.cli.running import run
from thermocline.interfaces.cli.service_calls import post_json
from thermocline.interfaces.cli.shapes import size_text
from thermocline.interfaces.cli.told import tell_problem

if TYPE_CHECKING:
    from thermocline.services.warming import WarmItem

THRESHOLD = 0.7
AT_ONE_TIME = 1000
"""Predictions of one request to a service: each is answered within its deadline."""
DEADLINE_OF_ONE_SECONDS = 300.0


def warm(
    ctx: typer.Context,
    source: Annotated[str, typer.Argument(metavar="FILE", help="Predictions; - for standard input.")],
    threshold: Annotated[
        float, typer.Option(min=0.0, max=1.0, metavar="P", help="Probabilities must be above it.")
    ] = THRESHOLD,
    budget: Annotated[
        str | None, typer.Option(metavar="SIZE", help="Read at most so many bytes, such as 1GiB.")
    ] = None,
    deadline: Annotated[str | None, typer.Option(metavar="DURATION", help="Stop after so long.")] = None,
    jobs: Annotated[int, typer.Option("--jobs", min=1, max=256, metavar="N", help="Read so many at once.")] = 10,
    service: Annotated[
        str | None, typer.Option(metavar="URL", help="Let this service do it, in its own caches.")
    ] = None,
    dry_run: DryRunOption = False,  # noqa: FBT002 - a flag
    config: ConfigOption = None,
    data: DataOption = None,
    as_json: JsonOption = False,  # noqa: FBT002 - a flag
) -> int:
    """Bring what is likely to be read into the caches: a JSON array, JSON lines, or CSV.

    With a shared cache the command does it by itself. Without one, only the service can warm its memory: it is asked.
    """
    call = invocation(ctx, config, data, as_json)
    try:
        limit = None if budget is None else parse_size(budget)
    except ValueError as exc:
        raise UsageError(str(exc)) from exc
    within = None if deadline is None else parse_life(deadline)
    if service is not None and dry_run:
        raise UsageError("a service warms, or it is not asked", "leave out --service, or --dry-run")
    settings = call.settings()
    if service is None and not settings.cache.is_shared and not dry_run:
        service = f"http://{_host(settings.http.host)}:{settings.http.port}"
    if service is not None:
        return run(_by_service(call, source, service, threshold, limit, within), is_long=True)
    return run(_here(call, source, threshold, limit, within, jobs, dry_run=dry_run), is_long=True)


def _host(host: str) -> str:
    """Return how to call what listens on this address from the same machine."""
    if host in {"", "0.0.0.0", "::"}:  # noqa: S104 - compared, not bound
        return "127.0.0.1"
    return f"[{host}]" if ":" in host else host


async def _here(
    call: Invocation,
    source: str,
    threshold: float,
    budget: int | None,
    deadline: float | None,
    jobs: int,
    *,
    dry_run: bool,
) -> ExitCode:
    predictions = await read_predictions(source)
    done = 0
    async with open_store(call) as store:
        with Progress("warm", total=len(predictions), in_bytes=False) as progress:

            def note(_: "WarmItem") -> None:
                nonlocal done
                done += 1
                progress.reach(done)

            try:
                report = await store.services.warming.warm_cache(
                    predictions,
                    threshold=threshold,
                    concurrency=jobs,
                    byte_budget=budget,
                    deadline=deadline,
                    dry_run=dry_run,
                    progress=note,
                )
            except asyncio.CancelledError as exc:
                raise InterruptedCommandError(f"interrupted: {done} predictions are done") from exc
    return _tell(call, report.as_dict())


async def _by_service(
    call: Invocation, source: str, service: str, threshold: float, budget: int | None, deadline: float | None
) -> ExitCode:
    # The most probable of all first: the service orders within a request.
    predictions = sorted(await read_predictions(source), key=lambda prediction: -prediction.access_probability)
    loop = asyncio.get_running_loop()
    ends_at = None if deadline is None else loop.time() + deadline
    left = LARGEST_SIZE if budget is None else budget
    total: dict[str, Any] = {}
    with Progress("warm", total=len(predictions), in_bytes=False) as progress:
        # One request even for nothing: whether the service answers is worth knowing.
        for start in range(0, max(len(predictions), 1), AT_ONE_TIME):
            some = predictions[start : start + AT_ONE_TIME]
            within = DEADLINE_OF_ONE_SECONDS if ends_at is None else max(ends_at - loop.time(), 0.0)
            query = {
                "threshold": threshold,
                "byte_budget": left,
                "deadline": min(within, DEADLINE_OF_ONE_SECONDS),
            }
            told = await post_json(service, "/v1/predictions", [_as_json(each) for each in some], query)
            left = max(left - told.get("warmed_bytes", 0), 0)
            _add(total, told)
            progress.advance(len(some))
    return _tell(call, total)


def _as_json(prediction: Prediction) -> dict[str, Any]:
    return {"content_id": prediction.content_id, "access_probability": prediction.access_probability}


def _add(total: dict[str, Any], told: dict[str, Any]) -> None:
    for name, value in told.items():
        if isinstance(value, dict):
            total[name] = dict(Counter(total.get(name, {})) + Counter(value))
        elif isinstance(value, bool):
            total[name] = value
        else:
            total[name] = total[name] + value if name in total else value


def _tell(call: Invocation, told: dict[str, Any]) -> ExitCode:
    skipped = told["skipped"]
    if call.as_json:
        write_json(told)
    else:
        done = "would warm" if told["dry_run"] else "warmed"
        others = ", ".join(f"{count} {outcome.replace('_', ' ')}" for outcome, count in skipped.items())
        write_line(f"{done} {told['warmed']} contents ({size_text(told['warmed_bytes'])}){others and '; ' + others}")
        flush_output()
        for failure in told["failures"]:
            tell_problem(failure["content_id"], failure["reason"])
    return ExitCode.FAILED if skipped.get("failed") else ExitCode.DONE
