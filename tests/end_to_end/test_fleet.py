"""Three servers and two workers on PostgreSQL, a Redis Cluster and Ceph, while each of these fails in turn.

What was acknowledged stays, nothing but 503 tells of the fault, what is cached goes on, and all mends itself.
"""

import json
import threading
from collections.abc import Callable, Iterator

import httpx
import pytest

from tests.counts import SOAK
from tests.fleet import Fleet, Load, running_fleet, until
from tests.postgres import postgres_server
from tests.s3_servers import plain_client
from thermocline.testing.servers.ceph import CephServer
from thermocline.testing.servers.redis import RedisCluster

pytestmark = pytest.mark.server

ROUNDS = 5 if SOAK else 1
MORE = 300 if SOAK else 60
HOT = "hot/in-memory"


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisCluster]:
    """A cluster of its own: its masters die."""
    cluster = RedisCluster(tmp_path_factory.mktemp("fleet-redis"))
    cluster.start()
    yield cluster
    cluster.stop()


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory, cluster: RedisCluster, ceph: CephServer) -> Iterator[Fleet]:
    with (
        postgres_server(durable=True) as postgres,
        running_fleet(tmp_path_factory.mktemp("fleet"), postgres, cluster, ceph, servers=3, workers=2) as fleet,
    ):
        yield fleet


def kill_a_server(fleet: Fleet) -> None:
    fleet.servers.pop(0).kill()
    fleet.servers.append(fleet.start_server())


def kill_a_worker(fleet: Fleet) -> None:
    fleet.workers.pop(0).kill()
    fleet.workers.append(fleet.start_worker())


def kill_a_redis_master(fleet: Fleet) -> None:
    victim = fleet.cluster.masters()[0]
    victim.kill()
    until(lambda: len(fleet.cluster.masters()) == 3, "its replica takes over")
    victim.start()
    fleet.cluster.wait_until_whole()


def stop_and_resume_a_redis_master(fleet: Fleet) -> None:
    victim = fleet.cluster.masters()[0]
    victim.pause()
    _wait(2.0)
    victim.resume()
    fleet.cluster.wait_until_whole()


def stop_and_resume_the_object_store(fleet: Fleet) -> None:
    fleet.ceph.pause()
    _wait(3.0)
    fleet.ceph.resume()


def restart_the_database_at_once(fleet: Fleet) -> None:
    fleet.postgres.restart(at_once=True)


def _wait(seconds: float) -> None:
    """Let a fault last."""
    threading.Event().wait(seconds)


FAULTS: tuple[Callable[[Fleet], None], ...] = (
    kill_a_server,
    kill_a_worker,
    kill_a_redis_master,
    stop_and_resume_a_redis_master,
    stop_and_resume_the_object_store,
    restart_the_database_at_once,
)


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_a_fault_under_load(fleet: Fleet, fault: Callable[[Fleet], None]) -> None:
    for seed in range(ROUNDS):
        with Load(fleet, seed=seed) as load:
            load.goes_on(more=MORE)
            fault(fleet)
            load.goes_on(more=MORE)
        load.check_everything()


@pytest.mark.parametrize(
    "fault", [stop_and_resume_the_object_store, restart_the_database_at_once, stop_and_resume_a_redis_master]
)
def test_what_is_cached_goes_on(fleet: Fleet, fault: Callable[[Fleet], None]) -> None:
    for server in fleet.servers:
        assert httpx.put(f"{server.url}/v1/content/{HOT}", content=b"hot").is_success
    for server in fleet.servers:
        until(lambda server=server: _source(server.url) == "memory", "it is in memory")  # type: ignore[misc]
    ended = threading.Event()
    seen: list[tuple[int, bytes]] = []

    def read() -> None:
        with httpx.Client(timeout=30.0) as client:
            while not ended.is_set():
                for server in fleet.servers:
                    answer = client.get(f"{server.url}/v1/content/{HOT}")
                    seen.append((answer.status_code, answer.content))

    reading = threading.Thread(target=read)
    reading.start()
    try:
        fault(fleet)
    finally:
        ended.set()
        reading.join()
    assert len(seen) > 10
    assert set(seen) == {(200, b"hot")}


def test_what_one_server_writes_all_servers_and_the_command_line_show(fleet: Fleet) -> None:
    first, *others = fleet.servers
    assert httpx.put(f"{first.url}/v1/content/shared/a", content=b"one").status_code == 201
    for server in others:
        assert httpx.get(f"{server.url}/v1/content/shared/a").content == b"one"
    assert httpx.put(f"{others[0].url}/v1/content/shared/a", content=b"two").status_code == 200
    for server in fleet.servers:
        until(
            lambda server=server: httpx.get(f"{server.url}/v1/content/shared/a").content == b"two",  # type: ignore[misc]
            "it has heard of the change",
        )
    assert fleet.run("get", "shared/a").stdout == "two"
    assert fleet.run("fsck").returncode == 0
    checked = fleet.run("doctor")
    assert checked.returncode == 0, checked.stdout


@pytest.mark.parametrize("way", ["copied", "--in-place"])
def test_what_lies_in_the_bucket_is_imported_and_stays(fleet: Fleet, way: str) -> None:
    """Killed in the middle, run again, read back over HTTP, deleted: the objects are as they were."""
    client = plain_client(fleet.ceph)
    bodies = {f"old-{way}/{n % 7}/{n:03}.txt": b"%d" % n * (n * 50 + 1) for n in range(120)}
    for key, body in bodies.items():
        client.put_object(Bucket=fleet.bucket, Key=key, Body=body, ContentType="text/x-old")
    command = ["import", f"s3://{fleet.bucket}/old-{way}", "--prefix", f"new-{way}/"]
    command += ["--in-place"] if way == "--in-place" else []
    process = fleet.launch(*command, "--jobs", "2")
    url = fleet.servers[0].url
    listing = f"{url}/v1/content?prefix=new-{way}/&limit=1000"
    until(lambda: len(httpx.get(listing).json()["records"]) > 10, "it is under way")
    process.kill()
    process.wait()
    done = fleet.run(*command, "--json", "--verify")
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads(done.stdout)
    assert (report["files"], report["verified"]) == (120, 120)
    assert report["unchanged"] > 10
    for key, body in bodies.items():
        answer = httpx.get(f"{url}/v1/content/{key.replace('old-', 'new-')}")
        assert (answer.content, answer.headers["content-type"]) == (body, "text/x-old")
    assert fleet.run("rm", "--prefix", f"new-{way}/", "-y").returncode == 0
    assert fleet.run("worker", "--once").returncode == 0
    for key, body in bodies.items():
        assert client.get_object(Bucket=fleet.bucket, Key=key)["Body"].read() == body
    client.close()


def test_every_job_runs_in_one_worker(fleet: Fleet) -> None:
    """Deleted objects go, whichever worker does it, and no job is done by both at once."""
    url = fleet.servers[0].url

    def jobs() -> dict[str, dict[str, object]]:
        told: dict[str, dict[str, object]] = httpx.get(f"{url}/v1/stats/work").json()["jobs"]
        return told

    # Perhaps the fleet was started for this test alone, a moment ago.
    until(lambda: all(jobs()[name]["last_run"] is not None for name in ("invalidate", "move", "restore")), "they run")
    assert all(job["last_error"] is None for job in jobs().values()), jobs()


def _source(url: str) -> str:
    status = httpx.get(f"{url}/v1/content/{HOT}").headers["cache-status"]
    return status.rpartition("detail=")[2]
