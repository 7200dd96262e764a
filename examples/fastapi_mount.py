"""Thermocline inside a FastAPI application of one's own: mounted under a prefix, and used from its routes.

Run it with `uvicorn examples.fastapi_mount:app`, then open http://127.0.0.1:8000/files/docs.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated

from fastapi import Depends, FastAPI, Request

from thermocline import ContentNotFoundError, Settings, StorageOrchestrator, create_app, get_store


def build(settings: Settings | None = None) -> FastAPI:
    """Return an application that keeps its users' avatars in Thermocline."""
    files = create_app(settings)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        # Servers run the lifespan of the outermost application only; without this line the store would open
        # with the first request.
        async with files.lifespan(app):
            yield

    app = FastAPI(title="An application with files", lifespan=lifespan)
    app.mount("/files", files)

    @app.put("/users/{user_id}/avatar", status_code=201)
    async def set_avatar(
        user_id: int, request: Request, store: Annotated[StorageOrchestrator, Depends(get_store)]
    ) -> dict[str, str]:
        receipt = await store.store_content(
            f"users/{user_id}/avatar",
            request.stream(),
            metadata={"user": user_id},
            content_type=request.headers.get("content-type", "application/octet-stream"),
            visibility="public",
        )
        # This URL always shows these very bytes, so that browsers and CDNs may keep them for a year.
        return {"url": f"/files/i/{receipt.revision}/{receipt.content_id}"}

    @app.get("/users/{user_id}/avatar/size")
    async def avatar_size(
        user_id: int, store: Annotated[StorageOrchestrator, Depends(get_store)]
    ) -> dict[str, int | None]:
        try:
            record = await store.stat(f"users/{user_id}/avatar")
        except ContentNotFoundError:
            return {"size": None}
        return {"size": record.size}

    return app


def __getattr__(name: str) -> FastAPI:
    """Make `app` when a server asks for it, so that importing the example opens nothing."""
    if name == "app":
        return build()
    raise AttributeError(name)
