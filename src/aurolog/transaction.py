"""Transactions: changes that become durable together or not at all."""

from __future__ import annotations

import contextlib
import struct
import threading
from collections.abc import Callable, Iterable, Iterator
from types import TracebackType
from typing import TYPE_CHECKING, Any, NoReturn, SupportsIndex
from weakref import ref

from aurolog import _core
from aurolog.changes import (
    FILL,
    HEADER_BYTES,
    LENGTH_MASK,
    MOVE,
    TRUNCATE,
    WRITE,
    Buffer,
    Change,
    as_bytes,
    as_integer,
    pack_changes,
    pack_header,
    pack_write_header,
)
from aurolog.clock import checked_time
from aurolog.committer import Commit, Committer
from aurolog.errors import AurologError, ConflictError, InputError, TransactionError

if TYPE_CHECKING:
    import asyncio  # at run time only for those who use it: it takes long to import

__all__ = ["Transaction"]

#: Pending changes beyond this go to the native transaction, which takes the writer's place.
SPILL_BYTES = 64 << 10


#: in the place of a transaction's own mark when it is over: no thread's
_OVER: Any = object()


class Here(threading.local):
    """What each thread has of its own on a volume."""

    #: a reference to the transaction it made last
    transaction: ref[Transaction] | None = None
    #: set when its last commit that had to wait for its turn, for an event loop, is logged
    handed_over: threading.Event | None = None


class Transaction:
    """Changes of pages, committed together. Made by ``Volume.transaction``.

    It belongs to the thread that made it: calls from another raise ``TransactionError``.

    Changes are collected here, packed, and cross into C in one call at the commit; the first read,
    or more than 64 KiB of changes, begins the native transaction, which is alone until it ends.

    A reference to itself is its mark: it is the calling thread's, and not over, exactly when the
    thread has the same mark. Nothing has to be undone when it is dropped: the mark dies with it,
    and the native transaction too.
    """

    __slots__ = (
        "__weakref__",
        "_clock",
        "_committer",
        "_durability",
        "_here",
        "_lsn",
        "_mark",
        "_native",
        "_note",
        "_outcome",
        "_page_size",
        "_pages_max",
        "_pending",
        "_run",
        "_size",
        "_state",
        "_store",
    )

    __iter__ = None
    __reversed__ = None

    def __init__(
        self,
        store: _core.Store,
        here: Here,
        committer: Committer,
        durability: int,
        note: bytes,
        clock: Callable[[], int] | None,
    ) -> None:
        last = here.transaction
        if last is not None:
            other = last()
            if other is not None and other._state == "open":
                raise TransactionError(
                    "this thread has an open transaction on this volume: commit it or roll it back "
                    "before the next begins"
                )
        self._store = store
        self._run = store.run
        self._here = here
        self._committer = committer
        self._durability = durability
        self._note = note
        self._clock = clock
        self._page_size = store.page_size
        self._pages_max = store.pages_max
        self._pending: list[bytes] = []
        self._size = 0
        self._native: _core.NativeTransaction | None = None
        self._lsn = 0
        self._outcome: Any = None  # of an awaited commit: what C notes
        self._state: str = "open"
        self._mark: Any = ref(self)
        here.transaction = self._mark

    def __reduce_ex__(self, protocol: SupportsIndex) -> NoReturn:
        raise TypeError("a transaction belongs to its thread and can be neither copied nor pickled")

    # Changing

    def _require(self) -> None:
        """Raises unless the transaction is open and the calling thread's."""
        if self._here.transaction is self._mark:
            return
        if self._state != "open":
            raise TransactionError(f"the transaction is over ({self.outcome}): begin a new one")
        raise TransactionError(
            "the transaction belongs to the thread that made it: call it there, or hand that "
            "thread the changes"
        )

    def _page(self, page: SupportsIndex) -> int:
        """The page as an int; raises when the volume cannot have it."""
        number = as_integer("a page", page)
        if not 0 <= number < self._pages_max:
            raise InputError(
                f"page {number} is outside the volume, whose pages are 0 to {self._pages_max - 1}"
            )
        return number

    def _range(self, offset: SupportsIndex, length: SupportsIndex) -> tuple[int, int]:
        """A range of a page as ints; raises when a page does not have it."""
        start, size = as_integer("an offset", offset), as_integer("a length", length)
        if start < 0 or size < 0 or start + size > self._page_size:
            raise InputError(
                f"{size} bytes at offset {start} are not in a page of {self._page_size} bytes"
            )
        return start, size

    def _add(self, change: bytes) -> None:
        self._require()
        self._pending.append(change)
        self._size += len(change)
        if self._size > SPILL_BYTES:
            self._begun()

    def write(self, page: SupportsIndex, offset: SupportsIndex, data: Buffer) -> None:
        """Writes ``data``, the bytes of any buffer, into the page at byte ``offset``.

        Raises ``InputError`` when it does not fit there.
        """
        try:
            if type(data) is bytes:
                length = len(data)
                fits = length and offset + length <= self._page_size  # type: ignore[operator]
                if fits and page < self._pages_max:  # type: ignore[operator]
                    # and this refuses what is negative
                    header = pack_write_header(WRITE, offset, length & LENGTH_MASK, page)
                    if self._here.transaction is self._mark:
                        self._pending.append(header + data)
                        self._size = size = self._size + HEADER_BYTES + length
                        if size > SPILL_BYTES:
                            self._begun()
                        return
        except (TypeError, struct.error):
            pass  # said better below
        self._require()
        octets = as_bytes(data)
        number = self._page(page)
        start, size = self._range(offset, len(octets))
        if octets:
            self._add(pack_write_header(WRITE, start, size & LENGTH_MASK, number) + octets)

    def move(
        self, page: SupportsIndex, src: SupportsIndex, dst: SupportsIndex, length: SupportsIndex
    ) -> None:
        """Moves ``length`` bytes inside the page from ``src`` to ``dst``; they may overlap.

        Raises ``InputError`` when either range is not in a page.
        """
        self._require()
        number = self._page(page)
        source, size = self._range(src, length)
        target, _ = self._range(dst, length)
        if size:
            self._add(pack_header(MOVE, 0, target, size & LENGTH_MASK, source, number))

    def fill(
        self, page: SupportsIndex, offset: SupportsIndex, length: SupportsIndex, byte: SupportsIndex
    ) -> None:
        """Sets ``length`` bytes of the page at ``offset`` to ``byte``, from 0 to 255.

        Raises ``InputError`` when the range is not in a page, or the byte is none.
        """
        self._require()
        number = self._page(page)
        start, size = self._range(offset, length)
        value = as_integer("a byte", byte)
        if not 0 <= value <= 255:
            raise InputError(f"a byte is a whole number from 0 to 255, not {value}")
        if size:
            self._add(pack_header(FILL, 0, start, size & LENGTH_MASK, value, number))

    def truncate(self, pages: SupportsIndex) -> None:
        """Every page from ``pages`` on becomes zeros, and the end of page space at most
        ``pages``."""
        self._require()
        end = as_integer("an end of page space", pages)
        if not 0 <= end <= self._pages_max:
            raise InputError(
                f"a volume can be truncated to 0 to {self._pages_max} pages, not {end}"
            )
        self._add(pack_header(TRUNCATE, 0, 0, 0, 0, end))

    def apply(self, changes: Buffer | Iterable[Change]) -> None:
        """Takes many changes: a packed buffer, or an iterable of tuples (see ``pack_changes``).

        All of them, or none and ``InputError``.
        """
        self._require()
        packed = _packed(changes)
        self._require()  # an iterable may have ended it
        if not len(packed):
            return
        if self._native is None and self._size + len(packed) <= SPILL_BYTES:
            _core.check_changes(self._page_size, packed)
            self._add(bytes(packed))
        else:
            native = self._begun()
            with self._ended_by_conflict():
                native.apply(packed)

    def __setitem__(self, page: SupportsIndex, image: Buffer) -> None:
        if self._here.transaction is not self._mark:
            self._require()
        data = image if type(image) is bytes else as_bytes(image, "a page")
        if len(data) != self._page_size:
            raise InputError(f"a page of this volume has {self._page_size} bytes, not {len(data)}")
        number = page if type(page) is int else as_integer("a page", page)
        try:
            self._begun().put(number, data)
        except ConflictError:
            self._finish("rolled back")
            raise

    # Reading

    def __getitem__(self, page: SupportsIndex) -> bytes:
        """The page as the transaction sees it: the newest committed state and its own changes."""
        if self._here.transaction is not self._mark:
            self._require()
        number = page if type(page) is int else as_integer("a page", page)
        try:
            return self._begun().read(number)
        except ConflictError:
            self._finish("rolled back")
            raise

    def __len__(self) -> int:
        self._require()
        native = self._begun()
        with self._ended_by_conflict():
            return native.end_pages()

    def __bool__(self) -> bool:
        return True

    # Ending

    def _begun(self) -> _core.NativeTransaction:
        """The native transaction, with every pending change in it."""
        native = self._native
        if native is None:
            self._in_turn()
            with self._ended_by_conflict():
                native = self._native = self._store.begin(self._run)
        if self._pending:
            self._spill(native)
        return native

    @contextlib.contextmanager
    def _ended_by_conflict(self) -> Iterator[None]:
        """A rewind since the transaction began is its end."""
        try:
            yield
        except ConflictError:
            self._finish("rolled back")
            raise

    def _spill(self, native: _core.NativeTransaction) -> None:
        """Hands the pending changes over: each once, whatever comes in between."""
        pending, size = self._pending, self._size
        try:
            self._pending, self._size = [], 0  # what a signal handler adds now comes after these
            native.apply(b"".join(pending))
        except ConflictError:
            self._finish("rolled back")
            raise
        except (AurologError, MemoryError):  # nothing was taken
            self._pending[:0] = pending
            self._size += size
            raise
        except BaseException:  # an interrupt, and nobody knows whether they were taken
            self._finish("rolled back")
            raise

    def _finish(self, state: str) -> None:
        self._state = state
        self._mark = _OVER
        native, self._native = self._native, None
        if native is not None:
            native.free()
        self._pending = []

    def _in_turn(self) -> None:
        """Waits until the thread's commit before, where it still waits for its turn, is logged."""
        before = self._here.handed_over
        if before is not None:
            before.wait()
            self._here.handed_over = None

    def commit(self) -> int | None:
        """Makes the changes durable, or visible with durability "os".

        Returns the commit LSN; ``None`` when there were no changes.

        Raises ``CommitOutcomeUnknown`` when the disk failed at the wrong moment, ``DiskFullError``
        and ``StorageError`` when nothing was committed.
        """
        if self._here.transaction is not self._mark:
            self._require()
        outcome: Any = None
        try:
            outcome = _core.new_outcome()
            time_ns = 0
            if self._clock:
                time_ns = checked_time(self._clock)
                self._require()  # the clock may have ended it
            if self._native is not None:
                self._begun().commit(self._durability, self._note, time_ns, outcome)
            elif self._pending:
                if self._here.handed_over is not None:
                    self._in_turn()
                changes = b"".join(self._pending)
                self._store.commit_changes(
                    changes, self._run, self._durability, self._note, time_ns, outcome
                )
            if outcome.logged:
                self._lsn = outcome.lsn
            self._finish("committed")
        except BaseException:  # an interrupt may come between any two steps
            if self._state == "open":
                logged = outcome is not None and outcome.logged
                if logged:
                    self._lsn = outcome.lsn
                self._finish("unknown" if logged else "rolled back")
            raise
        return self._lsn or None

    def commit_async(self) -> asyncio.Future[int | None]:
        """Like ``commit``, to be awaited in the running event loop, which goes on meanwhile.

        The transaction is over with the call, so that the thread may begin another before it
        awaits this one. Whoever stops waiting, cancelled for one, does not stop the commit:
        ``outcome`` tells how it went.
        """
        from asyncio import get_running_loop, shield  # noqa: PLC0415 - see above

        self._require()
        loop = get_running_loop()
        outcome = _core.new_outcome()
        time_ns = 0
        if self._clock:
            time_ns = checked_time(self._clock)
            self._require()  # the clock may have ended it
        commit = Commit(self._run, self._durability, self._note, time_ns, outcome)
        native, changes = self._native, b"".join(self._pending)
        try:
            if native is not None:
                self._begun().log(self._note, time_ns, outcome)
            elif changes and (
                (self._here.handed_over and not self._here.handed_over.is_set())
                or not self._store.log_changes(changes, self._run, self._note, time_ns, outcome, 0)
            ):
                # Another has the writer's place, or this thread's commit before still waits for it.
                commit.changes = changes
                self._here.handed_over = commit.logged = threading.Event()
            self._outcome = outcome
            self._finish("unknown")  # from now on; it may be durable before anybody is told
            if not commit.changes and not outcome.lsn:
                self._state = "committed"  # no changes, and nothing read that is still to wait for
                done: asyncio.Future[int | None] = loop.create_future()
                done.set_result(None)
                return done
            committed = self._committer.submit(commit)
        except BaseException:
            self._outcome = outcome
            if commit.logged is not None and not commit.queued:
                commit.logged.set()  # never, but nobody has to wait for it
            self._finish("unknown" if outcome.logged or commit.queued else "rolled back")
            raise
        committed.add_done_callback(self._conclude)
        return shield(committed)

    def _conclude(self, committed: asyncio.Future[int | None]) -> None:
        if not committed.cancelled() and committed.exception() is None:
            self._state = "committed"
        elif self._outcome is None or not self._outcome.logged:
            self._state = "rolled back"

    def rollback(self) -> None:
        """Drops the changes."""
        self._require()
        self._finish("rolled back")

    def __enter__(self) -> Transaction:
        if self._state != "open":
            self._require()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._state != "open":  # ended by hand inside the block
            return
        if kind is None:
            self.commit()
        else:
            self.rollback()

    async def __aenter__(self) -> Transaction:
        return self.__enter__()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._state != "open":
            return
        if kind is None:
            await self.commit_async()
        else:
            self.rollback()

    # Telling

    @property
    def outcome(self) -> str:
        """``"open"``, ``"committed"``, ``"rolled back"`` or ``"unknown"``: interrupted, or awaited
        and under way; that becomes known once it is durable."""
        if self._state == "unknown":
            store = self._store
            safe = store.durable_lsn if self._durability == _core.SYNC else store.visible_lsn
            if 0 < (self.lsn or 0) <= safe:
                return "committed"
        return self._state

    @property
    def lsn(self) -> int | None:
        """The commit LSN; ``None`` before the commit, after a rollback, and when nothing was
        written."""
        if not self._lsn and self._outcome is not None and self._outcome.logged:
            self._lsn = self._outcome.lsn
        return self._lsn or None

    def __repr__(self) -> str:
        return f"<aurolog.Transaction {self.outcome}{f', LSN {self.lsn}' if self.lsn else ''}>"


def _packed(changes: Any) -> Any:
    """The changes as a packed buffer of bytes."""
    if type(changes) is bytes:
        return changes
    try:
        view = memoryview(changes)
    except TypeError:
        if isinstance(changes, Iterable) and not isinstance(changes, str):
            return pack_changes(changes)
        raise InputError(
            f"changes are a packed buffer or an iterable of tuples, not {type(changes).__name__}"
        ) from None
    except (ValueError, BufferError) as error:
        raise InputError(f"the packed changes cannot be read: {error}") from None
    return view.cast("B") if view.c_contiguous and view.nbytes else view.tobytes()
