"""A gateway of Ceph for the length of a block, and what names a bucket of it."""

from collections.abc import Generator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import botocore.session
from botocore.config import Config
from obstore.store import S3Store

from thermocline.testing.servers.ceph import CephServer
from thermocline.wiring.settings import Settings

BUCKET = "bench"


@contextmanager
def running(folder: Path, *, on_disk: bool = False) -> Generator[CephServer, None, None]:
    """Run the gateway, with one empty bucket."""
    server = CephServer(folder, on_disk=on_disk)
    server.start()
    try:
        client = botocore.session.get_session().create_client(
            "s3",
            endpoint_url=server.endpoint,
            region_name=server.region,
            aws_access_key_id=server.access_key,
            aws_secret_access_key=server.secret_key,
            config=Config(s3={"addressing_style": "path"}),
        )
        client.create_bucket(Bucket=BUCKET)
        client.close()
        yield server
    finally:
        server.stop()


def settings(data: Path, endpoint: str) -> Settings:
    """Return an installation in the bucket; its COLD tier is never cached."""
    objects: dict[str, Any] = {
        "kind": "s3",
        "dialect": "ceph",
        "bucket": BUCKET,
        "endpoint": endpoint,
        "access_key_id": CephServer.access_key,
        "secret_access_key": CephServer.secret_key,
    }
    return Settings.model_validate(
        {"data": data, "objects": {"main": objects}, "placements": {"standard": {"objects": "main"}},
         "tiers": {"archive": {"placement": "standard"}}}
    )  # fmt: skip


def bare(endpoint: str) -> S3Store:
    """Return obstore on the same bucket, with as few retries."""
    return S3Store(
        BUCKET,
        endpoint=endpoint,
        region=CephServer.region,
        access_key_id=CephServer.access_key,
        secret_access_key=CephServer.secret_key,
        client_options={"allow_http": True, "timeout": timedelta(days=1)},
        retry_config={"max_retries": 2},
    )
