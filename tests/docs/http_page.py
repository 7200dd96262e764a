"""`docs/reference/http.md`, from the API's own description (`/openapi.json`)."""

from typing import Any

from thermocline.interfaces.http.control.application import create_control
from thermocline.interfaces.http.control.documentation import describe_api
from thermocline.interfaces.http.counters import HttpCounters
from thermocline.interfaces.http.processes.siblings import NoSiblings

HEAD = """# HTTP

Made from `/openapi.json` by `make docs`; a test compares. A running service shows the same at `/docs`, offline too.

- `content_id` is 1 to 900 bytes of UTF-8. The path is percent-decoded exactly once; `/` and `%2F` are the same.
  Refused are control characters, `.` and `..` as segments, leading, trailing and doubled `/`.
- Once access tokens exist, send one as `Authorization: Bearer tc_...`. Public content can be read without.
- Failures are problem documents (RFC 9457); [errors](errors.md) lists every `type`.
- Every answer has an `X-Request-Id`, which the log repeats; one that the client sends is kept and completed.
"""
_METHODS = ("get", "head", "put", "post", "patch", "delete")


def render() -> str:
    """Return the page."""
    document = describe_api(create_control(HttpCounters(), NoSiblings()))
    operations = [
        _operation(method.upper(), path, item[method], item.get("parameters", []))
        for path, item in document["paths"].items()
        for method in _METHODS
        if method in item
    ]
    return "\n".join([HEAD, *operations])


def _operation(method: str, path: str, operation: dict[str, Any], shared: list[dict[str, Any]]) -> str:
    lines = [f"## `{method} {path}`", "", f"{operation['summary']}."]
    if "description" in operation:
        lines += ["", *operation["description"].splitlines()]
    parameters = [*shared, *operation.get("parameters", [])]
    if parameters:
        lines += ["", "| parameter | in | means |", "|---|---|---|"]
        lines += [f"| `{each['name']}` | {each['in']} | {_meaning(each)} |" for each in parameters]
    answers = {status: told for status, told in operation["responses"].items() if status != "default"}
    if any(told["description"] != "Successful Response" for told in answers.values()):
        lines += ["", "| answer | means |", "|---|---|"]
        lines += [f"| {status} | {told['description']} |" for status, told in sorted(answers.items())]
    return "\n".join([*lines, ""])


def _meaning(parameter: dict[str, Any]) -> str:
    schema = parameter.get("schema", {})
    default = schema.get("default", "")
    told = [parameter.get("description", schema.get("type", "")), f"{default} if left out" if default else ""]
    return "; ".join(part for part in told if part)
