"""The errors of aurolog, grouped by what the caller has to do about them.

The message of an error says what is wrong, where, and what to do. Attributes carry the numbers in
it.
"""

from __future__ import annotations

from datetime import datetime

__all__ = [
    "AccessError",
    "AurologError",
    "CacheFullError",
    "ClosedError",
    "CommitOutcomeUnknown",
    "ConflictError",
    "CorruptionError",
    "DiskFullError",
    "FormatError",
    "InputError",
    "InternalError",
    "LsnError",
    "MomentError",
    "NotAVolumeError",
    "ReadOnlyError",
    "RestorePointError",
    "StorageError",
    "TransactionError",
    "VolumeLockedError",
]


class AurologError(Exception):
    """Any error of aurolog."""


class InputError(AurologError, ValueError):
    """An argument is wrong: fix the call. Nothing was changed."""


class MomentError(InputError):
    """The volume has no such moment: a name that no restore point has, a time without a time zone,
    in the future or before the first commit, a range that recovery cut. Ask for another."""


class LsnError(MomentError):
    """No view can have this LSN: it is above the visible one, or recovery cut it."""

    def __init__(self, message: str, lsn: int = 0, visible_lsn: int = 0) -> None:
        super().__init__(message)
        self.lsn = lsn
        self.visible_lsn = visible_lsn


class RestorePointError(InputError):
    """A restore point has that name already, or none has it, or it is no good name: choose
    another."""


class TransactionError(AurologError):
    """The transaction is over, in another call, or would have to wait where it must not: begin a
    new one, use it in one thread at a time, or end first what is in the way."""


class ConflictError(TransactionError):
    """The volume was rewound since the transaction began, and nothing of it was committed: begin
    it again."""


class CacheFullError(AurologError):
    """Every cached page is pinned: drop page views, or open with a larger ``cache_bytes``."""


class ClosedError(AurologError):
    """The handle is closed, or belongs to the parent of this process: open the volume again."""


class ReadOnlyError(AurologError):
    """The volume is open read-only: open it for writing."""


class VolumeLockedError(AurologError):
    """Another process or handle writes to the volume: wait for it, stop it, or open read-only."""

    def __init__(
        self, message: str, pid: int = 0, host: str = "", since: datetime | None = None
    ) -> None:
        super().__init__(message)
        self.pid = pid
        self.host = host
        self.since = since


class NotAVolumeError(AurologError):
    """There is no volume at the path: check it."""


class FormatError(AurologError):
    """The volume was written by a newer aurolog: use that."""


class _SystemError(AurologError, OSError):
    """The operating system refused something: ``errno`` says why, ``filename`` of which file.

    ``strerror`` is the whole message, which names the file; printed, it is not named once more.
    """

    def __str__(self) -> str:
        if self.strerror is None:
            return super().__str__()
        return f"[Errno {self.errno}] {self.strerror}"


class AccessError(_SystemError, PermissionError):
    """The operating system refuses access: fix the permissions, or open with
    ``read_only=True``."""


class DiskFullError(_SystemError):
    """No space: the call committed nothing. Free some and repeat; after ``close``, open again."""


class StorageError(_SystemError):
    """The disk failed.

    What was acknowledged is safe as far as the disk is; reopen to write again.
    """


class CommitOutcomeUnknown(AurologError):
    """The commit was logged and the disk failed before it was durable: reopen, and look whether
    ``lsn`` is there."""

    def __init__(self, message: str, lsn: int = 0) -> None:
        super().__init__(message)
        self.lsn = lsn


class CorruptionError(AurologError):
    """Bytes on disk are not what was written: restore ``file``, of the volume, from a copy.

    They were not returned to anybody.
    """

    def __init__(self, message: str, file: str = "", offset: int = 0, lsn: int = 0) -> None:
        super().__init__(message)
        self.file = file
        self.offset = offset
        self.lsn = lsn


class InternalError(AurologError):
    """A bug in aurolog: please report it, with the message."""
