"""The only importer of the native module: handles, buffers, and statuses turned into exceptions.

A ``Store`` owns one native handle. Every call releases the interpreter lock, and a signal handler
or a finalizer may call in between any two steps of a call, in the same thread. So memory that C
writes into belongs to one call, never to a handle or a thread. For the same reason what C hands out
has an owner before it exists: see ``_cell``. Calls that wait come back every ``WAIT_MS``
milliseconds, so that Ctrl-C is served in between.
"""

from __future__ import annotations

import contextlib
import errno
import operator
import os
import sys
import weakref
from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, NoReturn, SupportsIndex

from aurolog import errors
from aurolog._native import ffi, lib
from aurolog.changes import Buffer, WritableBuffer
from aurolog.clock import time_of
from aurolog.loops import in_thread
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

WAIT_MS = 100
DIFF_PAGES = 1024  #: pages of a difference in one crossing
#: more than this is not copied while an event loop waits, cached or not
CACHED_BYTES_MAX = 256 << 10
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
_LOGGED = lib.AUL_DURABILITY_LOGGED

NEWEST = lib.AUL_NEWEST  # in the place of an LSN

_read, _commit_changes, _pin_page = lib.aul_read, lib.aul_commit_changes, lib.aul_pin_page

_new = ffi.new
_ERROR = ffi.typeof("aul_error *")
_BATCH, _RECORD = ffi.typeof("aul_batch_info *"), ffi.typeof("aul_record_info *")
_NUMBER, _BYTES = ffi.typeof("uint64_t *"), ffi.typeof("const uint8_t **")
_KIND_BITS = ffi.typeof("uint32_t *")

#: Makes a place where C notes how a commit went, readable whatever interrupts the call.
new_outcome = partial(ffi.new, ffi.typeof("aul_outcome *"))

#: Makes places for the LSNs of so many commits, readable whatever interrupts the call.
new_lsns = partial(ffi.new, ffi.typeof("uint64_t[]"))
lsns_of = ffi.unpack

#: Errors that no call is using, none of them filled in. Taking one and putting it back are single
#: steps, so neither threads nor signal handlers ever share one; a call that fails keeps its own.
_spare_errors: list[Any] = []


def _take_error() -> Any:
    try:
        return _spare_errors.pop()
    except IndexError:
        return _new(_ERROR)


def _cells(kind: str, release: Any) -> tuple[Any, Any]:
    # min() calls its key with each item of the cell: one step, in which no signal handler runs.
    return ffi.typeof(f"{kind} *[1]"), partial(min, key=release)


_STORE = _cells("aul_store", lib.aul_free)
_TX = _cells("aul_tx", lib.aul_tx_free)
_VIEW = _cells("aul_view", lib.aul_view_close)
_PIN = _cells("aul_pin", lib.aul_pin_release)
_CURSOR = _cells("aul_cursor", lib.aul_cursor_close)
_DIFF = _cells("aul_diff", lib.aul_diff_close)
_VERIFICATION = _cells("aul_verification", lib.aul_verify_close)


def _cell(kind: tuple[Any, Any]) -> Any:
    """A place for what C hands out, to be given as its out-pointer; releases it with its own end.

    The interpreter runs signal handlers as soon as a call returns. What the call made must have an
    owner by then, or Ctrl-C would lose it: a writer's place, or a pinned page, for good.
    """
    return ffi.gc(_new(kind[0]), kind[1])


def _held(pointer: Any, cell: Any) -> Any:
    """The pointer, keeping the cell alive as long as anybody has it.

    The pointer's destructor is a method of the cell that does nothing: it compares.
    """
    return ffi.gc(pointer, cell.__eq__)


def _options(durability: int, run: Any, note: bytes = b"", time_ns: int = 0) -> Any:
    """The native options of a commit."""
    options = ffi.new("aul_commit_options *")
    options.durability = durability
    options.run = run
    options.time_ns = time_ns
    if note:
        options.note = _keep(options, ffi.from_buffer(note))
        options.note_bytes = len(note)
    return options


class RunMark:
    """The run that a transaction's changes are made for: a rewind since makes them a conflict."""

    __slots__ = ("_cell", "_plain")

    def __init__(self, run: int) -> None:
        self._cell = ffi.new("uint64_t *", run)
        #: the options of commits with no note and the system's clock, never changed
        self._plain = {level: _options(level, self._cell) for level in (SYNC, OS, _LOGGED)}

    @property
    def cell(self) -> Any:
        """Where C reads it."""
        return self._cell

    def options(self, durability: int, note: bytes, time_ns: int) -> Any:
        """The native options of a commit; they live as long as this."""
        if not note and not time_ns:
            return self._plain[durability]
        return _options(durability, self._cell, note, time_ns)


#: buffers that native structs point into, for as long as those live
_KEPT: weakref.WeakKeyDictionary[Any, Any] = weakref.WeakKeyDictionary()

_NATIVE_ORDER = "<" if sys.byteorder == "little" else ">"
#: formats that a buffer of page numbers may have, and those of them that know negative numbers
_INTEGERS, _SIGNED = tuple("hHiIlLqQnN"), tuple("hilqn")

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

_RUN_KINDS = {
    0: "first",
    lib.AUL_BRANCH_REWIND: "rewind",
    lib.AUL_BRANCH_CUT: "cut",
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
    lib.AUL_CONFLICT: errors.ConflictError,
    lib.AUL_NAME: errors.RestorePointError,
    lib.AUL_IN_USE: errors.TransactionError,
}

_OS = {
    lib.AUL_ACCESS: errors.AccessError,
    lib.AUL_DISK_FULL: errors.DiskFullError,
    lib.AUL_IO: errors.StorageError,
    lib.AUL_FAILED: errors.StorageError,
}

#: what to do about what the system has refused, in a call on an open volume
_ADVICE = {
    lib.AUL_ACCESS: "{remedy}",
    lib.AUL_DISK_FULL: "nothing was committed: make room and repeat",
    lib.AUL_IO: "{remedy}, then repeat",
    lib.AUL_FAILED: "the volume takes no more writes: close it and open it again",
}
_ADVICE_OPENING = {
    **_ADVICE,
    lib.AUL_DISK_FULL: "make room and open again",
    lib.AUL_IO: "{remedy}, then open again",
}
_ADVICE_CLOSING = {
    **_ADVICE,
    lib.AUL_DISK_FULL: (
        "all that was committed is safe, the volume is closed: make room and open it again"
    ),
    lib.AUL_IO: "the volume is closed: {remedy}, then open it again",
    lib.AUL_FAILED: "the volume is closed: open it again",
}
_REMEDIES = {
    errno.EACCES: "fix the permissions",
    errno.EPERM: "fix the permissions",
    errno.EROFS: "mount the file system for writing",
    errno.EMFILE: "close files or raise the limit",
    errno.ENFILE: "close files or raise the limit",
}
_REMEDY = "look at the disk and at the system's log"

#: what else helps where access is refused, by how the text begins
_WAYS_OUT = {
    "opening the lock file ": ", or open with read_only=True",
    "making ": ", or choose another path",
}


def _text(field: Any) -> str:
    return bytes(ffi.string(field)).decode("utf-8", "replace")


def _whole_path(path: str, file: Any) -> str:
    """The file that an error names, with its directory; the volume's own where it names none.

    A path that has no room in the error is cut there: then the volume has to do.
    """
    name = bytes(ffi.string(file))
    if not name or len(name) == len(file) - 1:
        return path
    directory = "log" if name.endswith(b".log") else ""
    return os.path.join(path, directory, os.fsdecode(name))  # a whole path stays as it is


def _advice(status: int, os_errno: int, text: str, advice: Mapping[int, str]) -> str:
    remedy = _REMEDIES.get(os_errno, _REMEDY)
    if status == lib.AUL_ACCESS:
        remedy += "".join(way for begin, way in _WAYS_OUT.items() if text.startswith(begin))
    return advice[status].format(remedy=remedy)


def raise_error(
    status: int, error: Any, path: str, advice: Mapping[int, str] = _ADVICE
) -> NoReturn:
    """Raises the exception for a status, with the detail that C has given, about the volume at
    ``path``. ``advice`` is what to do where the system has refused something."""
    text = _text(error.text) or f"status {status}"
    place = _whole_path(path, error.file)
    if status in _PLAIN:
        if status == lib.AUL_FORMAT and path not in text:
            text = f"{path}: {text}"
        raise _PLAIN[status](text)
    if status in _OS:
        where = text if place in text else f"{text} ({place})"
        what_to_do = _advice(status, error.os_errno, text, advice)
        raise _OS[status](error.os_errno, f"{where}; {what_to_do}", place)
    if status == lib.AUL_LSN:
        if error.lsn > error.limit:
            text += ": ask for that one or a lower one"
        raise errors.LsnError(text, error.lsn, error.limit)
    if status == lib.AUL_LOCKED:
        raise errors.VolumeLockedError(text, error.pid, _text(error.host), time_of(error.since_ns))
    if status == lib.AUL_UNKNOWN:
        if "reopen" not in text:
            text += f": reopen the volume and look whether LSN {error.lsn} is there"
        raise errors.CommitOutcomeUnknown(f"{text} ({path})", error.lsn)
    if status == lib.AUL_CORRUPT:
        text = text if place in text else f"{text} ({place})"
        raise errors.CorruptionError(text, _text(error.file), error.offset, error.lsn)
    if status == lib.AUL_NO_MEMORY:
        raise MemoryError(text)
    raise errors.InternalError(f"{text} (status {status}, {path})")


def bad_number(what: str, value: object) -> errors.InputError:
    """The error for an argument that is no unsigned 64-bit number."""
    return errors.InputError(f"{what} is a whole number from 0 on, not {value!r:.60}")


def whole_number(what: str, value: SupportsIndex) -> int:
    """An argument as an unsigned 64-bit number, numpy's integers too."""
    try:
        number = operator.index(value)
    except TypeError:
        raise bad_number(what, value) from None
    if not 0 <= number < 1 << 64:
        raise bad_number(what, value)
    return number


class View:
    """A native view: the volume as of one commit. Freed with the last reference to its handle."""

    __slots__ = ("end_pages", "handle", "lsn", "time_ns")

    def __init__(self, cell: Any) -> None:
        info = ffi.new("aul_commit_info *")
        self.handle = _held(cell[0], cell)
        lib.aul_view_describe(self.handle, info)
        self.lsn: int = info.lsn
        self.time_ns: int = info.time_ns
        self.end_pages: int = info.end_pages


class NativeTransaction:
    """A native transaction: it has the writer's place until it ends, at the latest with its last
    reference. Any thread's, but one call at a time: C refuses another."""

    __slots__ = ("_handle", "_store", "run")

    def __init__(self, store: Store, run: RunMark, cell: Any) -> None:
        self._store = store
        self.run = run
        self._handle = _held(cell[0], cell)  # a call keeps it, should another thread free it

    def _require(self) -> Any:
        """The handle, unless another thread has freed it."""
        handle = self._handle
        if handle is None:
            raise errors.TransactionError("the transaction was ended meanwhile")
        return handle

    def _refused(self, page: object) -> NoReturn:
        """Raises for an argument that cffi refused."""
        self._require()
        raise bad_number("a page", page) from None

    def apply(self, changes: Any) -> None:
        """All of the packed changes, or none."""
        # The handle is in no variable: the traceback of an error would keep the writer's place.
        error = _take_error()
        if type(changes) is bytes:
            status = lib.aul_tx_apply(self._require(), changes, len(changes), error)
        else:
            with ffi.from_buffer(changes) as buffer:
                status = lib.aul_tx_apply(self._require(), buffer, len(buffer), error)
        if status:
            raise_error(status, error, self._store.path)
        _spare_errors.append(error)

    def put(self, page: SupportsIndex, image: bytes) -> None:
        """A whole page, of which the difference is logged when that is smaller."""
        try:
            error = _spare_errors.pop()
        except IndexError:
            error = _new(_ERROR)
        try:
            status = lib.aul_tx_put(self._handle, page, image, error)
        except (TypeError, OverflowError):
            self._refused(page)
        if status:
            raise_error(status, error, self._store.path)
        _spare_errors.append(error)

    def read(self, page: SupportsIndex) -> bytes:
        """The page under the transaction's own changes."""
        try:
            error = _spare_errors.pop()
        except IndexError:
            error = _new(_ERROR)
        out = b"\0" * self._store.page_size
        try:
            status = lib.aul_tx_read(self._handle, page, out, error)
        except (TypeError, OverflowError):
            self._refused(page)
        if status:
            raise_error(status, error, self._store.path)
        _spare_errors.append(error)
        return out

    def end_pages(self) -> int:
        """The end of page space that the transaction sees."""
        error = _take_error()
        number = _new(_NUMBER)
        status = lib.aul_tx_end_pages(self._require(), number, error)
        if status:
            raise_error(status, error, self._store.path)
        _spare_errors.append(error)
        return int(number[0])

    def log(self, note: bytes, time_ns: int, outcome: Any, wait_ms: int) -> bool:
        """Logs the changes; their durability is to be waited for later.

        Returns False when too much is in flight; it may then be called again.
        """
        options = self.run.options(_LOGGED, note, time_ns)
        error = _take_error()
        status = lib.aul_tx_commit(self._require(), options, wait_ms, outcome, error)
        if status not in (_OK, _PENDING, _BUSY):
            raise_error(status, error, self._store.path)
        _spare_errors.append(error)
        return bool(status != _BUSY)

    def commit(self, durability: int, note: bytes, time_ns: int, outcome: Any) -> None:
        """Logs the changes and waits as the durability asks."""
        store = self._store
        options = self.run.options(durability, note, time_ns)
        error = _take_error()
        status = _BUSY  # too much is in flight
        while status == _BUSY:
            status = lib.aul_tx_commit(self._require(), options, WAIT_MS, outcome, error)
        if status:
            store.finish_commit(status, outcome.lsn, durability, error)
        _spare_errors.append(error)

    def free(self) -> None:
        """Ends the transaction; what was not committed is rolled back."""
        self._handle = None


class Store:
    """One native handle of a volume."""

    __slots__ = (
        "handle",
        "page_size",
        "pages_max",
        "path",
        "recovery",
        "retention_ns",
        "run",
        "volume_id",
    )

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
        self.path = path
        error = _new(_ERROR)
        cell = _cell(_STORE)
        options = ffi.new("aul_options *")
        options.page_size = page_size
        options.create = create
        options.read_only = read_only
        options.cache_bytes = cache_bytes
        options.retention_ns = retention_ns
        try:
            status = lib.aul_open(os.fsencode(path), options, cell, error)
            if status:
                raise_error(status, error, path, _ADVICE_OPENING)
            self.handle = _held(cell[0], cell)
        except BaseException:  # whose traceback would keep the lock that an interrupt came with
            ffi.release(cell)
            raise
        info = ffi.new("aul_store_info *")
        lib.aul_store_describe(self.handle, info)
        self.page_size: int = info.page_size
        self.pages_max: int = info.pages_max
        self.volume_id = bytes(ffi.buffer(info.volume_id))
        self.retention_ns: int = info.retention_ns
        #: of the newest commits; made anew after a rewind
        self.run = RunMark(lib.aul_newest_run(self.handle))
        self.recovery = Recovery(
            clean=bool(info.was_clean),
            last_lsn=info.last_lsn,
            cut_lsn=info.cut_lsn or None,
            cut_bytes=info.cut_bytes,
            resecured_records=info.resecured_records,
            scanned_bytes=info.scanned_bytes,
            seconds=info.open_ns / 1e9,
        )

    def close(self) -> None:
        """Closes cleanly; harmless a second time."""
        error = _new(_ERROR)
        status = lib.aul_close(self.handle, error)
        if status:
            raise_error(status, error, self.path, _ADVICE_CLOSING)

    def check_open(self, *, for_writing: bool) -> None:
        """Raises when the handle is closed or forked, or is asked to write and may not."""
        error = _new(_ERROR)
        status = lib.aul_check(self.handle, for_writing, error)
        if status:
            raise_error(status, error, self.path)

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
        number = _new(_NUMBER)
        if lib.aul_end_pages(self.handle, number, NULL):  # asked again, it says why
            error = _new(_ERROR)
            status = lib.aul_end_pages(self.handle, number, error)
            if status:
                raise_error(status, error, self.path)
        return int(number[0])

    def open_view(self, lsn: SupportsIndex) -> View:
        """A view of the last commit at or below the LSN."""
        error = _new(_ERROR)
        cell = _cell(_VIEW)
        status = lib.aul_view_open(self.handle, whole_number("an LSN", lsn), cell, error)
        if status:
            raise_error(status, error, self.path)
        return View(cell)

    def is_cached(self, page: int) -> bool:
        """Whether reading the page would ask neither the disk nor the system."""
        return not lib.aul_read_cached(
            self.handle, NULL, _new(_NUMBER, page), 1, _uncleared("uint8_t[]", self.page_size), NULL
        )

    def versions(self, page: SupportsIndex) -> list[Version]:
        """The commits that changed the page, oldest first."""
        error = _new(_ERROR)
        number = whole_number("a page", page)
        count = ffi.new("size_t *")
        capacity = 64
        while True:
            found = ffi.new("aul_commit_info[]", capacity)
            status = lib.aul_versions(self.handle, NULL, number, found, capacity, count, error)
            if status:
                raise_error(status, error, self.path)
            total = count[0]
            if total <= capacity:
                return [
                    Version(found[i].lsn, time_of(found[i].time_ns)) for i in reversed(range(total))
                ]
            capacity = total

    def lsn_at(self, time_ns: int) -> tuple[tuple[int, int], tuple[int, int]]:
        """LSN and time of the last commit at or before the time, in the order of the log, and of
        the volume's first commit; LSN 0 where there is none."""
        error = _new(_ERROR)
        infos = ffi.new("aul_commit_info[2]")
        status = lib.aul_lsn_at(self.handle, time_ns, infos, infos + 1, error)
        if status:
            raise_error(status, error, self.path)
        found, first = ((info.lsn, info.time_ns) for info in infos)
        return found, first

    def diff(self, a: View, b: View | None) -> Iterator[int]:
        """Pages that may differ between two views, ascending; without ``b`` between one and the
        visible LSN of now. The views may be closed meanwhile."""
        error = _new(_ERROR)
        cell = _cell(_DIFF)
        status = lib.aul_diff_open(self.handle, a.handle, b.handle if b else NULL, cell, error)
        if status:
            raise_error(status, error, self.path)
        return _pages_of(_held(cell[0], cell), self.path)

    # Writing

    def commit_changes(
        self, changes: bytes, run: RunMark, durability: int, note: bytes, time_ns: int, outcome: Any
    ) -> None:
        """Begins, applies and commits in one crossing.

        Waits for the writer's place as long as it takes.
        """
        options = run.options(durability, note, time_ns)
        try:
            error = _spare_errors.pop()
        except IndexError:
            error = _new(_ERROR)
        status = _BUSY
        while status == _BUSY:
            status = _commit_changes(
                self.handle, changes, len(changes), options, WAIT_MS, outcome, error
            )
        if status:
            self.finish_commit(status, outcome.lsn, durability, error)
        _spare_errors.append(error)

    def log_changes(
        self, changes: bytes, run: RunMark, note: bytes, time_ns: int, outcome: Any, wait_ms: int
    ) -> bool:
        """Logs a commit, whose durability is to be waited for later.

        Returns False when the writer's place was not to be had in ``wait_ms`` milliseconds.
        """
        options = run.options(_LOGGED, note, time_ns)
        error = _new(_ERROR)
        status = _commit_changes(
            self.handle, changes, len(changes), options, wait_ms, outcome, error
        )
        if status not in (_OK, _PENDING, _BUSY):
            self._note_run(status)
            raise_error(status, error, self.path)
        return bool(status != _BUSY)

    def log_commits(
        self, commits: Sequence[bytes], run: RunMark, note: bytes, time_ns: int, lsns: Any
    ) -> bool:
        """Logs many commits in one crossing, whose durability is to be waited for later, until one
        cannot be logged. ``lsns``, of ``new_lsns``, gets the LSN of each.

        Returns False when the writer's place was not to be had.
        """
        options = run.options(_LOGGED, note, time_ns)
        error = _new(_ERROR)
        changes, sizes = b"".join(commits), array("Q", map(len, commits))
        with ffi.from_buffer("uint64_t[]", sizes) as bytes_each:
            status = lib.aul_log_commits(
                self.handle, changes, bytes_each, len(sizes), options, lsns, error
            )
        if status not in (_OK, _BUSY):
            self._note_run(status)
            raise_error(status, error, self.path)
        return bool(status == _OK)

    def wait(self, lsn: int, durability: int) -> None:
        """Waits until the commit is durable, or visible."""
        self.finish_commit(_PENDING, lsn, durability, _new(_ERROR))

    def finish_commit(self, status: int, lsn: int, durability: int, error: Any) -> None:
        """Waits for what is logged and not yet durable."""
        while status == _PENDING:
            status = lib.aul_wait(self.handle, lsn, durability, WAIT_MS, error)
        if status:
            self._note_run(status)
            raise_error(status, error, self.path)

    def _note_run(self, status: int = _OK) -> None:
        """Transactions made from now on are for the newest run. An interrupt may have come between
        a rewind and this, so a conflict asks for it too."""
        if status in (_OK, lib.AUL_CONFLICT):
            self.run = RunMark(lib.aul_newest_run(self.handle))

    def begin(self, run: RunMark, wait_ms: int) -> NativeTransaction | None:
        """Takes the writer's place; None when it was not to be had in ``wait_ms`` milliseconds."""
        error = _new(_ERROR)
        cell = _cell(_TX)
        try:
            status = lib.aul_tx_begin(self.handle, run.cell, wait_ms, cell, error)
            if status == _BUSY:
                return None
            if status:
                self._note_run(status)
                raise_error(status, error, self.path)
            return NativeTransaction(self, run, cell)
        except BaseException:  # whose traceback would keep the place that an interrupt came with
            ffi.release(cell)
            raise

    def sync(self) -> int:
        """Makes all that is committed durable; returns the durable LSN."""
        error = _new(_ERROR)
        number = _new(_NUMBER)
        status = _PENDING
        while status == _PENDING:
            status = lib.aul_sync(self.handle, WAIT_MS, number, error)
        if status:
            raise_error(status, error, self.path)
        return int(number[0])

    # Going to another moment

    def _log_control(
        self, call: Callable[..., int], why_not_wait: Callable[[], str | None], outcome: Any
    ) -> None:
        """Has the volume do what takes the writer's place and is durable in the end; ``call`` is
        given the milliseconds to wait and where an error goes; ``why_not_wait`` says why it must
        not wait for another's."""
        error = _new(_ERROR)
        status = call(0, outcome, error)
        refusal = why_not_wait() if status == _BUSY else None
        if refusal is not None:
            raise errors.TransactionError(refusal)
        while status == _BUSY:
            status = call(WAIT_MS, outcome, error)
        if not status:
            return
        try:
            self.finish_commit(status, outcome.lsn, SYNC, error)
        except errors.ClosedError as closed:
            if not outcome.logged:
                raise
            raise errors.CommitOutcomeUnknown(
                f"{closed}; LSN {outcome.lsn} was logged before, look whether it is there",
                outcome.lsn,
            ) from None

    def backtrack(self, lsn: int, note: bytes, time_ns: int) -> Rewind:
        """Goes on from the last commit at or below the LSN."""
        out = ffi.new("aul_rewind_info *")
        options = _options(SYNC, NULL, note, time_ns)
        try:
            self._log_control(
                lambda wait_ms, outcome, error: lib.aul_backtrack(
                    self.handle, lsn, False, options, wait_ms, out, outcome, error
                ),
                lambda: None,  # it takes the place away, and waits for calls under way only
                new_outcome(),
            )
        finally:
            self._note_run()
        return _rewind(out, None)

    def preview_backtrack(self, lsn: int) -> Rewind:
        """What that would do."""
        error = _new(_ERROR)
        out = ffi.new("aul_rewind_info *")
        status = lib.aul_backtrack(self.handle, lsn, True, NULL, 0, out, NULL, error)
        if status:
            raise_error(status, error, self.path)
        return _rewind(out, int(out.pages))

    def make_restore_point(
        self, name: bytes, lsn: int, time_ns: int, why_not_wait: Callable[[], str | None]
    ) -> RestorePoint:
        """Names the last commit at or below the LSN, or ``NEWEST``."""
        out = ffi.new("aul_restore_point_info *")
        options = _options(SYNC, NULL, time_ns=time_ns)
        self._log_control(
            lambda wait_ms, outcome, error: lib.aul_restore_point_make(
                self.handle, name, len(name), lsn, options, wait_ms, out, outcome, error
            ),
            why_not_wait,
            new_outcome(),
        )
        return _restore_point(out)

    def delete_restore_point(
        self, name: bytes, time_ns: int, why_not_wait: Callable[[], str | None]
    ) -> None:
        """Deletes it."""
        options = _options(SYNC, NULL, time_ns=time_ns)
        self._log_control(
            lambda wait_ms, outcome, error: lib.aul_restore_point_delete(
                self.handle, name, len(name), options, wait_ms, outcome, error
            ),
            why_not_wait,
            new_outcome(),
        )

    def _listed(self, kind: str, call: Callable[..., int]) -> Iterator[Any]:
        """What C lists into an array whose size it tells. Each is good until the next, for it lies
        in that array."""
        error = _new(_ERROR)
        count = ffi.new("size_t *")
        capacity = 64
        while True:
            found = ffi.new(f"{kind}[]", capacity)
            status = call(self.handle, found, capacity, count, error)
            if status:
                raise_error(status, error, self.path)
            total = count[0]
            if total <= capacity:
                break
            capacity = total
        for i in range(total):
            yield found[i]

    def restore_point(self, name: str) -> RestorePoint | None:
        """The one of that name."""
        out, error = ffi.new("aul_restore_point_info *"), _new(_ERROR)
        octets = name.encode("utf-8", "replace")
        status = lib.aul_restore_point_find(self.handle, octets, len(octets), out, error)
        if status == lib.AUL_NAME:
            return None
        if status:
            raise_error(status, error, self.path)
        return _restore_point(out)

    def restore_points(self) -> list[RestorePoint]:
        """Those that there are, in the order in which they were made."""
        found = self._listed("aul_restore_point_info", lib.aul_restore_points)
        return [_restore_point(info) for info in found]

    def runs(self) -> list[Run]:
        """The runs, oldest first."""
        return [
            Run(
                lsn=info.lsn,
                kind=_RUN_KINDS[info.kind],
                parent_lsn=info.parent_lsn if info.kind else None,
                time=time_of(info.time_ns) if info.kind else None,
                epoch=info.epoch,
                reason=_text(info.reason),
                last_lsn=info.last_lsn,
                last_time=time_of(info.last_time_ns) if info.last_lsn else None,
                commits=info.commits,
                current=bool(info.current),
            )
            for info in self._listed("aul_run_info", lib.aul_runs)
        ]

    # Looking

    def log(self, first: SupportsIndex, last: SupportsIndex) -> Iterator[Batch]:
        """The batches that overlap [first, last]."""
        error = _new(_ERROR)
        cell = _cell(_CURSOR)
        start, end = whole_number("an LSN", first), whole_number("an LSN", last)
        status = lib.aul_cursor_open(self.handle, start, end, cell, error)
        if status:
            raise_error(status, error, self.path)
        return _batches(_held(cell[0], cell), self.path)

    # Following

    def refresh(self) -> int:
        """Moves a read-only handle on to the newest durable LSN; returns the durable LSN."""
        error = _new(_ERROR)
        number = _new(_NUMBER)
        status = _BUSY
        while status == _BUSY:
            status = lib.aul_refresh(self.handle, WAIT_MS, number, error)
        if status:
            raise_error(status, error, self.path)
        return int(number[0])

    def wait_above(self, lsn: int, wait_ms: int) -> bool:
        """Waits until the durable LSN is above ``lsn``: whether it is, ``wait_ms`` later at the
        latest."""
        error = _new(_ERROR)
        status = lib.aul_follow_wait(self.handle, lsn, wait_ms, _new(_NUMBER), error)
        if status not in (_OK, _PENDING):
            raise_error(status, error, self.path)
        return bool(status == _OK)

    def wake(self) -> None:
        """Has everybody come back who is in ``wait_above``."""
        lib.aul_follow_wake(self.handle)

    def verify(self, progress: Callable[[int, int], object] | None) -> VerifyReport:
        """Checks every byte, a segment at a time."""
        error = _new(_ERROR)
        cell = _cell(_VERIFICATION)
        report = ffi.new("aul_verify_report *")
        status = lib.aul_verify_open(self.handle, cell, error)
        if status:
            raise_error(status, error, self.path)
        verification = _held(cell[0], cell)
        problems: list[Problem] = []
        status = _OK
        while status == _OK:
            status = lib.aul_verify_step(verification, report, error)
            if status not in (_OK, _END):
                raise_error(status, error, self.path)
            while lib.aul_verify_problem(verification, error) == _OK:
                problems.append(
                    Problem(_text(error.file), error.offset, error.lsn, _text(error.text))
                )
            if progress and status == _OK:
                progress(report.bytes, report.total_bytes)
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
        error = _new(_ERROR)
        out = ffi.new("aul_stats *")
        status = lib.aul_store_stats(self.handle, out, error)
        if status:
            raise_error(status, error, self.path)
        return Stats(**{name: getattr(out, name) for name in Stats.__slots__})


class Pages:
    """Reading pages: of a volume at its visible LSN, or of a view."""

    __slots__ = ("_handle", "_page_size", "_path", "_view")

    __iter__ = None  # pages go on for ever, as zeros
    __reversed__ = None

    def __init__(self, store: Store, view: Any) -> None:
        self._handle = store.handle
        self._path = store.path
        self._view = view
        self._page_size = store.page_size

    @property
    def page_size(self) -> int:
        """Bytes per page."""
        return self._page_size

    def _number(self, page: Any) -> int:
        """The page as a number, when cffi refused it or the view: raises unless it is one."""
        if self._view is None:
            raise errors.ClosedError("the view is closed: ask the volume for a new one")
        if isinstance(page, slice):
            raise errors.InputError(
                f"one page at a time, not {page!r:.60}: read_many(range(start, stop)) reads many"
            )
        return whole_number("a page", page)

    def _read_again(self, page: Any, out: Any) -> None:
        """Reads what could not be read; asked again, it says why, unless it now can be."""
        error = _new(_ERROR)
        status = _read(self._handle, self._view, self._number(page), out, error)
        if status:
            raise_error(status, error, self._path)

    def __getitem__(self, page: SupportsIndex) -> bytes:
        """The whole page, ``page_size`` bytes; a page never written is zeros.

        Raises ``InputError`` for a page outside the volume, ``CorruptionError`` for damage,
        ``ClosedError``.
        """
        # C fills a bytes object that nobody has seen yet: one copy less than through a buffer.
        out = b"\0" * self._page_size
        try:
            status = _read(self._handle, self._view, page, out, NULL)
        except (TypeError, OverflowError):
            status = _read(self._handle, self._view, self._number(page), out, NULL)
        if status:
            self._read_again(page, out)
        return out

    async def read_async(self, page: SupportsIndex) -> bytes:
        """Like ``[page]``, for an event loop, which goes on where the page has to be read from the
        disk. A page that is cached is here at once."""
        if self._view is None:
            self._number(page)
        out = b"\0" * self._page_size
        number = _new(_NUMBER, whole_number("a page", page))
        if lib.aul_read_cached(self._handle, self._view, number, 1, out, NULL):
            return await in_thread(self.__getitem__, number[0])
        return out

    def read_into(self, page: SupportsIndex, buffer: WritableBuffer) -> None:
        """The page into a writable buffer of exactly ``page_size`` bytes."""
        with writable(buffer, self._page_size) as target:
            try:
                status = _read(self._handle, self._view, page, target, NULL)
            except (TypeError, OverflowError):
                status = _read(self._handle, self._view, self._number(page), target, NULL)
            if status:
                self._read_again(page, target)

    def read_many(
        self, pages: Buffer | Sequence[SupportsIndex], out: WritableBuffer | None = None
    ) -> memoryview:
        """Many pages in one crossing, back to back, all as of one LSN.

        ``pages`` is a sequence of page numbers, or a buffer of integers, which costs nothing to
        read when they are unsigned, of 64 bits and contiguous; ``out`` a writable buffer of
        ``len(pages) * page_size`` bytes, made when it is ``None``.
        """
        if self._view is None:
            self._number(0)
        numbers = page_numbers(pages)
        count = len(numbers)
        size = count * self._page_size
        target: Any = ffi.buffer(_uncleared("uint8_t[]", size)) if out is None else out
        error = _take_error()
        with ffi.from_buffer("uint64_t[]", numbers) as native, writable(target, size) as to:
            status = lib.aul_read_many(self._handle, self._view, native, count, to, error)
        if status:
            refuse_negative(pages, numbers)
            raise_error(status, error, self._path)
        _spare_errors.append(error)
        return memoryview(target).cast("B")

    async def read_many_async(
        self, pages: Buffer | Sequence[SupportsIndex], out: WritableBuffer | None = None
    ) -> memoryview:
        """Like ``read_many``, for an event loop, which goes on meanwhile. A few pages that are all
        cached are here at once."""
        if self._view is None:
            self._number(0)
        numbers = page_numbers(pages)
        count = len(numbers)
        size = count * self._page_size
        if size <= CACHED_BYTES_MAX:
            target: Any = ffi.buffer(_uncleared("uint8_t[]", size)) if out is None else out
            with ffi.from_buffer("uint64_t[]", numbers) as native, writable(target, size) as to:
                missed = lib.aul_read_cached(self._handle, self._view, native, count, to, NULL)
            if not missed:
                return memoryview(target).cast("B")
        return await in_thread(self.read_many, pages, out)

    def view_page(self, page: SupportsIndex) -> memoryview:
        """A zero-copy, read-only memoryview that pins its page until the last export dies.

        Raises ``CacheFullError`` when every cached page is pinned.
        """
        data = _new(_BYTES)
        cell = _cell(_PIN)
        try:
            status = _pin_page(self._handle, self._view, page, data, cell, NULL)
        except (TypeError, OverflowError):
            page = self._number(page)
            status = _pin_page(self._handle, self._view, page, data, cell, NULL)
        if status:  # asked again, it says why
            error = _new(_ERROR)
            status = _pin_page(self._handle, self._view, page, data, cell, error)
            if status:
                raise_error(status, error, self._path)
        return memoryview(ffi.buffer(_held(data[0], cell), self._page_size)).toreadonly()

    def __reduce_ex__(self, protocol: SupportsIndex) -> NoReturn:
        raise TypeError(
            f"a {type(self).__name__} is a handle of this process and can be neither copied nor "
            "pickled: open the volume again where it is needed"
        )

    def __bool__(self) -> bool:
        return True


def _keep(owner: Any, buffer: Any) -> Any:
    """Ties a buffer's life to the struct that points to it."""
    _KEPT[owner] = buffer
    return buffer


def check_changes(page_size: int, changes: Any) -> bool:
    """Checks packed changes without a volume; raises ``InputError`` for the first bad one.

    Whether there are puts among them, for which pages have to be read.
    """
    error = _new(_ERROR)
    kinds = _new(_KIND_BITS)
    with ffi.from_buffer(changes) as buffer:
        status = lib.aul_changes_check(page_size, buffer, len(buffer), kinds, error)
    if status:
        raise errors.InputError(
            f"{_text(error.text)} (in the change at byte {error.offset} of the buffer)"
        )
    return bool(kinds[0] >> lib.AUL_PUT & 1)


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
    if isinstance(pages, array) and pages.typecode == "Q":
        return pages
    view: Any
    try:
        view = memoryview(pages)
    except TypeError:
        view = None
    except (ValueError, BufferError) as error:
        raise errors.InputError(f"the buffer of page numbers cannot be read: {error}") from None
    try:
        if view is None:
            return array("Q", pages)
        kind = view.format.lstrip("@" + _NATIVE_ORDER)
        if kind not in _INTEGERS or (view.ndim != 1 and not view.c_contiguous):
            raise errors.InputError(
                "a buffer of page numbers holds integers wider than a byte in this machine's byte "
                f"order, not format {view.format!r}"
            )
        if view.c_contiguous:
            view = view.cast("B").cast(kind) if view.nbytes else memoryview(array("Q"))
        if view.itemsize == 8 and view.c_contiguous:
            return view.cast("B").cast("Q")
        return array("Q", view.tolist())
    except (TypeError, OverflowError, ValueError, NotImplementedError) as error:
        if isinstance(error, errors.InputError):
            raise
        raise errors.InputError(f"pages is a sequence of page numbers from 0 on: {error}") from None


def refuse_negative(pages: Any, numbers: Any) -> None:
    """Raises for a negative number in a buffer that was read as unsigned: C calls it a huge one."""
    if isinstance(numbers, memoryview) and memoryview(pages).format.endswith(_SIGNED):
        lowest = min(numbers.cast("B").cast("q"))
        if lowest < 0:
            raise bad_number("a page", lowest)


def _rewind(info: Any, pages: int | None) -> Rewind:
    return Rewind(
        lsn=info.lsn or None,
        from_lsn=info.from_lsn,
        to_lsn=info.to_lsn,
        to_time=time_of(info.to_time_ns) if info.to_lsn else None,
        commits=info.commits,
        regained=info.regained,
        pages=pages,
    )


def _restore_point(info: Any) -> RestorePoint:
    return RestorePoint(
        name=_text(info.name),
        lsn=info.lsn,
        time=time_of(info.time_ns) if info.lsn else None,
        made=time_of(info.made_ns),
    )


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


def _batches(cursor: Any, path: str) -> Iterator[Batch]:
    error = _new(_ERROR)
    batch = ffi.new("aul_batch_info *")
    record = ffi.new("aul_record_info *")
    while (status := lib.aul_cursor_batch(cursor, batch, error)) == _OK:
        records: list[Record] = []
        while (status := lib.aul_cursor_record(cursor, record, error)) == _OK:
            records.append(_record(record))
        if status != _END:
            raise_error(status, error, path)
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
        raise_error(status, error, path)


_BRANCH_KIND_AT = 32  #: where the record of a branch point says which one it is


class Tail:
    """The durable commits of the log, in its order, those to come too.

    It keeps a cursor from one call to the next; an interrupt costs no more than that.
    """

    __slots__ = ("_idle", "_store")

    def __init__(self, store: Store, after: int) -> None:
        self._store = store
        #: a cursor that no call is using, and the LSN that it is behind; taking it is a single step
        self._idle: list[tuple[int, Any]] = [(after, self._open(after))]

    def _cursor(self, after: int) -> Any:
        while self._idle:
            with contextlib.suppress(IndexError):  # another call has taken it
                lsn, cursor = self._idle.pop()
                if lsn == after:
                    return cursor
        return self._open(after)

    def _open(self, after: int) -> Any:
        error = _new(_ERROR)
        cell = _cell(_CURSOR)
        status = lib.aul_cursor_follow(self._store.handle, after, cell, error)
        if status:
            raise_error(status, error, self._store.path)
        return _held(cell[0], cell)

    def next(self, after: int) -> Commit | None:
        """The first durable commit behind the LSN; ``None``: there is none for now."""
        cursor = self._cursor(after)
        error = _new(_ERROR)
        batch = _new(_BATCH)
        status = lib.aul_cursor_batch(cursor, batch, error)
        if status == _END:
            self._idle.append((after, cursor))
            return None
        if status:
            raise_error(status, error, self._store.path)
        kind, pages = self._changes(cursor, batch)
        commit = Commit(
            lsn=batch.lsn,
            time=time_of(batch.time_ns),
            kind=kind,
            note=bytes(ffi.buffer(batch.note, batch.note_bytes)).decode("utf-8", "replace"),
            pages=pages,
            page_space=batch.end_pages,
        )
        self._idle.append((commit.lsn, cursor))
        return commit

    def _changes(self, cursor: Any, batch: Any) -> tuple[str, array[int]]:
        """What kind of commit it is, and the pages that it changed."""
        if batch.kind != lib.AUL_BATCH_CONTROL:
            return "pages", self._pages(cursor, int(batch.records))
        error = _new(_ERROR)
        record = _new(_RECORD)
        status = lib.aul_cursor_record(cursor, record, error)
        if status:
            raise_error(status, error, self._store.path)
        kind = _KINDS[record.kind]
        if record.kind == lib.AUL_BRANCH_POINT:
            kind = _RUN_KINDS[record.data[_BRANCH_KIND_AT]]
        if kind != "rewind":
            return kind, array("Q")
        before, after = (self._store.open_view(lsn) for lsn in (batch.lsn - 1, batch.lsn))
        return kind, array("Q", self._store.diff(before, after))

    def _pages(self, cursor: Any, records: int) -> array[int]:
        """The pages that a batch changed."""
        error = _new(_ERROR)
        count = ffi.new("size_t *")
        capacity = min(records, DIFF_PAGES)
        while True:
            pages = array("Q", bytes(8 * capacity))
            with ffi.from_buffer("uint64_t[]", pages) as native:
                status = lib.aul_cursor_pages(cursor, native, capacity, count, error)
            if status:
                raise_error(status, error, self._store.path)
            if count[0] <= capacity:
                del pages[count[0] :]
                return pages
            capacity = count[0]


def _pages_of(diff: Any, path: str) -> Iterator[int]:
    error = _new(_ERROR)
    pages = ffi.new("uint64_t[]", DIFF_PAGES)
    count = ffi.new("size_t *")
    while (status := lib.aul_diff_next(diff, pages, DIFF_PAGES, count, error)) == _OK:
        yield from ffi.unpack(pages, count[0])
    if status != _END:
        raise_error(status, error, path)


def crc32c(data: Sequence[int] | bytes, crc: int = 0) -> int:
    """CRC32C of ``data``, continued from ``crc``: the checksum of every structure on disk."""
    with ffi.from_buffer(data) as buffer:
        return int(lib.aul_crc32c(crc, buffer, len(buffer)))
