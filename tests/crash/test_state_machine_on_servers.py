"""The histories of `test_state_machine` on PostgreSQL, a Redis Cluster and Ceph: few in tests, many in a soak."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.counts import SOAK
from tests.crash.test_state_machine import History
from tests.machine import Machine
from tests.real_machine import RealMachine, RealServers

pytestmark = [pytest.mark.server, pytest.mark.thorough]

EXAMPLES = 100 if SOAK else 5
STEPS = 30 if SOAK else 15


def test_histories_on_real_servers(real_servers: RealServers) -> None:
    class OnServers(History):
        def make_machine(self, folder: Path, seed: int) -> Machine:
            return RealMachine(folder, real_servers, seed=seed)

    run_state_machine_as_test(
        OnServers,
        settings=settings(
            max_examples=EXAMPLES,
            stateful_step_count=STEPS,
            deadline=None,
            print_blob=True,
            # Shrinking takes an hour on real servers; the history is printed as it was found.
            phases=[Phase.explicit, Phase.reuse, Phase.generate],
            suppress_health_check=list(HealthCheck),
        ),
    )
