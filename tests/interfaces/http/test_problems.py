"""Every error has one status, a stable type, and says what to do."""

import inspect
import json

import pytest

from thermocline.domain import errors
from thermocline.domain.units import Seconds, Timestamp
from thermocline.interfaces.http.error_table import problem_of

NOW = Timestamp(1_800_000_000_000_000)

EXPECTED = {
    errors.InvalidInputError("x"): (400, "invalid-input"),
    errors.InvalidContentIdError("x"): (400, "invalid-content-id"),
    errors.InvalidMetadataError("x"): (400, "invalid-metadata"),
    errors.InvalidRangeError("x", size=5): (416, "range-not-satisfiable"),
    errors.DigestMismatchError("x"): (400, "digest-mismatch"),
    errors.TruncatedBodyError("x"): (400, "truncated-body"),
    errors.ContentTooLargeError("x"): (413, "content-too-large"),
    errors.ContentNotFoundError("a"): (404, "content-not-found"),
    errors.ContentArchivedError("a", eta=Timestamp(NOW + 90_500_000)): (409, "content-archived"),
    errors.ContentHeldError("a"): (409, "content-held"),
    errors.PreconditionFailedError("a", current_etag='"1"'): (412, "precondition-failed"),
    errors.IntegrityError("a", object_key="secret/key", detail="x"): (500, "content-corrupted"),
    errors.UnavailableError("secret host", retry_after=Seconds(2.5)): (503, "unavailable"),
    errors.BusyError("x"): (503, "busy"),
    errors.OutOfSpaceError("secret path"): (503, "out-of-space"),
    errors.RestoreBudgetError("x"): (503, "restore-budget"),
    errors.CommitUnknownError("secret"): (503, "commit-unknown"),
    errors.IntentLostError("x"): (503, "upload-lost"),
    errors.MoveLostError("x"): (503, "move-lost"),
    errors.ObjectMissingError("secret/key"): (500, "content-corrupted"),
    # Services turn it into ContentArchivedError: one that comes this far is a mistake of ours.
    errors.ObjectArchivedError("secret/key"): (500, "internal"),
    errors.UnsafePathError("secret"): (500, "content-corrupted"),
    # Folder trees are imported and exported by the command line and in Python, never over HTTP.
    errors.FileTreeError("secret"): (500, "internal"),
    errors.FileChangedError("secret"): (500, "internal"),
    errors.ConfigurationError("secret"): (500, "misconfigured"),
    errors.CatalogVersionError("secret"): (500, "misconfigured"),
    errors.InstallationMismatchError("secret"): (500, "misconfigured"),
    errors.FileTreeError("secret"): (500, "internal"),
    errors.FileChangedError("secret"): (500, "internal"),
    errors.StorageError("secret"): (500, "internal"),
}


@pytest.mark.parametrize("error", EXPECTED, ids=lambda error: type(error).__name__)
def test_each_error(error: errors.StorageError) -> None:
    problem = problem_of(error, now=NOW)
    assert (problem.status, problem.slug) == EXPECTED[error]
    fields, body = problem.render("id-1")
    document = json.loads(body)
    assert document["type"] == f"urn:thermocline:error:{problem.slug}"
    assert (document["status"], document["request_id"]) == (problem.status, "id-1")
    assert document["title"]
    assert document["detail"].endswith(".")
    assert "secret" not in body.decode(), "internals stay in the log"
    headers = dict(fields)
    assert headers[b"content-type"] == b"application/problem+json"
    assert headers[b"content-length"] == b"%d" % len(body)
    assert headers[b"cache-control"] == b"no-store"
    assert headers[b"x-request-id"] == b"id-1"
    assert (b"retry-after" in headers) == (problem.status == 503 or problem.slug == "content-archived")


def test_every_error_of_the_tree_is_tried() -> None:
    tree = {kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, errors.StorageError)}
    assert tree == {type(error) for error in EXPECTED}


def test_times_are_whole_seconds_rounded_up() -> None:
    archived = problem_of(errors.ContentArchivedError("a", eta=Timestamp(NOW + 90_500_000)), now=NOW)
    assert (b"retry-after", b"91") in archived.fields
    past = problem_of(errors.ContentArchivedError("a", eta=Timestamp(NOW - 5)), now=NOW)
    assert (b"retry-after", b"1") in past.fields
    assert problem_of(errors.ContentArchivedError("a", eta=None), now=NOW).fields == ()
    assert problem_of(errors.UnavailableError("x", retry_after=Seconds(2.5)), now=NOW).fields == (
        (b"retry-after", b"3"),
    )
    assert problem_of(errors.InvalidRangeError("x", size=5), now=NOW).fields == ((b"content-range", b"bytes */5"),)


def test_text_that_is_no_utf8_is_still_rendered() -> None:
    _, body = problem_of(errors.InvalidInputError("bad \ud800 text"), now=NOW).render("id")
    assert json.loads(body)["status"] == 400
