"""Opening the clients of one bucket: obstore, aiobotocore and a plain HTTP session, with the same credentials."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from datetime import datetime, timedelta
from functools import cache
from typing import Any, Final

import aiohttp
from aiobotocore.config import AioConfig
from aiobotocore.session import get_session
from botocore.credentials import ReadOnlyCredentials
from botocore.exceptions import (
    BotoCoreError,
    NoCredentialsError,
    ProfileNotFound,
)
from botocore.loaders import create_loader
from botocore.utils import parse_timestamp
from obstore.store import S3Store

from thermocline.adapters.objects.s3_clients import ATTEMPTS, S3Clients, S3Limits, S3Location
from thermocline.domain.errors import ConfigurationError

_ENDLESS: Final = timedelta(days=365)
"""A stream may take any time in all; what is bounded is each wait for more of it."""
_KEEP_IDLE: Final = timedelta(seconds=20)
"""Shorter than the servers' own (Ceph 65 s, AWS about 20 s): a connection that they close just then costs a retry."""


@cache
def _descriptions() -> Any:
    """Return what reads botocore's descriptions of services: megabytes of JSON, read once for all stores."""
    return create_loader()


def _moment(told: Any) -> datetime:
    """Return the moment that an answer tells. Listings have thousands, of which botocore tries many formats first."""
    if isinstance(told, str) and told.endswith("Z"):
        with suppress(ValueError):
            return datetime.fromisoformat(told)
    moment: datetime = parse_timestamp(told)
    return moment


@asynccontextmanager
async def open_clients(location: S3Location, limits: S3Limits) -> AsyncIterator[S3Clients]:
    """Open the clients for the length of the block; sends nothing. Raises `ConfigurationError`."""
    async with AsyncExitStack() as stack:
        try:
            session = get_session()
            session.register_component("data_loader", _descriptions())
            session.get_component("response_parser_factory").set_parser_defaults(timestamp_parser=_moment)
            if location.profile:
                session.set_config_variable("profile", location.profile)
            given = bool(location.access_key_id)
            client = await stack.enter_async_context(
                session.create_client(
                    "s3",
                    region_name=location.place.region,
                    endpoint_url=location.endpoint or None,
                    aws_access_key_id=location.access_key_id or None,
                    aws_secret_access_key=location.secret_access_key or None,
                    aws_session_token=location.session_token or None,
                    config=_botocore_config(location, limits),
                )
            )
            client.meta.events.register_last("before-parameter-build.s3", _stay_in_region)
            credentials = None if given else await session.get_credentials()
            provide = _credentials(location, credentials)
            objects = _obstore(location, limits, provide)
        except (ProfileNotFound, ValueError, BotoCoreError) as exc:
            raise ConfigurationError(f"{location.label} {exc}") from exc
        http = await stack.enter_async_context(
            aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=limits.max_connections),
                timeout=aiohttp.ClientTimeout(
                    total=None, sock_connect=limits.connect_time, sock_read=limits.stall_time
                ),
                auto_decompress=False,
            )
        )
        yield S3Clients(location, limits, objects, client, http, provide)


def _stay_in_region(context: dict[str, Any], **_event: Any) -> None:
    """Have botocore tell of a wrong region, as obstore does, instead of silently going to the right one.

    Else a store would start whose every read and write of bytes then fails. Its redirector begins no second redirect.
    """
    context.setdefault("s3_redirect", {})["redirected"] = True


def _botocore_config(location: S3Location, limits: S3Limits) -> AioConfig:
    return AioConfig(
        connect_timeout=limits.connect_time,
        read_timeout=limits.stall_time,
        max_pool_connections=limits.max_connections,
        retries={"mode": "standard", "total_max_attempts": ATTEMPTS},
        s3={"addressing_style": "path" if location.names_bucket_in_path else "virtual"},
        signature_version="s3v4",
        # Its newer default, a CRC in a trailer, is unknown to Ceph 16 and to older servers.
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
    )


def _credentials(location: S3Location, found: Any) -> Callable[[], Awaitable[ReadOnlyCredentials]]:
    """Return what tells the credentials of this moment: those that are given, else what the chain of AWS found."""

    async def provide() -> ReadOnlyCredentials:
        if location.access_key_id:
            return ReadOnlyCredentials(
                location.access_key_id, location.secret_access_key, location.session_token or None
            )
        if found is None:
            raise NoCredentialsError
        frozen: ReadOnlyCredentials = await found.get_frozen_credentials()
        return frozen

    return provide


def _obstore(
    location: S3Location, limits: S3Limits, credentials: Callable[[], Awaitable[ReadOnlyCredentials]]
) -> S3Store:
    async def provide() -> Any:
        # Also where they are given: obstore would mix them with AWS_SESSION_TOKEN and the like of the environment.
        told = await credentials()
        return {
            "access_key_id": told.access_key,
            "secret_access_key": told.secret_key,
            "token": told.token,
            "expires_at": None,
        }

    config: Any = {
        "region": location.place.region,
        "virtual_hosted_style_request": not location.names_bucket_in_path,
        "conditional_put": "etag",
        "disable_tagging": True,
    }
    if location.endpoint:
        scheme, _, host = location.endpoint.partition("://")
        named = host if location.names_bucket_in_path else f"{location.bucket}.{host}"
        config["endpoint"] = f"{scheme}://{named.rstrip('/')}"
    return S3Store(
        location.bucket,
        config=config,
        client_options={
            "allow_http": location.endpoint.startswith("http://"),
            "connect_timeout": timedelta(seconds=limits.connect_time),
            "read_timeout": timedelta(seconds=limits.stall_time),
            "timeout": _ENDLESS,
            "pool_idle_timeout": _KEEP_IDLE,
        },
        retry_config={
            "max_retries": ATTEMPTS - 1,
            "retry_timeout": timedelta(seconds=limits.request_time),
            "backoff": {"init_backoff": timedelta(milliseconds=100), "max_backoff": timedelta(seconds=5), "base": 2},
        },
        credential_provider=provide,
    )
