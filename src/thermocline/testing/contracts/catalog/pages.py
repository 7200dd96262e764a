"""Laws of `Records.page` and `Records.expired`: what they list, in which order, from where."""
# ruff: noqa: D102 - the name of a test states its law

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from thermocline.domain.content import Changes, Record
from thermocline.domain.content_id import ContentId
from thermocline.domain.tiers import StorageTier
from thermocline.domain.units import Seconds, later
from thermocline.testing.contracts.catalog.base import CatalogContract
from thermocline.testing.contracts.catalog.steps import OpenCatalog, Steps, one_process, some_id
from thermocline.testing.contracts.running import in_event_loop

_RANDOM = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=25)
_LAST = "\U0010ffff"
_letters = st.text(st.sampled_from(("a", "B", "-", "é", "\ud7ff", "\ue000", "\uffff", "🜁", _LAST)), max_size=4)


class PagesContract(CatalogContract):
    """Laws of `Records`: listings."""

    def test_pages_list_what_has_the_prefix_in_byte_order(self, open_catalog: OpenCatalog) -> None:
        @_RANDOM
        @given(names=st.sets(_letters.filter(bool), min_size=1, max_size=8), prefix=_letters, limit=st.integers(1, 4))
        @in_event_loop
        async def check(names: set[str], prefix: str, limit: int) -> None:
            async with one_process(open_catalog) as steps:
                root = some_id("")
                for name in names:
                    await steps.put(ContentId(root + name))
                expected = sorted((root + name for name in names if name.startswith(prefix)), key=str.encode)
                assert await _listed(steps, root + prefix, limit=limit) == expected

        check()

    @pytest.mark.parametrize("prefix", [_LAST, _LAST * 3, f"a{_LAST}"])
    async def test_a_prefix_may_end_in_the_last_character(self, open_catalog: OpenCatalog, prefix: str) -> None:
        async with one_process(open_catalog) as steps:
            ids = sorted(ContentId(prefix + end) for end in ("", "x", _LAST, f"{_LAST}x"))
            for content_id in (*ids, ContentId("b"), ContentId("z")):
                await steps.put(content_id)
            assert await _listed(steps, prefix) == [text for text in ids if text.startswith(prefix)]
            everything = await _listed(steps, "")
            assert everything == sorted(everything)
            assert set(everything) >= {*ids, "b", "z"}

    async def test_wildcards_are_ordinary_characters(self, open_catalog: OpenCatalog) -> None:
        async with one_process(open_catalog) as steps:
            root = some_id("")
            for name in ("a%b", "a_b", "axb", "a*b", "a?b", "a[x]b"):
                await steps.put(ContentId(root + name))
            for prefix in ("a%", "a_", "a*", "a?", "a["):
                assert [text[len(root) : len(root) + 2] for text in await _listed(steps, root + prefix)] == [prefix]

    async def test_pages_leave_out_the_deleted_the_expired_and_other_tiers(self, open_catalog: OpenCatalog) -> None:
        async with one_process(open_catalog) as steps:
            root = some_id("")
            for name, tier in (("a", StorageTier.HOT), ("b", StorageTier.COLD), ("c", StorageTier.HOT)):
                await steps.put(ContentId(root + name), tier=tier)
            await steps.put(ContentId(f"{root}d"), expires_at=later(steps.clock.now(), Seconds(5)))
            await steps.delete(ContentId(f"{root}c"))
            assert await _listed(steps, root) == [f"{root}a", f"{root}b", f"{root}d"]
            steps.clock.advance(5)
            assert await _listed(steps, root) == [f"{root}a", f"{root}b"]
            assert await _listed(steps, root, tier=StorageTier.COLD) == [f"{root}b"]
            assert await _listed(steps, root, tier=StorageTier.HOT) == [f"{root}a"]
            assert await _listed(steps, root, tier=StorageTier.ARCHIVE) == []

    async def test_a_page_begins_after_any_text(self, open_catalog: OpenCatalog) -> None:
        async with one_process(open_catalog) as steps:
            root = some_id("")
            ids = [f"{root}{name}" for name in ("a", "a/a", "b", "b/c")]
            for content_id in ids:
                await steps.put(ContentId(content_id))
            for after, expected in (
                ("", ids),
                ("!", ids),
                (f"{root}a", ids[1:]),
                (f"{root}a/", ids[1:]),
                (f"{root}a/b", ids[2:]),
                (f"{root}b/c", []),
                ("~", []),
            ):
                page = await _page(steps, root, after=after)
                assert [record.content_id for record in page] == expected

    async def test_pages_hold_whole_records_without_chunk_digests(self, open_catalog: OpenCatalog) -> None:
        async with one_process(open_catalog) as steps:
            content_id = some_id()
            record = (await steps.put(content_id, metadata={"a": [1]}, chunk_digests=b"c" * 32)).record
            (listed,) = await _page(steps, content_id)
            assert listed.chunk_digests is None
            assert (listed.metadata, listed.revision, listed.version) == ({"a": [1]}, record.revision, record.version)

    async def test_the_expired_are_listed_oldest_first_without_the_held(self, open_catalog: OpenCatalog) -> None:
        async with one_process(open_catalog) as steps:
            now = steps.clock.now()
            ids = [some_id(f"{number}") for number in range(5)]
            for number, content_id in enumerate(ids):
                await steps.put(content_id, expires_at=later(now, Seconds(10 - number)))
            await steps.put(some_id("forever"))
            await steps.change(ids[2], Changes(held=True))
            await steps.delete(ids[3])
            steps.clock.advance(9)
            expired = steps.catalog.records.expired
            assert await expired(now=steps.clock.now(), limit=10) == [ids[4], ids[1]]
            assert await expired(now=steps.clock.now(), limit=1) == [ids[4]]
            steps.clock.advance(1)
            assert await expired(now=steps.clock.now(), limit=10) == [ids[4], ids[1], ids[0]]


async def _page(steps: Steps, prefix: str, *, after: str = "", limit: int = 100) -> list[Record]:
    records = steps.catalog.records
    return list(await records.page(prefix=prefix, tier=None, after=after, limit=limit, now=steps.clock.now()))


async def _listed(steps: Steps, prefix: str, *, tier: StorageTier | None = None, limit: int = 100) -> list[str]:
    listed: list[str] = []
    after = ""
    while True:
        page = await steps.catalog.records.page(
            prefix=prefix, tier=tier, after=after, limit=limit, now=steps.clock.now()
        )
        listed += [record.content_id for record in page]
        if len(page) < limit:
            return listed
        after = page[-1].content_id
