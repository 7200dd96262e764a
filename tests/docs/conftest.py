import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docs import forking


@pytest.fixture(scope="session")
def program() -> Iterator[Path]:
    """The address at which forks of the program are to be had."""
    with tempfile.TemporaryDirectory() as folder:
        address = Path(folder, "program")
        process = subprocess.Popen([sys.executable, forking.__file__, str(address)], stdout=subprocess.PIPE)
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == b"ready\n"
            yield address
        finally:
            process.terminate()
            process.wait()
            process.stdout.close()
