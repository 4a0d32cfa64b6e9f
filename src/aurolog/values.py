"""Plain values that the API hands out. They hold no resources."""

from __future__ import annotations

from array import array
from dataclasses import dataclass, field
from datetime import datetime

__all__ = [
    "Batch",
    "Commit",
    "Problem",
    "Record",
    "Recovery",
    "RestorePoint",
    "Rewind",
    "Run",
    "Stats",
    "VerifyReport",
    "Version",
]


@dataclass(frozen=True, slots=True)
class Version:
    """A commit that changed a page."""

    lsn: int
    time: datetime


@dataclass(frozen=True, slots=True)
class Record:
    """One redo record.

    ``offset`` and ``length`` are the bytes of the page that it changes; ``source`` is where a move
    takes them from in the page, ``byte`` the value of a fill, ``data`` what a write or image
    carries.
    """

    lsn: int
    kind: str
    page: int
    offset: int
    length: int
    source: int
    byte: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Batch:
    """One batch of the log: a transaction, or a control record.

    ``pages`` is the end of page space after it, ``bytes`` its size in the log: its header and its
    records, without the headers of its frames.
    """

    first_lsn: int
    lsn: int
    time: datetime
    epoch: int
    kind: str
    note: str
    pages: int
    bytes: int
    records: tuple[Record, ...]


@dataclass(frozen=True, slots=True)
class Commit:
    """A commit as ``follow`` gives it.

    ``kind`` is ``"pages"``, ``"rewind"``, ``"cut"``, ``"restore-point"``,
    ``"delete-restore-point"`` or ``"clean-close"``. ``pages`` are the numbers of the pages that it
    changed, ascending: of a truncate those that it emptied, of a rewind those that differ between
    before and after. ``page_space`` is the end of page space after it.
    """

    lsn: int
    time: datetime
    kind: str
    note: str
    pages: array[int] = field(hash=False)
    page_space: int


@dataclass(frozen=True, slots=True)
class RestorePoint:
    """A name for a moment: ``lsn`` and ``time`` are of the commit that it names, ``time`` is
    ``None`` at LSN 0; it was ``made`` then."""

    name: str
    lsn: int
    time: datetime | None
    made: datetime


@dataclass(frozen=True, slots=True)
class Rewind:
    """What ``backtrack`` did, or would do.

    ``lsn`` is that of the branch point, ``None`` for a dry run and where there was nothing to do.
    ``from_lsn`` was the newest commit before: ``backtrack(from_lsn)`` undoes it. ``to_lsn`` is the
    commit that was gone back to, at ``to_time`` (``None`` at LSN 0). ``commits`` were left behind;
    ``regained`` were left behind earlier and count again. ``pages`` are changed by any of them;
    counted for a dry run only.
    """

    lsn: int | None
    from_lsn: int
    to_lsn: int
    to_time: datetime | None
    commits: int
    regained: int
    pages: int | None


@dataclass(frozen=True, slots=True)
class Run:
    """A part of the log from one branch point to the next.

    ``lsn`` is its first: that of its branch point, 0 for the first run. ``kind`` is ``"first"``,
    ``"rewind"`` or ``"cut"``: what began it, at ``time``, in ``epoch``, for ``reason``. It goes on
    from ``parent_lsn``. ``last_lsn`` is its newest commit, made at ``last_time``, and ``commits``
    is how many it has, control batches too. ``current``: a part of it, from its beginning on, is
    what there is now.
    """

    lsn: int
    kind: str
    parent_lsn: int | None
    time: datetime | None
    epoch: int
    reason: str
    last_lsn: int
    last_time: datetime | None
    commits: int
    current: bool


@dataclass(frozen=True, slots=True)
class Recovery:
    """What opening a volume found.

    ``clean``: it had been closed. Otherwise the log's tail was read (``scanned_bytes``);
    ``cut_bytes`` of it, from ``cut_lsn`` on, were torn and dropped; ``resecured_records`` that
    might have been in the page cache only were written again.
    """

    clean: bool
    last_lsn: int
    cut_lsn: int | None
    cut_bytes: int
    resecured_records: int
    scanned_bytes: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Problem:
    """Damage found by ``verify``: in ``file`` at byte ``offset``, concerning ``lsn`` (0 when
    none)."""

    file: str
    offset: int
    lsn: int
    what: str


@dataclass(frozen=True, slots=True)
class VerifyReport:
    """What ``verify`` read and found. ``ok`` is true when there were no ``problems``."""

    ok: bool
    segments: int
    bytes: int
    frames: int
    batches: int
    records: int
    index_entries: int
    problems: tuple[Problem, ...]


@dataclass(frozen=True, slots=True)
class Stats:
    """Counters of this handle since the volume was opened, and sizes now.

    ``log_bytes`` is what this handle has logged, not the size of the log.
    """

    commits: int
    records: int
    log_bytes: int
    segments: int
    sealed_segments: int
    cached_pages: int
    cache_capacity_pages: int
    pinned_pages: int
    cache_hits: int
    cache_misses: int
    disk_reads: int
    disk_read_bytes: int
    disk_writes: int
    disk_write_bytes: int
    disk_syncs: int
    dir_syncs: int
    unsynced_bytes: int
