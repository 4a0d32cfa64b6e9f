"""The only importer of the native module: handles, buffers, and statuses turned into exceptions.

A ``Store`` owns one native handle. Every call releases the interpreter lock, so buffers that C
writes into belong to a thread, never to the handle. Calls that wait come back every ``WAIT_MS``
milliseconds, so that Ctrl-C is served in between.
"""

from __future__ import annotations

import os
import threading
import weakref
from array import array
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NoReturn

from aurolog import errors
from aurolog._native import ffi, lib
from aurolog.clock import time_of
from aurolog.values import Batch, Problem, Record, Recovery, Stats, VerifyReport, Version

WAIT_MS = 100
PAGES_MAX_BYTES = 1 << 47
NULL = ffi.NULL

#: memory that C is about to fill
_uncleared = ffi.new_allocator(should_clear_after_alloc=False)

#: how often this process is the child of a fork; handles of an earlier generation are dead in it
fork_generation = 0


def _count_fork() -> None:
    global fork_generation  # noqa: PLW0603 - one number for the whole process
    fork_generation += 1


os.register_at_fork(after_in_child=_count_fork)

_OK, _END, _BUSY, _PENDING = lib.AUL_OK, lib.AUL_END, lib.AUL_BUSY, lib.AUL_PENDING

SYNC, OS = lib.AUL_DURABILITY_SYNC, lib.AUL_DURABILITY_OS

_read, _commit_changes = lib.aul_read, lib.aul_commit_changes


def _plain_options(durability: int) -> Any:
    options = ffi.new("aul_commit_options *")
    options.durability = durability
    return options


#: the options of a commit with no note and the system's clock, never changed
_PLAIN_OPTIONS = {durability: _plain_options(durability) for durability in (SYNC, OS)}

#: buffers that native structs point into, for as long as those live
_KEPT: weakref.WeakKeyDictionary[Any, Any] = weakref.WeakKeyDictionary()

_KINDS = {
    lib.AUL_WRITE: "write",
    lib.AUL_MOVE: "move",
    lib.AUL_FILL: "fill",
    lib.AUL_IMAGE: "image",
    lib.AUL_TRUNCATE: "truncate",
    lib.AUL_BRANCH_POINT: "branch-point",
    lib.AUL_RESTORE_POINT: "restore-point",
    lib.AUL_DELETE_RESTORE_POINT: "delete-restore-point",
    lib.AUL_CLEAN_CLOSE: "clean-close",
}

_PLAIN = {
    lib.AUL_INPUT: errors.InputError,
    lib.AUL_TOO_LARGE: errors.InputError,
    lib.AUL_CACHE_FULL: errors.CacheFullError,
    lib.AUL_CLOSED: errors.ClosedError,
    lib.AUL_FORKED: errors.ClosedError,
    lib.AUL_READ_ONLY: errors.ReadOnlyError,
    lib.AUL_NOT_A_VOLUME: errors.NotAVolumeError,
    lib.AUL_FORMAT: errors.FormatError,
}

_OS = {
    lib.AUL_ACCESS: errors.AccessError,
    lib.AUL_DISK_FULL: errors.DiskFullError,
    lib.AUL_IO: errors.StorageError,
    lib.AUL_FAILED: errors.StorageError,
}


def _text(field: Any) -> str:
    return bytes(ffi.string(field)).decode("utf-8", "replace")


def raise_error(status: int, error: Any) -> NoReturn:
    """Raises the exception for a status, with the detail that C has given."""
    text = _text(error.text) or f"status {status}"
    file = _text(error.file)
    if status in _PLAIN:
        raise _PLAIN[status](text)
    if status in _OS:
        where = f"{text} ({file})" if file and file not in text else text
        raise _OS[status](error.os_errno, where)
    if status == lib.AUL_LSN:
        raise errors.LsnError(text, error.lsn, error.limit)
    if status == lib.AUL_LOCKED:
        raise errors.VolumeLockedError(text, error.pid, _text(error.host), time_of(error.since_ns))
    if status == lib.AUL_UNKNOWN:
        raise errors.CommitOutcomeUnknown(
            f"{text}: reopen the volume and look whether LSN {error.lsn} is there", error.lsn
        )
    if status == lib.AUL_CORRUPT:
        raise errors.CorruptionError(text, file, error.offset, error.lsn)
    if status == lib.AUL_NO_MEMORY:
        raise MemoryError(text)
    raise errors.InternalError(f"{text} (status {status})")


def bad_number(what: str, value: object) -> errors.InputError:
    """The error for an argument that is no unsigned 64-bit number."""
    return errors.InputError(f"{what} is a whole number from 0 on, not {value!r:.60}")


class _Scratch:
    """What one thread lends to C: an error, one page, and places for results."""

    __slots__ = ("error", "number", "outcome", "page", "view")

    def __init__(self, page_size: int) -> None:
        self.error = ffi.new("aul_error *")
        self.page = ffi.new("uint8_t[]", page_size)
        self.view = ffi.buffer(self.page)
        self.number = ffi.new("uint64_t *")
        #: where C notes how a commit went, readable whatever interrupts the call
        self.outcome = ffi.new("aul_outcome *")


class _Local(threading.local):
    """Each thread's own scratch."""

    def __init__(self, page_size: int) -> None:
        self.scratch = _Scratch(page_size)


class View:
    """A native view: the volume as of one commit. Freed with its last reference."""

    __slots__ = ("end_pages", "handle", "lsn", "time_ns")

    def __init__(self, handle: Any) -> None:
        info = ffi.new("aul_commit_info *")
        self.handle = ffi.gc(handle, lib.aul_view_close)
        lib.aul_view_describe(handle, info)
        self.lsn: int = info.lsn
        self.time_ns: int = info.time_ns
        self.end_pages: int = info.end_pages


class NativeTransaction:
    """A native transaction: it has the writer's place until it ends."""

    __slots__ = ("_handle", "_store")

    def __init__(self, store: Store, handle: Any) -> None:
        self._store = store
        self._handle = ffi.gc(handle, lib.aul_tx_free)

    def apply(self, changes: Any) -> None:
        """All of the packed changes, or none."""
        error = self._store.local.scratch.error
        if type(changes) is bytes:
            status = lib.aul_tx_apply(self._handle, changes, len(changes), error)
        else:
            with ffi.from_buffer(changes) as buffer:
                status = lib.aul_tx_apply(self._handle, buffer, len(buffer), error)
        if status:
            raise_error(status, error)

    def put(self, page: int, image: Any) -> None:
        """A whole page, of which the difference is logged when that is smaller."""
        scratch = self._store.local.scratch
        try:
            status = lib.aul_tx_put(self._handle, page, image, scratch.error)
        except (TypeError, OverflowError):
            if not isinstance(page, int) or page < 0:
                raise bad_number("a page", page) from None
            status = lib.aul_tx_put(self._handle, page, ffi.from_buffer(image), scratch.error)
        if status:
            raise_error(status, scratch.error)

    def read(self, page: int) -> bytes:
        """The page under the transaction's own changes."""
        scratch = self._store.local.scratch
        try:
            status = lib.aul_tx_read(self._handle, page, scratch.page, scratch.error)
        except (TypeError, OverflowError):
            raise bad_number("a page", page) from None
        if status:
            raise_error(status, scratch.error)
        return bytes(scratch.view[:])

    def end_pages(self) -> int:
        """The end of page space that the transaction sees."""
        scratch = self._store.local.scratch
        status = lib.aul_tx_end_pages(self._handle, scratch.number, scratch.error)
        if status:
            raise_error(status, scratch.error)
        return int(scratch.number[0])

    def commit(self, durability: int, note: bytes, time_ns: int, outcome: Any) -> None:
        """Logs the changes and waits as the durability asks."""
        store = self._store
        options = store.commit_options(durability, note, time_ns)
        error = store.local.scratch.error
        status = _BUSY  # too much is in flight
        while status == _BUSY:
            status = lib.aul_tx_commit(self._handle, options, WAIT_MS, outcome, error)
        if status:
            store.finish_commit(status, outcome.lsn, durability, error)

    def free(self) -> None:
        """Ends the transaction; what was not committed is rolled back."""
        ffi.release(self._handle)


class Store:
    """One native handle of a volume."""

    def __init__(
        self,
        path: str,
        *,
        page_size: int,
        create: bool,
        read_only: bool,
        cache_bytes: int,
        retention_ns: int,
    ) -> None:
        error = ffi.new("aul_error *")
        out = ffi.new("aul_store **")
        options = ffi.new("aul_options *")
        options.page_size = page_size
        options.create = create
        options.read_only = read_only
        options.cache_bytes = cache_bytes
        options.retention_ns = retention_ns
        status = lib.aul_open(os.fsencode(path), options, out, error)
        if status:
            raise_error(status, error)
        self.handle = ffi.gc(out[0], lib.aul_free)
        info = ffi.new("aul_store_info *")
        lib.aul_store_describe(self.handle, info)
        self.page_size: int = info.page_size
        self.pages_max: int = info.pages_max
        self.volume_id = bytes(ffi.buffer(info.volume_id))
        self.retention_ns: int = info.retention_ns
        self.recovery = Recovery(
            clean=bool(info.was_clean),
            last_lsn=info.last_lsn,
            cut_lsn=info.cut_lsn or None,
            cut_bytes=info.cut_bytes,
            resecured_records=info.resecured_records,
            scanned_bytes=info.scanned_bytes,
            seconds=info.open_ns / 1e9,
        )
        self.local = _Local(self.page_size)

    def close(self) -> None:
        """Closes cleanly; harmless a second time."""
        error = ffi.new("aul_error *")
        status = lib.aul_close(self.handle, error)
        if status:
            raise_error(status, error)

    def check_open(self, *, for_writing: bool) -> None:
        """Raises when the handle is closed or forked, or is asked to write and may not."""
        error = self.local.scratch.error
        status = lib.aul_check(self.handle, for_writing, error)
        if status:
            raise_error(status, error)

    @property
    def epoch(self) -> int:
        """The epoch of the last writable open that appended."""
        info = ffi.new("aul_store_info *")
        lib.aul_store_describe(self.handle, info)
        return int(info.epoch)

    @property
    def durable_lsn(self) -> int:
        """The highest commit LSN that survives a power cut."""
        return int(lib.aul_durable_lsn(self.handle))

    @property
    def visible_lsn(self) -> int:
        """The LSN that plain reads see."""
        return int(lib.aul_visible_lsn(self.handle))

    # Reading

    def end_pages(self) -> int:
        """The end of page space at the visible LSN."""
        scratch = self.local.scratch
        status = lib.aul_end_pages(self.handle, scratch.number, scratch.error)
        if status:
            raise_error(status, scratch.error)
        return int(scratch.number[0])

    def open_view(self, lsn: int) -> View:
        """A view of the last commit at or below the LSN."""
        error = self.local.scratch.error
        out = ffi.new("aul_view **")
        try:
            status = lib.aul_view_open(self.handle, lsn, out, error)
        except (TypeError, OverflowError):
            raise bad_number("an LSN", lsn) from None
        if status:
            raise_error(status, error)
        return View(out[0])

    def versions(self, page: int) -> list[Version]:
        """The commits that changed the page, oldest first."""
        error = self.local.scratch.error
        count = ffi.new("size_t *")
        capacity = 64
        while True:
            found = ffi.new("aul_commit_info[]", capacity)
            try:
                status = lib.aul_versions(self.handle, NULL, page, found, capacity, count, error)
            except (TypeError, OverflowError):
                raise bad_number("a page", page) from None
            if status:
                raise_error(status, error)
            total = count[0]
            if total <= capacity:
                return [
                    Version(found[i].lsn, time_of(found[i].time_ns)) for i in reversed(range(total))
                ]
            capacity = total

    # Writing

    def commit_options(self, durability: int, note: bytes, time_ns: int) -> Any:
        """The native options of a commit."""
        if not note and not time_ns:
            return _PLAIN_OPTIONS[durability]
        options = ffi.new("aul_commit_options *")
        options.durability = durability
        options.time_ns = time_ns
        if note:
            options.note = _keep(options, ffi.from_buffer(note))
            options.note_bytes = len(note)
        return options

    def commit_changes(
        self, changes: bytes, durability: int, note: bytes, time_ns: int, outcome: Any
    ) -> None:
        """Begins, applies and commits in one crossing.

        Waits for the writer's place as long as it takes.
        """
        options = self.commit_options(durability, note, time_ns)
        error = self.local.scratch.error
        status = _BUSY
        while status == _BUSY:
            status = _commit_changes(
                self.handle, changes, len(changes), options, WAIT_MS, outcome, error
            )
        if status:
            self.finish_commit(status, outcome.lsn, durability, error)

    def finish_commit(self, status: int, lsn: int, durability: int, error: Any) -> None:
        """Waits for what is logged and not yet durable."""
        while status == _PENDING:
            status = lib.aul_wait(self.handle, lsn, durability, WAIT_MS, error)
        if status:
            raise_error(status, error)

    def begin(self) -> NativeTransaction:
        """Takes the writer's place; waits for it as long as it takes."""
        error = self.local.scratch.error
        out = ffi.new("aul_tx **")
        status = _BUSY
        while status == _BUSY:
            status = lib.aul_tx_begin(self.handle, WAIT_MS, out, error)
        if status:
            raise_error(status, error)
        return NativeTransaction(self, out[0])

    def sync(self) -> int:
        """Makes all that is committed durable; returns the durable LSN."""
        scratch = self.local.scratch
        status = _PENDING
        while status == _PENDING:
            status = lib.aul_sync(self.handle, WAIT_MS, scratch.number, scratch.error)
        if status:
            raise_error(status, scratch.error)
        return int(scratch.number[0])

    # Looking

    def log(self, first: int, last: int) -> Iterator[Batch]:
        """The batches that overlap [first, last]."""
        error = self.local.scratch.error
        out = ffi.new("aul_cursor **")
        try:
            status = lib.aul_cursor_open(self.handle, first, last, out, error)
        except (TypeError, OverflowError):
            raise bad_number("an LSN", (first, last)) from None
        if status:
            raise_error(status, error)
        return _batches(ffi.gc(out[0], lib.aul_cursor_close), ffi.new("aul_error *"))

    def verify(self, progress: Callable[[int, int], object] | None) -> VerifyReport:
        """Checks every byte, a segment at a time."""
        error = ffi.new("aul_error *")
        out = ffi.new("aul_verification **")
        report = ffi.new("aul_verify_report *")
        status = lib.aul_verify_open(self.handle, out, error)
        if status:
            raise_error(status, error)
        verification = ffi.gc(out[0], lib.aul_verify_close)
        problems: list[Problem] = []
        while (status := lib.aul_verify_step(verification, report, error)) == _OK:
            while lib.aul_verify_problem(verification, error) == _OK:
                problems.append(
                    Problem(_text(error.file), error.offset, error.lsn, _text(error.text))
                )
            if progress:
                progress(report.bytes, report.total_bytes)
        if status != _END:
            raise_error(status, error)
        ffi.release(verification)
        return VerifyReport(
            ok=report.problems == 0,
            segments=report.segments,
            bytes=report.bytes,
            frames=report.frames,
            batches=report.batches,
            records=report.records,
            index_entries=report.index_entries,
            problems=tuple(problems),
        )

    def stats(self) -> Stats:
        """Counters and sizes."""
        error = self.local.scratch.error
        out = ffi.new("aul_stats *")
        status = lib.aul_store_stats(self.handle, out, error)
        if status:
            raise_error(status, error)
        return Stats(**{name: getattr(out, name) for name in Stats.__slots__})


class Pages:
    """Reading pages: of a volume at its visible LSN, or of a view."""

    __slots__ = ("_handle", "_local", "_view", "page_size")

    __iter__ = None  # pages go on for ever, as zeros

    def __init__(self, store: Store, view: Any) -> None:
        self._handle = store.handle
        self._local = store.local
        self._view = view
        #: bytes per page
        self.page_size: int = store.page_size

    def _fail(self, page: object) -> NoReturn:
        """Raises what a read that failed has to say; asked again, it says it."""
        error = self._local.scratch.error
        if self._view is None:
            raise errors.ClosedError("the view is closed: ask the volume for a new one")
        try:
            status = _read(self._handle, self._view, page, self._local.scratch.page, error)
        except (TypeError, OverflowError):
            raise bad_number("a page", page) from None
        if status:
            raise_error(status, error)
        raise errors.StorageError(
            0, f"page {page} could not be read, and then could: read it again"
        )

    def __getitem__(self, page: int) -> bytes:
        # C fills a bytes object that nobody has seen yet: one copy less than through a buffer.
        out = b"\0" * self.page_size
        try:
            status = _read(self._handle, self._view, page, out, NULL)
        except (TypeError, OverflowError):
            self._fail(page)
        if status:
            self._fail(page)
        return out

    def read_into(self, page: int, buffer: Any) -> None:
        """The page into a writable buffer of exactly ``page_size`` bytes."""
        with writable(buffer, self.page_size) as target:
            try:
                status = _read(self._handle, self._view, page, target, NULL)
            except (TypeError, OverflowError):
                self._fail(page)
        if status:
            self._fail(page)

    def read_many(self, pages: Any, out: Any = None) -> memoryview:
        """Many pages in one crossing, back to back, all as of one LSN.

        ``pages`` is a sequence of page numbers, or a buffer of unsigned 64-bit integers; ``out`` a
        writable buffer of ``len(pages) * page_size`` bytes, made when it is ``None``.
        """
        if self._view is None:
            self._fail(0)
        numbers = page_numbers(pages)
        count = len(numbers)
        size = count * self.page_size
        target = ffi.buffer(_uncleared("uint8_t[]", size)) if out is None else out
        error = self._local.scratch.error
        with ffi.from_buffer("uint64_t[]", numbers) as native, writable(target, size) as to:
            status = lib.aul_read_many(self._handle, self._view, native, count, to, error)
        if status:
            raise_error(status, error)
        return memoryview(target).cast("B")

    def view_page(self, page: int) -> memoryview:
        """A zero-copy, read-only memoryview that pins its page until the last export dies.

        Raises ``CacheFullError`` when every cached page is pinned.
        """
        error = self._local.scratch.error
        data = ffi.new("const uint8_t **")
        out = ffi.new("aul_pin **")
        try:
            status = lib.aul_pin_page(self._handle, self._view, page, data, out, error)
        except (TypeError, OverflowError):
            self._fail(page)
        if status:
            raise_error(status, error)
        pin = out[0]

        def unpin(_: Any) -> None:
            lib.aul_pin_release(pin)

        pinned = ffi.gc(ffi.cast("uint8_t *", data[0]), unpin)
        return memoryview(ffi.buffer(pinned, self.page_size)).toreadonly()

    def __bool__(self) -> bool:
        return True


def _keep(owner: Any, buffer: Any) -> Any:
    """Ties a buffer's life to the struct that points to it."""
    _KEPT[owner] = buffer
    return buffer


def check_changes(page_size: int, changes: Any) -> None:
    """Checks packed changes without a volume; raises ``InputError`` for the first bad one."""
    error = ffi.new("aul_error *")
    with ffi.from_buffer(changes) as buffer:
        status = lib.aul_changes_check(page_size, buffer, len(buffer), error)
    if status:
        raise errors.InputError(
            f"{_text(error.text)} (in the change at byte {error.offset} of the buffer)"
        )


def writable(buffer: Any, size: int) -> Any:
    """A native pointer into a writable buffer of exactly ``size`` bytes."""
    try:
        target = ffi.from_buffer("uint8_t[]", buffer, require_writable=True)
    except (TypeError, BufferError, ValueError) as error:
        raise errors.InputError(f"a writable buffer is needed: {error}") from None
    if len(target) != size:
        length = len(target)
        ffi.release(target)
        raise errors.InputError(f"the buffer has {length} bytes, {size} are needed")
    return target


def page_numbers(pages: Any) -> Any:
    """Page numbers as a buffer of unsigned 64-bit integers."""
    try:
        view = memoryview(pages)
    except TypeError:
        pass
    else:
        if (
            view.itemsize == 8
            and view.format in ("Q", "L", "q", "l", "@Q", "@L", "<Q", "<q")
            and view.c_contiguous
        ):
            return view.cast("B").cast("Q") if view.nbytes else array("Q")
        raise errors.InputError("a buffer of page numbers holds unsigned 64-bit integers")
    try:
        return array("Q", pages)
    except (TypeError, OverflowError, ValueError) as error:
        raise errors.InputError(f"pages is a sequence of page numbers: {error}") from None


def _record(raw: Any) -> Record:
    return Record(
        lsn=raw.lsn,
        kind=_KINDS.get(raw.kind, str(raw.kind)),
        page=raw.page,
        offset=raw.offset,
        length=raw.length,
        source=raw.source,
        byte=raw.byte,
        data=bytes(ffi.buffer(raw.data, raw.data_bytes)) if raw.data_bytes else b"",
    )


def _batches(cursor: Any, error: Any) -> Iterator[Batch]:
    batch = ffi.new("aul_batch_info *")
    record = ffi.new("aul_record_info *")
    while (status := lib.aul_cursor_batch(cursor, batch, error)) == _OK:
        records: list[Record] = []
        while (status := lib.aul_cursor_record(cursor, record, error)) == _OK:
            records.append(_record(record))
        if status != _END:
            raise_error(status, error)
        yield Batch(
            first_lsn=batch.first_lsn,
            lsn=batch.lsn,
            time=time_of(batch.time_ns),
            epoch=batch.epoch,
            kind="control" if batch.kind == lib.AUL_BATCH_CONTROL else "pages",
            note=bytes(ffi.buffer(batch.note, batch.note_bytes)).decode("utf-8", "replace"),
            pages=batch.end_pages,
            bytes=batch.bytes,
            records=tuple(records),
        )
    if status != _END:
        raise_error(status, error)


def crc32c(data: Sequence[int] | bytes, crc: int = 0) -> int:
    """CRC32C of ``data``, continued from ``crc``: the checksum of every structure on disk."""
    with ffi.from_buffer(data) as buffer:
        return int(lib.aul_crc32c(crc, buffer, len(buffer)))
