"""Every error that Thermocline raises on purpose.

StorageError
├── InvalidInputError            the caller's input; nothing was changed
│   ├── InvalidContentIdError
│   ├── InvalidMetadataError
│   ├── InvalidRangeError        no byte of the content lies in the range
│   ├── DigestMismatchError      the bytes received are not the bytes announced
│   ├── TruncatedBodyError       fewer or more bytes came than announced
│   └── ContentTooLargeError
├── ContentNotFoundError
├── ContentArchivedError         readable after a restore; `eta` says when
├── ContentHeldError             a hold forbids overwrite, delete and expiry
├── PreconditionFailedError      If-Match or If-None-Match did not hold
├── IntegrityError               stored bytes are not the bytes that were stored
├── UnavailableError             retryable: a dependency is down, slow or full
│   ├── BusyError                our own limits; try again after `retry_after`
│   ├── OutOfSpaceError
│   ├── RestoreBudgetError       today's money for restores is spent
│   └── CommitUnknownError       the catalog's answer to COMMIT was lost
├── IntentLostError              an upload lost its lease; nothing was committed
├── MoveLostError                the content changed while a move copied it; nothing was moved
├── ObjectMissingError           the store has no such object
├── ObjectArchivedError          the object's storage class must be restored before it can be read
├── UnsafePathError              something in the data folder is not what we put there
├── FileTreeError                a file or folder outside the store cannot be read or written
│   └── FileChangedError         it changed while it was read
└── ConfigurationError           Thermocline cannot start like this
    ├── CatalogVersionError      the catalog's schema is newer or older than this program
    └── InstallationMismatchError  catalog and store belong to different installations
"""

from thermocline.domain.units import Seconds, Timestamp, format_moment


class StorageError(Exception):
    """The base of every error of Thermocline."""

    retryable = False
    """Whether the same call may succeed later without any change."""


class InvalidInputError(StorageError):
    """The input was refused; nothing was changed."""


class InvalidContentIdError(InvalidInputError):
    """The content id was refused; the message names the rule."""


class InvalidMetadataError(InvalidInputError):
    """The metadata or a stored header was refused; the message names the rule."""


class InvalidRangeError(InvalidInputError):
    """No byte of the content lies in the range asked for."""

    def __init__(self, message: str, *, size: int) -> None:
        super().__init__(message)
        self.size = size


class DigestMismatchError(InvalidInputError):
    """The bytes received do not have the digest announced; nothing was stored."""


class TruncatedBodyError(InvalidInputError):
    """Fewer or more bytes came than were announced; nothing was stored."""


class ContentTooLargeError(InvalidInputError):
    """The content is larger than a limit; the message names the limit and the setting."""


class ContentNotFoundError(StorageError):
    """There is no such content, or it expired, or the caller may not know of it."""

    def __init__(self, content_id: str) -> None:
        super().__init__(f"there is no content {content_id!r}")
        self.content_id = content_id


class ContentArchivedError(StorageError):
    """The content is archived: request a restore, then read it at `eta`."""

    def __init__(self, content_id: str, *, eta: Timestamp | None) -> None:
        what = "restore it before reading" if eta is None else f"its restore is expected at {format_moment(eta)}"
        super().__init__(f"content {content_id!r} is archived; {what}")
        self.content_id = content_id
        self.eta = eta


class ContentHeldError(StorageError):
    """The content is on hold: release the hold before overwriting, deleting or expiring it."""

    def __init__(self, content_id: str) -> None:
        super().__init__(f"content {content_id!r} is on hold; release the hold first")
        self.content_id = content_id


class PreconditionFailedError(StorageError):
    """The content is not in the state that the condition names; nothing was changed."""

    def __init__(self, content_id: str, *, current_etag: str | None) -> None:
        state = f"its ETag is {current_etag}" if current_etag else "it does not exist"
        super().__init__(f"the condition on {content_id!r} does not hold: {state}")
        self.content_id = content_id
        self.current_etag = current_etag


class IntegrityError(StorageError):
    """The stored bytes are damaged; none of the damaged bytes were given out. `thermocline fsck` lists them all."""

    def __init__(self, content_id: str, *, object_key: str, detail: str) -> None:
        super().__init__(f"content {content_id!r} is damaged: {detail} (object {object_key!r}); run 'thermocline fsck'")
        self.content_id = content_id
        self.object_key = object_key


class UnavailableError(StorageError):
    """A dependency did not answer in time, or answered that it cannot; try again after `retry_after`."""

    retryable = True

    def __init__(self, message: str, *, retry_after: Seconds = Seconds(1.0)) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class BusyError(UnavailableError):
    """Our own limits are reached; try again after `retry_after`."""


class OutOfSpaceError(UnavailableError):
    """The disk is full, over quota or read-only; nothing acknowledged was lost."""


class RestoreBudgetError(UnavailableError):
    """Today's budget for restores does not cover this one; nothing was requested and nothing spent."""


class CommitUnknownError(UnavailableError):
    """The answer to COMMIT was lost: the change may or may not have happened; read to find out."""


class IntentLostError(StorageError):
    """The upload took longer than its lease without renewal and was cleaned up; nothing was committed."""

    retryable = True


class MoveLostError(StorageError):
    """The content changed while it was copied, or another move came first; nothing was moved, the copy is garbage."""

    retryable = True


class ObjectMissingError(StorageError):
    """The object store has no object under this key."""

    def __init__(self, key: str) -> None:
        super().__init__(f"there is no object {key!r}")
        self.key = key


class ObjectArchivedError(StorageError):
    """The object's storage class must be restored before its bytes can be read."""

    def __init__(self, key: str) -> None:
        super().__init__(f"object {key!r} is archived; restore it before reading")
        self.key = key


class UnsafePathError(StorageError):
    """Something inside the data folder is not what we put there (such as a symbolic link); it was not followed."""


class FileTreeError(StorageError):
    """A file or folder that is imported or exported cannot be read or written; the message says why."""


class FileChangedError(FileTreeError):
    """A file changed while it was read: what was read may be a mixture, so none of it was stored."""


class ConfigurationError(StorageError):
    """Thermocline cannot start like this; the message says what to change."""


class CatalogVersionError(ConfigurationError):
    """The catalog's schema does not fit this program; nothing was changed."""


class InstallationMismatchError(ConfigurationError):
    """The catalog and an object store belong to different installations; nothing was changed."""
