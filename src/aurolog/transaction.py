"""Transactions: changes that become durable together or not at all."""

from __future__ import annotations

import struct
import threading
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Any

from aurolog import _core
from aurolog.changes import (
    FILL,
    HEADER,
    LENGTH_MAX,
    MOVE,
    TRUNCATE,
    WRITE,
    as_bytes,
    pack_changes,
    pack_header,
)
from aurolog.errors import InputError, TransactionError

__all__ = ["Transaction"]

#: Pending changes beyond this go to the native transaction, which takes the writer's place.
SPILL_BYTES = 64 << 10


class Transaction:
    """Changes of pages, committed together. Made by ``Volume.transaction``.

    Changes are collected here, packed, and cross into C in one call at the commit; the first read,
    or more than 64 KiB of changes, begins the native transaction, which is alone until it ends.
    """

    __slots__ = (
        "__weakref__",
        "_clock",
        "_durability",
        "_lsn",
        "_native",
        "_note",
        "_owners",
        "_page_size",
        "_pages_max",
        "_pending",
        "_size",
        "_state",
        "_store",
        "_thread",
    )

    __iter__ = None

    def __init__(
        self,
        store: _core.Store,
        owners: dict[int, int],
        durability: int,
        note: bytes,
        clock: Callable[[], int] | None,
    ) -> None:
        thread = threading.get_ident()
        self._state = "rolled back"  # until it is known that there is no other
        self._owners = owners
        self._thread = thread
        if thread in owners:
            raise TransactionError(
                "this thread has an open transaction on this volume: commit it or roll it back "
                "before the next begins"
            )
        self._store = store
        self._durability = durability
        self._note = note
        self._clock = clock
        self._page_size = store.page_size
        self._pages_max = store.pages_max
        self._pending: list[bytes] = []
        self._size = 0
        self._native: _core.NativeTransaction | None = None
        self._lsn = 0
        owners[thread] = id(self)
        self._state = "open"

    # Changing

    def _check(self, page: int, offset: int, length: int) -> None:
        """Raises for a range that is not in a page of the volume."""
        if self._state != "open":
            raise TransactionError(f"the transaction is over ({self.outcome}): begin a new one")
        if not isinstance(page, int) or not isinstance(offset, int) or not isinstance(length, int):
            raise InputError("page, offset and length are whole numbers")
        if not 0 <= page < self._pages_max:
            raise InputError(
                f"page {page} is outside the volume, whose pages are 0 to {self._pages_max - 1}"
            )
        if offset < 0 or length < 0 or offset + length > self._page_size:
            raise InputError(
                f"{length} bytes at offset {offset} are not in a page of {self._page_size} bytes"
            )

    def _add(self, change: bytes) -> None:
        self._pending.append(change)
        self._size += len(change)
        if self._size > SPILL_BYTES:
            self._begun()

    def write(self, page: int, offset: int, data: bytes | bytearray | memoryview) -> None:
        """Writes ``data`` into the page at ``offset``.

        Raises ``InputError`` when it does not fit there.
        """
        try:
            length = len(data)
            if (
                length > 0 <= offset <= self._page_size - length
                and 0 <= page < self._pages_max
                and type(data) is bytes
                and self._state == "open"
            ):
                header = pack_header(WRITE, 0, offset, length % LENGTH_MAX, 0, page)
                self._pending.append(header + data)
                self._size += HEADER.size + length
                if self._size > SPILL_BYTES:
                    self._begun()
                return
        except (TypeError, struct.error):
            pass  # said better below
        octets = as_bytes(data)
        self._check(page, offset, len(octets))
        if octets:
            self._add(pack_header(WRITE, 0, offset, len(octets) % LENGTH_MAX, 0, page) + octets)

    def move(self, page: int, src: int, dst: int, length: int) -> None:
        """Moves ``length`` bytes inside the page from ``src`` to ``dst``; they may overlap."""
        self._check(page, src, length)
        self._check(page, dst, length)
        if length:
            self._add(pack_header(MOVE, 0, dst, length % LENGTH_MAX, src, page))

    def fill(self, page: int, offset: int, length: int, byte: int) -> None:
        """Sets ``length`` bytes of the page at ``offset`` to ``byte``."""
        self._check(page, offset, length)
        if not isinstance(byte, int) or not 0 <= byte <= 255:
            raise InputError(f"a byte is a whole number from 0 to 255, not {byte!r:.60}")
        if length:
            self._add(pack_header(FILL, 0, offset, length % LENGTH_MAX, byte, page))

    def truncate(self, pages: int) -> None:
        """Every page from ``pages`` on becomes zeros, and the end of page space at most
        ``pages``."""
        self._check(0, 0, 0)
        if not isinstance(pages, int) or not 0 <= pages <= self._pages_max:
            raise InputError(
                f"a volume can be truncated to 0 to {self._pages_max} pages, not {pages!r:.60}"
            )
        self._add(pack_header(TRUNCATE, 0, 0, 0, 0, pages))

    def apply(self, changes: Any) -> None:
        """Takes many changes: a packed buffer, or an iterable of tuples (see ``pack_changes``).

        All of them, or none and ``InputError``.
        """
        self._check(0, 0, 0)
        if isinstance(changes, bytes | bytearray | memoryview):
            packed: Any = changes
        elif isinstance(changes, Iterable) and not isinstance(changes, str):
            packed = pack_changes(changes)
        else:
            raise InputError(
                "changes are a packed buffer or an iterable of tuples, "
                f"not {type(changes).__name__}"
            )
        if isinstance(packed, memoryview):
            packed = packed.cast("B") if packed.c_contiguous else bytes(packed)
        if self._native is None and self._size + len(packed) <= SPILL_BYTES:
            _core.check_changes(self._page_size, packed)
            self._add(bytes(packed))
        else:
            self._begun().apply(packed)

    def __setitem__(self, page: int, image: bytes | bytearray | memoryview) -> None:
        try:
            size = len(image) if type(image) is bytes else memoryview(image).nbytes
        except TypeError:
            raise InputError(f"a page is bytes, not {type(image).__name__}") from None
        if size != self._page_size:
            raise InputError(f"a page of this volume has {self._page_size} bytes, not {size}")
        self._check(page, 0, 0)
        self._begun().put(page, image)

    # Reading

    def __getitem__(self, page: int) -> bytes:
        self._check(page, 0, 0)
        return self._begun().read(page)

    def __len__(self) -> int:
        self._check(0, 0, 0)
        return self._begun().end_pages()

    def __bool__(self) -> bool:
        return True

    # Ending

    def _begun(self) -> _core.NativeTransaction:
        """The native transaction, with every pending change in it."""
        native = self._native
        if native is None:
            native = self._native = self._store.begin()
        if self._pending:
            native.apply(b"".join(self._pending))
            self._pending = []
            self._size = 0
        return native

    def _now(self) -> int:
        """The user's clock; 0 where there is none."""
        now = self._clock() if self._clock else 0
        if not isinstance(now, int) or not 0 <= now < 2**63:
            raise InputError(f"the clock returned {now!r:.60}, not nanoseconds since 1970")
        return now

    def _finish(self, state: str) -> None:
        self._state = state
        if self._owners.get(self._thread) == id(self):
            del self._owners[self._thread]
        native, self._native = self._native, None
        if native is not None:
            native.free()
        self._pending = []

    def commit(self) -> int | None:
        """Makes the changes durable, or visible with durability "os".

        Returns the commit LSN; ``None`` when there were no changes.

        Raises ``CommitOutcomeUnknown`` when the disk failed at the wrong moment, ``DiskFullError``
        and ``StorageError`` when nothing was committed.
        """
        if self._state != "open":
            self._check(0, 0, 0)
        outcome = self._store.local.scratch.outcome
        begun = False
        try:
            outcome.logged = outcome.lsn = 0
            begun = True
            time_ns = self._now() if self._clock else 0
            if self._native is not None:
                self._begun().commit(self._durability, self._note, time_ns, outcome)
            elif self._pending:
                changes = b"".join(self._pending)
                self._store.commit_changes(changes, self._durability, self._note, time_ns, outcome)
            if outcome.logged:
                self._lsn = outcome.lsn
            self._finish("committed")
        except BaseException:  # an interrupt may come between any two steps
            logged = begun and outcome.logged
            if logged:
                self._lsn = outcome.lsn
            self._finish("unknown" if logged else "rolled back")
            raise
        return self._lsn or None

    def rollback(self) -> None:
        """Drops the changes."""
        self._check(0, 0, 0)
        self._finish("rolled back")

    def __enter__(self) -> Transaction:
        if self._state != "open":
            self._check(0, 0, 0)
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
            self._finish("rolled back")

    def __del__(self) -> None:
        if self._state == "open":
            self._finish("rolled back")

    # Telling

    @property
    def outcome(self) -> str:
        """``"open"``, ``"committed"``, ``"rolled back"`` or ``"unknown"``; an interrupted commit
        becomes known once it is durable."""
        if self._state == "unknown":
            store = self._store
            safe = store.durable_lsn if self._durability == _core.SYNC else store.visible_lsn
            if 0 < self._lsn <= safe:
                return "committed"
        return self._state

    @property
    def lsn(self) -> int | None:
        """The commit LSN; ``None`` before the commit, after a rollback, and when nothing was
        written."""
        return self._lsn or None

    def __repr__(self) -> str:
        return f"<aurolog.Transaction {self.outcome}{f', LSN {self.lsn}' if self.lsn else ''}>"
