"""Any tree of files comes back byte for byte, with its times, whatever its names, in one go or after an interrupt."""

import asyncio
import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.machine import PART_SIZE, Machine
from tests.services.trees import picture
from thermocline.services.tree_reports import TreeProgress
from thermocline.testing.strategies import bodies, content_ids

pytestmark = pytest.mark.thorough

TIMES = st.integers(-(2**30), 2**33).flatmap(lambda s: st.integers(0, 999_999_999).map(lambda ns: s * 10**9 + ns))
FILES = st.dictionaries(content_ids(), st.tuples(bodies(PART_SIZE * 4), TIMES), max_size=12)


def _plant(root: Path, files: dict[str, tuple[bytes, int]]) -> dict[str, tuple[bytes, int]]:
    """Make what a file system can hold of it: no file and folder of one name, no part above 255 bytes."""
    made: dict[str, tuple[bytes, int]] = {}
    for path, (data, modified_ns) in files.items():
        file = root / path
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(data)
        except OSError:
            continue
        os.utime(file, ns=(modified_ns, modified_ns))
        made[path] = (data, modified_ns)
    return made


@given(FILES, st.integers(0, 12), st.integers(1, 5))
def test_a_tree_round_trips(files: dict[str, tuple[bytes, int]], interrupt_after: int, jobs: int) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        root, out = folder / "tree", folder / "out"
        root.mkdir()
        made = _plant(root, files)
        machine = Machine(folder)

        async def scenario() -> None:
            async with machine.process() as store:

                def interrupt(step: TreeProgress) -> None:
                    if step.files == interrupt_after:
                        importing.cancel()

                importing = asyncio.ensure_future(store.import_tree(root, "a b", jobs=jobs, progress=interrupt))
                await asyncio.wait([importing])
                report = await store.import_tree(root, "a b", jobs=jobs, verify=True)
                too_long = [path for path in made if len(f"a b/{path}".encode()) > 900]
                assert (report.refused, report.verified) == (len(too_long), len(made) - len(too_long))
                await store.export_tree(out, "a b", jobs=jobs)
                assert picture(out) == {path: file for path, file in made.items() if path not in too_long}
                assert await store.services.adapters.catalog.intents.count() == 0

        asyncio.run(scenario())
