"""What every test gets: seeds that are printed, sockets only where a test says so."""

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest
import uvloop  # noqa: F401 - keeps the class of sockets that it finds when it is imported: the real one
from pytest_socket import disable_socket, enable_socket

from tests.counts import SOAK
from tests.postgres import postgres as postgres  # noqa: PLC0414 - a fixture for all tests
from tests.real_machine import real_servers as real_servers  # noqa: PLC0414 - likewise
from tests.redis_servers import guarded_redis, redis_cluster, redis_sentinels, redis_server  # noqa: F401 - likewise
from tests.s3_servers import ceph, ceph_location, glacier, glacier_location, proxied  # noqa: F401 - fixtures for all

# Whoever starts the tests in the background, or under nohup, has these ignored; what the tests start would, too.
for _number, _handler in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
    if signal.getsignal(_number) is signal.SIG_IGN:
        signal.signal(_number, _handler)

# CI judges a change, so it tries the same examples each time; everybody else explores, a soak at full counts.
hypothesis.settings.register_profile(
    "fast", deadline=None, print_blob=True, max_examples=60, derandomize=os.environ.get("CI") == "true"
)
hypothesis.settings.register_profile("soak", deadline=None, print_blob=True, max_examples=1000)
hypothesis.settings.load_profile("soak" if SOAK else "fast")


@pytest.hookimpl(trylast=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Forbid sockets in unit tests; the event loop's own socket pair is allowed."""
    if item.get_closest_marker("server"):
        enable_socket()
    else:
        disable_socket(allow_unix_socket=True)


def pytest_runtest_teardown() -> None:
    enable_socket()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 2 MiB, mounted for the test. Takes root; CI has it, so there a missing right fails."""
    disk = tmp_path / "small-disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m,nr_inodes=400", "tmpfs", str(disk)], capture_output=True, check=False
    )
    if mounted.returncode:
        give_up = pytest.fail if os.environ.get("CI") else pytest.skip
        give_up(f"mounting a file system takes root: {mounted.stderr.decode().strip()}")
    try:
        yield disk
    finally:
        subprocess.run(["umount", "--lazy", str(disk)], check=True)
