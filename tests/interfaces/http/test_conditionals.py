"""Conditional reads, by RFC 9110's order of precedence; compared with Werkzeug's."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from werkzeug.http import is_resource_modified

from thermocline.domain.units import MICROS_PER_SECOND, Timestamp
from thermocline.interfaces.http.conditionals import (
    ReadConditions,
    Verdict,
    evaluate,
    format_http_date,
    parse_http_date,
    range_applies,
)

SECOND = 1_800_000_000
MODIFIED = Timestamp(SECOND * MICROS_PER_SECOND + 700_000)
ETAG = '"abc"'
THEN = format_http_date(MODIFIED)
BEFORE = format_http_date(Timestamp(MODIFIED - 10 * MICROS_PER_SECOND))
AFTER = format_http_date(Timestamp(MODIFIED + 10 * MICROS_PER_SECOND))


def verdict(**conditions: str) -> Verdict:
    return evaluate(ReadConditions(**conditions), etag=ETAG, modified_at=MODIFIED)


@pytest.mark.parametrize(
    ("conditions", "expected"),
    [
        ({}, Verdict.PROCEED),
        ({"if_none_match": ETAG}, Verdict.NOT_MODIFIED),
        ({"if_none_match": "W/" + ETAG}, Verdict.NOT_MODIFIED),
        ({"if_none_match": f'"x", {ETAG}'}, Verdict.NOT_MODIFIED),
        ({"if_none_match": "*"}, Verdict.NOT_MODIFIED),
        ({"if_none_match": '"x"'}, Verdict.PROCEED),
        ({"if_none_match": "abc"}, Verdict.PROCEED),
        ({"if_modified_since": THEN}, Verdict.NOT_MODIFIED),
        ({"if_modified_since": AFTER}, Verdict.NOT_MODIFIED),
        ({"if_modified_since": BEFORE}, Verdict.PROCEED),
        ({"if_modified_since": "yesterday"}, Verdict.PROCEED),
        ({"if_none_match": '"x"', "if_modified_since": AFTER}, Verdict.PROCEED),
        ({"if_none_match": ETAG, "if_modified_since": BEFORE}, Verdict.NOT_MODIFIED),
        ({"if_match": ETAG}, Verdict.PROCEED),
        ({"if_match": "*"}, Verdict.PROCEED),
        ({"if_match": "W/" + ETAG}, Verdict.FAILED),
        ({"if_match": '"x"'}, Verdict.FAILED),
        ({"if_match": "abc"}, Verdict.FAILED),
        ({"if_match": ETAG, "if_unmodified_since": BEFORE}, Verdict.PROCEED),
        ({"if_match": '"x"', "if_unmodified_since": AFTER}, Verdict.FAILED),
        ({"if_unmodified_since": THEN}, Verdict.PROCEED),
        ({"if_unmodified_since": BEFORE}, Verdict.FAILED),
        ({"if_unmodified_since": "never"}, Verdict.PROCEED),
        ({"if_match": '"x"', "if_none_match": ETAG}, Verdict.FAILED),
        ({"if_match": ETAG, "if_none_match": ETAG}, Verdict.NOT_MODIFIED),
    ],
)
def test_precedence(conditions: dict[str, str], expected: Verdict) -> None:
    assert verdict(**conditions) is expected


@pytest.mark.parametrize(
    "text",
    ["Sun, 06 Nov 1994 08:49:37 GMT", "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994"],
)
def test_reads_all_three_forms_of_a_date(text: str) -> None:
    assert parse_http_date(text) == datetime(1994, 11, 6, 8, 49, 37, tzinfo=UTC).timestamp()


@given(st.text(max_size=60))
def test_no_date_makes_it_stumble(text: str) -> None:
    assert isinstance(parse_http_date(text), int | None)


@given(st.integers(0, 4_000_000_000))
def test_dates_round_trip(seconds: int) -> None:
    assert parse_http_date(format_http_date(Timestamp(seconds * MICROS_PER_SECOND))) == seconds


@pytest.mark.parametrize(
    ("if_range", "applies"),
    [(None, True), (ETAG, True), ("W/" + ETAG, False), ('"x"', False), (THEN, False), ("", False)],
)
def test_if_range_needs_exactly_the_strong_tag(if_range: str | None, applies: bool) -> None:
    assert range_applies(if_range, ETAG) is applies


tags = st.lists(st.sampled_from([ETAG, "W/" + ETAG, '"x"', 'W/"y"']), min_size=1, max_size=3).map(", ".join)
dates = st.integers(-5, 5).map(lambda days: format_http_date(Timestamp(MODIFIED + days * 86_400 * MICROS_PER_SECOND)))


@given(st.none() | tags | st.just("*"), st.none() | dates)
def test_revalidation_as_werkzeug_has_it(if_none_match: str | None, if_modified_since: str | None) -> None:
    environ = {"REQUEST_METHOD": "GET"}
    if if_none_match is not None:
        environ["HTTP_IF_NONE_MATCH"] = if_none_match
    if if_modified_since is not None and if_none_match is None:
        # Werkzeug answers 304 if either says so; RFC 9110 §13.1.3: beside If-None-Match the date is ignored.
        environ["HTTP_IF_MODIFIED_SINCE"] = if_modified_since
    modified = datetime.fromtimestamp(SECOND, UTC)
    theirs = is_resource_modified(environ, etag="abc", last_modified=modified)
    ours = evaluate(
        ReadConditions(if_none_match=if_none_match, if_modified_since=if_modified_since),
        etag=ETAG,
        modified_at=MODIFIED,
    )
    assert (ours is Verdict.PROCEED) == theirs


@given(tags)
def test_if_match_as_werkzeug_has_it(if_match: str) -> None:
    # Not "*": Werkzeug 3.1 takes it for a tag that never matches strongly.
    theirs = is_resource_modified({"REQUEST_METHOD": "GET", "HTTP_IF_MATCH": if_match}, etag="abc")
    ours = evaluate(ReadConditions(if_match=if_match), etag=ETAG, modified_at=MODIFIED)
    assert (ours is Verdict.FAILED) == (not theirs)
