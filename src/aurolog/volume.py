"""Volumes: opening one, and what can be done with it."""

from __future__ import annotations

import os
import pathlib
import uuid
from collections.abc import Callable, Iterator
from datetime import timedelta

from aurolog import _core
from aurolog.clock import nanoseconds_of
from aurolog.errors import InputError
from aurolog.transaction import Transaction
from aurolog.values import Batch, Recovery, Stats, VerifyReport, Version
from aurolog.view import View

__all__ = ["Volume", "open"]

CACHE_BYTES = 64 << 20
NOTE_BYTES_MAX = 255
LSN_MAX = 2**64 - 1

_DURABILITIES: dict[str, int] = {"sync": _core.SYNC, "os": _core.OS}


def _durability(value: str) -> int:
    try:
        return _DURABILITIES[value]
    except (KeyError, TypeError):
        raise InputError(f'durability is "sync" or "os", not {value!r:.60}') from None


class Volume(_core.Pages):
    """A volume, opened with ``aurolog.open``: an address space of pages whose past stays readable.

    A context manager; usable from many threads. In a forked child every call raises
    ``ClosedError``. It is always true, whatever its length, and not iterable: pages go on for ever
    as zeros.
    """

    def __init__(
        self,
        store: _core.Store,
        path: pathlib.Path,
        read_only: bool,
        durability: str,
        clock: Callable[[], int] | None,
    ) -> None:
        super().__init__(store, _core.NULL)
        self._store = store
        self._clock = clock
        self._owners: dict[int, int] = {}
        self._closed = False
        self.path = path
        self.read_only = read_only
        self.durability = durability
        self._level = _durability(durability)
        self._generation = _core.fork_generation
        self.volume_id = uuid.UUID(bytes=store.volume_id)
        self.retention = timedelta(microseconds=store.retention_ns // 1000)
        #: what opening found
        self.recovery: Recovery = store.recovery

    @property
    def epoch(self) -> int:
        """A number raised durably by each writable session before it first appends; whoever
        holds an older one can append nothing."""
        return self._store.epoch

    @property
    def durable_lsn(self) -> int:
        """The highest commit LSN that survives a power cut."""
        return self._store.durable_lsn

    @property
    def visible_lsn(self) -> int:
        """The LSN that plain reads see: the durable one, or the last commit with durability "os"
        where that is higher."""
        return self._store.visible_lsn

    # Writing

    def transaction(self, *, durability: str | None = None, note: str | None = None) -> Transaction:
        """A new transaction.

        ``with db.transaction() as tx: ...`` commits at the end of the block, or rolls back on an
        exception.

        ``durability`` overrides the volume's for this one; ``note``, up to 255 bytes of UTF-8, is
        kept with the commit.
        """
        octets = b""
        if note is not None:
            if not isinstance(note, str):
                raise InputError(f"a note is a string, not {type(note).__name__}")
            try:
                octets = note.encode()
            except UnicodeEncodeError as error:
                raise InputError(f"a note is text that UTF-8 can hold: {error}") from None
            if len(octets) > NOTE_BYTES_MAX:
                raise InputError(
                    f"a note has at most {NOTE_BYTES_MAX} bytes of UTF-8, not {len(octets)}"
                )
        level = self._level if durability is None else _durability(durability)
        if self._closed or self.read_only or self._generation != _core.fork_generation:
            self._store.check_open(for_writing=True)
        return Transaction(self._store, self._owners, level, octets, self._clock)

    def sync(self) -> int:
        """Makes everything committed durable; returns the durable LSN."""
        return self._store.sync()

    # Reading

    def __len__(self) -> int:
        return self._store.end_pages()

    def at(self, lsn: int) -> View:
        """The volume as of the last commit at or below ``lsn``; 0 is the empty volume.

        Raises ``LsnError`` above the visible LSN, or inside a range that recovery cut.
        """
        return View(self._store, lsn)

    def versions(self, page: int) -> list[Version]:
        """Every commit that changed the page, oldest first."""
        return self._store.versions(page)

    # Looking after it

    def log(self, first: int = 1, last: int | None = None) -> Iterator[Batch]:
        """The batches of the log that overlap ``[first, last]``, up to what is visible now."""
        return self._store.log(first, LSN_MAX if last is None else last)

    def verify(self, progress: Callable[[int, int], object] | None = None) -> VerifyReport:
        """Reads every byte and checks every checksum and index entry.

        Damage is reported, nothing is raised for it.

        ``progress(done_bytes, total_bytes)`` is called after each segment.
        """
        return self._store.verify(progress)

    def stats(self) -> Stats:
        """Counters and sizes."""
        return self._store.stats()

    # Ending

    @property
    def closed(self) -> bool:
        """Whether ``close`` has been called."""
        return self._closed

    def close(self) -> None:
        """Waits for calls in flight, makes everything durable and marks the clean close.

        Harmless a second time.
        """
        self._closed = True
        self._store.close()

    def __enter__(self) -> Volume:
        self._store.check_open(for_writing=False)
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def __repr__(self) -> str:
        state = "closed" if self._closed else f"visible LSN {self.visible_lsn}"
        return f"<aurolog.Volume {os.fspath(self.path)!r}, {state}>"


def open(
    path: str | os.PathLike[str],
    *,
    page_size: int | None = None,
    create: bool = True,
    read_only: bool = False,
    durability: str = "sync",
    cache_bytes: int = CACHE_BYTES,
    retention: timedelta | None = None,
    clock: Callable[[], int] | None = None,
) -> Volume:
    """Opens the volume in the directory ``path``, or creates it.

    ``page_size``: bytes, a power of two from 512 to 65,536; ``None`` means 4,096 when created and
    whatever it is when it exists. ``create``: make it when there is none. ``read_only``: beside a
    writer or without one, up to the durable LSN of this moment. ``durability``: what transactions
    wait for, ``"sync"`` (survives a power cut) or ``"os"`` (survives the process). ``cache_bytes``:
    bound of the page cache. ``retention``: how long the past must stay readable; recorded.
    ``clock``: nanoseconds since the Unix epoch, called once a commit.

    Raises ``NotAVolumeError``, ``VolumeLockedError``, ``FormatError``, ``CorruptionError``,
    ``AccessError``, ``DiskFullError``, ``InputError``.
    """
    try:
        name = os.fspath(path)
    except TypeError:
        raise InputError(f"a path is a string or path-like, not {type(path).__name__}") from None
    if not isinstance(name, str) or not name or "\0" in name:
        raise InputError(f"a path is a string that is not empty, not {name!r:.60}")
    if page_size is not None and (not isinstance(page_size, int) or not 0 < page_size < 2**32):
        raise InputError(f"a page size is a power of two from 512 to 65536, not {page_size!r:.60}")
    if not isinstance(cache_bytes, int) or not 0 <= cache_bytes < 2**63:
        raise InputError(f"cache_bytes is a number of bytes, not {cache_bytes!r:.60}")
    retention_ns = 0
    if retention is not None:
        if not isinstance(retention, timedelta) or not timedelta(0) < retention <= timedelta(
            days=35
        ):
            raise InputError(f"retention is a timedelta of at most 35 days, not {retention!r:.60}")
        retention_ns = nanoseconds_of(retention)
    if clock is not None and not callable(clock):
        raise InputError("clock is a callable that returns nanoseconds since the Unix epoch")
    _durability(durability)
    name = os.path.abspath(name)  # a process may change its directory
    store = _core.Store(
        name,
        page_size=page_size or 0,
        create=create,
        read_only=read_only,
        cache_bytes=cache_bytes,
        retention_ns=retention_ns,
    )
    return Volume(store, pathlib.Path(name), read_only, durability, clock)
