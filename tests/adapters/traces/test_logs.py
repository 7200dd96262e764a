"""Lines of access logs, as their vendors' documentation shows them."""

import gzip
import json
from pathlib import Path

import pytest

from thermocline.adapters.traces.log_lines import Access, NoRead, kind_of, read_cloudflare, read_combined, read_s3
from thermocline.adapters.traces.reading import read_trace
from thermocline.domain.errors import InvalidInputError

S3 = (
    "79a59df900b949e5 amzn-s3-demo-bucket [06/Feb/2019:00:00:38 +0000] 192.0.2.3 79a59df900b949e5 3E57427F33A59F07 "
    'REST.GET.OBJECT photos/2019/08/my%2520cat.jpg "GET /amzn-s3-demo-bucket/photos/2019/08/my%20cat.jpg HTTP/1.1" '
    '200 - 2662992 3462992 70 10 "-" "S3Console/0.4" - s9lzHYrFp76 SigV4 ECDHE-RSA TLSv1.2 -'
)
COMBINED = (
    '127.0.0.1 - frank [10/Oct/2000:13:55:36 -0700] "GET /apache_pb.gif?x=1 HTTP/1.0" 200 2326 '
    '"http://www.example.com/start.html" "Mozilla/4.08 [en] (Win98; I ;Nav)"'
)
CLOUDFLARE = {
    "ClientRequestMethod": "GET",
    "ClientRequestURI": "/a%20b.png?w=3",
    "EdgeResponseBytes": 69045,
    "EdgeResponseStatus": 200,
    "EdgeStartTimestamp": "2019-07-30T12:00:00Z",
    "CacheCacheStatus": "miss",
    "RayID": "3a6050bcbe121a87",
}
NOON = 1_564_488_000


def test_s3_server_access_logs() -> None:
    assert read_s3(S3) == Access(1_549_411_238, "photos/2019/08/my cat.jpg", 3_462_992)
    assert read_s3(S3.replace("2662992 3462992", "2662992 -")) == Access(
        1_549_411_238, "photos/2019/08/my cat.jpg", 2_662_992
    )
    for change in (("GET.OBJECT", "PUT.OBJECT"), (" 200 ", " 304 "), (" 200 ", " 404 "), ("GET.OBJECT", "GET.BUCKET")):
        assert read_s3(S3.replace(*change)) is NoRead.SKIPPED
    for broken in (S3[:150], "", "junk", S3.replace("06/Feb", "36/Feb"), S3.replace("Feb", "Fxb")):
        assert read_s3(broken) is NoRead.UNREADABLE


def test_combined_and_common_logs() -> None:
    assert read_combined(COMBINED) == Access(971_211_336, "/apache_pb.gif", 2326)
    common = COMBINED[: COMBINED.index(" 2326") + 5]
    assert read_combined(common) == Access(971_211_336, "/apache_pb.gif", 2326)
    assert read_combined(COMBINED.replace(" 200 2326", " 206 -")) == Access(971_211_336, "/apache_pb.gif", 0)
    for change in (("GET", "POST"), (" 200 ", " 304 "), (" 200 ", " 500 ")):
        assert read_combined(COMBINED.replace(*change)) is NoRead.SKIPPED
    assert read_combined(COMBINED[:60]) is NoRead.UNREADABLE


@pytest.mark.parametrize("moment", ["2019-07-30T12:00:00Z", NOON, NOON * 1000, NOON * 10**9])
def test_cloudflare_logs(moment: str | int) -> None:
    line = json.dumps(CLOUDFLARE | {"EdgeStartTimestamp": moment})
    assert read_cloudflare(line) == Access(NOON, "/a b.png", 69045)


def test_cloudflare_lines_that_are_no_storage_reads() -> None:
    for change in (
        {"CacheCacheStatus": "hit"}, {"CacheCacheStatus": "stale"}, {"ClientRequestMethod": "HEAD"},
        {"EdgeResponseStatus": 304}, {"ClientRequestURI": "?x"},
    ):  # fmt: skip
        assert read_cloudflare(json.dumps(CLOUDFLARE | change)) is NoRead.SKIPPED
    for broken in (
        {"EdgeStartTimestamp": "soon"}, {"EdgeStartTimestamp": True}, {"EdgeStartTimestamp": None},
        {"ClientRequestURI": 3}, {"EdgeResponseStatus": "200"}, {"EdgeResponseBytes": "many"},
    ):  # fmt: skip
        assert read_cloudflare(json.dumps(CLOUDFLARE | broken)) is NoRead.UNREADABLE
    for line in ('{"Edge', "[1]", "", "[" * 10_000):
        assert read_cloudflare(line) is NoRead.UNREADABLE


@pytest.mark.parametrize(
    ("line", "object_id", "kind"),
    [
        (S3, "photos/2019/08/my cat.jpg", "S3 server access log"),
        (COMBINED, "/apache_pb.gif", "combined access log"),
        (json.dumps(CLOUDFLARE), "/a b.png", "Cloudflare log"),
    ],
)
def test_a_log_is_told_by_its_lines_and_may_be_cut(tmp_path: Path, line: str, object_id: str, kind: str) -> None:
    assert kind_of(line.encode()) == kind
    path = tmp_path / "access.log.gz"
    write = line.replace("GET", "PUT")
    path.write_bytes(gzip.compress("\n".join([line, write, "", line, line[:70]]).encode()))
    trace = read_trace(path)
    assert trace.object_ids == [object_id]
    assert (trace.accesses, trace.has_sizes) == (2, True)
    assert trace.notes == (
        "1 lines are no storage reads and do not count",
        "1 lines could not be read and do not count; is the file cut short?",
    )
    path.write_text("\n".join([line, *["junk"] * 11]))
    with pytest.raises(InvalidInputError, match=f"line 12, and 10 before it, are no lines of a {kind}"):
        read_trace(path)


def test_a_log_without_reads_or_with_an_endless_line(tmp_path: Path) -> None:
    path = tmp_path / "access.log"
    path.write_text(S3.replace("GET.OBJECT", "PUT.OBJECT"))
    with pytest.raises(InvalidInputError, match="has no accesses"):
        read_trace(path)
    path.write_text(S3 + "\n" + "x" * (3 << 20))
    with pytest.raises(InvalidInputError, match="more than 1048576 bytes"):
        read_trace(path)
