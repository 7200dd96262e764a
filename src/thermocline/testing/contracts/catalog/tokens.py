"""Laws of `Tokens`."""
# ruff: noqa: D102 - the name of a test states its law

from dataclasses import replace

import pytest

from thermocline.domain.access import Scope, Token
from thermocline.domain.errors import StorageError
from thermocline.domain.units import Timestamp
from thermocline.testing.contracts.catalog.base import CatalogContract
from thermocline.testing.contracts.catalog.steps import OpenCatalog, one_process, two_processes

ONE = Token("0" * 12, b"h" * 32, frozenset({Scope.READ}), "", Timestamp(2), None, None)
TWO = Token("1" * 12, bytes(range(32)), frozenset(Scope), "é/%", Timestamp(1), Timestamp(9), None)


class TokensContract(CatalogContract):
    """Laws of `Tokens`."""

    async def test_a_token_is_found_as_it_was_added(self, open_catalog: OpenCatalog) -> None:
        async with one_process(open_catalog) as steps:
            tokens = steps.catalog.tokens
            for token in (ONE, TWO):
                await tokens.add(token)
            assert await tokens.find(ONE.token_id) == ONE
            assert await tokens.find(TWO.token_id) == TWO
            assert await tokens.find("2" * 12) is None
            assert await tokens.all() == [TWO, ONE]

    async def test_an_id_is_never_given_twice(self, open_catalog: OpenCatalog) -> None:
        async with one_process(open_catalog) as steps:
            await steps.catalog.tokens.add(ONE)
            with pytest.raises(StorageError):
                await steps.catalog.tokens.add(replace(TWO, token_id=ONE.token_id))
            assert await steps.catalog.tokens.all() == [ONE]

    async def test_a_revocation_stands_and_the_token_is_remembered(self, open_catalog: OpenCatalog) -> None:
        async with one_process(open_catalog) as steps:
            tokens = steps.catalog.tokens
            assert not await tokens.any()
            assert not await tokens.revoke(ONE.token_id, now=Timestamp(5))
            await tokens.add(ONE)
            assert await tokens.any()
            assert await tokens.revoke(ONE.token_id, now=Timestamp(5))
            assert await tokens.revoke(ONE.token_id, now=Timestamp(6))
            assert await tokens.find(ONE.token_id) == replace(ONE, revoked_at=Timestamp(5))
            assert await tokens.any()

    async def test_every_change_is_announced(self, open_catalog: OpenCatalog) -> None:
        async with two_processes(open_catalog) as (one, other):
            position = await other.catalog.changes.position()
            await one.catalog.tokens.add(ONE)
            await one.catalog.tokens.revoke(ONE.token_id, now=Timestamp(5))
            await one.catalog.tokens.revoke("unknown", now=Timestamp(5))
            page = await other.catalog.changes.since(position, limit=10)
            assert [change.content_id for change in page.changes] == [None, None]
