"""`plan`: what tiering would save on what lies in a bucket, from its inventory and its access logs alone."""

import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from thermocline.interfaces.cli.comparing import (
    PERIODS,
    DelayedReadOption,
    OwnPriceOption,
    PoliciesOption,
    PricesOption,
    ReportOption,
    RestoreSpeedOption,
    checked_delay,
    checked_split,
    wanted_prices,
    write_report,
)
from thermocline.interfaces.cli.exits import UsageError
from thermocline.interfaces.cli.options import ConfigOption, DataOption, Invocation, JsonOption, invocation
from thermocline.interfaces.cli.output import write_json
from thermocline.interfaces.cli.plan_shapes import plan_as_json, plan_story, write_plan
from thermocline.interfaces.cli.planned import STAYING, Plan
from thermocline.interfaces.cli.progress import Progress
from thermocline.interfaces.cli.running import run

if TYPE_CHECKING:
    from thermocline.adapters.inventories.manifests import Manifest
    from thermocline.adapters.inventories.reading import Inventory
    from thermocline.economics.comparisons import Question
    from thermocline.economics.guesses import Guess

SCHEME: Final = "s3://"


def plan(
    ctx: typer.Context,
    source: Annotated[str, typer.Argument(metavar="s3://BUCKET[/PREFIX]", help="What the plan is for.")],
    inventory: Annotated[
        str,
        typer.Option(
            metavar="PLACE",
            help="Its S3 Inventory: manifest.json, its folder, a Parquet file, or s3://.../manifest.json.",
        ),
    ],
    logs: Annotated[
        list[str] | None,
        typer.Option(metavar="PLACE", help="Its access logs: a file, a folder, or s3://BUCKET/PREFIX; repeated."),
    ] = None,
    prices: PricesOption = "s3",
    classes: Annotated[
        str | None, typer.Option(metavar="NAMES", help="Storage classes to choose from; in others, objects stay.")
    ] = None,
    policies: PoliciesOption = "all",
    split: Annotated[
        float, typer.Option(metavar="SHARE", help="This share of the logs' time is the past, and is not paid for.")
    ] = 0.5,
    price: OwnPriceOption = None,
    delayed_read: DelayedReadOption = 0.0,
    restore_speed: RestoreSpeedOption = "standard",
    report: ReportOption = None,
    config: ConfigOption = None,
    data: DataOption = None,
    as_json: JsonOption = False,  # noqa: FBT002 - a flag
) -> None:
    """Say what tiering would save on a bucket: today's bill, and what each policy would have cost on its logs.

    Reads an S3 Inventory and access logs, and changes nothing. Without logs it can only guess, by age.
    """
    from thermocline.economics.comparisons import Question, policy_names

    call = invocation(ctx, config, data, as_json)
    bucket, prefix = _place(source)
    known, wanted = wanted_prices(prices, classes, price or [], restore_speed)
    question = Question(
        classes=wanted,
        policies=tuple(dict.fromkeys((*policy_names(policies), STAYING))),
        prices=known,
        split=checked_split(split),
        delayed_read=checked_delay(delayed_read),
        periods=PERIODS,
    )
    if report is not None and not logs:
        raise UsageError("a report compares policies on what was read", "add the access logs with --logs")
    with ExitStack() as stack:
        manifest, log_places = _here(call, inventory, logs or [], stack)
        found = _made(manifest, log_places, bucket, prefix, question, prices)
    if report is not None and found.replayed is not None:
        write_report(report, found.replayed.tally, plan_story(found))
    if call.as_json:
        write_json(plan_as_json(found))
    else:
        write_plan(found)


def _place(source: str) -> tuple[str, str]:
    bucket, _, prefix = source.removeprefix(SCHEME).partition("/")
    if not source.startswith(SCHEME) or not bucket:
        raise UsageError(f"not a bucket: {source!r}", "write it as s3://BUCKET or s3://BUCKET/PREFIX")
    return bucket, prefix if not prefix or prefix.endswith("/") else f"{prefix}/"


def _here(call: Invocation, inventory: str, logs: Sequence[str], stack: ExitStack) -> tuple["Manifest", Sequence[Path]]:
    """Return the inventory and where the logs are, fetched where they lie in a bucket."""
    from thermocline.adapters.inventories.manifests import open_inventory

    manifest = Path(inventory)
    if inventory.startswith(SCHEME):
        manifest = _fetched(call, inventory, stack, is_inventory=True)
    places = [
        _fetched(call, place, stack, is_inventory=False) if place.startswith(SCHEME) else Path(place) for place in logs
    ]
    return open_inventory(manifest), places


def _fetched(call: Invocation, place: str, stack: ExitStack, *, is_inventory: bool) -> Path:
    from thermocline.interfaces.cli.opening import quieten_logs
    from thermocline.wiring.fetching import bucket_files

    bucket, _, key = place.removeprefix(SCHEME).partition("/")
    if not bucket:
        raise UsageError(f"not a bucket: {place!r}", "write it as s3://BUCKET/KEY")
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="thermocline-plan-")))
    settings = call.settings()
    quieten_logs(settings)

    async def fetch() -> Path:
        async with bucket_files(settings, bucket) as files:
            with Progress(f"fetch {place}") as progress:
                if is_inventory:
                    return await files.fetch_inventory(key, folder, progress=progress.advance)
                await files.fetch_all(key, folder, progress=progress.advance)
                return folder

    return run(fetch(), is_long=True)


def _made(
    manifest: "Manifest", log_places: Sequence[Path], bucket: str, prefix: str, question: "Question", book: str
) -> Plan:
    from thermocline.adapters.inventories.readings import join, log_files, read_logs
    from thermocline.economics.guesses import guesses
    from thermocline.economics.histories import SECONDS_PER_DAY
    from thermocline.economics.plans import Holdings, plan_steps, replay_plan
    from thermocline.economics.present_bills import present_bill

    inventory = _inventory(manifest, bucket, prefix)
    current, old = inventory.current, inventory.noncurrent
    holdings = Holdings(inventory.class_names, current.sizes, current.modified, current.classes)
    latest = max((int(each.max()) for each in (current.modified, old.modified) if len(each)), default=0)
    day = latest if manifest.made_at is None else int(manifest.made_at // SECONDS_PER_DAY)
    logged = joined = replayed = None
    told: Sequence[Guess] = ()
    if log_places:
        files = log_files(log_places)
        with Progress("read logs", total=sum(each.stat().st_size for each in files)) as progress:
            logged = read_logs(files, bucket, progress=progress.advance)
        joined = join(logged, inventory, bucket)
        with Progress("plan", total=plan_steps(holdings, joined.reads, question), in_bytes=False) as progress:
            replayed = replay_plan(holdings, joined.reads, question, progress=progress.advance)
    else:
        told = guesses(holdings, question.classes, day)
    bill = present_bill(holdings, question.prices, None if joined is None else joined.reads, day)
    versions = Holdings(inventory.class_names, old.sizes, old.modified, old.classes)
    noncurrent = present_bill(versions, question.prices, None, day)
    return Plan(bucket, prefix, question, book, inventory, day, bill, noncurrent, logged, joined, replayed, told)


def _inventory(manifest: "Manifest", bucket: str, prefix: str) -> "Inventory":
    from thermocline.adapters.inventories.reading import read_inventory

    total = sum(part.path.stat().st_size for part in manifest.parts if part.path.exists())
    with Progress("read inventory", total=total) as progress:
        return read_inventory(manifest, bucket, prefix, progress=progress.advance)
