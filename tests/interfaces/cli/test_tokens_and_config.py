"""`token` and `config`."""

import tomllib
from pathlib import Path

import pytest

from tests.interfaces.cli.commandline import CommandLine
from thermocline.wiring.presets import PRESETS, read_preset
from thermocline.wiring.settings import Settings

TOKEN_KEYS = {"token_id", "scopes", "prefix", "state", "created_at", "expires_at", "revoked_at"}


def test_a_token_is_printed_once(cli: CommandLine) -> None:
    first = cli.run("token", "create", "--scope", "read,write", "--prefix", "users/42/", "--expires", "90d")
    assert first.code == 0
    assert first.err == "From now on only public content can be read without a token.\n"
    text = first.out.strip()
    assert text.startswith("tc_")
    assert "\n" not in text
    secret = text.rpartition("_")[2]
    for arguments in (["token", "list"], ["token", "list", "--json"], ["doctor"], ["config", "--effective"]):
        assert secret not in cli.ok(*arguments).out
    assert secret.encode() not in (cli.data / "catalog.db").read_bytes()
    assert cli.ok("token", "create").out.startswith("tc_")  # from the second on nothing needs saying


def test_tokens_as_json(cli: CommandLine) -> None:
    made = cli.run("token", "create", "--scope", "admin", "--json").json()
    assert set(made) == TOKEN_KEYS | {"token"}
    cli.ok("token", "create", "--expires", "1ms", "--prefix", "a/")
    cli.ok("token", "revoke", made["token_id"])
    listed = cli.ok("token", "list", "--json").json_lines()
    assert all(set(token) == TOKEN_KEYS for token in listed)
    assert [(token["state"], token["scopes"], token["prefix"]) for token in listed] == [
        ("revoked", ["admin"], ""),
        ("expired", ["read"], "a/"),
    ]
    shown = cli.ok("token", "list").out.splitlines()
    assert [line.split()[1] for line in shown] == ["revoked", "expired"]


def test_revoking(cli: CommandLine) -> None:
    text = cli.run("token", "create").out.strip()
    token_id = text.split("_")[1]
    assert cli.ok("token", "revoke", text).out == f"revoked {token_id}\n"
    assert cli.ok("token", "revoke", token_id, "--json").json() == {"token_id": token_id, "revoked": True}
    unknown = cli.run("token", "revoke", "000000000000")
    assert (unknown.code, unknown.out) == (3, "")
    assert unknown.err == "error: there is no such token ('thermocline token list' shows their ids)\n"


@pytest.mark.parametrize("preset", PRESETS)
def test_the_printed_preset_is_the_preset(cli: CommandLine, preset: str) -> None:
    printed = cli.ok("config", "--preset", preset).out
    meant = Settings.model_validate(read_preset(preset))
    assert Settings.model_validate(tomllib.loads(printed)) == meant
    Path("thermocline.toml").write_text(printed)
    assert Settings.load() == meant
    assert cli.ok("config").out == cli.ok("config", "--preset", "embedded").out


def test_what_is_in_force(cli: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("THERMOCLINE_CATALOG__URL", "sqlite:////x/catalog.db")
    shown = cli.ok("config", "--effective", "--json").json()
    assert shown["data"] == str(cli.data)
    assert shown["catalog"]["url"] == "sqlite:////x/catalog.db"
    assert shown["tiers"]["hot"]["access_frequency"] == "7d"
    assert tomllib.loads(cli.ok("config", "--effective").out) == shown
    assert not cli.data.exists()  # looking makes nothing


def test_the_reference_page(cli: CommandLine) -> None:
    page = Path(__file__).parents[3] / "docs" / "reference" / "settings.md"
    assert cli.ok("config", "--markdown").out == page.read_text()
    assert cli.ok("config", "--json").json()["http"]["port"] == 8080
