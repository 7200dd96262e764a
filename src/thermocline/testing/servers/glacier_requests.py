"""The requests of S3 that the Glacier server answers, over `GlacierObjects`."""

import base64
import hashlib
import zlib
from email.utils import formatdate
from typing import Final
from urllib.parse import quote, unquote
from xml.etree import ElementTree as ET

from aiohttp import web

from thermocline.domain.units import MICROS_PER_SECOND, Timestamp, format_moment
from thermocline.testing.servers.glacier_objects import Bucket, GlacierObjects, S3Error, Stored, md5
from thermocline.testing.servers.glacier_signatures import Signatures

MOST_BODY: Final = 6 * 2**30
_KEPT: Final = frozenset({"content-type", "cache-control", "content-disposition", "content-encoding"})
_UNSIGNED: Final = ("UNSIGNED-PAYLOAD", "STREAMING-")
_BLOCK: Final = 256 * 1024
_MAX_KEYS: Final = 1000


class GlacierRequests:
    """Answers requests to `/{bucket}/{key}`; `fail` makes the next ones fail."""

    def __init__(self, objects: GlacierObjects, signatures: Signatures) -> None:
        self._objects = objects
        self._signatures = signatures
        self.failures: list[tuple[int, str, str]] = []
        """Status, code and Retry-After of the next answers, first first."""

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Answer any request of S3."""
        try:
            if self.failures:
                status, code, retry_after = self.failures.pop(0)
                await request.read()
                error = _error(request, S3Error(status, code))
                if retry_after:
                    error.headers["Retry-After"] = retry_after
                return error
            self._signatures.check(request)
            # As it came: a framework that decodes would confuse %2F with a slash.
            bucket, _, raw = request.raw_path.partition("?")[0].removeprefix("/").partition("/")
            key = unquote(raw, errors="strict")
            return await (self._of_object(request, bucket, key) if key else self._of_bucket(request, bucket))
        except S3Error as exc:
            async for _ in request.content.iter_any():
                pass  # a client that still sends would not hear the answer
            return _error(request, exc)

    # --- buckets ---------------------------------------------------------------------------------
    async def _of_bucket(self, request: web.Request, bucket: str) -> web.StreamResponse:
        query = request.query
        match request.method:
            case "PUT":
                self._objects.buckets.setdefault(bucket, Bucket())
                return self._done()
            case "HEAD":
                self._objects.bucket(bucket)
                return self._done()
            case "POST" if "delete" in query:
                return await self._delete_many(request, bucket)
            case "GET" if "uploads" in query:
                return self._list_uploads(request, bucket)
            case "GET":
                return self._list(request, bucket)
            case _:
                raise S3Error(405, "MethodNotAllowed")

    def _list(self, request: web.Request, bucket: str) -> web.Response:
        query = request.query
        prefix = query.get("prefix", "")
        after = query.get("continuation-token") or query.get("start-after") or query.get("marker") or ""
        most = min(int(query.get("max-keys", _MAX_KEYS)), _MAX_KEYS)
        objects = self._objects.bucket(bucket).objects
        delimiter = query.get("delimiter", "")
        names = sorted({_folded(key, prefix, delimiter) for key in objects if key.startswith(prefix)}, key=str.encode)
        names = [name for name in names if name > after]
        page, more = names[:most], len(names) > most
        root = ET.Element("ListBucketResult")
        _texts(root, Name=bucket, Prefix=_coded(prefix, request), KeyCount=len(page), MaxKeys=most)
        _texts(root, IsTruncated=str(more).lower(), EncodingType=query.get("encoding-type", ""))
        if more:
            _texts(root, NextContinuationToken=page[-1], NextMarker=_coded(page[-1], request))
        for key in page:
            if key not in objects:
                _texts(ET.SubElement(root, "CommonPrefixes"), Prefix=_coded(key, request))
                continue
            stored = objects[key]
            entry = ET.SubElement(root, "Contents")
            _texts(entry, Key=_coded(key, request), LastModified=_moment(stored.modified_at))
            _texts(entry, ETag=f'"{stored.etag}"', Size=len(stored.data), StorageClass=stored.storage_class)
        return self._xml(root)

    def _list_uploads(self, request: web.Request, bucket: str) -> web.Response:
        query = request.query
        prefix = query.get("prefix", "")
        after = (query.get("key-marker", ""), query.get("upload-id-marker", ""))
        uploads = self._objects.bucket(bucket).uploads
        found = sorted((upload.key, name) for name, upload in uploads.items() if upload.key.startswith(prefix))
        page = [each for each in found if each > after][:_MAX_KEYS]
        root = ET.Element("ListMultipartUploadsResult")
        more = bool(page) and page[-1] != found[-1]
        _texts(root, Bucket=bucket, IsTruncated=str(more).lower(), EncodingType=query.get("encoding-type", ""))
        if more:
            _texts(root, NextKeyMarker=_coded(page[-1][0], request), NextUploadIdMarker=page[-1][1])
        for key, name in page:
            entry = ET.SubElement(root, "Upload")
            _texts(entry, Key=_coded(key, request), UploadId=name, Initiated=_moment(uploads[name].begun_at))
        return self._xml(root)

    async def _delete_many(self, request: web.Request, bucket: str) -> web.Response:
        body = await self._body(request)
        objects = self._objects.bucket(bucket).objects
        root = ET.Element("DeleteResult")
        for entry in _xml(body).iter():
            if entry.tag.rpartition("}")[2] == "Key":
                objects.pop(entry.text or "", None)
        return self._xml(root)

    # --- objects ---------------------------------------------------------------------------------
    async def _of_object(self, request: web.Request, bucket: str, key: str) -> web.StreamResponse:
        query = request.query
        match request.method:
            case "GET" if "uploadId" in query:
                return self._list_parts(request, bucket, key)
            case "GET":
                return await self._get(request, bucket, key)
            case "HEAD":
                stored = self._objects.find(bucket, key)
                return web.Response(headers={**self._headers(stored), "Content-Length": str(len(stored.data))})
            case "PUT" if "uploadId" in query:
                return await self._put_part(request, bucket, key)
            case "PUT" if "x-amz-copy-source" in request.headers:
                return self._copy(request, bucket, key)
            case "PUT":
                return await self._put(request, bucket, key)
            case "POST" if "restore" in query:
                return await self._restore(request, bucket, key)
            case "POST" if "uploads" in query:
                return self._begin(request, bucket, key)
            case "POST" if "uploadId" in query:
                return await self._complete(request, bucket, key)
            case "DELETE" if "uploadId" in query:
                self._objects.upload(bucket, key, query["uploadId"])
                del self._objects.bucket(bucket).uploads[query["uploadId"]]
                return self._done(204)
            case "DELETE":
                self._objects.bucket(bucket).objects.pop(key, None)
                return self._done(204)
            case _:
                raise S3Error(501, "NotImplemented")

    async def _get(self, request: web.Request, bucket: str, key: str) -> web.StreamResponse:
        stored = self._objects.readable(bucket, key)
        size = len(stored.data)
        start, end = 0, size
        wanted = request.headers.get("Range", "")
        if wanted.startswith("bytes="):
            first, _, last = wanted.removeprefix("bytes=").partition("-")
            start = int(first) if first else max(0, size - int(last))
            end = min(size, int(last) + 1) if first and last else size
            if start >= size:
                raise S3Error(416, "InvalidRange", "The requested range is not satisfiable")
        headers = {**self._headers(stored), "Content-Length": str(end - start), "Accept-Ranges": "bytes"}
        if asked := request.query.get("response-content-type"):
            headers["content-type"] = asked
        if wanted:
            headers["Content-Range"] = f"bytes {start}-{end - 1}/{size}"
        response = web.StreamResponse(status=206 if wanted else 200, headers=headers)
        await response.prepare(request)
        view = memoryview(stored.data)
        for at in range(start, end, _BLOCK):
            await response.write(bytes(view[at : min(at + _BLOCK, end)]))
        await response.write_eof()
        return response

    async def _put(self, request: web.Request, bucket: str, key: str) -> web.Response:
        body = await self._body(request)
        stored = Stored(body, _metadata(request), _class(request), self._objects.now, md5(body))
        self._objects.put(bucket, key, stored, only_new=request.headers.get("If-None-Match") == "*")
        return self._done(ETag=f'"{stored.etag}"')

    def _copy(self, request: web.Request, bucket: str, key: str) -> web.Response:
        source = self._source(request)
        replaced = request.headers.get("x-amz-metadata-directive") == "REPLACE"
        metadata = _metadata(request) if replaced else source.metadata
        stored = Stored(source.data, metadata, _class(request), self._objects.now, md5(source.data))
        self._objects.put(bucket, key, stored)
        root = ET.Element("CopyObjectResult")
        _texts(root, ETag=f'"{stored.etag}"', LastModified=_moment(stored.modified_at))
        return self._xml(root)

    def _source(self, request: web.Request) -> Stored:
        bucket, _, key = unquote(request.headers["x-amz-copy-source"], errors="strict").lstrip("/").partition("/")
        return self._objects.readable(bucket, key)

    async def _restore(self, request: web.Request, bucket: str, key: str) -> web.Response:
        asked = _xml(await self._body(request))
        found = {entry.tag.rpartition("}")[2]: entry.text or "" for entry in asked.iter()}
        tier = found.get("Tier") or "Standard"
        return self._done(self._objects.request_restore(bucket, key, days=int(found.get("Days", "0")), tier=tier))

    # --- multipart -------------------------------------------------------------------------------
    def _begin(self, request: web.Request, bucket: str, key: str) -> web.Response:
        root = ET.Element("InitiateMultipartUploadResult")
        upload_id = self._objects.begin_upload(bucket, key, _metadata(request), _class(request))
        _texts(root, Bucket=bucket, Key=_coded(key, request), UploadId=upload_id)
        return self._xml(root)

    async def _put_part(self, request: web.Request, bucket: str, key: str) -> web.Response:
        upload_id, number = request.query["uploadId"], int(request.query["partNumber"])
        copied = "x-amz-copy-source" in request.headers
        if copied:
            body = self._source(request).data
            first, _, last = request.headers.get("x-amz-copy-source-range", "").removeprefix("bytes=").partition("-")
            body = body[int(first) : int(last) + 1] if first else body
        else:
            body = await self._body(request)
        etag = md5(body)
        self._objects.upload(bucket, key, upload_id).parts[number] = (body, etag)
        if not copied:
            return self._done(ETag=f'"{etag}"')
        root = ET.Element("CopyPartResult")
        _texts(root, ETag=f'"{etag}"', LastModified=_moment(self._objects.now))
        return self._xml(root)

    def _list_parts(self, request: web.Request, bucket: str, key: str) -> web.Response:
        upload = self._objects.upload(bucket, key, request.query["uploadId"])
        most = min(int(request.query.get("max-parts", _MAX_KEYS)), _MAX_KEYS)
        after = int(request.query.get("part-number-marker", 0))
        numbers = [number for number in sorted(upload.parts) if number > after]
        root = ET.Element("ListPartsResult")
        _texts(root, Bucket=bucket, Key=key, IsTruncated=str(len(numbers) > most).lower())
        _texts(root, NextPartNumberMarker=numbers[:most][-1] if numbers else 0)
        for number in numbers[:most]:
            body, etag = upload.parts[number]
            _texts(ET.SubElement(root, "Part"), PartNumber=number, ETag=f'"{etag}"', Size=len(body))
        return self._xml(root)

    async def _complete(self, request: web.Request, bucket: str, key: str) -> web.Response:
        wanted = []
        for part in _xml(await self._body(request)).iter():
            if part.tag.rpartition("}")[2] == "Part":
                fields = {each.tag.rpartition("}")[2]: each.text or "" for each in part}
                wanted.append((int(fields["PartNumber"]), fields["ETag"]))
        only_new = request.headers.get("If-None-Match") == "*"
        stored = self._objects.complete(bucket, key, request.query["uploadId"], wanted, only_new=only_new)
        root = ET.Element("CompleteMultipartUploadResult")
        _texts(root, Bucket=bucket, Key=_coded(key, request), ETag=f'"{stored.etag}"')
        return self._xml(root)

    # --- bodies and answers ----------------------------------------------------------------------
    async def _body(self, request: web.Request) -> bytes:
        body = await request.read()
        headers = request.headers
        announced = headers.get("Content-MD5")
        if announced and announced != base64.b64encode(bytes.fromhex(md5(body))).decode():
            raise S3Error(400, "BadDigest", "The Content-MD5 you specified did not match what we received.")
        signed = headers.get("x-amz-content-sha256", "")
        if not signed.startswith(_UNSIGNED) and signed and signed != hashlib.sha256(body).hexdigest():
            raise S3Error(400, "XAmzContentSHA256Mismatch", "The provided x-amz-content-sha256 does not match")
        for name, digest in (
            ("x-amz-checksum-crc32", zlib.crc32(body).to_bytes(4)),
            ("x-amz-checksum-sha256", hashlib.sha256(body).digest()),
        ):
            if name in headers and headers[name] != base64.b64encode(digest).decode():
                raise S3Error(400, "BadDigest", f"The {name} you specified did not match what we received.")
        return body

    def _headers(self, stored: Stored) -> dict[str, str]:
        headers = {**stored.metadata, "ETag": f'"{stored.etag}"', **self._dated()}
        headers["Last-Modified"] = formatdate(self._objects.whole_second(stored.modified_at), usegmt=True)
        if stored.storage_class != "STANDARD":
            headers["x-amz-storage-class"] = stored.storage_class
        restore = self._objects.restore_of(stored)
        if restore is not None and self._objects.now < restore.arrives_at:
            headers["x-amz-restore"] = 'ongoing-request="true"'
        elif restore is not None:
            until = formatdate(self._objects.whole_second(restore.expires_at), usegmt=True)
            headers["x-amz-restore"] = f'ongoing-request="false", expiry-date="{until}"'
        return headers

    def _dated(self) -> dict[str, str]:
        return {"Date": formatdate(self._objects.now // MICROS_PER_SECOND, usegmt=True)}

    def _done(self, status: int = 200, **headers: str) -> web.Response:
        return web.Response(status=status, headers={**self._dated(), **headers})

    def _xml(self, root: ET.Element) -> web.Response:
        return web.Response(body=ET.tostring(root), content_type="application/xml", headers=self._dated())


def _folded(key: str, prefix: str, delimiter: str) -> str:
    """Return the key, or what it begins with up to the first delimiter behind the prefix."""
    below, found, _ = key[len(prefix) :].partition(delimiter) if delimiter else ("", "", "")
    return prefix + below + found if found else key


def _metadata(request: web.Request) -> dict[str, str]:
    names = {name.lower(): value for name, value in request.headers.items()}
    return {name: value for name, value in names.items() if name.startswith("x-amz-meta-") or name in _KEPT}


def _class(request: web.Request) -> str:
    return request.headers.get("x-amz-storage-class") or "STANDARD"


def _coded(text: str, request: web.Request) -> str:
    return quote(text, safe="/") if request.query.get("encoding-type") == "url" else text


def _texts(parent: ET.Element, **texts: object) -> None:
    for name, text in texts.items():
        if text != "":
            ET.SubElement(parent, name).text = str(text)


def _moment(moment: Timestamp) -> str:
    return str(format_moment(moment)).replace("Z", "")[:-3] + "Z"


def _xml(body: bytes) -> ET.Element:
    try:
        return ET.fromstring(body)  # noqa: S314 - of our own tests
    except ET.ParseError as exc:
        raise S3Error(400, "MalformedXML", str(exc)) from exc


def _error(request: web.Request, exc: S3Error) -> web.Response:
    root = ET.Element("Error")
    _texts(root, Code=exc.code, Message=str(exc), **exc.details)
    body = b"" if request.method == "HEAD" else ET.tostring(root)
    return web.Response(status=exc.status, body=body, content_type="application/xml")
