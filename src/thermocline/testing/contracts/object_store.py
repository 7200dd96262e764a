"""Laws of `ObjectStore`. An adapter passes them by providing one fixture."""
# ruff: noqa: D102 - the name of a test states its law

import asyncio
import itertools
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager, aclosing
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from thermocline.domain.digests import CHUNK_BYTES
from thermocline.domain.errors import ObjectMissingError, StorageError
from thermocline.ports.object_store import STANDARD, ObjectInfo, ObjectStore
from thermocline.testing import strategies
from thermocline.testing.contracts.running import AsyncTests, in_event_loop

OpenStore = Callable[[], AbstractAsyncContextManager[ObjectStore]]
"""Opens the store. Opened several times, it is several processes on the same objects; the first finds none."""

MOST_OVERHEAD_BYTES = 8 * 1024
"""How much more than the payload a listing may report: the attributes may lie in the same file."""
_RUNS = itertools.count()
_RANDOM = settings(
    # The executors that differ are the adapters: an example that one of them breaks is worth trying on all.
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.differing_executors],
    deadline=None,
)

HOSTILE_KEYS = (
    "a", "A", "a/b", "a/B", "a/b/c", "a.", ".a", "..", ".", "...", "a b", "a+", "a%2fb", "a%", "~", "a~b",
    "é", "e\u0301", "É", "\n", "\x01", "\\", ".uploads/a~", ".installation", "con", "/", "//", "/a", "a/", "a//b",
    "x" * 200, "x" * 201, "x" * 400, "x" * 401, "x" * 1024, "X" * 1024, "é" * 512, "inst/main/a", "inst/main/a/b", "-",
)  # fmt: skip


class ObjectStoreContract(AsyncTests):
    """Laws of `ObjectStore`. Subclasses provide `open_store`, anew for each test."""

    @pytest.fixture
    def open_store(self) -> OpenStore:
        """Return what opens a fresh store."""
        raise NotImplementedError

    async def test_what_was_put_can_be_fetched_by_any_range(self, open_store: OpenStore) -> None:
        body = bytes(range(256)) * 5
        async with open_store() as store:
            await store.put("k", body, {})
            for start, end in ((0, 1280), (0, 0), (1280, 1280), (0, 1), (1279, 1280), (17, 900)):
                assert await store.fetch("k", start, end) == body[start:end]
                assert await _streamed(store, "k", start, end) == body[start:end]

    async def test_what_was_put_outlives_its_process(self, open_store: OpenStore) -> None:
        async with open_store() as other:
            async with open_store() as store:
                await store.put("k", b"1234", {"a": "b"})
            assert await other.fetch("k", 0, 4) == b"1234"

    @pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
    async def test_every_kind_of_buffer_is_taken(self, open_store: OpenStore, kind: Callable[[bytes], Any]) -> None:
        async with open_store() as store:
            await store.put("put", kind(b"whole"), {})
            upload = await store.begin_upload("upload", {})
            await upload.write(kind(b"part"))
            await upload.complete()
            assert await store.fetch("put", 0, 5) + await store.fetch("upload", 0, 4) == b"wholepart"

    async def test_a_missing_object_is_said_to_be_missing(self, open_store: OpenStore) -> None:
        async with open_store() as store:
            assert await store.head("none") is None
            for start, end in ((0, 0), (0, 1), (5, 9)):
                with pytest.raises(ObjectMissingError):
                    await store.fetch("none", start, end)
                with pytest.raises(ObjectMissingError):
                    await _streamed(store, "none", start, end)

    async def test_bytes_beyond_the_end_are_never_given_out(self, open_store: OpenStore) -> None:
        async with open_store() as store:
            await store.put("k", b"12345", {"attribute": "must not leak"})
            await store.put("empty", b"", {})
            for key, start, end in (("k", 0, 6), ("k", 5, 6), ("k", 6, 6), ("k", 100, 200), ("empty", 0, 1)):
                with pytest.raises(EOFError):
                    await store.fetch(key, start, end)
                with pytest.raises(EOFError):
                    await _streamed(store, key, start, end)

    async def test_what_is_no_range_is_refused(self, open_store: OpenStore) -> None:
        async with open_store() as store:
            await store.put("k", b"12345", {})
            for start, end in ((-1, 2), (3, 2), (-2, -1)):
                with pytest.raises(ValueError, match="range"):
                    await store.fetch("k", start, end)
                with pytest.raises(ValueError, match="range"):
                    await _streamed(store, "k", start, end)

    async def test_a_stream_gives_every_byte_once_in_order(self, open_store: OpenStore) -> None:
        body = _body(2 * CHUNK_BYTES + 12345)
        async with open_store() as store:
            upload = await store.begin_upload("k", {})
            for start in range(0, len(body), store.part_size):
                await upload.write(body[start : start + store.part_size])
            await upload.complete()
            edges = (0, 1, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 2 * CHUNK_BYTES, len(body) - 1, len(body))
            for start, end in itertools.combinations(edges, 2):
                assert await _streamed(store, "k", start, end) == body[start:end], (start, end)

    async def test_blocks_of_a_stream_stay_as_they_were(self, open_store: OpenStore) -> None:
        body = _body(3 * CHUNK_BYTES)
        async with open_store() as store:
            await store.put("k", body, {})
            blocks = [block async for block in store.stream("k", 0, len(body))]
            assert b"".join(blocks) == body

    async def test_a_stream_can_be_left_early(self, open_store: OpenStore) -> None:
        body = _body(3 * CHUNK_BYTES)
        async with open_store() as store:
            await store.put("k", body, {})
            for _ in range(5):
                async with aclosing(store.stream("k", 0, len(body))) as stream:
                    first = await anext(stream)
                    assert body.startswith(bytes(first))
            async with aclosing(store.stream("k", 0, 1)):
                pass

    async def test_the_head_tells_size_and_attributes(self, open_store: OpenStore) -> None:
        attributes = {"content-id": "users/42/%C3%A9.jpg", "type": "text/plain; charset=utf-8", "tier": "hot"}
        async with open_store() as store:
            await store.put("k", b"12345", attributes)
            upload = await store.begin_upload("u", attributes)
            await upload.write(b"12")
            await upload.complete()
            await store.put("bare", b"", {})
            for key, size, expected in (("k", 5, attributes), ("u", 2, attributes), ("bare", 0, {})):
                head = await store.head(key)
                assert head is not None
                assert (head.size, dict(head.attributes)) == (size, expected)
                (info,) = await _listed(store, key)
                assert info.modified_at == head.modified_at
                assert size <= info.size <= size + MOST_OVERHEAD_BYTES

    async def test_every_object_tells_its_storage_class(self, open_store: OpenStore) -> None:
        async with open_store() as store:
            for storage_class in (STANDARD, "STANDARD_IA"):
                for _ in range(2):
                    await store.put(storage_class, b"12345", {"a": "b"}, storage_class=storage_class)
                upload = await store.begin_upload(f"u{storage_class}", {"a": "b"}, storage_class=storage_class)
                await upload.write(b"12345")
                await upload.complete()
                for key in (storage_class, f"u{storage_class}"):
                    head = await store.head(key)
                    assert head is not None
                    assert (head.storage_class, dict(head.attributes), head.size) == (storage_class, {"a": "b"}, 5)
                    assert await store.fetch(key, 0, 5) == b"12345"
            for name in ("", "two words", "é", "new\nline", "x" * 65):
                for attempt in (
                    store.put("k", b"", {}, storage_class=name),
                    store.begin_upload("k", {}, storage_class=name),
                ):
                    with pytest.raises(ValueError, match="storage class"):
                        await attempt
            assert await _listed(store, "k") == []

    async def test_an_upload_appears_only_when_it_is_complete(self, open_store: OpenStore) -> None:
        async with open_store() as store, open_store() as other:
            parts = [_body(store.part_size), _body(store.part_size), b"rest"]
            upload = await store.begin_upload("k", {"a": "b"})
            for part in parts:
                await upload.write(part)
                assert await other.head("k") is None
                with pytest.raises(ObjectMissingError):
                    await other.fetch("k", 0, 1)
                assert [(info.key, info.finished) for info in await _listed(other, "")] == [("k", False)]
            await upload.complete()
            whole = b"".join(parts)
            assert await other.fetch("k", 0, len(whole)) == whole
            assert [(info.key, info.finished) for info in await _listed(other, "")] == [("k", True)]

    async def test_an_upload_without_parts_is_an_empty_object(self, open_store: OpenStore) -> None:
        async with open_store() as store:
            await (await store.begin_upload("k", {})).complete()
            assert await store.fetch("k", 0, 0) == b""

    async def test_an_aborted_upload_leaves_nothing(self, open_store: OpenStore) -> None:
        async with open_store() as store:
            for parts in ((), (b"part",)):
                upload = await store.begin_upload("k", {})
                for part in parts:
                    await upload.write(part)
                await upload.abort()
                await upload.abort()
                assert await _listed(store, "") == []
                assert await store.head("k") is None

    async def test_an_abort_after_completion_changes_nothing(self, open_store: OpenStore) -> None:
        async with open_store() as store:
            upload = await store.begin_upload("k", {})
            await upload.write(b"part")
            await upload.complete()
            await upload.abort()
            assert await store.fetch("k", 0, 4) == b"part"

    async def test_a_deleted_upload_never_comes_into_being(self, open_store: OpenStore) -> None:
        async with open_store() as store, open_store() as cleaner:
            upload = await store.begin_upload("k", {})
            await upload.write(b"part")
            assert not await cleaner.delete(["k"])
            assert await _listed(cleaner, "") == []
            with pytest.raises(StorageError):
                await upload.complete()
            await upload.abort()
            assert await cleaner.head("k") is None
            assert await _listed(cleaner, "") == []

    async def test_deleting_is_idempotent_and_touches_nothing_else(self, open_store: OpenStore) -> None:
        async with open_store() as store:
            for key in ("a", "A", "a/b", "aa"):
                await store.put(key, key.encode(), {})
            assert not await store.delete(["a", "none"])
            assert not await store.delete(["a", "a"])
            assert not await store.delete([])
            assert await store.head("a") is None
            assert sorted(info.key for info in await _listed(store, "")) == ["A", "a/b", "aa"]

    async def test_a_thousand_keys_are_deleted_at_once(self, open_store: OpenStore) -> None:
        async with open_store() as store:
            keys = [f"many/{number}" for number in range(1000)]
            await asyncio.gather(*(store.put(key, b"", {}) for key in keys[::20]))
            assert not await store.delete(keys)
            assert await _listed(store, "") == []

    async def test_keys_that_look_alike_are_different_objects(self, open_store: OpenStore) -> None:
        async with open_store() as store:
            for number, key in enumerate(HOSTILE_KEYS):
                await store.put(key, b"%d" % number, {"number": str(number)})
            for number, key in enumerate(HOSTILE_KEYS):
                body = b"%d" % number
                assert await store.fetch(key, 0, len(body)) == body
                head = await store.head(key)
                assert head is not None
                assert dict(head.attributes) == {"number": str(number)}
            assert sorted(info.key for info in await _listed(store, "")) == sorted(HOSTILE_KEYS)
            for number, key in enumerate(HOSTILE_KEYS):
                assert not await store.delete([key])
                assert len(await _listed(store, "")) == len(HOSTILE_KEYS) - number - 1

    async def test_what_is_no_key_is_refused(self, open_store: OpenStore) -> None:
        async with open_store() as store:
            for key in ("", "a\0b", "x" * 1025, "é" * 513, "\ud800"):
                for attempt in (store.put(key, b"", {}), store.fetch(key, 0, 0), store.head(key), store.delete([key])):
                    with pytest.raises(ValueError, match="key"):
                        await attempt

    async def test_a_listing_keeps_to_its_prefix(self, open_store: OpenStore) -> None:
        keys = ["i/p/a", "i/p/ab", "i/p/a/b", "i/pp/a", "ii/p/a", "i/P/a", "%", "i"]
        async with open_store() as store:
            for key in keys:
                await store.put(key, b"", {})
            for prefix in ("", "i", "i/", "i/p", "i/p/", "i/p/a", "i/p/a/", "ii", "%", "none", "I"):
                expected = sorted(key for key in keys if key.startswith(prefix))
                assert sorted(info.key for info in await _listed(store, prefix)) == expected, prefix

    async def test_a_long_listing_is_whole(self, open_store: OpenStore) -> None:
        async with open_store() as store:
            keys = {f"i/p/{number}" for number in range(1500)}
            await asyncio.gather(*(store.put(key, b"", {}) for key in keys))
            listed = [info.key for info in await _listed(store, "i/p/")]
            assert len(listed) == len(keys)
            assert set(listed) == keys

    async def test_a_listing_shows_what_stayed_exactly_once_while_others_come_and_go(
        self, open_store: OpenStore
    ) -> None:
        async with open_store() as store:
            stay = {f"stay/{number}" for number in range(60)}
            for key in stay:
                await store.put(key, b"", {})
            uploads = [await store.begin_upload(f"stay/upload{number}", {}) for number in range(5)]
            going = asyncio.create_task(_come_and_go(store))
            completing = asyncio.create_task(_complete_all(uploads))
            for _ in range(5):
                seen = [info.key for info in await _listed(store, "stay/") if "going" not in info.key]
                assert sorted(seen) == sorted(stay | {f"stay/upload{number}" for number in range(5)})
            await asyncio.gather(going, completing)

    async def test_the_first_claim_wins(self, open_store: OpenStore) -> None:
        async with open_store() as one, open_store() as two:
            owners = await asyncio.gather(*(store.claim(f"i{number}") for number, store in enumerate((one, two) * 8)))
            assert len(set(owners)) == 1
            assert owners[0] in {f"i{number}" for number in range(16)}
            assert await two.claim("late") == owners[0]
            assert await _listed(one, "") == []

    async def test_puts_fetches_and_deletes_at_once_do_not_mix(self, open_store: OpenStore) -> None:
        async with open_store() as store:

            async def one(number: int) -> None:
                key, body = f"k/{number}/" + "long" * (number % 3 * 40), b"%d" % number * (number + 1)
                await store.put(key, body, {"n": str(number)})
                assert await store.fetch(key, 0, len(body)) == body
                assert await _streamed(store, key, 1, len(body)) == body[1:]
                assert not await store.delete([key])
                assert await store.head(key) is None

            await asyncio.gather(*(one(number) for number in range(60)))
            assert await _listed(store, "") == []

    async def test_a_repeated_put_of_the_same_bytes_succeeds(self, open_store: OpenStore) -> None:
        async with open_store() as store:
            for _ in range(2):
                await store.put("k", b"same", {"a": "b"})
            assert await store.fetch("k", 0, 4) == b"same"
            assert len(await _listed(store, "")) == 1

    @_RANDOM
    @given(data=st.data())
    def test_it_behaves_like_a_dictionary(self, open_store: OpenStore, data: st.DataObject) -> None:
        in_event_loop(_compare_with_dictionary)(open_store, data)


class NeverOverwrites(AsyncTests):
    """The further law of stores that can tell: an object is not replaced even by a key that is used twice."""

    async def test_other_bytes_never_replace_an_object(self, open_store: OpenStore) -> None:
        async with open_store() as store:
            await store.put("k", b"first", {"a": "b"})
            for body, attributes, storage_class in (
                (b"other", {"a": "b"}, STANDARD),
                (b"first", {"a": "c"}, STANDARD),
                (b"first", {"a": "b"}, "STANDARD_IA"),
                (b"", {}, STANDARD),
                (b"first!", {"a": "b"}, STANDARD),
            ):
                with pytest.raises(StorageError):
                    await store.put("k", body, attributes, storage_class=storage_class)
                upload = await store.begin_upload("k", attributes, storage_class=storage_class)
                await upload.write(body)
                with pytest.raises(StorageError):
                    await upload.complete()
                await upload.abort()
            assert await store.fetch("k", 0, 5) == b"first"
            assert [info.finished for info in await _listed(store, "")] == [True]


async def _compare_with_dictionary(open_store: OpenStore, data: st.DataObject) -> None:
    # The store outlives the example: each one has a prefix of its own.
    prefix = f"run{next(_RUNS)}/"
    keys = data.draw(
        st.lists(strategies.free_keys().filter(lambda key: len(key.encode()) < 1000), min_size=1, max_size=6)
    )
    model: dict[str, tuple[bytes, Mapping[str, str]]] = {}
    async with open_store() as store:
        for step in data.draw(st.lists(st.sampled_from(("put", "upload", "delete")), max_size=12)):
            key = prefix + data.draw(st.sampled_from(keys))
            if step == "delete":
                assert not await store.delete([key])
                model.pop(key, None)
            elif key not in model:
                body, attributes = data.draw(strategies.bodies()), data.draw(strategies.attributes())
                if step == "put":
                    await store.put(key, body, attributes)
                else:
                    upload = await store.begin_upload(key, attributes)
                    for start in range(0, len(body), store.part_size):
                        await upload.write(body[start : start + store.part_size])
                    await upload.complete()
                model[key] = body, attributes
        for key, (body, attributes) in model.items():
            start, end = data.draw(strategies.ranges(len(body)))
            assert await store.fetch(key, start, end) == body[start:end]
            head = await store.head(key)
            assert head is not None
            assert (head.size, dict(head.attributes)) == (len(body), dict(attributes))
        assert sorted(info.key for info in await _listed(store, prefix)) == sorted(model)


async def _streamed(store: ObjectStore, key: str, start: int, end: int) -> bytes:
    async with aclosing(store.stream(key, start, end)) as stream:
        return b"".join([bytes(block) async for block in stream])


async def _listed(store: ObjectStore, prefix: str) -> list[ObjectInfo]:
    return [info async for page in store.list_pages(prefix) for info in page]


async def _come_and_go(store: ObjectStore) -> None:
    for number in range(60):
        key = f"stay/going/{number}/" + "long" * (number % 2 * 60)
        await store.put(key, b"", {})
        await store.delete([key])


async def _complete_all(uploads: list[Any]) -> None:
    for upload in uploads:
        await upload.complete()


def _body(size: int) -> bytes:
    # No period divides a chunk, so that swapped chunks are noticed.
    pattern = bytes(range(251))
    return (pattern * (size // len(pattern) + 1))[:size]
