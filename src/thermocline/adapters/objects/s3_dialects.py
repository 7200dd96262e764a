"""What the vendors' S3 does and does not: facts with their sources. Code asks for a fact, never for a vendor.

Sources (November 2026). The limits of R2 were compared with its pages; RGW was measured; AWS and R2 themselves were
never called, so that what concerns only them rests on what they publish.

- AWS: docs.aws.amazon.com/AmazonS3/latest/userguide: qfacts (limits), storage-class-intro, restoring-objects,
  conditional-writes, UsingMetadata (2 KB of user metadata).
- R2: developers.cloudflare.com/r2: api/s3/api (storage classes, conditional headers, no tags, no RestoreObject),
  platform/limits (one write a second to the same key, equal parts but the last, 8,192 bytes of metadata).
- Ceph: docs.ceph.com/en/latest/radosgw/s3 (compatibility table), and measured on RGW 16.2.15: RestoreObject answers
  501; If-None-Match on CompleteMultipartUpload is ignored, on PutObject it holds; completing an upload that was aborted
  answers 500, listing its parts NoSuchKey; `tcp_nodelay` is off, which costs 40 ms a request unless the front end's
  options turn it on; the region of a signature is not looked at.
"""

from dataclasses import dataclass
from typing import Final

from thermocline.domain.restores import RestoreSpeed
from thermocline.domain.units import Bytes

GIB: Final = 2**30
TIERS: Final = {
    RestoreSpeed.BULK: "Bulk",
    RestoreSpeed.STANDARD: "Standard",
    RestoreSpeed.EXPEDITED: "Expedited",
}
"""What RestoreObject calls our speeds."""


@dataclass(frozen=True, slots=True)
class Dialect:
    """Facts of one vendor's S3."""

    name: str
    classes: frozenset[str] | None
    """The storage classes that there are; None if the installation decides."""
    archive_classes: frozenset[str]
    """Those whose objects must be restored before they are read."""
    restores: bool
    """Whether RestoreObject exists."""
    puts_if_absent: bool
    """Whether `If-None-Match: *` on PutObject is known to hold, also for two at once."""
    completes_if_absent: bool
    """Whether `If-None-Match: *` on CompleteMultipartUpload is known to hold."""
    most_metadata: Bytes
    """Names and values of user metadata together."""
    default_region: str
    path_style: bool
    """Whether the bucket is named in the path rather than in the host, unless the settings say otherwise."""
    most_parts: int = 10_000
    largest_copy: Bytes = Bytes(5 * GIB)
    """What CopyObject takes at once, and a copied part may have."""


DIALECTS: Final = {
    dialect.name: dialect
    for dialect in (
        Dialect(
            name="aws",
            classes=frozenset(
                {
                    "STANDARD",
                    "STANDARD_IA",
                    "ONEZONE_IA",
                    "INTELLIGENT_TIERING",
                    "GLACIER_IR",
                    "GLACIER",
                    "DEEP_ARCHIVE",
                    "REDUCED_REDUNDANCY",
                    "EXPRESS_ONEZONE",
                    "OUTPOSTS",
                    "SNOW",
                }
            ),
            archive_classes=frozenset({"GLACIER", "DEEP_ARCHIVE"}),
            restores=True,
            puts_if_absent=True,
            completes_if_absent=True,
            most_metadata=Bytes(2048),
            default_region="us-east-1",
            path_style=False,
        ),
        Dialect(
            name="r2",
            classes=frozenset({"STANDARD", "STANDARD_IA"}),
            archive_classes=frozenset(),
            restores=False,
            puts_if_absent=True,
            completes_if_absent=False,
            most_metadata=Bytes(8192),
            default_region="auto",
            path_style=True,
        ),
        Dialect(
            name="ceph",
            classes=None,
            archive_classes=frozenset(),
            restores=False,
            puts_if_absent=True,
            completes_if_absent=False,
            most_metadata=Bytes(8192),
            default_region="default",
            path_style=True,
        ),
        Dialect(
            name="generic",
            classes=None,
            archive_classes=frozenset(),
            restores=True,
            puts_if_absent=False,
            completes_if_absent=False,
            most_metadata=Bytes(2048),
            default_region="us-east-1",
            path_style=True,
        ),
    )
}
