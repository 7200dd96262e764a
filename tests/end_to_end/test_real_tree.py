"""A real tree goes in over HTTP from concurrent clients and comes back whole: 10,000 files in a soak.

`test_import` brings in as many in every run.
"""

import hashlib
import sys
import sysconfig
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import quote

import pytest

from tests.counts import SOAK
from tests.service_process import client, running_service

pytestmark = [pytest.mark.server, pytest.mark.timeout(900)]

FILES = 10_000 if SOAK else 3_000
CLIENTS = 8


def real_files() -> Iterator[Path]:
    """Yield files of this Python: its standard library, then what is installed into the environment."""
    roots = [Path(sysconfig.get_path("stdlib")), Path(sysconfig.get_path("purelib")), Path(sys.base_prefix)]
    seen = set()
    for root in roots:
        for path in sorted(root.rglob("*")):
            if path.is_file() and not path.is_symlink() and path.stat().st_size < 2_000_000 and path not in seen:
                seen.add(path)
                yield path


def test_a_python_installation_round_trips(tmp_path: Path) -> None:
    files = [path for path, _ in zip(real_files(), range(FILES), strict=False)]
    assert len(files) >= FILES, "this Python installation has too few files"
    ids = {str(path.relative_to("/")): path for path in files}
    digests = {}

    with running_service(tmp_path / "data") as service, client(service) as http, ThreadPoolExecutor(CLIENTS) as pool:

        def put(content_id: str) -> None:
            body = ids[content_id].read_bytes()
            digests[content_id] = hashlib.sha256(body).hexdigest()
            answer = http.put(f"/v1/content/{quote(content_id)}", content=body)
            assert answer.status_code == 201, answer.text

        list(pool.map(put, ids))

    with running_service(tmp_path / "data") as service, client(service) as http, ThreadPoolExecutor(CLIENTS) as pool:

        def get(content_id: str) -> None:
            answer = http.get(f"/v1/content/{quote(content_id)}")
            assert answer.status_code == 200, answer.text
            assert hashlib.sha256(answer.content).hexdigest() == digests[content_id], content_id

        list(pool.map(get, ids))

        listed: list[str] = []
        cursor = ""
        while True:
            page = http.get(
                "/v1/content", params={"limit": 1000, "cursor": cursor} if cursor else {"limit": 1000}
            ).json()
            listed += [record["content_id"] for record in page.get("records", page.get("contents", []))]
            cursor = page["next"]
            if not cursor:
                break
        assert listed == sorted(ids, key=str.encode)
