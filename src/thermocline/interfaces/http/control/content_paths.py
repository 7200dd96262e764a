"""The content routes as OpenAPI describes them; they run below FastAPI, which therefore does not know them."""

from typing import Any

_Object = dict[str, Any]

_ID: _Object = {
    "name": "content_id",
    "in": "path",
    "required": True,
    "schema": {"type": "string"},
    "description": "1 to 900 bytes of UTF-8; `/` may stand as it is",
}
_REVISION: _Object = {"name": "revision", "in": "path", "required": True, "schema": {"type": "integer"}}
_BINARY: _Object = {"*/*": {"schema": {"type": "string", "format": "binary"}}}


def describe_content() -> dict[str, _Object]:
    """Return the path items of the content routes."""
    reading = _reading()
    return {
        "/v1/content/{content_id}": {
            "parameters": [_ID],
            "get": _operation("Read content", "read_content", reading, _READ_HEADERS),
            "head": _operation("Describe content", "describe_content", _without_bodies(reading), _READ_HEADERS[:-2]),
            "put": {
                **_operation("Store content", "store_content", _writing(), _WRITE_HEADERS),
                "requestBody": {"required": True, "content": _BINARY},
            },
            "delete": _operation(
                "Delete content; idempotent",
                "delete_content",
                {
                    "200": {"description": "Erased; the report, if the caller prefers return=representation"},
                    "204": {"description": "It is not there (any more)"},
                },
                _ERASE,
            ),
        },
        "/i/{revision}/{content_id}": {
            "parameters": [_REVISION, _ID],
            "get": _operation("Read exactly this revision", "read_revision", reading, _READ_HEADERS),
            "head": _operation(
                "Describe this revision", "describe_revision", _without_bodies(reading), _READ_HEADERS[:-2]
            ),
        },
    }


def _operation(summary: str, name: str, responses: _Object, parameters: list[_Object]) -> _Object:
    return {
        "tags": ["content"],
        "summary": summary,
        "operationId": name,
        "parameters": parameters,
        "responses": responses,
    }


def _header(name: str, description: str) -> _Object:
    return {"name": name, "in": "header", "schema": {"type": "string"}, "description": description}


def _reading() -> _Object:
    return {
        "200": {"description": "The whole content", "content": _BINARY},
        "206": {"description": "One range, or several as multipart/byteranges", "content": _BINARY},
        "307": {"description": "Get it from its bucket; only where the settings say so"},
        "304": {"description": "What the caller has is current"},
        "404": {"description": "Not there, expired, or not for this caller"},
        "409": {"description": "Archived; Retry-After says when it can be read after a restore"},
        "412": {"description": "The condition does not hold"},
        "416": {"description": "No byte lies in the range"},
    }


def _without_bodies(responses: _Object) -> _Object:
    return {
        status: {"description": response["description"]} for status, response in responses.items() if status != "206"
    }


def _writing() -> _Object:
    receipt: _Object = {"content": {"application/json": {"schema": {"type": "object"}}}}
    return {
        "200": {"description": "Replaced; the receipt", **receipt},
        "201": {"description": "New; the receipt", **receipt},
        "400": {"description": "Refused: id, header, digest or length"},
        "409": {"description": "On hold"},
        "412": {"description": "The condition does not hold"},
        "413": {"description": "Too large"},
        "415": {"description": "Content-Encoding is not taken"},
    }


_READ_HEADERS = [
    _header("If-Match", "entity tags, of which one must be current"),
    _header("If-None-Match", "entity tags that the caller has"),
    _header("If-Modified-Since", "a date; ignored beside If-None-Match"),
    _header("If-Unmodified-Since", "a date; ignored beside If-Match"),
    _header("Thermocline-User-Context", "a JSON object of at most 1 KiB; feeds prediction, never logs"),
    _header("Range", "for example bytes=0-1023, bytes=-500 or bytes=0-9,100-109"),
    _header("If-Range", "the entity tag whose range is wanted; otherwise the whole content comes"),
]
_WRITE_HEADERS = [
    _header("Content-Type", "kept and replayed"),
    _header("Cache-Control", "kept and replayed while the content is public"),
    _header("Content-Disposition", "kept and replayed"),
    _header("Thermocline-Tier", "hot, warm, cold or archive"),
    _header("Thermocline-Visibility", "public or private (the default)"),
    _header("Thermocline-Expires-In", "seconds"),
    _header("Thermocline-Meta-Name", "metadata under the key `name`; any name may follow Thermocline-Meta-"),
    _header("If-Match", "entity tags, of which one must be current"),
    _header("If-None-Match", "* stores only what is not there yet"),
    _header("Repr-Digest", "sha-256=:base64: is verified"),
    _header("Content-Digest", "likewise"),
]
_ERASE = [
    {
        "name": "erase",
        "in": "query",
        "schema": {"type": "boolean"},
        "description": "skip the grace and leave no trace",
    },
    _header("If-Match", "entity tags, of which one must be current; not beside erase"),
    _header("Prefer", "return=representation answers an erasure with its report"),
]
