"""Pages of a listing over one kept-alive connection."""

import http.client
import json
import time
import urllib.parse
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

LIMIT = 100
_LARGEST_LIMIT = 1000


@dataclass(frozen=True)
class Page:
    ids: list[str]
    next_cursor: str | None
    seconds: float


class Pages:
    """Reads pages; raises `RuntimeError` for any answer but 200."""

    def __init__(self, url: str) -> None:
        self._connection = http.client.HTTPConnection(urllib.parse.urlsplit(url).netloc)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._connection.close()

    def read(self, query: dict[str, str], cursor: str | None, limit: int = LIMIT) -> Page:
        """Return one page; the time runs from the request to the last byte, before the JSON is read."""
        parameters = query | {"limit": str(limit)} | ({"cursor": cursor} if cursor else {})
        target = f"/v1/content?{urllib.parse.urlencode(parameters)}"
        began = time.perf_counter()
        self._connection.request("GET", target)
        answer = self._connection.getresponse()
        body = answer.read()
        seconds = time.perf_counter() - began
        if answer.status != http.client.OK:
            raise RuntimeError(f"GET {target} was answered {answer.status}: {body[:500]!r}")
        told: dict[str, Any] = json.loads(body)
        records = next(value for value in told.values() if isinstance(value, list))
        return Page([record["content_id"] for record in records], told.get("next"), seconds)

    def last_full_page(self, query: dict[str, str]) -> tuple[str, int]:
        """Return the cursor of the last page that has as many records as the first, and how many records there are."""
        cursors: list[str | None] = [None]
        count, before = 0, ""
        # Large pages all the way, then small ones over the end.
        for limit in (_LARGEST_LIMIT, LIMIT):
            if limit == LIMIT:
                cursors = [cursors[max(len(cursors) - 3, 0)]]
            while True:
                page = self.read(query, cursors[-1], limit)
                if limit == _LARGEST_LIMIT:
                    count += len(page.ids)
                    if page.ids and (page.ids[0] <= before or page.ids != sorted(page.ids)):
                        raise RuntimeError(f"the listing {query} is not in order after {before!r}")
                    before = page.ids[-1] if page.ids else before
                if not page.next_cursor or not page.ids:
                    break
                cursors.append(page.next_cursor)
        full = [cursor for cursor in cursors if cursor and len(self.read(query, cursor).ids) == LIMIT]
        return full[-1], count
