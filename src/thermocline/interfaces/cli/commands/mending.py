"""`fsck --repair` and `--rebuild-catalog`: adopting what a restored backup does not know, mending what is broken."""

from collections import Counter
from contextlib import aclosing
from typing import TYPE_CHECKING

from thermocline.interfaces.cli.exits import ExitCode
from thermocline.interfaces.cli.opening import open_store, quieten_logs
from thermocline.interfaces.cli.options import Invocation
from thermocline.interfaces.cli.output import flush_output, write_json, write_line
from thermocline.interfaces.cli.progress import Progress
from thermocline.interfaces.cli.shapes import size_text

if TYPE_CHECKING:
    from thermocline.domain.adoption import Outcome
    from thermocline.domain.content_id import ContentId
    from thermocline.orchestrator import StorageOrchestrator
    from thermocline.services.adopting import AdoptionProgress
    from thermocline.services.checking import Finding
    from thermocline.services.mending import Mended

CONFIRM = "thermocline fsck --sweep --confirm"


async def rebuild(call: Invocation, *, quick: bool) -> ExitCode:
    """Make the catalog anew from the stores alone, then repair."""
    from thermocline.wiring.backing_up import begin_anew

    settings = call.settings()
    quieten_logs(settings)
    done = await begin_anew(settings)
    if call.as_json:
        aside = None if done.aside is None else str(done.aside)
        write_json({"kind": "rebuild", "installation": done.installation, "replaced_catalog": aside})
    else:
        write_line(f"made a catalog of installation {done.installation}; what the stores hold is adopted now")
    flush_output()
    return await repair(call, quick=quick, dry_run=False)


async def repair(call: Invocation, *, quick: bool, dry_run: bool) -> ExitCode:
    """Adopt while the catalog recovers; then mend what a check finds. FAILED if anything still needs a look."""
    async with open_store(call) as store:
        recovering = await store.services.recovering.is_recovering()
        open_questions = await _adopt(call, store, recovering=recovering, dry_run=dry_run)
        open_questions += await _mend(call, store, quick=quick, dry_run=dry_run)
    if recovering and not dry_run:
        _tell_next(call)
    return ExitCode.FAILED if open_questions else ExitCode.DONE


async def _adopt(call: Invocation, store: "StorageOrchestrator", *, recovering: bool, dry_run: bool) -> int:
    """Return how many unknown objects somebody must look at."""
    from thermocline.services.adopting import AdoptionProgress

    last = AdoptionProgress()
    with Progress("looking", in_bytes=False) as progress:

        def note(state: AdoptionProgress) -> None:
            nonlocal last
            last = state
            progress.reach(state.listed + state.judged)

        async with aclosing(store.services.adopting.adopt(dry_run=dry_run, progress=note)) as outcomes:
            async for outcome in outcomes:
                _tell_outcome(call, outcome)
    counts = {fate.value: count for fate, count in last.fates.items() if count}
    if recovering or counts:
        _tell_adoption(call, last, counts, dry_run=dry_run)
    return sum(count for fate, count in last.fates.items() if fate.needs_a_look)


async def _mend(call: Invocation, store: "StorageOrchestrator", *, quick: bool, dry_run: bool) -> int:
    """Check everything and mend what is found; return how many findings stay."""
    from thermocline.services.checking import CheckProgress, Damage
    from thermocline.services.mending import BATCH

    services = store.services
    found: Counter[Damage] = Counter()
    waiting: list[ContentId] = []
    state = CheckProgress()
    unmended = 0
    with Progress("fsck", in_bytes=False) as progress:

        def note(reached: CheckProgress) -> None:
            nonlocal state
            state = reached
            progress.reach(reached.contents)

        async for finding in services.checking.check(read_bytes=not quick, progress=note):
            found[finding.damage] += 1
            _tell_finding(call, finding)
            if dry_run or finding.content_id is None or finding.damage not in {Damage.MISSING, Damage.DAMAGED}:
                continue
            waiting.append(_content_id(finding.content_id))
            if len(waiting) >= BATCH:
                unmended += await _mend_some(call, store, waiting)
                waiting = []
    broken = found[Damage.MISSING] + found[Damage.DAMAGED]
    if dry_run:
        unmended = broken
    elif waiting:
        unmended += await _mend_some(call, store, waiting)
    revived = 0
    if found[Damage.DEAD_LETTER] and not dry_run:
        revived = await services.mending.revive_dead_letters()
    if call.as_json:
        shown = {"contents": state.contents, "objects": state.objects, "broken": broken, "unmended": unmended}
        write_json({"kind": "repair"} | shown | {"revived": revived, "unnamed": found[Damage.ORPHAN]})
    else:
        told = f"{broken - unmended} of {broken} broken contents mended" if broken else "no content is broken"
        told += f", {revived} failed pieces of work are tried again" if revived else ""
        write_line(f"{state.contents} contents, {state.objects} objects: {told}")
    return unmended + (found[Damage.DEAD_LETTER] if dry_run else 0)


async def _mend_some(call: Invocation, store: "StorageOrchestrator", content_ids: "list[ContentId]") -> int:
    unmended = 0
    async with aclosing(store.services.mending.mend(content_ids)) as results:
        async for result in results:
            _tell_mended(call, result)
            unmended += result.object_key is None
    return unmended


def _content_id(text: str) -> "ContentId":
    from thermocline.domain.content_id import ContentId

    return ContentId(text)


def _tell_outcome(call: Invocation, outcome: "Outcome") -> None:
    from thermocline.domain.adoption import Fate

    if call.as_json:
        write_json(
            {
                "kind": "adoption",
                "fate": outcome.fate.value,
                "content_id": outcome.content_id,
                "object_key": outcome.object_key,
                "detail": outcome.detail,
                "replaced": outcome.replaced,
                "unproven": outcome.unproven,
            }
        )
    # People see what they may want to judge themselves; the plain cases are counted.
    elif outcome.fate.needs_a_look:
        write_line(f"{outcome.fate:<12}  {outcome.content_id}  {outcome.detail} (object {outcome.object_key!r})")
    elif outcome.fate is Fate.ADOPTED and (outcome.replaced or outcome.unproven):
        doubt = "; unproven" if outcome.unproven else ""
        instead = f"; before it was {outcome.replaced!r}" if outcome.replaced else ""
        write_line(f"{outcome.fate:<12}  {outcome.content_id}  {outcome.detail}{instead}{doubt}")
    flush_output()


def _tell_adoption(call: Invocation, state: "AdoptionProgress", counts: dict[str, int], *, dry_run: bool) -> None:
    if call.as_json:
        shown = {"listed": state.listed, "unknown": state.found, "read_bytes": state.read_bytes}
        write_json({"kind": "adoption_summary", "dry_run": dry_run} | shown | {"fates": counts})
        return
    read = f", {size_text(state.read_bytes)} read" if state.read_bytes else ""
    told = ", ".join(f"{count} {fate}" for fate, count in counts.items()) or "nothing to adopt"
    would = "would be: " if dry_run and counts else ""
    write_line(f"{state.listed} objects listed, {state.found} unknown{read}: {would}{told}")


def _tell_finding(call: Invocation, finding: "Finding") -> None:
    if call.as_json:
        shown = {"content_id": finding.content_id, "object_key": finding.object_key, "detail": finding.detail}
        write_json({"kind": "finding", "damage": finding.damage.value} | shown)
    else:
        write_line(f"{finding.damage:<12}  {finding.content_id or finding.object_key or '-'}  {finding.detail}")
    flush_output()


def _tell_mended(call: Invocation, result: "Mended") -> None:
    mended = result.object_key is not None
    if call.as_json:
        shown = {"content_id": result.content_id, "object_key": result.object_key, "detail": result.detail}
        write_json({"kind": "mended" if mended else "not_mended"} | shown)
    else:
        write_line(f"{'mended' if mended else 'not mended':<12}  {result.content_id}  {result.detail}")
    flush_output()


def _tell_next(call: Invocation) -> None:
    if call.as_json:
        write_json({"kind": "recovery", "recovering": True, "next": [CONFIRM]})
    else:
        write_line(f"nothing is deleted until you have looked at this and confirm it; then: {CONFIRM}")
