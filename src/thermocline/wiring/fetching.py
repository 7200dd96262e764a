"""Files from buckets, for commands that read them and keep nothing."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from thermocline.adapters.inventories.manifests import parse_manifest
from thermocline.domain.errors import ConfigurationError, FileTreeError
from thermocline.ports.object_store import ObjectStore
from thermocline.wiring.s3_objects import S3ObjectsSettings
from thermocline.wiring.settings import Settings
from thermocline.wiring.stores import open_bucket, open_store

SCHEME = "s3://"


@dataclass(frozen=True, slots=True)
class BucketFiles:
    """The objects of one bucket as files to be read. Nothing is ever written to it."""

    bucket: str
    store: ObjectStore

    async def fetch(self, key: str, target: Path, *, progress: Callable[[int], None] = lambda _: None) -> None:
        """Write the object into a new file, its folders made; `progress` is told the bytes.

        Raises `FileTreeError` if there is no such object.
        """
        head = await self.store.head(key)
        if head is None:
            raise FileTreeError(f"there is no object s3://{self.bucket}/{key}")
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("xb") as file:
            async with aclosing(self.store.stream(key, 0, head.size)) as blocks:
                async for block in blocks:
                    file.write(block)
                    progress(len(block))

    async def fetch_all(self, prefix: str, folder: Path, *, progress: Callable[[int], None] = lambda _: None) -> None:
        """Write every object whose key begins with `prefix` into the folder, named by its number in the listing."""
        number = 0
        async for page in self.store.list_pages(prefix):
            for info in page:
                if info.finished and info.size and not info.key.endswith("/"):
                    number += 1
                    # Keys may be no file names; the last part tells a reader of errors which it was.
                    name = "".join(letter if letter.isalnum() or letter in ".-" else "_" for letter in info.key[-80:])
                    await self.fetch(info.key, folder / f"{number:08}-{name}", progress=progress)
        if not number:
            raise FileTreeError(f"there is no object under s3://{self.bucket}/{prefix}")

    async def fetch_inventory(
        self, key: str, folder: Path, *, progress: Callable[[int], None] = lambda _: None
    ) -> Path:
        """Write a manifest and all the files that it names into the folder, and return where the manifest is."""
        manifest = folder / "manifest.json"
        await self.fetch(key, manifest, progress=progress)
        told = parse_manifest(manifest.read_bytes(), f"s3://{self.bucket}/{key}")
        for each in told["files"]:
            names = [name for name in str(each["key"]).split("/") if name not in {"", ".", ".."}]
            await self.fetch(str(each["key"]), folder.joinpath(*names), progress=progress)
        return manifest


@asynccontextmanager
async def bucket_files(settings: Settings, bucket: str) -> AsyncIterator[BucketFiles]:
    """Open a bucket as the object store of the settings that has it, else as the usual chain of AWS says.

    Raises `FileTreeError` if neither does, and `ConfigurationError`.
    """
    buckets = {each.bucket: name for name, each in settings.objects.items() if isinstance(each, S3ObjectsSettings)}
    async with AsyncExitStack() as stack:
        if bucket in buckets:
            store = await open_store(settings, buckets[bucket], stack)
        else:
            given = await _by_environment(bucket, sorted(buckets))
            store = await open_bucket(f"s3://{bucket}", given, stack, archive_classes={})
        yield BucketFiles(bucket, store)


async def _by_environment(bucket: str, known: Sequence[str]) -> S3ObjectsSettings:
    """Return what the environment, a profile or the role of the machine say of a bucket of AWS."""
    from thermocline.adapters.objects.s3_environment import aws_environment

    found = await aws_environment()
    if found is None:
        raise FileTreeError(
            f"no object store of the settings is the bucket {bucket!r} (they have: {', '.join(known) or 'none'}), and "
            "AWS has no credentials here; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE, or add "
            "[objects.NAME] with kind, endpoint, bucket and keys; it needs no placement"
        )
    try:
        return S3ObjectsSettings(bucket=bucket, dialect="aws", region=found.region, endpoint=found.endpoint)
    except ValueError as exc:
        raise ConfigurationError(f"AWS_ENDPOINT_URL = {found.endpoint!r} is not like https://host") from exc
