"""Laws of `ListsRanges`: ranges that join list what the whole does, in the order of bytes."""
# ruff: noqa: D102 - the name of a test states its law

from contextlib import aclosing
from itertools import pairwise

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from thermocline.ports.object_store import ObjectInfo, ObjectStore
from thermocline.ports.ranges import ListsRanges
from thermocline.testing.contracts.object_store import OpenStore
from thermocline.testing.contracts.running import AsyncTests, in_event_loop

_RANDOM = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
KEYS = (
    "i/p/A/0",
    "i/p/a-b/0",
    "i/p/a/0",
    "i/p/a/1",
    "i/p/a/b/0",
    "i/p/b%2f+c d&<'\"/0",
    "i/p/z/0",
    "i/p/\u00e9/0",
    "i/p/\u20ac/0",
    "i/p/\uff5e/0",
    "i/p/\U0001f600/0",
)
"""In the order of their bytes, which is not UTF-16's."""
OTHERS = ("i/o/z/0", "i/p", "i/pa/0", "i/q/0", "j/p/a/0")
BODY = b"some bytes"
UNFINISHED = frozenset(KEYS[1::3])
BETWEEN = ("", "i", "i/p/", "i/p/a", "i/p/a/", "i/p/a0", "i/p/\ufffd", "i/p/\uffff", "i/p/\U0010ffff", "i/p0", "z")


class ListsRangesContract(AsyncTests):
    """Laws of `ListsRanges`, beside those of `ObjectStore`. Subclasses provide `open_store`, as for that contract.

    A page of the store, if it can be set, should be of very few keys.
    """

    async def test_the_whole_is_listed_in_the_order_of_bytes(self, open_store: OpenStore) -> None:
        async with open_store() as store:
            await _fill(store)
            told = await _listed(store, "", None)
            assert [info.key for info in told] == list(KEYS)
            assert {info.key for info in told if not info.finished} == UNFINISHED
            assert {info.size for info in told if info.finished} == {len(BODY)}
            whole = {info.key: info async for page in store.list_pages("i/p/") for info in page}
            assert whole == {info.key: info for info in told}

    async def test_every_range_is_the_part_of_the_whole(self, open_store: OpenStore) -> None:
        async with open_store() as store:
            await _fill(store)
            marks = sorted({*KEYS[::2], *BETWEEN})
            for number, after in enumerate(marks):
                for until in (None, marks[0], *marks[number : number + 3], KEYS[-1]):
                    expected = [key for key in KEYS if key > after and (until is None or key <= until)]
                    told = await _listed(store, after, until)
                    assert [info.key for info in told] == expected, (after, until)

    async def test_one_may_go_on_from_every_key(self, open_store: OpenStore) -> None:
        async with open_store() as store:
            await _fill(store)
            for stop in range(1, len(KEYS) + 1):
                after, told = "", list[str]()
                while page := await _first_page(store, after):
                    told += [info.key for info in page[:stop]]
                    after = told[-1]
                assert told == list(KEYS)

    async def test_a_key_with_an_object_and_an_unfinished_upload_is_told_once(self, open_store: OpenStore) -> None:
        async with open_store() as store:
            for number in range(3):
                await store.begin_upload(f"i/p/k{number}/0", {})
            await store.put("i/p/k1/0", b"x", {})
            assert [info.key for info in await _listed(store, "", None)] == [f"i/p/k{number}/0" for number in range(3)]

    async def test_what_stays_is_told_once_while_others_come_and_go(self, open_store: OpenStore) -> None:
        async with open_store() as store:
            assert isinstance(store, ListsRanges)
            await _fill(store)
            told: list[str] = []
            async with aclosing(store.list_range("i/p/", after="", until=None)) as pages:
                async for page in pages:
                    told += [info.key for info in page]
                    number = len(told)
                    await store.put(f"i/p/a/new{number}/0", b"", {})
                    await store.put(f"i/p/zz/new{number}/0", b"", {})
                    await store.delete([f"i/p/zz/new{number - 2}/0"])
            assert [key for key in told if "new" not in key] == list(KEYS)
            assert told == sorted(set(told))

    async def test_an_upload_that_is_completed_meanwhile_is_told_once(self, open_store: OpenStore) -> None:
        async with open_store() as store:
            assert isinstance(store, ListsRanges)
            await _fill(store, unfinished=frozenset())
            uploads = [await store.begin_upload(f"i/p/{name}/0", {}) for name in ("a0", "m", "zz")]
            told: list[str] = []
            async with aclosing(store.list_range("i/p/", after="", until=None)) as pages:
                async for page in pages:
                    told += [info.key for info in page]
                    if uploads:
                        await uploads[-1].write(b"x")
                        await uploads.pop().complete()
            assert told == sorted({*KEYS, "i/p/a0/0", "i/p/m/0", "i/p/zz/0"})

    @_RANDOM
    @given(data=st.data())
    def test_ranges_that_join_are_the_whole(self, open_store: OpenStore, data: st.DataObject) -> None:
        in_event_loop(_join)(open_store, data)


async def _join(open_store: OpenStore, data: st.DataObject) -> None:
    names = st.text(st.sampled_from("ab-/\u00e9\U0001f600~!"), min_size=1, max_size=4)
    keys = data.draw(st.lists(names.map(_key), max_size=8, unique=True))
    marks = sorted(data.draw(st.lists(names.map(lambda name: f"i/p/{name}"), max_size=4)))
    unfinished = data.draw(st.frozensets(st.sampled_from(keys))) if keys else frozenset[str]()
    async with open_store() as store:
        # The store outlives the example.
        await store.delete([info.key for info in await _listed(store, "", None)])
        for key in keys:
            if key in unfinished:
                await store.begin_upload(key, {})
            else:
                await store.put(key, b"", {})
        bounds = ["", *marks, None]
        told = [info.key for after, until in pairwise(bounds) for info in await _listed(store, after or "", until)]
        assert told == sorted(keys)


def _key(name: str) -> str:
    """Return a key whose segments are not empty."""
    return f"i/p/{'/'.join(filter(None, name.split('/'))) or '-'}/0"


async def _fill(store: ObjectStore, unfinished: frozenset[str] = UNFINISHED) -> None:
    for key in (*OTHERS, *reversed(KEYS)):
        if key in unfinished:
            await store.begin_upload(key, {})
        else:
            await store.put(key, BODY, {"type": "text/plain"})


async def _listed(store: ObjectStore, after: str, until: str | None) -> list[ObjectInfo]:
    assert isinstance(store, ListsRanges)
    told: list[ObjectInfo] = []
    async with aclosing(store.list_range("i/p/", after=after, until=until)) as pages:
        async for page in pages:
            assert page, "no page is empty"
            told += page
    return told


async def _first_page(store: ObjectStore, after: str) -> list[ObjectInfo]:
    assert isinstance(store, ListsRanges)
    async with aclosing(store.list_range("i/p/", after=after, until=None)) as pages:
        async for page in pages:
            return list(page)
    return []
