"""`warm`: from files of every form, by itself where a cache is shared, by the service where only that can."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.interfaces.cli.commandline import CommandLine, run_process
from tests.service_process import running_service
from thermocline.testing.servers.redis import RedisServer

ROWS = [("a", 0.9), ("b", 0.8), ("none", 0.75), ("c", 0.1)]


def as_json() -> str:
    return json.dumps([{"content_id": name, "access_probability": chance} for name, chance in ROWS])


def as_lines() -> str:
    return "\n".join(json.dumps({"content_id": name, "access_probability": chance}) for name, chance in ROWS) + "\n\n"


def as_csv() -> str:
    return "".join(f"{name},{chance}\r\n" for name, chance in ROWS)


def predicted(cli: CommandLine, text: str | bytes) -> str:
    path = cli.data.parent / "predictions"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return str(path)


@pytest.mark.parametrize(
    "text",
    [
        as_json(),
        as_lines(),
        as_csv(),
        "content_id,access_probability\n" + as_csv(),
        "\ufeff" + as_csv(),
        "\n" + as_json(),
    ],
    ids=["array", "lines", "csv", "header", "mark", "space"],
)
def test_every_form_is_read(cli: CommandLine, text: str) -> None:
    for name in "abc":
        cli.put(name, name.encode(), "--tier", "warm")
    told = cli.ok("warm", predicted(cli, text), "--dry-run", "--json").json()
    assert (told["accepted"], told["warmed"], told["warmed_bytes"], told["dry_run"]) == (4, 2, 2, True)
    assert told["skipped"] == {"below_threshold": 1, "not_found": 1}
    shown = cli.ok("warm", predicted(cli, text), "--dry-run", "--threshold", "0.85", "--budget", "1KiB").out
    assert shown == "would warm 1 contents (1 B); 3 below threshold\n"


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("a,0.9\nb\n", "line 2: write content_id,access_probability"),
        ("a,much\n", "line 1: 'much' is not a number"),
        ("a,nan\n", "line 1: access_probability must be from 0 to 1"),
        ("a,1.5\n", "line 1: access_probability must be from 0 to 1"),
        ("/a,0.5\n", "line 1: a content id must not"),
        ('"a,0.5\n', "not CSV"),
        ("[1]", "item 1: a prediction is written"),
        ("[", "is not JSON"),
        ('{"content_id": "a"}', "line 1: a prediction is written"),
        ("{}\n{", "line 1: a prediction is written"),
        (b"\xff,0.5", "is not UTF-8"),
    ],
)
def test_what_is_none_is_told_by_its_place(cli: CommandLine, text: str | bytes, where: str) -> None:
    outcome = cli.run("warm", predicted(cli, text), "--dry-run")
    assert (outcome.code, outcome.out) == (2, ""), outcome
    assert where in outcome.err


@pytest.mark.parametrize(
    "arguments",
    [("--threshold", "2"), ("--budget", "much"), ("--deadline", "soon"), ("--jobs", "0"), ("--service", "nowhere")],
)
def test_wrong_bounds_are_refused(cli: CommandLine, arguments: tuple[str, str]) -> None:
    outcome = cli.run("warm", predicted(cli, as_json()), *arguments)
    assert (outcome.code, outcome.out) == (2, ""), outcome


def test_a_dry_run_asks_no_service(cli: CommandLine) -> None:
    assert cli.run("warm", predicted(cli, as_json()), "--dry-run", "--service", "http://127.0.0.1:1").code == 2


@pytest.mark.server
def test_without_a_shared_cache_the_service_does_it(cli: CommandLine) -> None:
    source = predicted(cli, as_json())
    nobody = cli.run("warm", source, "--service", "http://127.0.0.1:9")
    assert nobody.code == 1
    assert "does not answer" in nobody.err
    for name in "abc":
        cli.put(name, name.encode(), "--tier", "warm")
    with running_service(cli.data) as service:
        address = service.url
        told = cli.ok("warm", source, "--service", address, "--json").json()
        assert (told["accepted"], told["warmed"]) == (4, 2)
        again = cli.ok("warm", source, "--service", address, "--budget", "1GiB", "--deadline", "1m").out
        assert again == "warmed 0 contents (0 B); 2 already cached, 1 below threshold, 1 not found\n"
        token = cli.ok("token", "create", "--scope", "write", "--json").json()["token"]
        refused = _await_refusal(cli, source, address)
        assert "401" in refused
        done = run_process(
            cli.data, "warm", source, "--service", address, "--json", environment={"THERMOCLINE_TOKEN": token}
        )
        assert json.loads(done.stdout)["skipped"]["already_cached"] == 2


def _await_refusal(cli: CommandLine, source: str, address: str) -> str:
    for _ in range(100):
        outcome = cli.run("warm", source, "--service", address)
        if outcome.code:
            return outcome.err
    raise AssertionError("the service never heard of the token")


@pytest.mark.server
def test_with_a_shared_cache_the_command_fills_it(cli: CommandLine, redis_server: RedisServer, tmp_path: Path) -> None:
    settings = tmp_path / "shared.toml"
    settings.write_text(f'[cache]\nurl = "{redis_server.url}"\ntimeout = "20s"\n')
    for name in "abc":
        cli.put(name, name.encode(), "--tier", "warm", "--config", str(settings))
    source = predicted(cli, as_csv())
    first: Any = cli.ok("warm", source, "--json", "--config", str(settings)).json()
    assert (first["warmed"], first["skipped"]) == (2, {"below_threshold": 1, "not_found": 1})
    second = cli.ok("warm", source, "--json", "--config", str(settings)).json()
    assert second["skipped"]["already_cached"] == 2, "another process finds it in Redis"
