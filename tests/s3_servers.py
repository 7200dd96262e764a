"""Fixtures: servers of S3, each started once for all tests of a process, with a bucket for each test."""

import itertools
import os
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any, Protocol

import botocore.session
import pytest
from botocore.config import Config

from thermocline.adapters.objects.s3_clients import S3Location
from thermocline.adapters.objects.s3_dialects import DIALECTS
from thermocline.testing.contracts.restorable import ARCHIVE_CLASSES
from thermocline.testing.servers.ceph import CephServer
from thermocline.testing.servers.glacier import GlacierServer
from thermocline.testing.servers.tcp_proxy import TcpProxy

_BUCKETS = itertools.count()


class S3Server(Protocol):
    """What all servers of S3 tell of themselves."""

    access_key: str
    secret_key: str
    region: str

    @property
    def endpoint(self) -> str: ...


@pytest.fixture(scope="session")
def ceph(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CephServer]:
    """Ceph's gateway."""
    server = CephServer(tmp_path_factory.mktemp("ceph"))
    server.start()
    try:
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="session")
def glacier(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GlacierServer]:
    """An S3 with Glacier semantics, with the archive classes of the contract of restores."""
    delays = {
        name: {speed.value.capitalize(): delay for speed, delay in delays.items()}
        for name, delays in ARCHIVE_CLASSES.items()
    }
    server = GlacierServer(tmp_path_factory.mktemp("glacier"), delays=delays)
    server.start()
    try:
        yield server
    finally:
        server.stop()


@pytest.fixture
def proxied() -> Iterator[Callable[[str], TcpProxy]]:
    """Return what puts a proxy, which counts and breaks, before a server."""
    proxies: list[TcpProxy] = []

    def before(target: str) -> TcpProxy:
        proxies.append(TcpProxy(target))
        proxies[-1].start()
        return proxies[-1]

    yield before
    for proxy in proxies:
        proxy.stop()


@cache
def _session() -> botocore.session.Session:
    """Return the one session of this process: each reads a megabyte of descriptions."""
    return botocore.session.get_session()


def plain_client(server: S3Server, endpoint: str = "") -> Any:
    """Return a client of AWS's own library, as others use it."""
    return _session().create_client(
        "s3",
        endpoint_url=endpoint or server.endpoint,
        region_name=server.region,
        aws_access_key_id=server.access_key,
        aws_secret_access_key=server.secret_key,
        config=Config(s3={"addressing_style": "path"}, retries={"mode": "standard"}),
    )


def new_bucket(server: S3Server) -> str:
    """Make an empty bucket, which no other test has."""
    name = f"t{os.getpid()}-{next(_BUCKETS)}"
    client = plain_client(server)
    try:
        client.create_bucket(Bucket=name)
    finally:
        client.close()
    return name


def location(server: S3Server, bucket: str, vendor: str, **changes: Any) -> S3Location:
    """Return where a store in this bucket is."""
    told: dict[str, Any] = {
        "label": "[objects.main]",
        "bucket": bucket,
        "dialect": DIALECTS[vendor],
        "endpoint": server.endpoint,
        "region": server.region,
        "access_key_id": server.access_key,
        "secret_access_key": server.secret_key,
    }
    return S3Location(**{**told, **changes})


@pytest.fixture
def ceph_location(ceph: CephServer) -> Callable[..., S3Location]:
    """Return what names a store in a fresh bucket of Ceph."""
    bucket = new_bucket(ceph)
    return lambda **changes: location(ceph, bucket, "ceph", **changes)


@pytest.fixture
def glacier_location(glacier: GlacierServer) -> Callable[..., S3Location]:
    """Return what names a store in a fresh bucket of the server with Glacier semantics."""
    bucket = new_bucket(glacier)
    return lambda **changes: location(glacier, bucket, "aws", **changes)
