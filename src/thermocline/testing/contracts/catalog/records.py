"""Laws of `Records`: what a commit does, and what it refuses. `record_races` and `pages` have the rest."""
# ruff: noqa: D102 - the name of a test states its law

from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from thermocline.domain.content import Changes, Condition, StoredHeaders, Visibility
from thermocline.domain.errors import (
    ContentHeldError,
    IntentLostError,
    InvalidMetadataError,
    PreconditionFailedError,
    StorageError,
)
from thermocline.domain.tiers import StorageTier
from thermocline.domain.units import Seconds, Timestamp, later
from thermocline.domain.work import OutboxKind
from thermocline.testing import strategies
from thermocline.testing.contracts.catalog.base import CatalogContract
from thermocline.testing.contracts.catalog.steps import (
    EVICT_DELAY,
    GRACE,
    LEASE,
    OpenCatalog,
    Steps,
    new_key,
    one_process,
    some_id,
)
from thermocline.testing.contracts.running import in_event_loop

DELETE, INVALIDATE = OutboxKind.DELETE_OBJECT, OutboxKind.INVALIDATE
PRIVATE, PUBLIC = Visibility.PRIVATE, Visibility.PUBLIC
_RANDOM = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=30)
_MANY_METADATA_BYTES = {"text": "x" * 16_000}


class RecordsContract(CatalogContract):
    """Laws of `Records`: single commits."""

    def test_a_committed_record_is_found_as_it_was_written(self, open_catalog: OpenCatalog) -> None:
        @_RANDOM
        @given(
            content_id=strategies.content_ids(),
            metadata=strategies.metadata(),
            tier=st.sampled_from(StorageTier),
            visibility=st.sampled_from(Visibility),
            chunk_digests=st.binary(max_size=100),
            expires_in=st.none() | st.integers(1, 2**50),
        )
        @in_event_loop
        async def check(**fields: object) -> None:
            async with one_process(open_catalog) as steps:
                expires_in = fields.pop("expires_in")
                now = steps.clock.now()
                expires_at = Timestamp(now + expires_in) if isinstance(expires_in, int) else None
                headers = StoredHeaders("text/plain", "max-age=1", 'attachment; filename="a"')
                write = replace(steps.write_of(**fields), headers=headers, expires_at=expires_at)  # type: ignore[arg-type]
                await steps.declare(write.object_key)
                committed = await steps.commit(write)
                record = await steps.existing(write.content_id)
                assert record == committed.record
                for name in ("content_id", "placement", "object_key", "digest", "chunk_digests", "size", "headers"):
                    assert getattr(record, name) == getattr(write, name)
                for name in ("metadata", "tier", "visibility", "expires_at"):
                    assert getattr(record, name) == getattr(write, name)
                assert (record.modified_at, record.held) == (now, False)

        check()

    async def test_what_was_never_written_is_not_found(self, open_catalog: OpenCatalog) -> None:
        async with one_process(open_catalog) as steps:
            assert await steps.find(some_id()) is None

    async def test_ids_that_differ_in_case_or_normal_form_are_different(self, open_catalog: OpenCatalog) -> None:
        async with one_process(open_catalog) as steps:
            base = some_id("x")
            ids = [type(base)(base + end) for end in ("a", "A", "é", "e\u0301", "ss", "ß", "a/b", "ﬁ", "fi")]
            for number, content_id in enumerate(ids):
                await steps.put(content_id, bytes([number]) * (number + 1))
            assert [(await steps.existing(content_id)).size for content_id in ids] == list(range(1, len(ids) + 1))

    async def test_an_overwrite_keeps_the_birthday_and_queues_the_old_object(self, open_catalog: OpenCatalog) -> None:
        async with one_process(open_catalog) as steps:
            content_id, born = some_id(), steps.clock.now()
            first = await steps.put(content_id)
            assert first.created
            assert (first.record.created_at, first.record.tier_since) == (born, born)
            steps.clock.advance(5)
            second = await steps.put(content_id)
            assert not second.created
            assert second.record.created_at == second.record.tier_since == born
            assert second.record.modified_at == steps.clock.now()
            steps.clock.advance(5)
            third = await steps.put(content_id, tier=StorageTier.COLD)
            assert third.record.tier_since == steps.clock.now()
            rows = await steps.take_all(DELETE)
            assert [row.subject for row in rows] == [first.record.object_key, second.record.object_key]
            assert {row.placement for row in rows} == {"standard"}

    async def test_queued_work_is_due_when_the_commit_said(self, open_catalog: OpenCatalog) -> None:
        async with one_process(open_catalog) as steps:
            content_id = some_id()
            await steps.put(content_id)
            await steps.put(content_id)
            now = steps.clock.now()
            for kind, delay in ((DELETE, GRACE), (INVALIDATE, EVICT_DELAY)):
                assert await steps.take(kind, now=Timestamp(later(now, delay) - 1)) == []
                assert len(await steps.take(kind, now=later(now, delay))) == 1

    async def test_only_what_had_no_forerunner_queues_no_invalidation(self, open_catalog: OpenCatalog) -> None:
        async with one_process(open_catalog) as steps:
            content_id = some_id()
            await steps.put(content_id)
            assert await steps.take_all(INVALIDATE) == []
            await steps.delete(content_id)
            assert [row.hard for row in await steps.take_all(INVALIDATE)] == [True]
            reborn = await steps.put(content_id)
            assert reborn.created
            rows = await steps.take_all(INVALIDATE)
            assert [(row.subject, row.version) for row in rows] == [(content_id, reborn.record.version)]
            # Nothing is older than a content whose tombstone has been forgotten.
            await steps.delete(content_id)
            await steps.take_all(INVALIDATE)
            steps.clock.advance(1)
            assert await steps.catalog.records.forget_tombstones(deleted_before=steps.clock.now(), limit=10) == 1
            await steps.put(content_id)
            assert await steps.take_all(INVALIDATE) == []

    @pytest.mark.parametrize("before", [PUBLIC, PRIVATE])
    @pytest.mark.parametrize("after", [PUBLIC, PRIVATE])
    async def test_an_invalidation_is_hard_if_the_content_turns_private(
        self, open_catalog: OpenCatalog, before: Visibility, after: Visibility
    ) -> None:
        async with one_process(open_catalog) as steps:
            content_id = some_id()
            expected = [before is PUBLIC and after is PRIVATE]
            await steps.put(content_id, visibility=before)
            await steps.put(content_id, visibility=after)
            assert [row.hard for row in await steps.take_all(INVALIDATE)] == expected
            await steps.put(content_id, visibility=before)
            await steps.take_all(INVALIDATE)
            await steps.change(content_id, Changes(visibility=after))
            assert [row.hard for row in await steps.take_all(INVALIDATE)] == expected

    async def test_a_commit_needs_its_own_live_intent_and_ends_it(self, open_catalog: OpenCatalog) -> None:
        async with one_process(open_catalog) as steps:
            content_id = some_id()
            other = new_key(content_id)
            await steps.declare(other)
            committed = await steps.put(content_id)
            assert await steps.catalog.intents.renew([committed.record.object_key, other], lease=LEASE) == [other]
            with pytest.raises(IntentLostError):
                await steps.commit(steps.write_of(content_id))
            assert (await steps.existing(content_id)) == committed.record
            assert await steps.take_all(DELETE) == []

    @pytest.mark.parametrize("how", ["expired", "withdrawn"])
    async def test_a_commit_aborts_once_its_intent_is_condemned(self, open_catalog: OpenCatalog, how: str) -> None:
        async with one_process(open_catalog) as steps:
            write = steps.write_of(some_id())
            await steps.declare(write.object_key)
            if how == "expired":
                await steps.expire_claims()
                # An expired intent that nobody condemned is still live: nothing has touched its object.
                assert await steps.catalog.intents.renew([write.object_key], lease=LEASE) == [write.object_key]
                await steps.expire_claims()
                assert len(await steps.catalog.intents.condemn_expired(lease=LEASE, limit=10)) == 1
            else:
                assert await steps.catalog.intents.withdraw(write.object_key, lease=LEASE) is not None
            with pytest.raises(IntentLostError):
                await steps.commit(write)
            assert await steps.find(write.content_id) is None
            assert await steps.catalog.intents.count() == 1

    async def test_conditions_compare_revisions(self, open_catalog: OpenCatalog) -> None:
        async with one_process(open_catalog) as steps:
            content_id = some_id()
            for refused in (Condition(if_exists=True), Condition(if_revision=frozenset({1}))):
                with pytest.raises(PreconditionFailedError) as caught:
                    await steps.put(content_id, condition=refused)
                assert caught.value.current_etag is None
            first = await steps.put(content_id, condition=Condition(if_absent=True))
            second = await steps.put(content_id, condition=_is(first.record.revision))
            for refused in (
                Condition(if_absent=True),
                _is(first.record.revision),
                Condition(if_revision=frozenset()),
                Condition(unless_revision=frozenset({second.record.revision})),
            ):
                await _expect(PreconditionFailedError, steps, content_id, refused)
            assert await steps.existing(content_id) == second.record
            assert len(await steps.take_all(DELETE)) == 1
            assert await steps.delete(content_id, condition=_is(second.record.revision)) is not None
            with pytest.raises(PreconditionFailedError):
                await steps.delete(content_id, condition=Condition(if_exists=True))

    async def test_an_expired_content_counts_as_absent(self, open_catalog: OpenCatalog) -> None:
        async with one_process(open_catalog) as steps:
            content_id = some_id()
            old = await steps.put(content_id, expires_at=later(steps.clock.now(), Seconds(10)))
            steps.clock.advance(10)
            assert await steps.find(content_id) == old.record
            assert await steps.change(content_id, Changes(metadata={"a": 1})) is None
            with pytest.raises(PreconditionFailedError):
                await steps.put(content_id, condition=_is(old.record.revision))
            new = await steps.put(content_id, condition=Condition(if_absent=True))
            assert new.created
            assert new.record.created_at == steps.clock.now()
            assert [row.subject for row in await steps.take_all(DELETE)] == [old.record.object_key]

    async def test_a_delete_leaves_nothing_to_find_and_is_idempotent(self, open_catalog: OpenCatalog) -> None:
        async with one_process(open_catalog) as steps:
            content_id = some_id()
            assert await steps.delete(content_id) is None
            committed = await steps.put(content_id, chunk_digests=b"c" * 64)
            steps.clock.advance(1)
            deleted = await steps.delete(content_id)
            assert deleted is not None
            assert not deleted.created
            assert deleted.record.version > committed.record.version
            assert deleted.record.object_key == committed.record.object_key
            assert deleted.record.revision == committed.record.revision
            assert await steps.find(content_id) is None
            assert await steps.delete(content_id) is None
            assert [row.subject for row in await steps.take_all(DELETE)] == [committed.record.object_key]
            rows = await steps.take_all(INVALIDATE)
            assert [(row.version, row.hard) for row in rows] == [(deleted.record.version, True)]

    async def test_expiry_deletes_only_what_has_expired_and_is_not_held(self, open_catalog: OpenCatalog) -> None:
        async with one_process(open_catalog) as steps:
            content_id = some_id()
            await steps.put(content_id, expires_at=later(steps.clock.now(), Seconds(10)))
            assert await steps.delete(content_id, only_expired=True) is None
            await steps.change(content_id, Changes(held=True))
            steps.clock.advance(11)
            with pytest.raises(ContentHeldError):
                await steps.delete(content_id, only_expired=True)
            other = some_id()
            await steps.put(other, expires_at=later(steps.clock.now(), Seconds(10)))
            steps.clock.advance(10)
            assert await steps.delete(other, only_expired=True) is not None

    @pytest.mark.parametrize("expired", [False, True])
    async def test_a_hold_forbids_overwrite_and_delete(self, open_catalog: OpenCatalog, *, expired: bool) -> None:
        async with one_process(open_catalog) as steps:
            content_id = some_id()
            await steps.put(content_id, expires_at=later(steps.clock.now(), Seconds(10)) if expired else None)
            await steps.change(content_id, Changes(held=True))
            held = await steps.existing(content_id)
            steps.clock.advance(20)
            with pytest.raises(ContentHeldError):
                await steps.put(content_id)
            with pytest.raises(ContentHeldError):
                await steps.delete(content_id)
            assert await steps.existing(content_id) == held
            assert await steps.take_all(DELETE) == []

    async def test_a_held_content_may_change_but_not_end_earlier(self, open_catalog: OpenCatalog) -> None:
        async with one_process(open_catalog) as steps:
            content_id, now = some_id(), steps.clock.now()
            await steps.put(content_id)
            await steps.change(content_id, Changes(held=True, expires_at=later(now, Seconds(100))))
            with pytest.raises(ContentHeldError):
                await steps.change(content_id, Changes(expires_at=later(now, Seconds(99))))
            for allowed in (
                Changes(metadata={"a": 1}),
                Changes(visibility=PRIVATE),
                Changes(expires_at=later(now, Seconds(101))),
                Changes(never_expires=True),
            ):
                assert await steps.change(content_id, allowed) is not None
            with pytest.raises(ContentHeldError):
                await steps.change(content_id, Changes(expires_at=later(now, Seconds(1000))))
            assert await steps.change(content_id, Changes(held=False, expires_at=later(now, Seconds(1)))) is not None

    async def test_changes_keep_the_bytes_and_raise_the_version(self, open_catalog: OpenCatalog) -> None:
        async with one_process(open_catalog) as steps:
            content_id = some_id()
            assert await steps.change(content_id, Changes(metadata={"a": 1})) is None
            before = (await steps.put(content_id, metadata={"a": 1, "b": {"c": 2}}, chunk_digests=b"c" * 64)).record
            steps.clock.advance(1)
            committed = await steps.change(
                content_id, Changes(metadata={"a": None, "b": {"d": 3}}), condition=_is(before.revision)
            )
            assert committed is not None
            after = await steps.existing(content_id)
            assert after == replace(before, version=after.version, metadata={"b": {"c": 2, "d": 3}})
            assert after.version > before.version
            assert committed.record.version == after.version
            assert [row.version for row in await steps.take_all(INVALIDATE)] == [after.version]
            assert await steps.take_all(DELETE) == []

    async def test_refused_changes_have_no_effect(self, open_catalog: OpenCatalog) -> None:
        async with one_process(open_catalog) as steps:
            content_id = some_id()
            before = (await steps.put(content_id, metadata=_MANY_METADATA_BYTES)).record
            with pytest.raises(InvalidMetadataError):
                await steps.change(content_id, Changes(metadata={"more": "x" * 1000}, visibility=PRIVATE))
            with pytest.raises(PreconditionFailedError):
                await steps.change(content_id, Changes(visibility=PRIVATE), condition=_is(before.revision - 1))
            assert await steps.existing(content_id) == before
            assert await steps.take_all(INVALIDATE) == []


def _is(revision: int) -> Condition:
    return Condition(if_revision=frozenset({revision}))


async def _expect(error: type[StorageError], steps: Steps, content_id: object, condition: Condition) -> None:
    with pytest.raises(error):
        await steps.put(content_id, condition=condition)  # type: ignore[arg-type]
