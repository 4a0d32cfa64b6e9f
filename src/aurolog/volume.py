"""Volumes: opening one, and what can be done with it."""

from __future__ import annotations

import atexit
import contextlib
import os
import pathlib
import time
import uuid
import warnings
import weakref
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Literal, SupportsIndex

from aurolog import _core, moment
from aurolog.changes import as_integer
from aurolog.clock import checked_time, nanoseconds_of, time_of
from aurolog.committer import Committer
from aurolog.errors import AurologError, InputError, MomentError
from aurolog.follower import Follower
from aurolog.loops import in_executor, in_thread
from aurolog.moment import When
from aurolog.transaction import Transaction
from aurolog.values import Batch, Recovery, RestorePoint, Rewind, Run, Stats, VerifyReport, Version
from aurolog.view import View

__all__ = ["Volume", "open"]

CACHE_BYTES = 64 << 20
NOTE_BYTES_MAX = 255
LSN_MAX = 2**64 - 1

Durability = Literal["sync", "os"]

_DURABILITIES: dict[str, int] = {"sync": _core.SYNC, "os": _core.OS}


def _durability(value: str) -> int:
    try:
        return _DURABILITIES[value]
    except (KeyError, TypeError):
        raise InputError(f'durability is "sync" or "os", not {value!r:.60}') from None


def _note(note: str | None) -> bytes:
    """A note's UTF-8."""
    if note is None:
        return b""
    if not isinstance(note, str):
        raise InputError(f"a note is a string, not {type(note).__name__}")
    try:
        octets = note.encode()
    except UnicodeEncodeError as error:
        raise InputError(f"a note is text that UTF-8 can hold: {error}") from None
    if len(octets) > NOTE_BYTES_MAX:
        raise InputError(f"a note has at most {NOTE_BYTES_MAX} bytes of UTF-8, not {len(octets)}")
    return octets


class Volume(_core.Pages):
    """A volume, opened with ``aurolog.open``: an address space of pages whose past stays readable.

    A context manager; usable from many threads. In a forked child every call raises
    ``ClosedError``. It is always true, whatever its length, and not iterable: pages go on for ever
    as zeros. One that nobody closed gives a ``ResourceWarning``; at the interpreter's exit it is
    closed.
    """

    __slots__ = (
        "__weakref__",
        "_clock",
        "_closed",
        "_committer",
        "_durability",
        "_followers",
        "_generation",
        "_level",
        "_place",
        "_read_only",
        "_store",
    )

    def __init__(
        self,
        store: _core.Store,
        path: pathlib.Path,
        read_only: bool,
        durability: Durability,
        clock: Callable[[], int] | None,
    ) -> None:
        super().__init__(store, _core.NULL)
        self._store = store
        self._clock = clock
        self._committer = Committer(store)
        self._place = path
        self._read_only = read_only
        self._durability: Durability = durability
        self._level = _durability(durability)
        self._generation = _core.fork_generation
        self._closed = False
        self._followers: weakref.WeakSet[Follower] = weakref.WeakSet()
        _unclosed.add(self)

    @property
    def path(self) -> pathlib.Path:
        """The volume's directory, absolute."""
        return self._place

    @property
    def read_only(self) -> bool:
        """Whether it was opened only to be read."""
        return self._read_only

    @property
    def durability(self) -> Durability:
        """What transactions wait for unless told otherwise: ``"sync"`` or ``"os"``."""
        return self._durability

    @property
    def volume_id(self) -> uuid.UUID:
        """The volume's identity, drawn when it was created; its copies have it too."""
        return uuid.UUID(bytes=self._store.volume_id)

    @property
    def retention(self) -> timedelta:
        """How long the past must stay readable; recorded, not yet enforced."""
        return timedelta(microseconds=self._store.retention_ns // 1000)

    @property
    def recovery(self) -> Recovery:
        """What opening found."""
        return self._store.recovery

    @property
    def epoch(self) -> int:
        """A number raised durably by each writable session before it first appends; whoever
        holds an older one can append nothing."""
        return self._store.epoch

    @property
    def durable_lsn(self) -> int:
        """The highest commit LSN that survives a power cut."""
        self._require_own()
        return self._store.durable_lsn

    @property
    def visible_lsn(self) -> int:
        """The LSN that plain reads see: the durable one, or the last commit with durability "os"
        where that is higher."""
        self._require_own()
        return self._store.visible_lsn

    def _require_own(self) -> None:
        """Raises in a forked child, where the numbers stand still."""
        if self._generation != _core.fork_generation:
            self._store.check_open(for_writing=False)

    # Writing

    def transaction(
        self, *, durability: Durability | None = None, note: str | None = None
    ) -> Transaction:
        """A new transaction.

        ``with db.transaction() as tx: ...`` commits at the end of the block, or rolls back on an
        exception. ``async with`` does the same in an event loop, which goes on meanwhile, with an
        ``AsyncTransaction``; ``await db.transaction()`` gives one by hand.

        ``durability`` overrides the volume's for this one; ``note``, up to 255 bytes of UTF-8, is
        kept with the commit.
        """
        octets = _note(note)
        level = self._level if durability is None else _durability(durability)
        if self._closed or self._read_only or self._generation != _core.fork_generation:
            self._store.check_open(for_writing=True)
        return Transaction(self._committer, level, octets, self._clock)

    def sync(self) -> int:
        """Makes everything committed durable; returns the durable LSN."""
        self._committer.serve()
        return self._store.sync()

    async def sync_async(self) -> int:
        """Like ``sync``, for an event loop, which goes on meanwhile."""
        return await in_thread(self.sync)

    # Reading

    def __len__(self) -> int:
        return self._store.end_pages()

    def at(self, when: When) -> View:
        """The volume as of the last commit at or before ``when``, which the view's ``lsn`` and
        ``time`` tell; 0 is the empty volume.

        ``when`` is an LSN, an aware ``datetime``, a ``timedelta`` ago, an ISO 8601 string with an
        offset, or a restore point's name. An LSN may be of a run that a rewind has left behind; a
        time means what a reader saw then, in whatever run.

        Raises ``MomentError``: an unknown name, a time without a zone, in the future or before the
        first commit; ``LsnError`` above the visible LSN, or inside a range that recovery cut.
        """
        return View(self._store, self._lsn(when))

    async def at_async(self, when: When) -> View:
        """Like ``at``, for an event loop, which goes on meanwhile."""
        return await in_thread(self.at, when)

    def _now(self) -> int:
        """Nanoseconds since the Unix epoch, by the volume's clock."""
        return checked_time(self._clock) if self._clock else time.time_ns()

    def _lsn(self, when: When) -> int:
        """The LSN that a moment comes down to; whether the volume has it is seen when it is
        used."""
        parsed = moment.parse(when, self._now)
        if isinstance(parsed, int):
            return _core.whole_number("an LSN", parsed)
        if isinstance(parsed, str):
            point = self._store.restore_point(parsed)
            if point is not None:
                return point.lsn
            raise MomentError(
                f"there is no restore point {parsed!r:.80}, and it is no LSN and no time: "
                "see which restore points there are"
            )
        with self.at(self._store.visible_lsn) as newest:
            newest_ns = newest.time_ns
        moment.require_past(parsed, self._now(), newest_ns)
        (lsn, _), (first, first_ns) = self._store.lsn_at(max(parsed.nanoseconds, 0))
        if not lsn:
            raise MomentError(
                f"{parsed.given} is before the first commit"
                + (f", LSN {first} at {time_of(first_ns).isoformat()}" if first else "")
            )
        return lsn

    def versions(self, page: SupportsIndex) -> list[Version]:
        """Every commit that changed the page, oldest first."""
        return self._store.versions(page)

    # Going to another moment

    def backtrack(self, when: When, *, dry_run: bool = False, note: str | None = None) -> Rewind:
        """Goes on from the last commit at or before ``when``, in place, durably.

        The cost is one sync of the log, whatever the distance, and nothing is lost: what is left
        behind stays readable with ``at``, and ``backtrack(rewind.from_lsn)`` goes back to it, as
        often as one likes. Open views go on showing what they show. A transaction that is open
        raises ``ConflictError`` at its next call. ``note`` is kept in the log, its first 28 bytes
        in ``history``. ``dry_run`` only tells how many commits would be left behind, or count
        again, and how many pages that changes.

        Raises as ``at`` and ``Transaction.commit`` do.
        """
        octets = _note(note)
        lsn = self._lsn(when)
        if dry_run:
            return self._store.preview_backtrack(lsn)
        self._committer.serve()  # what was asked for before is left behind, too
        return self._store.backtrack(lsn, octets, self._commit_time())

    async def backtrack_async(
        self, when: When, *, dry_run: bool = False, note: str | None = None
    ) -> Rewind:
        """Like ``backtrack``, for an event loop, which goes on meanwhile."""
        return await in_executor(self.backtrack, when, dry_run=dry_run, note=note)

    def _commit_time(self) -> int:
        """What the user's clock says, never 0, which stands for the system's."""
        if self._clock is None:
            return 0
        return checked_time(self._clock)

    def restore_point(self, name: str, *, at: When | None = None) -> RestorePoint:
        """Names the newest commit, or the last one at or before ``at``, durably.

        A name belongs to the volume: no rewind removes it or undoes its deletion. It has 1 to 255
        bytes of UTF-8 and reads neither as a number nor as a time. Raises ``RestorePointError`` for
        another, or one that there is.
        """
        octets = moment.check_name(name)
        self._committer.serve()
        lsn = _core.NEWEST
        if at is not None:
            with self.at(at) as view:  # which refuses what is no moment of the volume
                lsn = view.lsn
        return self._store.make_restore_point(
            octets, lsn, self._commit_time(), self._committer.why_not_wait
        )

    async def restore_point_async(self, name: str, *, at: When | None = None) -> RestorePoint:
        """Like ``restore_point``, for an event loop, which goes on meanwhile."""
        return await in_executor(self.restore_point, name, at=at)

    def delete_restore_point(self, name: str) -> None:
        """Deletes a name, durably; what it named stays. Raises ``RestorePointError`` when there is
        none."""
        self._store.delete_restore_point(
            moment.check_name(name), self._commit_time(), self._committer.why_not_wait
        )

    async def delete_restore_point_async(self, name: str) -> None:
        """Like ``delete_restore_point``, for an event loop, which goes on meanwhile."""
        await in_executor(self.delete_restore_point, name)

    @property
    def restore_points(self) -> dict[str, RestorePoint]:
        """The restore points by name, in the order of what they name."""
        points = sorted(self._store.restore_points(), key=lambda point: point.lsn)
        return {point.name: point for point in points}

    @property
    def history(self) -> tuple[Run, ...]:
        """The runs of the log, oldest first: each but the first begins with a branch point."""
        return tuple(self._store.runs())

    def diff(self, a: When, b: When | None = None) -> Iterator[int]:
        """The pages that differ between two moments, ascending; without ``b`` between one and now.

        The two may be of different runs. Told is every page that a commit between the two changed,
        so one that was changed and changed back may be there; a page that differs is never missing.
        """
        after = None if b is None else self._store.open_view(self._lsn(b))
        return self._store.diff(self._store.open_view(self._lsn(a)), after)

    # Following

    def refresh(self) -> int:
        """Moves a read-only volume on to the newest durable LSN; returns the durable LSN.

        What a writer itself shows is always the newest.
        """
        return self._store.refresh()

    async def refresh_async(self) -> int:
        """Like ``refresh``, for an event loop, which goes on meanwhile."""
        return await in_thread(self.refresh)

    def follow(self, since: When | None = None, *, timeout: float | None = None) -> Follower:
        """An iterator over the commits after the moment ``since``, or after the visible LSN of now,
        that waits for those to come; ``async for`` takes it, too.

        It gives each durable commit once, in the order of the log, and refreshes a read-only volume
        as it goes. It ends when ``timeout`` seconds pass without a commit, or with ``close``.
        """
        if since is not None:
            self._store.refresh()
        after = self.visible_lsn if since is None else self._lsn(since)
        follower = Follower(self._store, after, timeout)
        self._followers.add(follower)
        return follower

    # Looking after it

    def log(self, first: When = 1, last: When | None = None) -> Iterator[Batch]:
        """The batches of the log that overlap ``[first, last]``, up to what is visible now.

        An LSN is taken as it is; any other moment is the commit that it comes down to.
        """
        return self._store.log(self._lsn(first), LSN_MAX if last is None else self._lsn(last))

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
        try:
            if self._generation == _core.fork_generation:  # its thread is not in a forked child
                self._committer.close()
                for follower in list(self._followers):
                    follower.volume_closes()
        finally:
            self._store.close()

    def __del__(self) -> None:
        # An interrupt in the middle of opening leaves one without its members.
        if not getattr(self, "_closed", True) and self._generation == _core.fork_generation:
            warnings.warn(f"unclosed {self!r}", ResourceWarning, stacklevel=2, source=self)

    def __enter__(self) -> Volume:
        self._store.check_open(for_writing=False)
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def __repr__(self) -> str:
        if self._generation != _core.fork_generation:
            state = "of the parent process"
        else:
            state = "closed" if self._closed else f"visible LSN {self.visible_lsn}"
        return f"<aurolog.Volume {os.fspath(self.path)!r}, {state}>"


_unclosed: weakref.WeakSet[Volume] = weakref.WeakSet()


@atexit.register
def _close_all() -> None:
    """Closes what the program left open; in a forked child that is the parent's to close."""
    left = [v for v in _unclosed if not v._closed and v._generation == _core.fork_generation]
    messages = [f"unclosed {volume!r}" for volume in left]
    for volume in left:
        with contextlib.suppress(AurologError):  # a disk that failed has said so before
            volume.close()
    for message, volume in zip(messages, left, strict=True):  # last, for it may raise
        warnings.warn(message, ResourceWarning, stacklevel=2, source=volume)


def open(
    path: str | bytes | os.PathLike[str] | os.PathLike[bytes],
    *,
    page_size: SupportsIndex | None = None,
    create: bool = True,
    read_only: bool = False,
    durability: Durability = "sync",
    cache_bytes: SupportsIndex = CACHE_BYTES,
    retention: timedelta | None = None,
    clock: Callable[[], int] | None = None,
) -> Volume:
    """Opens the volume in the directory ``path``, or creates it.

    ``page_size``: bytes, a power of two from 512 to 65,536; ``None`` means 4,096 when created and
    whatever it is when it exists. ``create``: make it when there is none. ``read_only``: beside a
    writer or without one, up to the durable LSN of this moment, and on by ``refresh`` and
    ``follow``. ``durability``: what transactions
    wait for, ``"sync"`` (survives a power cut) or ``"os"`` (survives the process). ``cache_bytes``:
    bound of the page cache; below 16 pages it is 16 pages. ``retention``: how long the past must
    stay readable; recorded. ``clock``: nanoseconds since the Unix epoch, called once a commit.

    Raises ``NotAVolumeError``, ``VolumeLockedError``, ``FormatError``, ``CorruptionError``,
    ``AccessError``, ``DiskFullError``, ``InputError``.
    """
    try:
        name = os.fsdecode(path)
    except TypeError:
        raise InputError(f"a path is a string or path-like, not {type(path).__name__}") from None
    if not name or "\0" in name:
        raise InputError(f"a path is a string that is not empty, not {name!r:.60}")
    page_bytes = 0 if page_size is None else as_integer("page_size", page_size)
    if page_size is not None and not 0 < page_bytes < 2**32:
        raise InputError(f"a page size is a power of two from 512 to 65536, not {page_size!r:.60}")
    cache_limit = as_integer("cache_bytes", cache_bytes)
    if not 0 <= cache_limit < 2**63:
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
        page_size=page_bytes,
        create=create,
        read_only=read_only,
        cache_bytes=cache_limit,
        retention_ns=retention_ns,
    )
    return Volume(store, pathlib.Path(name), read_only, durability, clock)
