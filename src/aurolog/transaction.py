"""Transactions: changes that become durable together or not at all.

A transaction belongs to no thread: any may call it, one at a time. Changes are collected in Python,
packed, and cross into C in one call at the commit; what has to see the newest state begins the
native transaction, which has the writer's place, alone, until it ends.

Nothing is locked where changes are collected. Those are in one list, to which all threads append.
Who takes changes out of it leaves what is appended meanwhile; who ends the transaction takes the
list away first, and whoever has just appended to it looks whether it is still there.
"""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Awaitable, Callable, Generator, Iterable, Iterator
from types import TracebackType
from typing import TYPE_CHECKING, Any, NoReturn, SupportsIndex, TypeVar, cast
from weakref import ref

from aurolog import _core
from aurolog.changes import (
    FILL,
    HEADER_BYTES,
    LENGTH_MASK,
    MOVE,
    PUT,
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
from aurolog.committer import Commit, Committer, Turn, tell, told_in_loop
from aurolog.errors import AurologError, ConflictError, InputError, TransactionError
from aurolog.loops import in_thread, running_loop

if TYPE_CHECKING:
    import asyncio  # at run time only for those who use it: it takes long to import

__all__ = ["AsyncTransaction", "Transaction"]

Result = TypeVar("Result")

#: Pending changes beyond this go to the native transaction, which takes the writer's place.
SPILL_BYTES = 64 << 10

#: What a transaction can hold at most: `AUL_BATCH_BYTES_MAX`.
BYTES_MAX = 1 << 30

_IN_USE = "another thread is in a call of this transaction: one at a time"


class _Done:
    """Something to be awaited that is done."""

    def __await__(self) -> Generator[Any, None, None]:
        yield from ()


_DONE = _Done()


class _Changes:
    """What both kinds of transactions are: changes collected, and an outcome."""

    # All of both kinds: one becomes the other.
    __slots__ = (
        "__weakref__",
        "_awaits",
        "_begins",
        "_clock",
        "_commit",
        "_committer",
        "_durability",
        "_lsn",
        "_native",
        "_note",
        "_page_size",
        "_pages_max",
        "_pending",
        "_reads",
        "_run",
        "_size",
        "_spilling",
        "_state",
        "_thread",
    )

    __iter__ = None
    __reversed__ = None

    #: how many bytes are collected before `_make_room` is called
    _collected_max = SPILL_BYTES

    def __init__(
        self,
        committer: Committer,
        durability: int,
        note: bytes,
        clock: Callable[[], int] | None,
    ) -> None:
        self._committer = committer
        self._run = committer.store.run
        self._durability = durability
        self._note = note
        self._clock = clock
        self._page_size = committer.page_size
        self._pages_max = committer.pages_max
        #: packed changes; None when the transaction is over
        self._pending: list[bytes] | None = []
        self._size = 0
        self._native: _core.NativeTransaction | None = None
        self._state: str = "open"
        self._lsn = 0
        #: some call begins the native transaction, or hands changes over
        self._begins = self._spilling = False
        #: stands for the thread that used the native transaction last
        self._thread: object = None
        #: of an event loop: whole pages are pending, with which what is there has to be compared;
        #: the commit under way; what calls wait for, once one does
        self._reads = False
        self._commit: Commit | None = None
        self._awaits: _Awaits | None = None

    def __reduce_ex__(self, protocol: SupportsIndex) -> NoReturn:
        raise TypeError(
            "a transaction is a handle of this process and can be neither copied nor pickled"
        )

    def __bool__(self) -> bool:
        return True

    # Changing

    def _require(self) -> list[bytes]:
        """The pending changes; raises when the transaction is over."""
        pending = self._pending
        if pending is None:
            raise self._over()
        return pending

    def _over(self) -> TransactionError:
        outcome = self.outcome
        if outcome == "open":
            return TransactionError("another call is ending the transaction just now")
        return TransactionError(f"the transaction is over ({outcome}): begin a new one")

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

    def _image(self, image: Buffer) -> bytes:
        """The bytes of a whole page; raises when they are none."""
        data = image if type(image) is bytes else as_bytes(image, "a page")
        if len(data) != self._page_size:
            raise InputError(f"a page of this volume has {self._page_size} bytes, not {len(data)}")
        return data

    def _add(self, change: bytes) -> None:
        if self._size + len(change) > self._collected_max:
            self._make_room()
        pending = self._require()
        pending.append(change)
        self._size += len(change)
        if self._pending is not pending:
            raise self._ended_meanwhile()

    def _make_room(self) -> None:
        """Called before changes are added that are too many to be collected."""
        raise NotImplementedError

    def _ended_meanwhile(self) -> TransactionError:
        """A change was added, and the others are taken away by then."""
        return TransactionError(
            "another thread was ending the transaction just now: whether it has this change, "
            "nobody knows"
        )

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
                    pending = self._pending
                    size = self._size + HEADER_BYTES + length
                    if pending is not None and size <= self._collected_max:
                        pending.append(header + data)
                        self._size = size
                        if self._pending is pending:
                            return
                        raise self._ended_meanwhile()
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

    # Ending

    def _hold(self, native: _core.NativeTransaction) -> None:
        """Has the native transaction, which has the writer's place, from now on."""
        self._native = native
        self._thread = self._committer.here.thread
        self._committer.holder = ref(self)
        if self._pending is None:  # ended meanwhile
            self._native = None
            native.free()
            raise self._over()

    @contextlib.contextmanager
    def _ended_by_conflict(self) -> Iterator[None]:
        """A rewind since the transaction began is its end."""
        try:
            yield
        except ConflictError:
            self._finish("rolled back")
            raise

    def holds_for(self, thread: object) -> bool:
        """See ``committer.Holder``."""
        return self._native is not None and self._thread is thread

    def _spill(self, native: _core.NativeTransaction) -> None:
        """Hands the pending changes over: each once, whatever comes in between."""
        pending = self._require()
        if self._spilling:
            return  # in a signal handler: what it interrupts does it
        try:
            self._spilling = True
            taken = pending[:]
            native.apply(b"".join(taken))
            del pending[: len(taken)]  # not what has come meanwhile
            self._size = sum(map(len, pending))
        except ConflictError:
            self._finish("rolled back")
            raise
        except (AurologError, MemoryError):  # nothing was taken
            raise
        except BaseException:  # an interrupt, and nobody knows whether they were taken
            self._finish("rolled back")
            raise
        finally:
            self._spilling = False

    def _time(self) -> int:
        """What the user's clock says, and never 0, which stands for the system's."""
        return 0 if self._clock is None else checked_time(self._clock)

    def _take(self) -> list[bytes]:
        """Takes the pending changes away: from now on nobody adds any."""
        with self._committer.guard:
            if self._begins:
                raise TransactionError(_IN_USE)
            pending = self._require()
            self._pending = None
        return pending

    def _finish(self, state: str) -> None:
        self._state = state
        self._pending = None
        native, self._native = self._native, None
        if native is not None:
            native.free()

    def rollback(self) -> None:
        """Drops the changes."""
        self._require()
        self._finish("rolled back")

    def commit(self) -> Any:
        """Of each kind in its own way."""
        raise NotImplementedError

    def __aexit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> Awaitable[object]:
        # Found before ``__aenter__`` has made an ``AsyncTransaction`` of a ``Transaction``.
        if self._state == "open":  # else it was ended by hand inside the block
            if kind is None:
                future: asyncio.Future[int | None] = self.commit()
                return future
            self.rollback()
        return _DONE

    # Telling

    @property
    def outcome(self) -> str:
        """``"open"``, ``"committed"``, ``"rolled back"`` or ``"unknown"``: interrupted, or awaited
        and under way; that becomes known once it is durable."""
        commit = self._commit
        if commit is not None and commit.served and not commit.is_logged:
            return "committed" if commit.error is None else "rolled back"
        if self._state == "unknown":
            store = self._committer.store
            safe = store.durable_lsn if self._durability == _core.SYNC else store.visible_lsn
            if 0 < (self.lsn or 0) <= safe:
                return "committed"
        return self._state

    @property
    def lsn(self) -> int | None:
        """The commit LSN; ``None`` before the commit, after a rollback, and when nothing was
        written."""
        commit = self._commit
        if commit is not None and commit.is_logged:
            return commit.lsn
        return self._lsn or None

    def __repr__(self) -> str:
        lsn = f", LSN {self.lsn}" if self.lsn else ""
        return f"<aurolog.{type(self).__name__} {self.outcome}{lsn}>"


class Transaction(_Changes):
    """Changes of pages, committed together. Made by ``Volume.transaction``.

    Any thread may call it, one at a time; ``async with`` or ``await`` makes it an
    ``AsyncTransaction``.

    The first read, or more than 64 KiB of changes, begins the native transaction. Nothing has to be
    undone when a transaction is dropped: the native one is dropped with it.
    """

    __slots__ = ()

    def _make_room(self) -> None:
        self._begun()

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
        data = self._image(image)
        native = self._native
        if native is None or self._pending:
            native = self._begun()
        self._thread = self._committer.here.thread
        try:
            native.put(page if type(page) is int else as_integer("a page", page), data)
        except ConflictError:
            self._finish("rolled back")
            raise

    # Reading

    def __getitem__(self, page: SupportsIndex) -> bytes:
        """The page as the transaction sees it: the newest committed state and its own changes."""
        native = self._native
        if native is None or self._pending:
            native = self._begun()
        self._thread = self._committer.here.thread
        try:
            return native.read(page if type(page) is int else as_integer("a page", page))
        except ConflictError:
            self._finish("rolled back")
            raise

    def __len__(self) -> int:
        native = self._begun()
        with self._ended_by_conflict():
            return native.end_pages()

    # Ending

    def _begun(self) -> _core.NativeTransaction:
        """The native transaction, with every pending change in it."""
        begins = False
        try:
            with self._committer.guard:
                if self._begins:
                    raise TransactionError(_IN_USE)
                self._require()
                begins = self._begins = True
            native = self._native
            if native is None:
                with self._ended_by_conflict():
                    native = self._in_turn()
                self._hold(native)
            if self._pending:
                self._spill(native)
        finally:
            if begins:
                self._begins = False
        self._thread = self._committer.here.thread
        return native

    def _in_turn(self) -> _core.NativeTransaction:
        """Takes the writer's place, and waits for it, unless that could last for ever."""
        committer = self._committer
        before = committer.commit_before()
        native = committer.store.begin(self._run, 0) if before is None else None
        if native is None:
            refusal = committer.why_not_wait()
            if refusal is not None:
                raise TransactionError(refusal)
            if before is not None:
                before.wait_in_line()
            while native is None:
                native = committer.store.begin(self._run, _core.WAIT_MS)
        return native

    def commit(self) -> int | None:
        """Makes the changes durable, or visible with durability "os".

        Returns the commit LSN; ``None`` when there were no changes.

        Raises ``CommitOutcomeUnknown`` when the disk failed at the wrong moment, ``DiskFullError``
        and ``StorageError`` when nothing was committed, and ``TransactionError`` when it would wait
        for ever or keep an event loop waiting: then it is still open.
        """
        self._require()
        outcome: Any = None
        pending: list[bytes] | None = None
        try:
            outcome = _core.new_outcome()
            time_ns = self._time()
            pending = self._take()
            if self._native is not None:
                if pending:
                    self._native.apply(b"".join(pending))
                    pending.clear()
                self._native.commit(self._durability, self._note, time_ns, outcome)
            elif pending:
                self._commit_collected(b"".join(pending), time_ns, outcome)
            if outcome.logged:
                self._lsn = outcome.lsn
            self._finish("committed")
        except BaseException as error:  # an interrupt may come between any two steps
            if self._state == "open":
                logged = outcome is not None and outcome.logged
                if logged:
                    self._lsn = outcome.lsn
                    self._finish("unknown")
                elif _is_refusal(error):  # nothing is lost by it
                    if pending is not None:
                        self._pending = pending
                else:
                    self._finish("rolled back")
            raise
        return self._lsn or None

    def _commit_collected(self, changes: bytes, time_ns: int, outcome: Any) -> None:
        """In one crossing; where it must not wait for the writer's place, in two."""
        committer = self._committer
        store, before = committer.store, committer.commit_before()
        refusal = committer.why_not_wait()
        if refusal is None:
            if before is not None:
                before.wait_in_line()
            store.commit_changes(changes, self._run, self._durability, self._note, time_ns, outcome)
        elif before is None and store.log_changes(
            changes, self._run, self._note, time_ns, outcome, 0
        ):
            store.wait(outcome.lsn, self._durability)
        else:
            raise TransactionError(refusal)

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

    # In an event loop

    async def __aenter__(self) -> AsyncTransaction:
        """It is an ``AsyncTransaction`` from now on."""
        self._require()
        self.__class__ = AsyncTransaction  # type: ignore[assignment]  # of the same layout
        return cast("AsyncTransaction", self)

    def __await__(self) -> Generator[Any, None, AsyncTransaction]:
        return self.__aenter__().__await__()


class _Awaits:
    """What calls of a transaction wait for in an event loop."""

    __slots__ = ("busy", "fresh", "turn", "waiters")

    def __init__(self) -> None:
        #: the call of the native transaction that a thread makes
        self.busy: asyncio.Future[Any] | None = None
        #: what stands in line for it, and the calls that wait for that
        self.turn: Turn | None = None
        self.waiters: list[asyncio.Future[None]] = []
        #: the native transaction has come from the line, and nobody has used it
        self.fresh = False


class AsyncTransaction(_Changes):
    """A transaction of an event loop: ``async with db.transaction()`` or ``await db.transaction()``
    makes one.

    Changes are only collected, whole pages too. What has to wait is awaited, and the loop goes on.
    """

    __slots__ = ()

    _collected_max = BYTES_MAX

    def _make_room(self) -> None:
        raise InputError(f"a transaction has at most {BYTES_MAX} bytes of changes: split it")

    def apply(self, changes: Buffer | Iterable[Change]) -> None:
        """Takes many changes: a packed buffer, or an iterable of tuples (see ``pack_changes``).

        All of them, or none and ``InputError``.
        """
        self._require()
        packed = _packed(changes)
        self._require()  # an iterable may have ended it
        if len(packed):
            if _core.check_changes(self._page_size, packed):
                self._reads = True
            self._add(bytes(packed))

    def __setitem__(self, page: SupportsIndex, image: Buffer) -> None:
        self._require()
        data, number = self._image(image), self._page(page)
        self._reads = True
        self._add(pack_header(PUT, 0, 0, len(data) & LENGTH_MASK, 0, number) + data)

    # Reading

    async def read(self, page: SupportsIndex) -> bytes:
        """The page as the transaction sees it: the newest committed state and its own changes.

        From the first read on the transaction is alone; others wait until it ends.
        """
        self._require()
        number = self._page(page)
        store = self._committer.store
        with self._ended_by_conflict():
            native = await self._begun()
            return await self._call(lambda: store.is_cached(number), self._read, native, number)

    async def length(self) -> int:
        """The end of page space as the transaction sees it."""
        with self._ended_by_conflict():
            native = await self._begun()
            return await self._call(lambda: True, self._length, native)

    def _read(self, native: _core.NativeTransaction, page: int) -> bytes:
        if self._pending:
            self._spill(native)
        return native.read(page)

    def _length(self, native: _core.NativeTransaction) -> int:
        if self._pending:
            self._spill(native)
        return native.end_pages()

    def _spill(self, native: _core.NativeTransaction) -> None:
        self._reads = False
        super()._spill(native)

    async def _begun(self) -> _core.NativeTransaction:
        """The native transaction, for which it may have to wait."""
        awaits = self._awaits
        if awaits is None:
            awaits = self._awaits = _Awaits()
        while True:
            self._require()
            if self._native is not None:
                return self._native
            native = self._committer.begin_now(self._run) if awaits.turn is None else None
            if native is not None:
                self._hold(native)
            else:
                await self._wait_for_turn(awaits)

    async def _wait_for_turn(self, awaits: _Awaits) -> None:
        from asyncio import get_running_loop  # noqa: PLC0415 - see above

        loop, turn = get_running_loop(), awaits.turn
        if turn is None:
            turn = Turn(loop, self._run, self._take_turn)
            self._committer.wait_for_turn(turn)
            awaits.turn = turn
        elif turn.loop is not loop:
            raise TransactionError(_IN_USE)
        waiter = loop.create_future()
        awaits.waiters.append(waiter)
        try:
            await waiter
        except BaseException:
            if awaits.waiters == [waiter]:  # nobody else wants it
                turn.served = True
                if awaits.turn is turn:
                    awaits.turn = None
                if awaits.fresh and self._native is not None:  # it has come just now
                    native, self._native = self._native, None
                    native.free()
                    self._committer.serve()
            raise
        finally:
            awaits.waiters.remove(waiter)

    def _take_turn(
        self, native: _core.NativeTransaction | None, error: BaseException | None
    ) -> None:
        """Called in the loop: the writer's place is here, or never will be."""
        awaits = self._awaits
        assert awaits is not None
        waiting = [waiter for waiter in awaits.waiters if not waiter.done()]
        wanted = awaits.turn is not None and self._native is None and self._pending is not None
        awaits.turn = None
        if native is not None and not (wanted and waiting):
            native.free()
            self._committer.serve()
        elif native is not None:
            awaits.fresh = True
            self._hold(native)
        for waiter in waiting:
            if error is None:
                waiter.set_result(None)
            else:
                waiter.set_exception(error)

    async def _call(
        self, is_quick: Callable[[], bool], call: Callable[..., Result], *arguments: Any
    ) -> Result:
        """Makes a call of the native transaction: here when it is quick, else in a thread."""
        from asyncio import shield, wait  # noqa: PLC0415 - see above

        awaits = self._awaits
        assert awaits is not None
        while awaits.busy is not None and not awaits.busy.done():
            await wait([awaits.busy])
        awaits.fresh = False
        self._thread = self._committer.here.thread
        if not (self._reads and self._pending) and is_quick():
            return call(*arguments)
        awaits.busy = called = in_thread(call, *arguments)
        return await shield(called)  # who is cancelled does not stop it

    # Ending

    def commit(self) -> asyncio.Future[int | None]:
        """Begins to commit; the future, of the running loop, has the commit LSN once the changes
        are durable, or visible with durability "os", and ``None`` when there were none.

        The transaction is over with the call. Whoever stops waiting, cancelled for one, does not
        stop the commit: ``outcome`` tells how it went.
        """
        loop = running_loop()
        if loop is None:
            raise RuntimeError("no running event loop")
        commit = Commit(loop, self._run, self._durability)
        pending: list[bytes] | None = None
        try:
            if self._note or self._clock is not None:
                commit.note, commit.time_ns = self._note, self._time()
                commit.is_special = True
            pending = self._take()
            self._commit = commit
            self._state = "unknown"  # it may be durable before anybody is told
            if self._native is not None:
                self._commit_native(commit, self._native, pending)
            elif pending:
                commit.changes = b"".join(pending)
                if self._reads:
                    commit.reads = commit.is_special = True
                if self._awaits is not None:
                    self._finish("unknown")
                self._committer.commit(commit)
            else:
                self._finish("unknown")
                told_in_loop([commit])
        except BaseException as error:
            refused = _is_refusal(error)
            if not commit.queued and (pending is not None or not refused):
                self._finish("unknown" if commit.is_logged else "rolled back")
            if refused or not isinstance(error, AurologError):
                raise
            commit.refuse(error)
            told_in_loop([commit])
        return commit.future

    def _commit_native(
        self, commit: Commit, native: _core.NativeTransaction, pending: list[bytes]
    ) -> None:
        """In the loop where that is quick, else in a thread."""
        awaits = self._awaits
        commit.outcome = _core.new_outcome()

        def log(wait_ms: int) -> bool:
            """False when too much is in flight."""
            if pending:
                native.apply(b"".join(pending))
                pending.clear()
            if not native.log(commit.note, commit.time_ns, commit.outcome, wait_ms):
                return False
            self._finish("unknown")
            self._committer.tell_when_durable(commit)
            return True

        def log_in_thread() -> None:
            try:
                while not log(_core.WAIT_MS):
                    pass
            except BaseException as error:  # noqa: BLE001 - raised where the commit is awaited
                self._finish("unknown" if commit.is_logged else "rolled back")
                commit.refuse(error)
                tell([commit])

        if awaits is not None and awaits.busy is not None and not awaits.busy.done():
            awaits.busy.add_done_callback(lambda _: in_thread(log_in_thread))
        elif self._reads or not log(0):
            in_thread(log_in_thread)

    def _finish(self, state: str) -> None:
        held, awaits = self._native is not None, self._awaits
        super()._finish(state)
        if awaits is not None and awaits.turn is not None:
            awaits.turn.give(None, self._over())
        if held:
            self._committer.serve()

    async def __aenter__(self) -> AsyncTransaction:
        self._require()
        return self


def _is_refusal(error: BaseException) -> bool:
    """Whether a call was refused, and the transaction goes on."""
    return isinstance(error, TransactionError) and not isinstance(error, ConflictError)


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
