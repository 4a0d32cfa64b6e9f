"""aurolog: a durable page store whose past stays readable. The log is the database.

``aurolog.open(path)`` returns a ``Volume``; ``docs/api.md`` has the rest.

    with aurolog.open("shop.aurolog") as db:
        with db.transaction() as tx:  # atomic; durable when the block ends
            tx.write(7, 100, b"hello")  # page 7, from byte 100 on
        assert db[7][100:105] == b"hello"
        assert db.at(0)[7] == bytes(db.page_size)  # before that commit
"""

from aurolog import errors
from aurolog.changes import pack_changes
from aurolog.errors import (
    AccessError,
    AurologError,
    CacheFullError,
    ClosedError,
    CommitOutcomeUnknown,
    ConflictError,
    CorruptionError,
    DiskFullError,
    FormatError,
    InputError,
    InternalError,
    LsnError,
    MomentError,
    NotAVolumeError,
    ReadOnlyError,
    RestorePointError,
    StorageError,
    TransactionError,
    VolumeLockedError,
)
from aurolog.follower import Follower
from aurolog.moment import When
from aurolog.transaction import AsyncTransaction, Transaction
from aurolog.values import (
    Batch,
    Commit,
    Problem,
    Record,
    Recovery,
    RestorePoint,
    Rewind,
    Run,
    Stats,
    VerifyReport,
    Version,
)
from aurolog.view import View
from aurolog.volume import Volume, open

__version__ = "0.1.0"

__all__ = [
    "AccessError",
    "AsyncTransaction",
    "AurologError",
    "Batch",
    "CacheFullError",
    "ClosedError",
    "Commit",
    "CommitOutcomeUnknown",
    "ConflictError",
    "CorruptionError",
    "DiskFullError",
    "Follower",
    "FormatError",
    "InputError",
    "InternalError",
    "LsnError",
    "MomentError",
    "NotAVolumeError",
    "Problem",
    "ReadOnlyError",
    "Record",
    "Recovery",
    "RestorePoint",
    "RestorePointError",
    "Rewind",
    "Run",
    "Stats",
    "StorageError",
    "Transaction",
    "TransactionError",
    "VerifyReport",
    "Version",
    "View",
    "Volume",
    "VolumeLockedError",
    "When",
    "__version__",
    "errors",
    "open",
    "pack_changes",
]
