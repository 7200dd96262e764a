"""Four processes write, show, hide, move, delete, evict and read the same few ids; what each saw is recorded.

In quiet weather nothing is staler than `l1_max_age`, and nothing at all at home. While Redis fails, nothing is staler
than the second pass of invalidations allows. Schedules follow from their seeds, as far as four processes can.
"""

import random
import time
from collections.abc import Callable, Iterator

import pytest

from tests.counts import SOAK
from tests.fleet import until
from tests.histories.checking import Bounds, Verdict
from tests.histories.crowd import MEMORY_AGE, SECOND_PASS, TIMEOUT, Crowd, Run, gathered
from tests.histories.partition import OTHERS
from tests.postgres import postgres_server
from thermocline.adapters.layers.breaking import LONGEST_PAUSE
from thermocline.services.transferring import EVICT_DELAY
from thermocline.testing.servers.redis import RedisCluster, RedisServer

pytestmark = pytest.mark.server

QUIET_ROUNDS = 10 if SOAK else 2
FAULT_ROUNDS = 5 if SOAK else 1
QUIET_SECONDS = 10.0
CHANGING_SECONDS = 6.0
"""In the rest the last changes become older than the bound: whatever kept what was before them shows."""
FAULT_SECONDS = 3.0
LOST_SECONDS = 1.0
"""Of what a master took in, so much is lost with it."""
JOB_PERIOD = 1.0
"""How often a worker looks for invalidations that are due."""
SLACK = 1.0
"""For a busy machine, on which a process may stand still between two of its steps."""
QUIET = Bounds(elsewhere=MEMORY_AGE + TIMEOUT + SLACK)
"""What a reader was sent just before a change may have come only just before its call's time was over."""
RECOVERY = LONGEST_PAUSE + max(SECOND_PASS, EVICT_DELAY)
"""After a fault: until a breaker tries again, and until the invalidation that failed is tried again."""


def second_pass_after(fault: float) -> float:
    """Return how many seconds after a change its second pass is over, if a fault of this length came between."""
    return EVICT_DELAY + fault + RECOVERY + SECOND_PASS + 2 * JOB_PERIOD + SLACK


@pytest.fixture(scope="module")
def crowd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Crowd]:
    cluster = RedisCluster(tmp_path_factory.mktemp("crowd-redis"))
    cluster.start()
    try:
        with postgres_server() as postgres, gathered(tmp_path_factory.mktemp("crowd"), postgres, cluster) as crowd:
            yield crowd
    finally:
        cluster.stop()


def some_seed() -> int:
    return random.SystemRandom().randrange(10**6)


def judge(run: Run, bounds: Bounds) -> Verdict:
    """Check a run; whatever failed besides Redis is a failure too."""
    verdict = run.check(bounds)
    print(f"seed {run.seed}: {verdict}; failed: {dict(run.failed)}")  # noqa: T201 - what was measured
    assert set(run.failed) <= {"evict UnavailableError"}, "a cache that fails fails no read and no write"
    first = "\n".join(map(str, verdict.violations[:5]))
    assert verdict.violations == [], f"seed {run.seed}, {len(verdict.violations)} reads:\n{first}"
    return verdict


def test_in_quiet_weather_nothing_is_staler_than_memory_may_be(crowd: Crowd) -> None:
    for _ in range(QUIET_ROUNDS):
        run = crowd.run(some_seed(), seconds=QUIET_SECONDS, changing=CHANGING_SECONDS, share=0.3)
        verdict = judge(run, QUIET)
        assert verdict.changes > 50
        assert verdict.reads > 300


def lose_a_master(crowd: Crowd) -> None:
    """Its replica has not heard of the last moments, and takes over without them."""
    victim = _busiest(crowd)[0]
    crowd.partition.cut(victim.port, [OTHERS])
    time.sleep(LOST_SECONDS)
    victim.kill()
    until(lambda: len(crowd.cluster.masters()) == 3, "its replica takes over")
    crowd.partition.heal()
    victim.start()
    crowd.cluster.wait_until_whole()


def pause_a_master(crowd: Crowd) -> None:
    victim = _busiest(crowd)[0]
    victim.pause()
    time.sleep(FAULT_SECONDS)
    victim.resume()
    crowd.cluster.wait_until_whole()


def part_the_network(crowd: Crowd) -> None:
    """Two processes do not reach one master, nobody reaches another."""
    first, second = _busiest(crowd)[:2]
    pids = [member.process.pid for member in crowd.members]
    crowd.partition.cut(first.port, pids[:2])
    crowd.partition.cut(second.port, pids)
    time.sleep(FAULT_SECONDS)
    crowd.partition.heal()


def flush_everything(crowd: Crowd) -> None:
    for _ in range(5):
        crowd.cluster.flush()
        time.sleep(0.3)


def fail_over_by_hand(crowd: Crowd) -> None:
    for master in crowd.cluster.masters():
        crowd.cluster.fail_over(master)


def _busiest(crowd: Crowd) -> list[RedisServer]:
    """Return the masters, first the one that holds most."""
    return sorted(crowd.cluster.masters(), key=lambda node: int(node.cli("DBSIZE")), reverse=True)


FAULTS: tuple[Callable[[Crowd], None], ...] = (
    lose_a_master,
    pause_a_master,
    part_the_network,
    flush_everything,
    fail_over_by_hand,
)


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_while_redis_fails_nothing_is_staler_than_the_second_pass(crowd: Crowd, fault: Callable[[Crowd], None]) -> None:
    for _ in range(FAULT_ROUNDS):
        seed = some_seed()
        lasted = 0.0

        def weather() -> None:
            nonlocal lasted
            time.sleep(2.0)
            begin = time.monotonic()
            fault(crowd)
            lasted = time.monotonic() - begin

        run = crowd.run(seed, seconds=13.0, changing=7.0, share=0.06, during=weather)
        bound = second_pass_after(lasted)
        verdict = judge(run, Bounds(elsewhere=bound + QUIET.elsewhere, own=bound))
        waited = crowd.wait_for_second_passes()
        print(f"{fault.__name__} took {lasted:.1f} s, the second passes {waited:.1f} s more")  # noqa: T201
        assert verdict.changes > 20
        assert verdict.reads > 300
