"""Commands on a PostgreSQL catalog, where they differ from those on a file."""

from collections.abc import Callable

import pytest

from tests.interfaces.cli.commandline import CommandLine
from thermocline.testing.servers.postgres import PostgresServer

pytestmark = pytest.mark.server


@pytest.fixture
def new_database(postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch) -> Callable[[], str]:
    def make() -> str:
        url = postgres.create_database()
        monkeypatch.setenv("THERMOCLINE_CATALOG__URL", url)
        return url

    return make


def test_a_catalog_is_made_by_migrate_only(cli: CommandLine, new_database: Callable[[], str]) -> None:
    new_database()
    refused = cli.run("ls", "--json")
    assert refused.code == 1
    assert "thermocline migrate" in refused.error()["message"]
    assert cli.run("migrate", "--check", "--json").json() == {"current": None, "newest": "0006", "is_current": False}
    assert cli.ok("migrate", "--json").json() == {"before": None, "after": "0006", "backup": None}
    assert cli.ok("migrate").out == "the catalog is current: schema 0006\n"
    assert cli.run("migrate", "--check").code == 0
    cli.put("thing", b"bytes")
    assert cli.get("thing") == b"bytes"


def test_no_command_shows_the_password(
    cli: CommandLine, new_database: Callable[[], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    url = new_database()
    password = url.partition("://")[2].partition("@")[0].partition(":")[2]
    for wrong in (url, url.replace("@", "wrong@"), f"{url}?password={password}", url.replace("/test_", "/no_")):
        monkeypatch.setenv("THERMOCLINE_CATALOG__URL", wrong)
        for command in (
            ("ls",),
            ("doctor",),
            ("config", "--effective"),
            ("config", "--effective", "--json"),
            ("backup",),
        ):
            outcome = cli.run(*command)
            assert password not in outcome.out + outcome.err, command


def test_doctor_tells_how_the_database_is(cli: CommandLine, new_database: Callable[[], str]) -> None:
    new_database()
    cli.ok("migrate")
    parts = {part["part"]: part for part in cli.run("doctor", "--json").json()["parts"]}
    catalog = parts["catalog"]
    assert "PostgreSQL 1" in catalog["detail"]
    assert "UTF8, schema 0006" in catalog["detail"]
    # The tests' server does not wait for the disk, and that must not pass for healthy.
    assert (catalog["health"], catalog["remedy"]) == ("fail", "set both to on in postgresql.conf")


def test_backups_are_postgresqls_own_and_recovery_begins_by_command(
    cli: CommandLine, new_database: Callable[[], str]
) -> None:
    new_database()
    cli.ok("migrate")
    cli.put("thing", b"bytes")
    for command in (("backup",), ("backup", "--restore", "some.db")):
        refused = cli.run(*command, "--json")
        assert refused.code == 1
        assert "pg_dump" in refused.error()["message"]
    assert cli.run("backup", "x.db", "--restored").code == 2
    begun = cli.ok("backup", "--restored", "--json").json()
    assert begun["contents"] == 1
    assert begun["next"] == ["thermocline fsck --repair", "thermocline fsck --sweep --confirm"]
    parts = {part["part"]: part["health"] for part in cli.run("doctor", "--json").json()["parts"]}
    assert parts["recovery"] == "warn"
    cli.ok("fsck", "--repair")
    cli.ok("fsck", "--sweep", "--confirm")
    assert cli.get("thing") == b"bytes"


def test_a_catalog_is_rebuilt_in_an_empty_database(cli: CommandLine, new_database: Callable[[], str]) -> None:
    new_database()
    cli.ok("migrate")
    cli.put("thing", b"bytes")
    new_database()
    cli.ok("migrate")
    refused = cli.run("ls", "--json")
    assert refused.error()["error"] == "installation-mismatch"
    cli.ok("fsck", "--rebuild-catalog")
    assert cli.get("thing") == b"bytes"
    again = cli.run("fsck", "--rebuild-catalog", "--json")
    assert again.code == 1
    assert "name an empty database" in again.error()["message"]


def test_a_restored_file_is_no_matter_of_postgresql(cli: CommandLine) -> None:
    cli.put("thing", b"bytes")
    refused = cli.run("backup", "--restored", "--json")
    assert "thermocline backup --restore FILE" in refused.error()["message"]
