"""Looking records up by id: all look-ups of one event-loop turn become one statement."""

import asyncio
from collections.abc import Sequence
from functools import partial
from typing import Final

from sqlalchemy import bindparam, select

from thermocline.adapters.catalog.dialects import is_listed, texts_parameter
from thermocline.adapters.catalog.record_rows import RECORD_COLUMNS, record_of
from thermocline.adapters.catalog.schema import contents, is_live
from thermocline.adapters.catalog.statements import Statement
from thermocline.adapters.catalog.transactions import Connection, Runner
from thermocline.domain.content import Record
from thermocline.domain.content_id import ContentId
from thermocline.domain.errors import StorageError

MOST_IDS: Final = 500
"""Keeps one statement, and so the wait of the next one, short."""

_COLUMNS = (*RECORD_COLUMNS, contents.c.chunk_digests)
FIND_ONE = Statement(select(*_COLUMNS).where(contents.c.content_id == bindparam("content_id"), is_live))
FIND_MANY = Statement(select(*_COLUMNS).where(is_listed(contents.c.content_id, "content_ids"), is_live))

_Waiting = dict[ContentId, list[asyncio.Future[Record | None]]]


class Finder:
    """Finds records as they are committed when the statement runs, which is after the call."""

    def __init__(self, runner: Runner) -> None:
        self._runner = runner
        self._waiting: dict[asyncio.AbstractEventLoop, _Waiting] = {}

    def find(self, content_id: ContentId) -> asyncio.Future[Record | None]:
        """Return the record to come, or None, found together with the other ids asked for in this turn."""
        loop = asyncio.get_running_loop()
        waiting = self._waiting.get(loop)
        if waiting is None:
            waiting = self._waiting[loop] = {}
            loop.call_soon(self._ask, loop)
        future: asyncio.Future[Record | None] = loop.create_future()
        waiting.setdefault(content_id, []).append(future)
        return future

    def _ask(self, loop: asyncio.AbstractEventLoop) -> None:
        waiting = self._waiting.pop(loop)
        ids = list(waiting)
        for start in range(0, len(ids), MOST_IDS):
            some = {content_id: waiting[content_id] for content_id in ids[start : start + MOST_IDS]}
            try:
                answer = asyncio.ensure_future(self._runner.read(partial(find_records, content_ids=list(some))))
            except StorageError as exc:
                _fail(some, exc)
                continue
            answer.add_done_callback(partial(_distribute, some))


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
