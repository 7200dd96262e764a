"""The servers that production runs on, for a developer: `make dev-stack`.

PostgreSQL, a Redis Cluster of three masters and three replicas, Ceph's gateway and an S3 with Glacier semantics, on
free ports of loopback, with buckets, a migrated catalog and a settings file. All of it ends, and is forgotten, with
Ctrl-C.
"""

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from thermocline.domain.units import MICROS_PER_SECOND, Seconds
from thermocline.testing.servers.ceph import CephServer
from thermocline.testing.servers.glacier import GlacierServer
from thermocline.testing.servers.postgres import PostgresServer
from thermocline.testing.servers.processes import ServerFailedError
from thermocline.testing.servers.redis import RedisCluster

DELAYS: Final = {"DEEP_ARCHIVE": {"Bulk": 15.0, "Standard": 5.0}}
"""Seconds instead of hours, so that a restore can be watched."""
TICK: Final = Seconds(1.0)
BUCKET: Final = "media"
ARCHIVE: Final = "archive"
_SETTINGS: Final = """\
# Made by 'make dev-stack', for servers that end with it.
data = "{folder}/data"

[catalog]
url = "{catalog}"

[cache]
url = "{cache}"

[objects.main]
kind = "s3"
dialect = "ceph"
endpoint = "{ceph}"
region = "{ceph_region}"
bucket = "{bucket}"
access_key_id = "{ceph_key}"
secret_access_key = "{ceph_secret}"

[objects.archive]
kind = "s3"
dialect = "aws"
endpoint = "{glacier}"
region = "{glacier_region}"
bucket = "{archive}"
path_style = true
access_key_id = "{glacier_key}"
secret_access_key = "{glacier_secret}"

[placements.standard]
objects = "main"

[placements.infrequent]
objects = "main"
storage_class = "STANDARD_IA"

[placements.archive]
objects = "archive"
storage_class = "DEEP_ARCHIVE"
prices = "s3.deep_archive"

[placements.archive.restore]
bulk = {{ delay = "15s", usd_per_gb = 0.0025, usd_per_request = 0.000025 }}
standard = {{ delay = "5s", usd_per_gb = 0.02, usd_per_request = 0.0001 }}

[tiers.cold]
placement = "infrequent"
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the stack until Ctrl-C or SIGTERM."""
    parser = argparse.ArgumentParser(prog="make dev-stack", description=__doc__)
    parser.parse_args(arguments)
    stopping = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopping.set())
    try:
        # Not under a folder of root's alone: PostgreSQL runs as a user of its own.
        with tempfile.TemporaryDirectory(prefix="thermocline-stack-") as folder, ExitStack() as stack:
            settings, glacier = _start(Path(folder), stack, stopping)
            if settings is None:
                return 130
            _tell(settings)
            while not stopping.wait(TICK):
                glacier.advance(TICK)  # its clock is a test's, and stands still otherwise
    except ServerFailedError as exc:
        sys.stderr.write(f"error: {exc}\n")
        return 1
    return 0


def _start(folder: Path, stack: ExitStack, stopping: threading.Event) -> tuple[Path | None, GlacierServer]:
    for name in ("postgres", "redis", "ceph", "glacier"):
        (folder / name).mkdir()
    os.chmod(folder, 0o755)  # noqa: PTH101, S103 - PostgreSQL's user must pass through
    postgres = PostgresServer(folder / "postgres", durable=True)
    cluster = RedisCluster(folder / "redis", "--maxmemory", "256mb", "--maxmemory-policy", "volatile-lru")
    ceph = CephServer(folder / "ceph")
    glacier = GlacierServer(folder / "glacier", delays=DELAYS)
    for name, server in (("PostgreSQL", postgres), ("Redis", cluster), ("Ceph", ceph), ("Glacier", glacier)):
        if stopping.is_set():
            return None, glacier
        sys.stderr.write(f"starting {name} ...\n")
        stack.callback(server.stop)
        server.start()
    glacier.advance(Seconds(time.time() - glacier.now() / MICROS_PER_SECOND))
    _make_bucket(ceph.endpoint, ceph.region, ceph.access_key, ceph.secret_key, BUCKET)
    _make_bucket(glacier.endpoint, glacier.region, glacier.access_key, glacier.secret_key, ARCHIVE)
    settings = folder / "thermocline.toml"
    settings.write_text(
        _SETTINGS.format(
            folder=folder,
            catalog=postgres.create_database(),
            cache=cluster.url,
            ceph=ceph.endpoint,
            ceph_region=ceph.region,
            ceph_key=ceph.access_key,
            ceph_secret=ceph.secret_key,
            glacier=glacier.endpoint,
            glacier_region=glacier.region,
            glacier_key=glacier.access_key,
            glacier_secret=glacier.secret_key,
            bucket=BUCKET,
            archive=ARCHIVE,
        ),
        encoding="utf-8",
    )
    subprocess.run(
        [sys.executable, "-m", "thermocline", "migrate"],
        env={**os.environ, "THERMOCLINE_CONFIG": str(settings)},
        check=True,
        stdout=sys.stderr,
    )
    return settings, glacier


def _make_bucket(endpoint: str, region: str, access_key: str, secret_key: str, name: str) -> None:
    import botocore.session
    from botocore.config import Config

    client = botocore.session.get_session().create_client(
        "s3",
        endpoint_url=endpoint,
        region_name=region,
        aws_access_key_id=access_key,
        aws_secret_access_key=secret_key,
        config=Config(s3={"addressing_style": "path"}),
    )
    try:
        client.create_bucket(Bucket=name)
    finally:
        client.close()


def _tell(settings: Path) -> None:
    sys.stdout.write(
        f"{settings.read_text(encoding='utf-8')}\n"
        "# The stack runs until Ctrl-C. In another terminal:\n"
        f"export THERMOCLINE_CONFIG={settings}\n"
        "thermocline doctor\n"
    )
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
