"""Where events go."""

import logging
from collections.abc import Iterator

import pytest
import structlog

from thermocline.wiring.logs import hand_logs_over

log = structlog.get_logger("thermocline.somewhere")


@pytest.fixture(autouse=True)
def _unconfigured() -> Iterator[None]:
    structlog.reset_defaults()
    yield
    structlog.reset_defaults()


def test_a_library_writes_to_logging_and_never_to_standard_output(
    caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    hand_logs_over()
    caplog.set_level(logging.INFO)
    log.info("moved", content_id="a b", message="a name that logging has taken", args=1)
    log.debug("too small to be told")
    (record,) = caplog.records
    assert (record.name, record.levelno) == ("thermocline.somewhere", logging.INFO)
    assert record.getMessage() == "event='moved' content_id='a b' message='a name that logging has taken' args=1"
    assert capsys.readouterr().out == ""


def test_an_exception_is_told_whole(caplog: pytest.LogCaptureFixture) -> None:
    hand_logs_over()
    try:
        divmod(1, 0)
    except ZeroDivisionError:
        log.exception("failed", percent="100 %s")
    assert "ZeroDivisionError: integer division" in caplog.text
    assert "100 %s" in caplog.text


def test_what_the_application_configured_stays() -> None:
    events: list[str] = []

    def keep(_logger: object, _name: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
        events.append(event["event"])
        raise structlog.DropEvent

    structlog.configure(processors=[keep])
    hand_logs_over()
    log.warning("moved")
    assert events == ["moved"]
