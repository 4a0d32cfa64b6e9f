"""The floors: `floor.c` compiled when first needed and called through ctypes.

The same writes and syncs as the work asks for, on the same disk, in C and with no engine. ctypes
lets go of the interpreter lock around each call, and the clock is read in C.

For commits that asyncio's tasks await the floor is in Python, as whoever writes a group commit for
the purpose would do it: see `GroupCommit`.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import subprocess
import tempfile
import threading
from array import array
from functools import cache
from pathlib import Path

_SOURCE = Path(__file__).with_name("floor.c")
PIECE_BYTES = 1 << 20
"""Bytes per write of the bulk floor."""


@cache
def _library() -> ctypes.CDLL:
    """Compile floor.c into a directory that is gone when the process ends."""
    directory = tempfile.TemporaryDirectory(prefix="aurolog-floor-")
    target = Path(directory.name) / "floor.so"
    compiler = os.environ.get("CC", "cc").split()
    subprocess.run(
        [*compiler, "-std=gnu11", "-O2", "-fPIC", "-shared", "-o", str(target), str(_SOURCE)],
        check=True,
    )
    library = ctypes.CDLL(str(target))
    directory.cleanup()  # the mapped library stays
    u64, text, out = ctypes.c_uint64, ctypes.c_char_p, ctypes.c_void_p
    library.floor_prepare.argtypes = [text, u64]
    library.floor_commits.argtypes = [text, text, u64, u64, u64, out]
    library.floor_bulk.argtypes = [text, text, u64, u64, u64, out]
    library.floor_reads.argtypes = [text, u64, out, u64, out]
    library.floor_copies.argtypes = [text, u64, out, u64, out]
    return library


def _check(status: int, path: Path) -> None:
    if status:
        raise OSError(status, os.strerror(status), str(path))


def prepare(path: Path, size_bytes: int) -> None:
    """Make a file whose blocks were written and synced before."""
    _check(_library().floor_prepare(os.fsencode(path), size_bytes), path)


def commits(path: Path, data: bytes, commit_bytes: int, count: int) -> array[int]:
    """Latencies (ns) of `count` times: write `commit_bytes` behind the last, then fdatasync."""
    latencies = array("Q", bytes(8 * count))
    address, _ = latencies.buffer_info()
    _check(
        _library().floor_commits(os.fsencode(path), data, len(data), commit_bytes, count, address),
        path,
    )
    return latencies


def bulk(path: Path, data: bytes, total_bytes: int) -> int:
    """Nanoseconds to write a new file of `total_bytes` by 1 MiB pieces and fdatasync it once."""
    elapsed = array("Q", [0])
    status = _library().floor_bulk(
        os.fsencode(path), data, len(data), PIECE_BYTES, total_bytes, elapsed.buffer_info()[0]
    )
    _check(status, path)
    return elapsed[0]


def reads(path: Path, page_bytes: int, pages: array[int]) -> int:
    """Nanoseconds to pread these pages of a file that the operating system has in memory."""
    elapsed = array("Q", [0])
    status = _library().floor_reads(
        os.fsencode(path),
        page_bytes,
        pages.buffer_info()[0],
        len(pages),
        elapsed.buffer_info()[0],
    )
    _check(status, path)
    return elapsed[0]


def copies(data: bytes, page_bytes: int, pages: array[int]) -> int:
    """Nanoseconds to copy these pages out of memory, into a buffer of 256 pages."""
    elapsed = array("Q", [0])
    status = _library().floor_copies(
        data, page_bytes, pages.buffer_info()[0], len(pages), elapsed.buffer_info()[0]
    )
    _check(status, Path("memory"))
    return elapsed[0]


class GroupCommit:
    """Commits of a few bytes for one event loop: a thread writes what has gathered behind the rest,
    into blocks written before, with one write and one fdatasync, and wakes the loop once."""

    def __init__(self, path: Path, size_bytes: int) -> None:
        prepare(path, size_bytes)
        self._file = os.open(path, os.O_WRONLY)
        self._size_bytes = size_bytes
        self._loop = asyncio.get_running_loop()
        self._gathered: list[tuple[bytes, asyncio.Future[None]]] = []
        self._idle = threading.Semaphore(0)
        self._is_idle = True
        self._end = False
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def commit(self, data: bytes) -> asyncio.Future[None]:
        """Durable when the future is done."""
        done: asyncio.Future[None] = self._loop.create_future()
        self._gathered.append((data, done))
        if self._is_idle:
            self._is_idle = False
            self._idle.release()
        return done

    def _run(self) -> None:
        at = 0
        sync = getattr(os, "fdatasync", os.fsync)
        while True:
            if not self._gathered:
                self._is_idle = True
                if not self._gathered:
                    self._idle.acquire()
                if self._end:
                    return
                continue
            taken, self._gathered = self._gathered, []
            written = b"".join([data for data, _ in taken])
            if at + len(written) > self._size_bytes:
                at = 0
            at += os.pwrite(self._file, written, at)
            sync(self._file)
            self._loop.call_soon_threadsafe(self._tell, taken)

    @staticmethod
    def _tell(taken: list[tuple[bytes, asyncio.Future[None]]]) -> None:
        for _, done in taken:
            done.set_result(None)

    def close(self) -> None:
        """After the last commit is done."""
        self._end = True
        self._idle.release()
        self._thread.join()
        os.close(self._file)
