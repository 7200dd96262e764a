"""The policy `learned` on a store of its own: it learns from reads, saves, and every process decides by it."""

import asyncio
import base64
import hashlib
import io
import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.machine import Machine
from tests.services.moves import COLD, run, tier_of
from tests.services.optimizing import BIG, make_copies, pass_days, policy_machine, policy_settings
from thermocline import Settings, StorageOrchestrator
from thermocline.domain.content_id import ContentId
from thermocline.domain.errors import StorageError
from thermocline.domain.heat import AccessCount
from thermocline.domain.work import Cursor
from thermocline.economics.histories import History
from thermocline.interfaces.statistics import catalog_work
from thermocline.services.deciders import LESSON
from thermocline.services.policy_lessons import taught as read_lesson
from thermocline.testing.faults import FaultMode, Faults, ProcessDied
from thermocline.wiring.deciding import make_decision_rules

DAYS = 110
BUSY = 24
"""Contents that are read every other day; as many others are read on their first two days, and never again."""

NOT_YET = "'learned' has not learned from reads here yet; 'idle' decides until then"
UNREADABLE = "'learned' cannot use what it had saved; 'idle' decides until it learns again"
OTHER = "'learned' has learned for other prices or placements; 'idle' decides until it learns again"


async def live(machine: Machine, *, days: int = DAYS, contents: int = BUSY) -> None:
    """Let contents come over time and be read as ever; most of their lives passes."""
    rng = np.random.default_rng(4)
    catalog = await machine.catalog()
    try:
        async with machine.process() as store:
            born: dict[str, int] = {}
            for day in range(days):
                for number in range(contents):
                    if number * days // (2 * contents) == day:
                        for kind in ("busy", "quiet"):
                            await store.store_content(f"{kind}/{number}", BIG, initial_tier="warm")
                            born[f"{kind}/{number}"] = day
                read = [
                    name
                    for name, since in born.items()
                    if (rng.random() < 0.5 if name.startswith("busy") else day < since + 2)
                ]
                counts = [AccessCount(ContentId(name), cache=0, storage=1, edge=0) for name in read]
                await catalog.accesses.add(counts, now=machine.clock.now())
                pass_days(machine, 1)
    finally:
        await catalog.aclose()


async def learn(store: StorageOrchestrator) -> int:
    """Let this process learn, if it is elected and it is time."""
    (job,) = [job for job in store.services.worker.jobs if job.name == "learn_policy"]
    done = await store.services.worker.run_once(job)
    assert job.last_error is None
    return done


async def saved(machine: Machine) -> Cursor | None:
    """Return what is saved."""
    catalog = await machine.catalog()
    try:
        return await catalog.cursors.load(LESSON)
    finally:
        await catalog.aclose()


@pytest.fixture(scope="module")
def taught(tmp_path_factory: pytest.TempPathFactory) -> Machine:
    """Return a machine that has lived and learned."""
    machine = policy_machine(tmp_path_factory.mktemp("taught"), name="learned")

    async def scenario() -> None:
        await live(machine)
        async with machine.process() as store:
            before = await store.optimize_storage_tiers(dry_run=True)
            assert (before.policy, before.note) == ("idle", NOT_YET)
            assert await learn(store) == 2 * BUSY
            assert await learn(store) == 0

    run(scenario)
    return machine


async def damage(machine: Machine, change: Callable[[str], str]) -> None:
    """Change what is saved."""
    catalog = await machine.catalog()
    try:
        cursor = await catalog.cursors.load(LESSON)
        assert cursor is not None
        await catalog.cursors.save(LESSON, replace(cursor, position=change(cursor.position)))
    finally:
        await catalog.aclose()


def test_every_process_decides_by_what_one_has_learned(taught: Machine, tmp_path: Path) -> None:
    async def scenario() -> None:
        machine = taught.twin(tmp_path)
        async with machine.process() as store, machine.process() as other:
            report = await store.optimize_storage_tiers()
            assert (report.policy, report.note) == ("learned", None)
            assert report.by_reason == {"learned: few_reads_expected": report.copies}
            assert report.copies > BUSY // 2
            explained = await other.explain_tier(ContentId("quiet/3"))
            assert (explained.policy, explained.note) == ("learned", None)
            assert explained.verdict is not None
            assert explained.verdict.reason == "learned: few_reads_expected"
            await make_copies(store)
            assert await tier_of(store, "quiet/3") is COLD
            assert await tier_of(store, "busy/3") is not COLD
            again = await other.optimize_storage_tiers()
            assert (again.policy, again.copies) == ("learned", 0)
            busy = await other.explain_tier(ContentId("busy/3"))
            assert "learned: few_reads_expected" in [turn.reason for turn in busy.turns]
            assert (await catalog_work(other.services))["jobs"]["learn_policy"]["done"] == 2 * BUSY

    run(scenario)


def test_one_of_two_processes_learns_and_again_a_day_later(taught: Machine, tmp_path: Path) -> None:
    async def scenario() -> None:
        machine = taught.twin(tmp_path)
        first = await saved(machine)
        assert first is not None
        pass_days(machine, 1.01)
        async with machine.process() as store, machine.process() as other:
            await store.erase_content("quiet/3")
            done = await asyncio.gather(learn(store), learn(other))
            assert sorted(done) == [0, 2 * BUSY - 1]
            second = await saved(machine)
            assert second is not None
            assert second.begun_at > first.begun_at
            assert json.loads(second.position)["days"] == DAYS + 1

    run(scenario)


def test_what_is_erased_and_what_today_has_brought_are_no_part_of_the_past(
    taught: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pasts: list[History] = []

    def keep(_: object, past: History, **__: object) -> str:
        pasts.append(past)
        return "new"

    monkeypatch.setattr("thermocline.services.policy_learning.learn", keep)
    name = "busy/3"
    days_of = f"SELECT count(*) FROM access_days WHERE CAST(content_id AS TEXT) = '{name}'"  # noqa: S608

    async def past_of(machine: Machine) -> History:
        async with machine.process() as store:
            assert await learn(store) > 0
        return pasts[-1]

    async def scenario() -> None:
        machine = taught.twin(tmp_path)
        pass_days(machine, 1.01)
        (tmp_path / "before").mkdir()
        before = await past_of(machine.twin(tmp_path / "before"))
        catalog = await machine.catalog()
        try:
            counts = [AccessCount(ContentId(f"busy/{number}"), cache=0, storage=9) for number in range(BUSY)]
            await catalog.accesses.add(counts, now=machine.clock.now())
        finally:
            await catalog.aclose()
        ((known,),) = await machine.query(days_of)
        assert isinstance(known, int)
        assert known > DAYS // 4
        async with machine.process() as store:
            await store.erase_content(name)
        assert await machine.query(days_of) == [(0,)]
        lesson = await saved(machine)
        assert lesson is not None
        assert name not in lesson.position
        after = await past_of(machine)
        assert (after.origin, after.days) == (before.origin, before.days)
        assert after.object_count == before.object_count - 1
        assert len(after.objects) == len(before.objects) - (known - 1)
        assert after.counts.max() == 1

    run(scenario)


@pytest.mark.parametrize(
    ("change", "note"),
    [
        (lambda _: "", UNREADABLE),
        (lambda _: "[]", UNREADABLE),
        (lambda text: text[:1000], UNREADABLE),
        (lambda text: _with(text, format=0), UNREADABLE),
        (lambda text: _with(text, model=json.loads(text)["model"][:500]), UNREADABLE),
        (lambda text: _with(text, **_signed(json.loads(text)["model"][:500])), UNREADABLE),
        (lambda text: _with(text, **_signed(_of_format(text, 0))), UNREADABLE),
        (lambda text: _with(text, model="\u00e9"), UNREADABLE),
        (lambda text: _with(text, **_signed("")), UNREADABLE),
        (lambda text: _with(text, model=None), UNREADABLE),
        (lambda text: _with(text, rule="no such rule", model=""), UNREADABLE),
        (lambda text: _with(text, prices="others"), OTHER),
        (lambda text: _with(text, rule="stay", note="so it is"), "'learned' leaves it to 'stay': so it is"),
    ],
)
def test_what_cannot_be_used_is_not_and_is_learned_anew(
    taught: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: Callable[[str], str], note: str
) -> None:
    monkeypatch.setattr("thermocline.services.policy_learning.learn", lambda *_, **__: "new")

    async def scenario() -> None:
        machine = taught.twin(tmp_path)
        await damage(machine, change)
        async with machine.process() as store:
            report = await store.optimize_storage_tiers(dry_run=True)
            assert report.note == note
            assert report.policy == ("stay" if "stay" in note else "idle")
            assert await learn(store) == 0  # not in the same hour
            pass_days(machine, 1.1 / 24)
            is_of_use = "leaves it to" in note
            assert await learn(store) == (0 if is_of_use else 2 * BUSY)
            now = await saved(machine)
            assert now is not None
            assert (now.position == "new") is not is_of_use

    run(scenario)


def test_no_damage_passes_for_a_lesson(taught: Machine) -> None:
    lesson = asyncio.run(saved(taught))
    assert lesson is not None
    rules = make_decision_rules(taught.settings, "learned")
    assert read_lesson(rules, lesson.position).is_current
    rng = np.random.default_rng(5)
    begin = lesson.position.index('"model"')
    for place in rng.integers(begin, len(lesson.position), 300).tolist():
        damaged = lesson.position[:place] + chr(ord(lesson.position[place]) ^ 1) + lesson.position[place + 1 :]
        found = read_lesson(rules, damaged)
        assert (found.policy, found.note) == ("idle", UNREADABLE), place


def test_after_prices_have_changed_it_learns_again(taught: Machine, tmp_path: Path) -> None:
    async def scenario() -> None:
        machine = taught.twin(tmp_path)
        told = policy_settings(name="learned").model_dump(mode="json", exclude_unset=True)
        told["prices"]["s3.standard"]["storage"] = 40e6
        machine.settings = Settings.model_validate(told)
        async with machine.process() as store:
            report = await store.optimize_storage_tiers(dry_run=True)
            assert (report.policy, report.note) == ("idle", OTHER)
            pass_days(machine, 1.1 / 24)
            assert await learn(store) == 2 * BUSY
            report = await store.optimize_storage_tiers(dry_run=True)
            assert report.policy == "learned"

    run(scenario)


def test_thin_evidence_is_told(tmp_path: Path) -> None:
    async def scenario() -> None:
        machine = policy_machine(tmp_path, name="learned")
        async with machine.process() as store:
            assert await learn(store) == 0
            report = await store.optimize_storage_tiers(dry_run=True)
            thin = "'learned' leaves it to 'idle': the past has only {} days, and 60 are needed"
            assert (report.policy, report.note) == ("idle", thin.format(0))
        await live(machine, days=20, contents=4)
        async with machine.process() as store:
            assert await learn(store) == 8
            assert (await store.optimize_storage_tiers(dry_run=True)).note == thin.format(20)

    run(scenario)


def test_without_a_choice_nothing_is_learned(taught: Machine, tmp_path: Path) -> None:
    async def scenario() -> None:
        machine = taught.twin(tmp_path)
        pass_days(machine, 2)
        before = await saved(machine)
        machine.settings = Settings.model_validate({"placements": {"standard": {"objects": "main"}}})
        async with machine.process() as store:
            assert await learn(store) == 0
        assert await saved(machine) == before

    run(scenario)


@pytest.mark.thorough
def test_a_crash_at_any_call_leaves_the_old_lesson_or_the_new_one(
    taught: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("thermocline.services.policy_learning.learn", lambda *_, **__: "new")

    async def work(name: str, plan: Mapping[str, FaultMode]) -> Faults:
        (tmp_path / name).mkdir()
        machine = taught.twin(tmp_path / name)
        pass_days(machine, 1.01)
        old = await saved(machine)
        assert old is not None
        faults = Faults(plan)
        acknowledged = False
        async with machine.process(faults) as store:
            (job,) = [job for job in store.services.worker.jobs if job.name == "learn_policy"]
            faults.start()
            with suppress(ProcessDied, StorageError):
                acknowledged = await job.run() > 0
        now = await saved(machine)
        assert now is not None
        assert now == old or (now.position == "new" and now.begun_at > old.begun_at)
        assert now.position == "new" or not acknowledged
        pass_days(machine, 1.01)
        async with machine.process() as store:
            assert await learn(store) == 2 * BUSY
        return faults

    async def scenario() -> None:
        points = (await work("without", {})).points
        ends = {point.partition("#")[0]: point for point in points}
        begins = {point.partition("#")[0]: point for point in reversed(points)}
        struck = sorted({*ends.values(), *begins.values()})
        assert {"catalog.cursors.load#1", "catalog.cursors.save#1"} <= set(struck)
        for number, point in enumerate(struck):
            for mode in (FaultMode.BEFORE, FaultMode.AFTER, FaultMode.LOST):
                assert (await work(f"{number} {mode}", {point: mode})).fired

    run(scenario)


def _signed(model: str) -> dict[str, str]:
    """Return the model with the digest that belongs to it."""
    return {"model": model, "digest": hashlib.sha256(model.encode()).hexdigest()}


def _of_format(text: str, number: int) -> str:
    """Return the model of a lesson, told to be of this format."""
    with np.load(io.BytesIO(base64.b85decode(json.loads(text)["model"]))) as arrays:
        told = dict(arrays) | {"format": np.array(number)}
    out = io.BytesIO()
    np.savez_compressed(out, **told)
    return base64.b85encode(out.getvalue()).decode()


def _with(text: str, **changes: Any) -> str:
    return json.dumps(json.loads(text) | changes)
