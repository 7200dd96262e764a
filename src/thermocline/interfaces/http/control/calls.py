"""What control routes get from the application that runs them."""

from typing import Annotated, Any

from fastapi import Depends, Request
from fastapi.responses import JSONResponse

from thermocline.interfaces.http.exchange import Exchange, exchange_in
from thermocline.orchestrator import StorageOrchestrator
from thermocline.wiring.services import Services

STORE_KEY = "thermocline.store"
"""Where control routes find the open store in the ASGI scope."""


def current_exchange(request: Request) -> Exchange:
    """Return the exchange of this request."""
    return exchange_in(request.scope)


def current_services(request: Request) -> Services:
    """Return the services of the open store."""
    store = request.scope[STORE_KEY]
    if not isinstance(store, StorageOrchestrator):
        raise TypeError("the scope holds no store: control routes run inside the application only")
    return store.services


ExchangeHere = Annotated[Exchange, Depends(current_exchange)]
ServicesHere = Annotated[Services, Depends(current_services)]


def json_answer(exchange: Exchange, value: Any, status: int = 200) -> JSONResponse:
    """Return `value` as an answer that nobody keeps."""
    headers = {"cache-control": "no-store", "x-request-id": exchange.head.request_id}
    return JSONResponse(value, status, headers)
