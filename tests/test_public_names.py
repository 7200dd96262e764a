"""What the package promises by name, and what importing it costs."""

import inspect
import subprocess
import sys

import pytest

import thermocline
from thermocline.domain import errors

PROMISED = {"StorageOrchestrator", "SyncStorageOrchestrator", "StorageTier", "Settings", "Receipt", "Record"}
PROMISED |= {"Visibility", "create_app", "get_store", "StoreCache", "SyncStoreCache", "escape_glob"}
ERRORS = {
    name for name, value in vars(errors).items() if inspect.isclass(value) and issubclass(value, errors.StorageError)
}


def test_exactly_these_names_are_public() -> None:
    assert set(thermocline.__all__) == PROMISED | ERRORS
    assert thermocline.__all__ == sorted(thermocline.__all__)


@pytest.mark.parametrize("name", thermocline.__all__)
def test_every_public_name_is_there(name: str) -> None:
    value = getattr(thermocline, name)
    assert value.__name__ == name
    assert value.__doc__
    assert name in dir(thermocline)


def test_other_names_are_not_there() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = thermocline.nonsense


def test_importing_the_package_loads_nothing_heavy() -> None:
    script = (
        "import sys, thermocline; "
        "print([name for name in ('pydantic', 'sqlalchemy', 'fastapi', 'uvicorn', 'asyncio') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_an_embedded_store_loads_no_client_of_a_server() -> None:
    script = (
        "import asyncio, sys, tempfile; from thermocline import StorageOrchestrator, Settings\n"
        "async def main():\n"
        "    async with StorageOrchestrator.open(Settings(data=tempfile.mkdtemp())) as store:\n"
        "        await store.store_content('a', b'x'); await store.retrieve_content('a')\n"
        "asyncio.run(main())\n"
        "print([name for name in ('redis', 'hiredis', 'psycopg', 'botocore', 'obstore') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip().splitlines()[-1] == "[]"


def test_the_library_loads_no_web_framework() -> None:
    script = (
        "import sys; from thermocline import StorageOrchestrator, SyncStorageOrchestrator, Settings; "
        "print([name for name in ('fastapi', 'uvicorn', 'typer') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
