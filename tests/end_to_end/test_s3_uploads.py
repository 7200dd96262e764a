"""Upload sessions against a real service and a real store, from curl."""

import hashlib
import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.s3_servers import S3Server, new_bucket, plain_client
from tests.service_process import ServiceProcess, client, running_service
from thermocline.testing.servers.ceph import CephServer
from thermocline.testing.servers.processes import program
from thermocline.testing.servers.tcp_proxy import TcpProxy

pytestmark = pytest.mark.server

MIB = 2**20
LARGE = bytes(range(256)) * 4096 * 20 + b"end"
"""20 MiB and a little: three parts."""


def environment(server: S3Server, bucket: str, endpoint: str = "") -> dict[str, str]:
    return {
        "THERMOCLINE_OBJECTS__MAIN__KIND": "s3",
        "THERMOCLINE_OBJECTS__MAIN__DIALECT": "ceph",
        "THERMOCLINE_OBJECTS__MAIN__BUCKET": bucket,
        "THERMOCLINE_OBJECTS__MAIN__ENDPOINT": endpoint or server.endpoint,
        "THERMOCLINE_OBJECTS__MAIN__ACCESS_KEY_ID": server.access_key,
        "THERMOCLINE_OBJECTS__MAIN__SECRET_ACCESS_KEY": server.secret_key,
        "THERMOCLINE_PLACEMENTS__STANDARD__OBJECTS": "main",
        "THERMOCLINE_PLACEMENTS__ARCHIVE__OBJECTS": "main",
        "THERMOCLINE_PLACEMENTS__ARCHIVE__STORAGE_CLASS": "STANDARD_IA",
    }


@pytest.fixture
def bucket(ceph: CephServer) -> str:
    return new_bucket(ceph)


@pytest.fixture
def service(tmp_path: Path, ceph: CephServer, bucket: str) -> Iterator[ServiceProcess]:
    with running_service(tmp_path / "data", environment=environment(ceph, bucket)) as running:
        yield running


def curl(*arguments: str, body: bytes | None = None) -> bytes:
    done = subprocess.run(
        [program("curl"), "--silent", "--show-error", "--fail-with-body", *arguments],
        input=body, capture_output=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def begin(http: httpx.Client, body: bytes, **more: Any) -> dict[str, Any]:
    answer = http.post("/v1/uploads", json={"content_id": "a/ü b", "size": len(body), **more})
    assert answer.status_code == 201, answer.text
    session: dict[str, Any] = answer.json()
    return session


def send(session: dict[str, Any], body: bytes) -> None:
    start = 0
    for part in session["parts"]:
        curl("--upload-file", "-", "--header", "Transfer-Encoding:", "--header", f"Content-Length: {part['size']}",
             part["url"], body=body[start : start + part["size"]])  # fmt: skip
        start += part["size"]
    assert start == len(body)


@pytest.mark.parametrize("body", [b"", b"small", LARGE], ids=["empty", "small", "large"])
def test_a_session_works_from_curl(service: ServiceProcess, body: bytes) -> None:
    told = json.dumps(
        {"content_id": "a/ü b", "size": len(body), "content_type": "text/x-told", "visibility": "public",
         "sha256": hashlib.sha256(body).hexdigest()}
    )  # fmt: skip
    made = curl("--json", told, f"{service.url}/v1/uploads")
    session = json.loads(made)
    send(session, body)
    receipt = json.loads(curl("--request", "POST", service.url + session["complete"]))
    assert (receipt["content_id"], receipt["size"], receipt["created"]) == ("a/ü b", len(body), True)
    again = json.loads(curl("--request", "POST", service.url + session["complete"]))
    assert again == receipt | {"created": False}
    with client(service) as http:
        answer = http.get("/v1/content/a/ü b")
        assert (answer.status_code, answer.content, answer.headers["content-type"]) == (200, body, "text/x-told")
        if len(body) > 10:
            part = http.get("/v1/content/a/ü b", headers={"Range": "bytes=9000000-9000009"})
            assert part.content == body[9_000_000:9_000_010]


def test_no_byte_of_the_body_passes_through_the_service(
    tmp_path: Path, ceph: CephServer, bucket: str, proxied: Callable[[str], TcpProxy]
) -> None:
    proxy = proxied(ceph.endpoint)
    given = environment(ceph, bucket, proxy.endpoint)
    with running_service(tmp_path / "data", environment=given) as service, client(service) as http:
        session = begin(http, LARGE)
        before = proxy.to_server
        send(session, LARGE)
        sent = proxy.to_server - before
        assert http.post(session["complete"]).status_code == 201
        assert len(LARGE) <= sent < len(LARGE) + 64 * 1024
        assert proxy.to_server - before - sent < 64 * 1024, "only the completion, and questions"


def test_what_is_missing_is_told_and_can_be_sent(service: ServiceProcess) -> None:
    with client(service) as http:
        session = begin(http, LARGE)
        answer = http.post(session["complete"])
        assert (answer.status_code, answer.json()["type"]) == (400, "urn:thermocline:error:truncated-body")
        send({"parts": session["parts"][:1]}, LARGE[: session["parts"][0]["size"]])
        answer = http.post(session["complete"])
        assert "Part 2 of 3 did not come" in answer.json()["detail"]
        assert http.get("/v1/content/a/ü b").status_code == 404
        send(session, LARGE)
        assert http.post(session["complete"]).status_code == 201
        assert http.get("/v1/content/a/ü b").content == LARGE


def test_a_session_says_and_asks_what_a_put_does(service: ServiceProcess) -> None:
    with client(service) as http:
        told = {"metadata": {"album": "pets"}, "expires_in": 3600, "visibility": "public", "cache_control": "max-age=9"}
        session = begin(http, b"one", content_disposition="attachment", **told)
        send(session, b"one")
        answer = http.post(session["complete"], headers={"If-None-Match": "*"})
        assert answer.status_code == 201, answer.text
        read = http.get("/v1/content/a/ü b")
        assert (read.headers["content-disposition"], read.headers["etag"]) == ("attachment", answer.json()["etag"])
        record = http.get("/v1/info/a/ü b").json()
        assert (record["metadata"], record["visibility"]) == ({"album": "pets"}, "public")
        assert record["expires_at"] is not None
        session = begin(http, b"two")
        send(session, b"two")
        answer = http.post(session["complete"], headers={"If-None-Match": "*"})
        assert (answer.status_code, answer.json()["type"]) == (412, "urn:thermocline:error:precondition-failed")
        # The longest that a session may be fits a request.
        session = begin(http, b"new", metadata={"x": "y" * 3600})
        send(session, b"new")
        answer = http.post(session["complete"], headers={"If-Match": read.headers["etag"]})
        assert answer.status_code == 200, answer.text
        wrong: dict[str, Any]
        for wrong in ({"metadata": []}, {"metadata": {"x": "y" * 4096}}, {"expires_in": "1"}, {"expires_in": 0},
                      {"expires_in": True}, {"cache_control": 1}, {"content_disposition": "a\nb"}):  # fmt: skip
            answer = http.post("/v1/uploads", json={"content_id": "a", "size": 1, **wrong})
            assert answer.status_code == 400, (wrong, answer.text)


def test_other_bytes_than_announced_are_refused_and_removed(
    service: ServiceProcess, ceph: CephServer, bucket: str
) -> None:
    with client(service) as http:
        session = begin(http, b"12345", sha256=hashlib.sha256(b"other").hexdigest())
        send(session, b"12345")
        answer = http.post(session["complete"])
        assert (answer.status_code, answer.json()["type"]) == (400, "urn:thermocline:error:digest-mismatch")
        assert http.get("/v1/content/a/ü b").status_code == 404
        again = http.post(session["complete"])
        assert (again.status_code, again.json()["type"]) == (503, "urn:thermocline:error:upload-lost")
    listed = plain_client(ceph).list_objects_v2(Bucket=bucket).get("Contents", ())
    assert [entry["Key"] for entry in listed] == [".thermocline/installation"]


WRONG: tuple[dict[str, Any], ...] = (
    {}, {"content_id": "a"}, {"content_id": "a", "size": "1"}, {"content_id": "a", "size": True},
    {"content_id": "a", "size": -1}, {"content_id": "", "size": 1}, {"content_id": 1, "size": 1},
    {"content_id": "a", "size": 1, "sha256": "zz"}, {"content_id": "a", "size": 1, "tier": "tepid"},
    {"content_id": "a", "size": 1, "content_type": "no"}, {"content_id": "a", "size": 1, "other": 1},
)  # fmt: skip


def test_what_makes_no_session(service: ServiceProcess) -> None:
    with client(service) as http:
        for wrong in WRONG:
            assert http.post("/v1/uploads", json=wrong).status_code == 400, wrong
        for token in ("x", "e30", "A" * 3000, "eyJvYmplY3Rfa2V5IjoxfQ"):
            assert http.post(f"/v1/uploads/{token}/complete").status_code == 400, token


def test_a_folder_gives_out_no_urls(tmp_path: Path) -> None:
    with running_service(tmp_path / "data") as service, client(service) as http:
        answer = http.post("/v1/uploads", json={"content_id": "a", "size": 1})
        assert answer.status_code == 400
        assert "PUT /v1/content/{id}" in answer.json()["detail"]


def test_large_downloads_are_redirected_where_the_settings_say_so(
    tmp_path: Path, ceph: CephServer, bucket: str
) -> None:
    given = environment(ceph, bucket) | {"THERMOCLINE_HTTP__REDIRECT_FROM": "1MiB"}
    with running_service(tmp_path / "data", environment=given) as service, client(service) as http:
        for name, body in (("large", LARGE), ("small", b"small")):
            http.put(f"/v1/content/{name}", content=body, headers={"Content-Type": "text/x-told"})
        answer = http.get("/v1/content/large")
        assert (answer.status_code, answer.headers["cache-control"]) == (307, "no-store")
        assert answer.headers["location"].startswith(f"{ceph.endpoint}/{bucket}/")
        whole = httpx.get(answer.headers["location"])
        assert (whole.status_code, whole.content, whole.headers["content-type"]) == (200, LARGE, "text/x-told")
        part = http.get("/v1/content/large", headers={"Range": "bytes=5-9"}, follow_redirects=True)
        assert (part.status_code, part.content) == (206, LARGE[5:10])
        assert http.head("/v1/content/large").status_code == 200
        assert http.get("/v1/content/large", headers={"If-None-Match": "*"}).status_code == 304
        assert http.get("/v1/content/small").content == b"small"
        http.delete("/v1/content/large")
        assert http.get("/v1/content/large").status_code == 404
        assert httpx.get(answer.headers["location"]).content == LARGE, "who began with it comes to the end"
