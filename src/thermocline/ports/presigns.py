"""URLs with which a client talks to an object store directly, for a while, and without credentials."""

from abc import abstractmethod
from collections.abc import Mapping
from typing import Protocol, runtime_checkable

from thermocline.domain.units import Bytes, Seconds
from thermocline.ports.object_store import STANDARD


@runtime_checkable
class Presigns(Protocol):
    """The ability of a store to be read and written by others, within what each URL says.

    An upload is always one in parts that is begun and completed here, so that its URLs die when it is completed.
    `upload_id` names one; it is no secret, and good for this key only.
    """

    @abstractmethod
    async def begin_direct_upload(
        self, key: str, attributes: Mapping[str, str], *, storage_class: str = STANDARD
    ) -> str:
        """Begin an object whose parts others send; return its upload id. It is listed, and deleted, as any upload."""

    @abstractmethod
    async def part_urls(self, key: str, upload_id: str, *, count: int, lives: Seconds) -> list[str]:
        """Return the URLs to which the parts 1 to `count` can be PUT, each any number of times, for so long."""

    @abstractmethod
    async def complete_direct_upload(self, key: str, upload_id: str, *, sizes: list[Bytes]) -> None:
        """Make the object of the parts that came, all or nothing; repeating it succeeds.

        Raises `TruncatedBodyError` unless exactly these parts came, each of its size (nothing changed then);
        `IntentLostError` if the upload was deleted.
        """

    @abstractmethod
    async def download_url(self, key: str, *, lives: Seconds, content_type: str | None = None) -> str:
        """Return a URL that answers GET, ranges too, with the object's bytes for so long, and this type."""
