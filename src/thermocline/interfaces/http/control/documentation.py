"""The API's description and the pages that show it, from files that are installed with us: they work offline."""

from typing import Any

from fastapi import APIRouter, FastAPI, Request
from fastapi.responses import FileResponse, HTMLResponse, JSONResponse, Response
from swagger_ui_bundle import swagger_ui_path

from thermocline.interfaces.http.control.content_paths import describe_content
from thermocline.interfaces.http.problems import NO_ROUTE, ProblemError

router = APIRouter(include_in_schema=False)

OPENAPI_VERSION = "3.0.3"
"""What the bundled viewer understands."""
# The viewer sets style attributes; everything else comes from files of ours.
_PAGE_POLICY = (
    "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; object-src 'none'; base-uri 'none'; "
    "frame-ancestors 'none'"
)
_ASSETS = {
    "swagger-ui.css": "text/css",
    "swagger-ui-bundle.js": "text/javascript",
    "favicon-32x32.png": "image/png",
}
_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Thermocline API</title>
<link rel="icon" href="{root}/docs/favicon-32x32.png">
<link rel="stylesheet" href="{root}/docs/swagger-ui.css">
</head>
<body>
<div id="swagger-ui"></div>
<script src="{root}/docs/swagger-ui-bundle.js"></script>
<script src="{root}/docs/start.js"></script>
</body>
</html>
"""
# Relative to the page `/docs`, so that it holds under any prefix.
_START = 'SwaggerUIBundle({url: "openapi.json", dom_id: "#swagger-ui", deepLinking: true, validatorUrl: null});\n'
_HEADERS = {"x-content-type-options": "nosniff", "cache-control": "no-cache"}


@router.get("/docs")
async def docs_page(request: Request) -> HTMLResponse:
    """Return the page that shows the API."""
    root = _escape(request.scope.get("root_path", ""))
    return HTMLResponse(_PAGE.format(root=root), headers={**_HEADERS, "content-security-policy": _PAGE_POLICY})


@router.get("/docs/start.js")
async def docs_start() -> Response:
    """Return the script that starts the viewer."""
    return Response(_START, headers={**_HEADERS, "content-type": "text/javascript"})


@router.get("/docs/{name}")
async def docs_asset(name: str) -> FileResponse:
    """Return a file of the viewer."""
    media_type = _ASSETS.get(name)
    if media_type is None:
        raise ProblemError(NO_ROUTE)
    return FileResponse(str(swagger_ui_path / name), media_type=media_type, headers=_HEADERS)


@router.get("/openapi.json")
async def openapi_document(request: Request) -> JSONResponse:
    """Return the API's description by OpenAPI, the content routes included."""
    return JSONResponse(describe_api(request.app, request.scope.get("root_path", "")), headers=_HEADERS)


def describe_api(control: FastAPI, root_path: str = "") -> dict[str, Any]:
    """Return the OpenAPI document of the control routes and the content routes, as it is below `root_path`."""
    document = dict(control.openapi())
    document["paths"] = {**describe_content(), **document["paths"]}
    document["openapi"] = OPENAPI_VERSION
    document["components"] = {
        "securitySchemes": {"token": {"type": "http", "scheme": "bearer", "bearerFormat": "tc_..."}}
    }
    document["security"] = [{"token": []}, {}]
    document["servers"] = [{"url": root_path or "/"}]
    return _without_validation(document)


def _without_validation(document: dict[str, Any]) -> dict[str, Any]:
    """Leave out FastAPI's own 422: wrong input is answered with 400, as a problem document."""
    problem = {"description": "A problem document", "content": {"application/problem+json": {}}}
    for operations in document["paths"].values():
        for operation in operations.values():
            if isinstance(operation, dict) and "responses" in operation:
                operation["responses"].pop("422", None)
                operation["responses"].setdefault("default", problem)
    return document


def _escape(text: str) -> str:
    from html import escape
    from urllib.parse import quote

    return escape(quote(text, safe="/-._~!$&'()*+,;=:@"))
