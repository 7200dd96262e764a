"""The Glacier server takes what AWS's own library signs, and answers as AWS does what is signed otherwise."""

import http.client
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import botocore.session
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from tests.s3_servers import new_bucket
from thermocline.domain.units import Seconds
from thermocline.testing.servers.glacier import GlacierServer

pytestmark = pytest.mark.server

KEYS = ("plain", "a b/c+d=e&f", "\u00e9/\U0001f600", "a//b/../c", "~tilde'(*)!")


@pytest.fixture(scope="module")
def bucket(glacier: GlacierServer) -> str:
    return new_bucket(glacier)


def client(server: GlacierServer, **changes: str) -> Any:
    told = {"region_name": server.region, "aws_access_key_id": server.access_key}
    told |= {"aws_secret_access_key": server.secret_key}
    return botocore.session.get_session().create_client(
        "s3",
        endpoint_url=server.endpoint,
        config=Config(
            s3={"addressing_style": "path"},
            signature_version="s3v4",
            retries={"total_max_attempts": 1},
            request_checksum_calculation="when_required",
        ),
        **{**told, **changes},
    )


def send(method: str, url: str, body: bytes = b"", headers: dict[str, str] | None = None) -> tuple[int, str]:
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.netloc, timeout=10.0)
    try:
        connection.request(method, f"{parts.path}?{parts.query}", body, headers or {})
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


@pytest.mark.parametrize("key", KEYS)
def test_what_is_signed_is_answered(glacier: GlacierServer, bucket: str, key: str) -> None:
    plain = client(glacier)
    plain.put_object(Bucket=bucket, Key=key, Body=b"body", Metadata={"spaces": "a   b", "empty": ""})
    assert plain.get_object(Bucket=bucket, Key=key)["Body"].read() == b"body"
    assert key in {entry["Key"] for entry in plain.list_objects_v2(Bucket=bucket, Prefix=key[:1])["Contents"]}
    url = plain.generate_presigned_url("get_object", Params={"Bucket": bucket, "Key": key}, ExpiresIn=60)
    assert send("GET", url) == (200, "body")


@pytest.fixture
def skewed(glacier: GlacierServer) -> Iterator[GlacierServer]:
    yield glacier
    glacier.set_skew(Seconds(0.0))


@pytest.mark.parametrize(
    ("changes", "status", "code"),
    [
        ({"region_name": "eu-west-1"}, 400, "AuthorizationHeaderMalformed"),
        ({"aws_secret_access_key": "x"}, 403, "SignatureDoesNotMatch"),
        ({"aws_access_key_id": "x"}, 403, "InvalidAccessKeyId"),
    ],
)
def test_what_is_signed_by_others_is_refused(
    glacier: GlacierServer, bucket: str, changes: dict[str, str], status: int, code: str
) -> None:
    wrong = client(glacier, **changes)
    # Else it goes to the right region by itself.
    wrong.meta.events.register_last(
        "before-parameter-build.s3", lambda context, **_: context["s3_redirect"].update(redirected=True)
    )
    with pytest.raises(ClientError) as refused:
        wrong.put_object(Bucket=bucket, Key="x", Body=b"x" * 100_000)
    assert refused.value.response["ResponseMetadata"]["HTTPStatusCode"] == status
    assert refused.value.response["Error"]["Code"] == code


def test_a_clock_may_differ_by_15_minutes(skewed: GlacierServer, bucket: str) -> None:
    plain = client(skewed)
    for skew in (890.0, -890.0):
        skewed.set_skew(Seconds(skew))
        plain.list_objects_v2(Bucket=bucket)
    for skew in (910.0, -910.0):
        skewed.set_skew(Seconds(skew))
        with pytest.raises(ClientError, match="RequestTimeTooSkewed"):
            plain.list_objects_v2(Bucket=bucket)


def test_a_presigned_request_is_good_for_what_was_signed_and_as_long(skewed: GlacierServer, bucket: str) -> None:
    plain = client(skewed)
    url = plain.generate_presigned_url("put_object", Params={"Bucket": bucket, "Key": "presigned"}, ExpiresIn=60)
    assert send("PUT", url, b"x")[0] == 200
    for other in (
        url.replace("presigned", "another"),
        url + "&x=y",
        url.replace("X-Amz-Expires=60", "X-Amz-Expires=61"),
    ):
        status, body = send("PUT", other, b"x")
        assert (status, "SignatureDoesNotMatch" in body) == (403, True)
    assert send("GET", url)[0] == 403
    skewed.set_skew(Seconds(61.0))
    assert "Request has expired" in send("PUT", url, b"x")[1]
    elsewhere = client(skewed, region_name="eu-west-1")
    url = elsewhere.generate_presigned_url("get_object", Params={"Bucket": bucket, "Key": "x"}, ExpiresIn=600)
    status, body = send("GET", url)
    assert status == 400
    assert "AuthorizationQueryParametersError" in body
    assert "<Region>us-east-1</Region>" in body


def test_what_is_not_signed_is_refused(glacier: GlacierServer, bucket: str) -> None:
    url = f"{glacier.endpoint}/{bucket}/x"
    assert send("GET", url)[0] == 403
    assert send("GET", url, headers={"Authorization": "Basic eDp5"})[0] == 400
    assert send("GET", url, headers={"Authorization": "AWS4-HMAC-SHA256 Credential=x"})[0] == 400
    scope = f"{glacier.access_key}/20261128/us-east-1/s3/aws4_request"
    claim = f"AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders=host, Signature=0"
    assert send("GET", url, headers={"Authorization": claim})[0] == 403
    assert send("GET", f"{url}?X-Amz-Algorithm=AWS4-HMAC-SHA256")[0] == 400
    headers = {"Authorization": claim, "x-amz-content-sha256": "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"}
    assert send("PUT", url, b"x", headers)[0] == 501
    other = claim.replace("/s3/", "/ec2/")
    assert send("GET", url, headers={"Authorization": other})[0] == 400
