"""A thousand readers in four processes of a content that no cache has: the object store is asked once for all of them.

Twice where the process that reads it dies in the middle. Counted before the object store itself.
"""

import time
from collections.abc import Iterator

import pytest

from tests.counts import SOAK
from tests.fleet import until
from tests.histories.crowd import Crowd, gathered
from tests.postgres import postgres_server
from tests.s3_servers import new_bucket
from thermocline.domain.units import Seconds
from thermocline.testing.servers.ceph import CephServer
from thermocline.testing.servers.redis import RedisCluster
from thermocline.testing.servers.tcp_proxy import TcpProxy

pytestmark = pytest.mark.server

READERS = 250
"""Of each process."""
SIZE = 64 * 1024
ROUNDS = 20 if SOAK else 4
DEATHS = 5 if SOAK else 1
PATIENT = 8.0
"""Seconds that one call to Redis may take: whoever hears nothing of it in time reads storage, on a busy machine too."""
SLOW = Seconds(1.0)
"""So long each way to the object store takes while a reader is killed: less than others wait for it."""


@pytest.fixture(scope="module")
def store(ceph: CephServer) -> Iterator[TcpProxy]:
    """The way to the object store."""
    proxy = TcpProxy(ceph.endpoint)
    proxy.start()
    yield proxy
    proxy.stop()


@pytest.fixture(scope="module")
def crowd(tmp_path_factory: pytest.TempPathFactory, ceph: CephServer, store: TcpProxy) -> Iterator[Crowd]:
    cluster = RedisCluster(tmp_path_factory.mktemp("readers-redis"))
    cluster.start()
    objects = f"""
kind = "s3"
dialect = "ceph"
endpoint = "{store.endpoint}"
bucket = "{new_bucket(ceph)}"
region = "{ceph.region}"
access_key_id = "{ceph.access_key}"
secret_access_key = "{ceph.secret_key}"
"""
    folder = tmp_path_factory.mktemp("readers")
    try:
        with (
            postgres_server() as postgres,
            gathered(folder, postgres, cluster, objects=objects, timeout=PATIENT) as crowd,
        ):
            yield crowd
    finally:
        cluster.stop()


def stored(crowd: Crowd, name: str) -> str:
    """Store a WARM content, which nobody prefills, and return its digest."""
    crowd.members[0].tell({"do": "store", "id": name, "size": SIZE})
    digest: str = crowd.members[0].hear()["digest"]
    return digest


def reads_of(store: TcpProxy, name: str) -> int:
    """Return how often the object store was asked for the bytes of a content."""
    return sum(line.startswith("GET ") and f"/{name}/" in line for line in store.requests)


def test_a_thousand_readers_are_one_storage_read(crowd: Crowd, store: TcpProxy) -> None:
    for number in range(ROUNDS):
        name = f"cold-cache-{number}"
        digest = stored(crowd, name)
        begin = time.monotonic() + 0.5
        for member in crowd.members:
            member.tell({"do": "read", "id": name, "count": READERS, "at": begin})
        answers = [member.hear() for member in crowd.members]
        assert [answer["found"] for answer in answers] == [{digest: READERS}] * len(answers)
        assert [answer["failures"] for answer in answers] == [0] * len(answers)
        assert sum(answer["reads"]["STORAGE"] for answer in answers) == 1, (number, answers)
        assert reads_of(store, name) == 1


def test_if_the_reader_is_killed_another_reads_once_more(crowd: Crowd, store: TcpProxy) -> None:
    for number in range(DEATHS):
        name = f"orphaned-{number}"
        digest = stored(crowd, name)
        store.delay(SLOW)
        first, *others = crowd.members
        first.tell({"do": "read", "id": name, "count": READERS, "at": time.monotonic()})
        until(lambda: reads_of(store, name) == 1, "it reads")  # noqa: B023 - called at once
        begin = time.monotonic()
        for member in others:
            member.tell({"do": "read", "id": name, "count": READERS, "at": begin})
        time.sleep(SLOW / 2)
        first.kill()
        answers = [member.hear() for member in others]
        store.delay(Seconds(0.0))
        assert [answer["found"] for answer in answers] == [{digest: READERS}] * len(answers)
        assert sum(answer["reads"]["STORAGE"] for answer in answers) == 1, answers
        assert reads_of(store, name) == 2
        crowd.members = [*others, crowd.start_member(len(crowd.members) + number)]
