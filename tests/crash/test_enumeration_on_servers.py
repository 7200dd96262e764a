"""The enumeration of `test_enumeration` on PostgreSQL, a Redis Cluster and Ceph: some cells in tests, all in a soak."""

import asyncio
import os
import random
from pathlib import Path

import pytest

from tests.counts import SOAK
from tests.crash.test_enumeration import OPERATIONS, Operation, modes_of, points_of, strike
from tests.port_calls import call_of
from tests.real_machine import RealMachine, RealServers

pytestmark = [pytest.mark.server, pytest.mark.thorough]

CELLS_EACH = 3
RESTORES = {"restore", "restore by reading", "end a restore", "move what is restored", "move out of the archive"}
"""Ceph does not restore."""
BY_CLOCK = {"renew"}
"""Calls that come as often as the operation takes long: at the next try it may be over before so many."""


@pytest.mark.parametrize(
    "operation", [each for each in OPERATIONS if each.name not in RESTORES], ids=lambda operation: operation.name
)
def test_cells_on_real_servers(operation: Operation, real_servers: RealServers, tmp_path: Path) -> None:
    seed = int.from_bytes(os.urandom(4))
    print(f"seed {seed}")  # noqa: T201 - tells which cells were tried
    planned = RealMachine(tmp_path, real_servers, decides=operation.settings)
    points = asyncio.run(points_of(operation, planned))
    planned.discard()
    cells = [(point, mode) for point in points for mode in modes_of(point)]
    chosen = cells if SOAK else random.Random(seed).sample(cells, min(CELLS_EACH, len(cells)))
    for point, mode in chosen:
        machine = RealMachine(tmp_path, real_servers, seed=seed, decides=operation.settings)
        struck = asyncio.run(strike(operation, point, mode, machine))
        assert struck or call_of(point)[1] in BY_CLOCK, f"never struck: {point}, {mode}"
        machine.discard()
