"""A real tree of at least 10,000 files is imported by the real command, killed three times, resumed, and comes back.

Over HTTP from a running service, and as files from an export; every file is compared by its digest.
"""

import contextlib
import hashlib
import http.client
import json
import os
import sqlite3
import subprocess
import sys
import sysconfig
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import quote, urlsplit

import pytest

from tests.service_process import running_service

pytestmark = [pytest.mark.server, pytest.mark.timeout(900)]

FILES = 10_000
KILLS = 3
READERS = 4
PREFIX = "python/"
PATIENCE_SECONDS = 60.0


def real_files() -> Iterator[tuple[str, Path]]:
    """Yield files of this Python, by where they belong in one tree: its standard library, then what is installed."""
    roots = [Path(sysconfig.get_path("stdlib")), Path(sysconfig.get_path("purelib")), Path(sys.base_prefix)]
    seen = set()
    for number, root in enumerate(roots):
        for path in sorted(root.rglob("*")):
            if path.is_file() and not path.is_symlink() and path.stat().st_size < 2_000_000 and path not in seen:
                seen.add(path)
                yield f"{number}/{path.relative_to(root)}", path


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Exactly the files of this test, as links to those of the installation: the same bytes, times and names."""
    root = tmp_path / "tree"
    made = 0
    for name, path in real_files():
        target = root / name
        target.parent.mkdir(parents=True, exist_ok=True)
        _same(path, target)
        made += 1
        if made == FILES:
            return root
    raise AssertionError(f"this Python installation has too few files: {made}")


def _same(path: Path, target: Path) -> None:
    try:
        os.link(path, target)
    except OSError:  # another file system
        target.write_bytes(path.read_bytes())
        status = path.stat()
        os.utime(target, ns=(status.st_mtime_ns, status.st_mtime_ns))


def _command(data: Path, *arguments: str) -> list[str]:
    return [sys.executable, "-m", "thermocline", *arguments, "--data", str(data), "--json"]


def _query(data: Path, what: str) -> list[tuple[str | int]]:
    """Ask the catalog about its contents, also while another process writes; nothing while it is being made."""
    if not (data / "catalog.db").exists():
        return []
    with contextlib.closing(sqlite3.connect(data / "catalog.db")) as database:
        try:
            return database.execute(f"SELECT {what} FROM contents WHERE object_key IS NOT NULL").fetchall()  # noqa: S608 - a test's own words
        except sqlite3.OperationalError:
            return []


def _there(data: Path) -> set[str]:
    return {str(content_id) for (content_id,) in _query(data, "content_id")}


def _count(data: Path) -> int:
    return sum(int(count) for (count,) in _query(data, "count(*)"))


def _import_until(data: Path, tree: Path, enough: int) -> set[str]:
    """Import, and kill the process this instant once there are `enough` contents; what was committed then."""
    process = subprocess.Popen(
        _command(data, "import", str(tree), "--prefix", PREFIX), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    deadline = time.monotonic() + PATIENCE_SECONDS
    while _count(data) < enough:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline, f"{_count(data)} of {enough} contents"
        threading.Event().wait(0.02)
    process.kill()
    out, told = process.communicate()
    assert process.returncode < 0, (out, told)
    return _there(data)


def _read_back(url: str, digests: dict[str, str]) -> None:
    """Read every file over one connection and compare."""
    with contextlib.closing(http.client.HTTPConnection(urlsplit(url).netloc, timeout=30.0)) as connection:
        for name, digest in digests.items():
            connection.request("GET", f"/v1/content/{quote(PREFIX + name)}")
            answer = connection.getresponse()
            body = answer.read()
            assert answer.status == http.client.OK, body
            assert hashlib.sha256(body).hexdigest() == digest, name


def test_a_killed_import_is_resumed_and_everything_comes_back(tree: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    files = {path.relative_to(tree).as_posix(): path for path in tree.rglob("*") if path.is_file()}
    digests = {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in files.items()}
    assert len(files) == FILES

    committed: set[str] = set()
    for kill in range(KILLS):
        now = _import_until(data, tree, len(committed) + FILES // (KILLS + 2))
        assert committed < now, f"kill {kill + 1} lost something"
        committed = now
    assert len(committed) < FILES

    done = subprocess.run(
        _command(data, "import", str(tree), "--prefix", PREFIX), capture_output=True, check=True, timeout=300
    )
    report = json.loads(done.stdout)
    assert (report["files"], report["unchanged"]) == (FILES, len(committed))
    assert report["copied"] == FILES - len(committed)
    assert report["complete"]

    with running_service(data) as service, ThreadPoolExecutor(READERS) as pool:
        names = sorted(digests)
        shares = [{name: digests[name] for name in names[start::READERS]} for start in range(READERS)]
        list(pool.map(_read_back, [service.url] * READERS, shares))
        # Beside the running service.
        exported = subprocess.run(
            _command(data, "export", str(tmp_path / "out"), "--prefix", PREFIX),
            capture_output=True,
            check=True,
            timeout=300,
        )
    assert json.loads(exported.stdout)["copied"] == FILES
    out = tmp_path / "out"
    assert {path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()} == set(files)
    for name, path in files.items():
        assert hashlib.sha256((out / name).read_bytes()).hexdigest() == digests[name], name
        assert (out / name).stat().st_mtime_ns == path.stat().st_mtime_ns
