"""What the S3 store does without any network: keys, attributes, errors, facts."""

import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from thermocline.adapters.objects.key_rules import MAX_KEY_BYTES
from thermocline.adapters.objects.s3_attributes import PACKED, as_metadata, from_metadata
from thermocline.adapters.objects.s3_clients import S3Location
from thermocline.adapters.objects.s3_dialects import DIALECTS, TIERS
from thermocline.adapters.objects.s3_errors import (
    LONGEST_WAIT,
    Failure,
    Place,
    explain,
    failure_of_answer,
    failure_of_body,
    failure_of_text,
)
from thermocline.adapters.objects.s3_keys import RESERVED, fits_xml, original_key, stored_key
from thermocline.adapters.objects.s3_restores import state_of
from thermocline.adapters.objects.s3_uploads import etag_of_parts
from thermocline.domain.content import ObjectAttributes
from thermocline.domain.content_id import ContentId
from thermocline.domain.errors import (
    IntentLostError,
    ObjectArchivedError,
    ObjectMissingError,
    OutOfSpaceError,
    StorageError,
    UnavailableError,
)
from thermocline.domain.restores import RestoreSpeed, RestoreStage
from thermocline.domain.tiers import StorageTier
from thermocline.domain.units import Bytes, Seconds, Timestamp
from thermocline.testing import strategies
from thermocline.testing.contracts.object_store import HOSTILE_KEYS

PLACE = Place("[objects.main]", "the-bucket", "https://s3.example", "the-region")


@given(strategies.free_keys().filter(lambda key: len(key.encode()) < MAX_KEY_BYTES // 3))
def test_a_key_is_found_again_by_where_it_lies(key: str) -> None:
    stored = stored_key(key)
    assert original_key(stored) == key
    assert stored_key(key) == stored
    segments = stored.split("/")
    assert not {"", ".", ".."} & set(segments)
    assert not any(ord(character) < 32 or ord(character) == 127 for character in stored)


@given(st.sets(strategies.free_keys().filter(lambda key: len(key.encode()) < MAX_KEY_BYTES // 3)))
def test_different_keys_lie_in_different_places(keys: set[str]) -> None:
    assert len({stored_key(key) for key in keys}) == len(keys)


def test_hostile_keys_lie_apart() -> None:
    assert len({stored_key(key) for key in HOSTILE_KEYS}) == len(HOSTILE_KEYS)


@given(strategies.object_keys())
def test_keys_of_ours_lie_as_they_are(key: str) -> None:
    assert stored_key(key) == key


@pytest.mark.parametrize("key", [f"{RESERVED}/installation", RESERVED, f"{RESERVED}/keys/a", f"{RESERVED}/"])
def test_nobodys_key_is_where_our_own_objects_are(key: str) -> None:
    assert stored_key(key).startswith(f"{RESERVED}/keys/")
    assert original_key(stored_key(key)) == key


def test_what_is_ours_is_no_key() -> None:
    assert original_key(f"{RESERVED}/installation") is None
    assert original_key(".thermocline-not") == ".thermocline-not"


def test_a_key_that_is_too_long_once_escaped_is_refused() -> None:
    with pytest.raises(ValueError, match="key"):
        stored_key("\x01" * MAX_KEY_BYTES)


@pytest.mark.parametrize(("key", "fits"), [("a/ü\U0001f701<&>", True), ("a\ufffe", False), ("\uffff", False)])
def test_what_xml_cannot_carry(key: str, fits: bool) -> None:
    assert fits_xml(key) == fits


@given(strategies.attributes(), st.integers(0, 4000))
def test_attributes_come_back(attributes: dict[str, str], most: int) -> None:
    try:
        metadata = as_metadata(attributes, most=Bytes(most))
    except ValueError:
        assert sum(map(len, [*attributes, *attributes.values()])) > most
        return
    assert sum(map(len, [*metadata, *metadata.values()])) <= most
    assert from_metadata(metadata) == attributes


@pytest.mark.parametrize("character", ["\U0001f701", "漢", "é", "%", "x"])
def test_the_longest_ids_fit_the_strictest_vendor(character: str) -> None:
    content_id = ContentId(character * (900 // len(character.encode())))
    attributes = ObjectAttributes(
        content_id, "0" * 26, "application/octet-stream", Timestamp(2**60), StorageTier.ARCHIVE,
        previous_tier=StorageTier.ARCHIVE, transitioned_at=Timestamp(2**60), sha256=bytes(range(32)), revision=2**60,
    ).as_headers()  # fmt: skip
    metadata = as_metadata(attributes, most=DIALECTS["aws"].most_metadata)
    assert from_metadata(metadata) == attributes


@pytest.mark.parametrize("packed", ["", "!", "AAAA", base64.b64encode(b"x").decode(), json.dumps({})])
def test_what_others_wrote_stays_as_it_is(packed: str) -> None:
    assert from_metadata({PACKED: packed}) == {PACKED: packed}


@pytest.mark.parametrize(
    ("code", "status", "kind", "told"),
    [
        ("SlowDown", 503, UnavailableError, "busy or failing (SlowDown); try again"),
        ("", 500, UnavailableError, "(500)"),
        ("", 502, UnavailableError, "(502)"),
        ("Unheard", 599, UnavailableError, "(Unheard)"),
        ("", 429, UnavailableError, "(429)"),
        ("OperationAborted", 409, UnavailableError, "try again"),
        ("", 0, UnavailableError, "https://s3.example does not answer"),
        ("NoSuchKey", 404, ObjectMissingError, "there is no object 'k'"),
        ("", 404, ObjectMissingError, "there is no object 'k'"),
        ("InvalidObjectState", 403, ObjectArchivedError, "archived"),
        ("NoSuchUpload", 404, IntentLostError, "was deleted"),
        ("NoSuchBucket", 404, UnavailableError, "bucket = 'the-bucket' does not exist at https://s3.example"),
        ("InvalidAccessKeyId", 403, UnavailableError, "access_key_id is not known to https://s3.example"),
        ("SignatureDoesNotMatch", 403, UnavailableError, "secret_access_key does not belong to access_key_id"),
        ("ExpiredToken", 400, UnavailableError, "session_token"),
        ("PermanentRedirect", 301, UnavailableError, "region = 'the-region' is not where bucket 'the-bucket' lies"),
        ("AuthorizationHeaderMalformed", 400, UnavailableError, "region = 'the-region'"),
        ("", 301, UnavailableError, "region = 'the-region'"),
        ("AccessDenied", 403, UnavailableError, "reading 'k': access denied; give the credentials the right"),
        ("", 403, UnavailableError, "access denied"),
        ("InvalidStorageClass", 400, UnavailableError, "storage_class"),
        ("RequestTimeTooSkewed", 403, UnavailableError, "clock"),
        ("NotImplemented", 501, UnavailableError, "cannot do that; check dialect"),
        ("QuotaExceeded", 403, OutOfSpaceError, "quota"),
        ("BadDigest", 400, UnavailableError, "damaged on their way"),
        ("MalformedXML", 400, StorageError, "refused it (MalformedXML, HTTP status 400)"),
    ],
)
def test_every_answer_has_its_error(code: str, status: int, kind: type[StorageError], told: str) -> None:
    error = explain(Failure(code, status), PLACE, "reading 'k'", "k")
    assert type(error) is kind
    assert told in str(error)


def test_an_answer_is_read_alike_from_all_clients() -> None:
    xml = '<?xml version="1.0"?><Error><Code>SlowDown</Code><Message>x</Message></Error>'
    quoted = (
        f"Generic S3 error: Error performing GET http://h/b/k in 2ms - Server returned non-2xx status code: 503 "
        f"Service Unavailable: {xml}\n\nDebug source:\nGeneric {{ <Code>NoSuchKey</Code> status code: 404 }}"
    )
    answer = {
        "Error": {"Code": "SlowDown"},
        "ResponseMetadata": {"HTTPStatusCode": 503, "HTTPHeaders": {"retry-after": "7"}},
    }
    assert failure_of_text(quoted) == Failure("SlowDown", 503)
    assert failure_of_answer(answer) == Failure("SlowDown", 503, Seconds(7.0))
    assert failure_of_body(503, xml, "7") == Failure("SlowDown", 503, Seconds(7.0))
    assert failure_of_body(503, "", "999999").retry_after == LONGEST_WAIT
    assert failure_of_body(503, "", "Fri, 21 Dec 2029 00:00:00 GMT").retry_after == 1.0
    assert failure_of_answer({"Error": {"Code": "404"}}) == Failure("", 404)
    assert failure_of_text("error sending request") == Failure("", 0)


def test_retry_after_reaches_the_caller() -> None:
    error = explain(Failure("SlowDown", 503, Seconds(7.0)), PLACE, "reading")
    assert isinstance(error, UnavailableError)
    assert error.retry_after == 7.0


@pytest.mark.parametrize(
    ("header", "stage", "until"),
    [
        (None, RestoreStage.ARCHIVED, None),
        ("", RestoreStage.ARCHIVED, None),
        ('ongoing-request="true"', RestoreStage.REQUESTED, None),
        (
            'ongoing-request="false", expiry-date="Sat, 28 Nov 2026 00:00:01 GMT"',
            RestoreStage.READABLE,
            1_795_824_001_000_000,
        ),
        ('ongoing-request="false", expiry-date="Sat, 28 Nov 2026 00:00:00 GMT"', RestoreStage.ARCHIVED, None),
    ],
)
def test_the_header_of_a_restore_is_read_by_the_stores_own_time(
    header: str | None, stage: RestoreStage, until: int | None
) -> None:
    head = {
        "Restore": header,
        "ResponseMetadata": {"HTTPHeaders": {"date": "Sat, 28 Nov 2026 00:00:00 GMT"}},
    }
    state = state_of(head)
    assert (state.stage, state.readable_until) == (stage, until)


@pytest.mark.parametrize("header", ["yes", 'ongoing-request="false"', 'ongoing-request="maybe"'])
def test_unknown_words_of_a_restore_are_an_error(header: str) -> None:
    with pytest.raises(StorageError, match="words that are not known"):
        state_of({"Restore": header, "ResponseMetadata": {"HTTPHeaders": {"date": "Sat, 28 Nov 2026 00:00:00 GMT"}}})


def test_the_etag_of_parts() -> None:
    # md5(md5("a") + md5("b")), as S3 reckons it.
    etags = ['"0cc175b9c0f1b6a831c399e269772661"', "92eb5ffee6ae2fec3ad71c777531578f"]
    assert etag_of_parts(etags) == "96e024ba2074fe77e8e965ba43a704be-2"
    assert not etag_of_parts(["encrypted"])


def test_locations_show_no_secret() -> None:
    secrets: dict[str, Any] = {"secret_access_key": "hunter2", "session_token": "hunter3"}
    location = S3Location("[objects.main]", "b", DIALECTS["aws"], access_key_id="shown", **secrets)
    assert "hunter" not in repr(location)
    assert "shown" in repr(location)


@pytest.mark.parametrize(
    ("dialect", "endpoint", "asked", "in_path"),
    [
        ("aws", "", None, False),
        ("aws", "https://s3.example", None, False),
        ("aws", "http://127.0.0.1:9", None, True),
        ("aws", "http://[::1]:9", None, True),
        ("aws", "http://127.0.0.1:9", False, False),
        ("r2", "https://x.r2.cloudflarestorage.com", None, True),
        ("ceph", "http://rgw", False, False),
    ],
)
def test_where_the_bucket_is_named(dialect: str, endpoint: str, asked: bool | None, in_path: bool) -> None:
    location = S3Location("[objects.main]", "b", DIALECTS[dialect], endpoint=endpoint, path_style=asked)
    assert location.names_bucket_in_path == in_path


def test_facts_fit_together() -> None:
    assert set(TIERS) == set(RestoreSpeed)
    for name, dialect in DIALECTS.items():
        assert dialect.name == name
        assert dialect.archive_classes <= (dialect.classes or dialect.archive_classes)
        assert dialect.restores or not dialect.archive_classes
