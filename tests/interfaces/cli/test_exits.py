"""Errors as exit codes, lines and names."""

import inspect
import json
from typing import Any

import pytest

from thermocline.domain import errors
from thermocline.domain.errors import ContentArchivedError, ContentNotFoundError, StorageError, UnavailableError
from thermocline.domain.units import Timestamp
from thermocline.interfaces.cli.exits import CommandError, ExitCode, UsageError, code_of, slug_of, tell
from thermocline.interfaces.http.error_table import problem_of

ARGUMENTS: dict[str, dict[str, Any]] = {
    "InvalidRangeError": {"size": 1},
    "ContentArchivedError": {"eta": Timestamp(1)},
    "PreconditionFailedError": {"current_etag": None},
    "IntegrityError": {"object_key": "k", "detail": "d"},
}
ERRORS = [
    kind(*("x",), **ARGUMENTS.get(name, {}))
    for name, kind in vars(errors).items()
    if inspect.isclass(kind) and issubclass(kind, StorageError)
]
LOCAL = {
    "catalog-version", "configuration", "file-changed", "file-tree", "installation-mismatch", "object-archived",
    "storage",
}  # fmt: skip
"""Errors that a running service does not tell its clients by name."""


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_errors_have_the_names_that_the_service_gives_them(error: StorageError) -> None:
    name = slug_of(error)
    assert name in LOCAL or name == problem_of(error, now=Timestamp(0)).slug


def test_the_exit_codes() -> None:
    codes = {type(error).__name__: code_of(error) for error in ERRORS}
    assert {name for name, code in codes.items() if code is ExitCode.NOT_FOUND} == {"ContentNotFoundError"}
    assert {name for name, code in codes.items() if code is ExitCode.ARCHIVED} == {"ContentArchivedError"}
    assert {name for name, code in codes.items() if code is ExitCode.USAGE} == {
        "InvalidInputError",
        "InvalidContentIdError",
        "InvalidMetadataError",
    }
    assert set(map(int, ExitCode)) == {0, 1, 2, 3, 4, 130}


def test_a_message_is_one_line_with_what_to_do(capsys: pytest.CaptureFixture[str]) -> None:
    tell(CommandError("first\n  second\u2028third", "do this"), as_json=False)
    assert capsys.readouterr().err == "error: first; second; third (do this)\n"
    tell(UsageError(""), as_json=False)
    assert capsys.readouterr().err == "error: UsageError\n"


def test_archived_content_says_whether_its_restore_is_under_way(capsys: pytest.CaptureFixture[str]) -> None:
    tell(ContentArchivedError("a", eta=None), as_json=False)
    assert "'a' is archived; restore it before reading ('thermocline restore'" in capsys.readouterr().err
    tell(ContentArchivedError("a", eta=Timestamp(1_000_000)), as_json=False)
    assert "'a' is archived; its restore is expected at 1970-01-01T00:00:01.000000Z (" in capsys.readouterr().err


def test_json_errors_carry_their_facts(capsys: pytest.CaptureFixture[str]) -> None:
    tell(ContentArchivedError("a", eta=Timestamp(1_000_000)), as_json=True)
    told = json.loads(capsys.readouterr().err)
    assert (told["content_id"], told["eta"], told["exit_code"]) == ("a", "1970-01-01T00:00:01.000000Z", 4)
    tell(UnavailableError("busy"), as_json=True)
    told = json.loads(capsys.readouterr().err)
    assert (told["retryable"], told["retry_after"]) == (True, 1.0)


def test_a_closed_standard_error_is_no_second_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stderr", None)
    tell(ContentNotFoundError("a"), as_json=False)
