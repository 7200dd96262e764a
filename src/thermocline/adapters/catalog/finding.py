"""Looking records up by id: look-ups of one event-loop turn, or of the time of an earlier statement, become one."""

import asyncio
from collections.abc import Sequence
from functools import partial
from typing import Final
from weakref import WeakKeyDictionary

from sqlalchemy import bindparam, select

from thermocline.adapters.catalog.dialects import is_listed, texts_parameter
from thermocline.adapters.catalog.record_rows import RECORD_COLUMNS, record_of
from thermocline.adapters.catalog.schema import contents, has_object, is_live
from thermocline.adapters.catalog.statements import Statement
from thermocline.adapters.catalog.transactions import Connection, Runner
from thermocline.domain.content import Record
from thermocline.domain.content_id import ContentId
from thermocline.domain.errors import BusyError, StorageError, UnavailableError

MOST_IDS: Final = 500
"""Keeps one statement, and so the wait of the next one, short."""
MOST_STATEMENTS: Final = 2
"""Under way at once: the database works on one while the answers of the other are taken in."""
MOST_WAITING: Final = 4096

_COLUMNS = (*RECORD_COLUMNS, contents.c.chunk_digests)
FIND_ONE = Statement(select(*_COLUMNS).where(contents.c.content_id == bindparam("content_id"), is_live))
FIND_MANY = Statement(select(*_COLUMNS).where(is_listed(contents.c.content_id, "content_ids"), has_object))

_Waiting = dict[ContentId, list[asyncio.Future[Record | None]]]


class _Desk:
    """Where one event loop asks; touched in that loop's thread only."""

    def __init__(self) -> None:
        self.waiting: _Waiting = {}
        self.under_way = 0
        """Statements that are not answered yet."""
        self.is_called = False
        """Whether what waits is taken at the end of this turn."""

    def take(self) -> _Waiting:
        """Return the first ids that somebody still waits for, and who."""
        some: _Waiting = {}
        while self.waiting and len(some) < MOST_IDS:
            content_id = next(iter(self.waiting))
            futures = [future for future in self.waiting.pop(content_id) if not future.done()]
            if futures:
                some[content_id] = futures
        return some


class Finder:
    """Finds records as they are committed when the statement runs, which is after the call.

    A look-up while the catalog is idle goes at the end of the turn, with all others of it. While `MOST_STATEMENTS` are
    under way, ids wait, and go together as soon as one is answered: the busier the catalog, the larger the batches.
    """

    def __init__(self, runner: Runner) -> None:
        self._runner = runner
        self._desks: WeakKeyDictionary[asyncio.AbstractEventLoop, _Desk] = WeakKeyDictionary()

    def find(self, content_id: ContentId) -> asyncio.Future[Record | None]:
        """Return the record to come, or None. More than `MOST_WAITING` different ids at once raise `BusyError`."""
        loop = asyncio.get_running_loop()
        desk = self._desks.get(loop)
        if desk is None:
            desk = self._desks[loop] = _Desk()
        future: asyncio.Future[Record | None] = loop.create_future()
        futures = desk.waiting.get(content_id)
        if futures is not None:
            futures.append(future)
        elif len(desk.waiting) >= MOST_WAITING:
            raise BusyError(f"{MOST_WAITING} contents already wait to be looked up; try again")
        else:
            desk.waiting[content_id] = [future]
        if not desk.is_called and desk.under_way < MOST_STATEMENTS:
            desk.is_called = True
            loop.call_soon(self._ask, desk)
        return future

    def _ask(self, desk: _Desk) -> None:
        desk.is_called = False
        while desk.under_way < MOST_STATEMENTS and (some := desk.take()):
            try:
                answer = asyncio.ensure_future(self._runner.read(partial(find_records, content_ids=list(some))))
            except StorageError as exc:
                _fail(some, exc)
                continue
            desk.under_way += 1
            answer.add_done_callback(partial(self._answered, desk, some))

    def _answered(self, desk: _Desk, some: _Waiting, answer: asyncio.Future[list[Record]]) -> None:
        desk.under_way -= 1
        _distribute(some, answer)
        if not answer.cancelled() and isinstance(error := answer.exception(), UnavailableError):
            # They have waited while the catalog did not answer. Asking it batch by batch, each with all its patience,
            # would make the last of them wait for minutes.
            _fail(desk.waiting, error)
            desk.waiting = {}
        self._ask(desk)


def find_records(connection: Connection, content_ids: Sequence[ContentId]) -> list[Record]:
    """Return the records that there are, in one statement."""
    if len(content_ids) == 1:
        rows = connection.all(FIND_ONE, {"content_id": content_ids[0]})
    else:
        rows = connection.all(FIND_MANY, {"content_ids": texts_parameter(content_ids)})
    return [record_of(row) for row in rows]


def _distribute(waiting: _Waiting, answer: asyncio.Future[list[Record]]) -> None:
    if answer.cancelled():
        for futures in waiting.values():
            for future in futures:
                future.cancel()
        return
    error = answer.exception()
    if error is not None:
        _fail(waiting, error)
        return
    found = {record.content_id: record for record in answer.result()}
    for content_id, futures in waiting.items():
        for future in futures:
            if not future.done():
                future.set_result(found.get(content_id))


def _fail(waiting: _Waiting, error: BaseException) -> None:
    for futures in waiting.values():
        for future in futures:
            if not future.done():
                future.set_exception(error)
