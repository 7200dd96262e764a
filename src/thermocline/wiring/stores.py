"""Object stores, opened as the settings say. What a store needs is imported only if one of its kind is configured."""

from collections.abc import Mapping
from contextlib import AsyncExitStack

from thermocline.adapters.objects.local import LocalObjectStore
from thermocline.domain.restores import RestoreSpeed
from thermocline.domain.units import Seconds
from thermocline.ports.object_store import ObjectStore
from thermocline.wiring.placing import LocalObjectsSettings
from thermocline.wiring.s3_objects import S3ObjectsSettings
from thermocline.wiring.settings import Settings


async def open_store(settings: Settings, name: str, stack: AsyncExitStack) -> ObjectStore:
    """Return the store `[objects.NAME]`, open until `stack` is closed. Raises `ConfigurationError`."""
    match settings.objects[name]:
        case LocalObjectsSettings():
            store = LocalObjectStore(settings.objects_path(name), archive_classes=settings.archive_classes(name))
            stack.push_async_callback(store.aclose)
            return store
        case S3ObjectsSettings() as given:
            return await open_bucket(f"[objects.{name}]", given, stack, archive_classes=settings.archive_classes(name))


async def open_bucket(
    label: str,
    given: S3ObjectsSettings,
    stack: AsyncExitStack,
    *,
    archive_classes: Mapping[str, Mapping[RestoreSpeed, Seconds]],
) -> ObjectStore:
    """Return the store in this bucket, open until `stack` is closed; errors begin with `label`.

    Raises `ConfigurationError`.
    """
    from thermocline.adapters.objects.s3 import S3ObjectStore
    from thermocline.adapters.objects.s3_clients import S3Limits, S3Location

    location = S3Location(
        label=label,
        bucket=given.bucket,
        dialect=given.facts,
        endpoint=given.endpoint,
        region=given.region,
        access_key_id=given.access_key_id,
        secret_access_key=given.secret_access_key.get_secret_value(),
        session_token=given.session_token.get_secret_value(),
        profile=given.profile,
        path_style=given.path_style,
    )
    limits = S3Limits(
        connect_time=given.connect_timeout,
        stall_time=given.stall_timeout,
        request_time=given.request_timeout,
        max_connections=given.max_connections,
    )
    return await stack.enter_async_context(
        S3ObjectStore.open(location, limits=limits, archive_classes=archive_classes, part_size=given.part_size)
    )
