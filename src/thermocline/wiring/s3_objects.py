"""Settings of an object store in a bucket of S3, and what they must not contradict."""

from typing import Any, Final, Literal
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, field_validator, model_validator

from thermocline.adapters.objects.s3_dialects import DIALECTS, Dialect
from thermocline.domain.units import Bytes, Seconds
from thermocline.wiring.sections import Duration, Section, Size

_SMALLEST_PART: Final = 5 * 2**20
_LARGEST_PART: Final = 256 * 2**20


class S3ObjectsSettings(Section):
    """An object store in a bucket: Cloudflare R2, AWS S3, Ceph RGW, or another server that speaks S3."""

    kind: Literal["s3"] = "s3"
    """`s3`: a bucket of a server that speaks S3."""

    bucket: str = Field(min_length=1)
    """The bucket; it must exist. One installation owns it."""

    dialect: Literal["aws", "r2", "ceph", "generic"] = "generic"
    """Whose S3 it is: what the server can do, and which storage classes it has."""

    endpoint: str = ""
    """Where it answers: `https://ACCOUNT.r2.cloudflarestorage.com`. Empty: AWS, by the region."""

    region: str = ""
    """The region. Empty: `us-east-1`, for R2 `auto`, for Ceph `default`."""

    access_key_id: str = ""
    """The access key. Empty: the usual chain of AWS (environment, `profile`, the machine's role)."""

    secret_access_key: SecretStr = SecretStr("")
    """The secret that belongs to it; better from a file: `THERMOCLINE_OBJECTS__NAME__SECRET_ACCESS_KEY__FILE`."""

    session_token: SecretStr = SecretStr("")
    """The token of temporary credentials."""

    profile: str = ""
    """A profile of the files of AWS (`~/.aws/config`), instead of keys."""

    delete_adopted: bool = False
    """Whether an object that a content adopted in this bucket (`import --in-place`) is deleted with its last content.

    Off, it stays. On, it goes like one of ours, after the grace, unless somebody replaced it meanwhile. Switch it on
    only if no other program counts on these objects, and once every process runs a version that knows the setting.
    """

    path_style: bool | None = None
    """Whether requests name the bucket in the path instead of in the host; `none`: as the dialect usually does."""

    connect_timeout: Duration = Seconds(5.0)
    """How long making a connection may take."""

    stall_timeout: Duration = Seconds(15.0)
    """How long a connection may stand still."""

    request_timeout: Duration = Seconds(50.0)
    """How long a request may take with its repetitions; less than `[limits] longest_request`. Streams take longer."""

    max_connections: int = Field(default=64, ge=4, le=10_000)
    """Connections of one process for reads, and as many for writes; further requests wait."""

    part_size: Size = Bytes(8 * 2**20)
    """How large the parts of an upload are. 10,000 parts are the largest content; each upload holds up to four."""

    @field_validator("path_style", mode="before")
    @classmethod
    def _read_none(cls, value: Any) -> Any:
        return None if value == "none" else value

    @field_validator("endpoint")
    @classmethod
    def _check_endpoint(cls, value: str) -> str:
        if not value:
            return value
        try:
            parts = urlsplit(value)
            valid = parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0
        except ValueError:
            valid = False
        if not valid or parts.path.strip("/") or parts.query or parts.fragment or parts.username is not None:
            raise ValueError(
                "must be like https://host or http://host:port, without a path or credentials; the bucket has a "
                "setting of its own"
            )
        return value.rstrip("/")

    @field_validator("part_size")
    @classmethod
    def _check_part_size(cls, value: Bytes) -> Bytes:
        if not _SMALLEST_PART <= value <= _LARGEST_PART:
            raise ValueError("must be from 5MiB to 256MiB")
        return value

    @model_validator(mode="after")
    def _check(self) -> "S3ObjectsSettings":
        if not self.endpoint and self.dialect != "aws":
            raise ValueError(f'dialect = "{self.dialect}" needs an endpoint')
        if bool(self.access_key_id) != bool(self.secret_access_key.get_secret_value()):
            raise ValueError("access_key_id and secret_access_key belong together; set both or neither")
        if self.session_token.get_secret_value() and not self.access_key_id:
            raise ValueError("session_token belongs to an access_key_id; set that too")
        if self.profile and self.access_key_id:
            raise ValueError("profile and access_key_id exclude each other; remove one")
        return self

    @property
    def facts(self) -> Dialect:
        """What is known of the vendor."""
        return DIALECTS[self.dialect]

    def check_class(self, placement: str, storage_class: str, *, restores: bool) -> None:
        """Raise `ValueError` unless objects of this class can be kept, and read as the placement says."""
        facts = self.facts
        if facts.classes is not None and storage_class not in facts.classes:
            raise ValueError(
                f"[placements.{placement}] storage_class = {storage_class!r} does not exist in dialect "
                f"{self.dialect!r}; it has {', '.join(sorted(facts.classes))}"
            )
        if restores and not facts.restores:
            raise ValueError(
                f"[placements.{placement}.restore] dialect {self.dialect!r} has no restores: its objects are read at "
                "once; remove [restore]"
            )
        if restores and facts.classes is not None and storage_class not in facts.archive_classes:
            raise ValueError(
                f"[placements.{placement}.restore] objects of class {storage_class} need no restore; remove [restore]"
            )
        if not restores and storage_class in facts.archive_classes:
            raise ValueError(
                f"[placements.{placement}] objects of class {storage_class} must be restored before they are read; "
                f"add [placements.{placement}.restore] with the speeds that it has"
            )
