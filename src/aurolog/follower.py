"""Following a volume: its commits, one by one, as they become durable.

A follower is an iterator and an async iterator. The waiting is done in C: iterated in a thread it
waits there, in slices that let signals in; iterated in an event loop, a thread of the follower's
waits and tells the loop once for all commits that it found. The thread runs ahead of the loop by a
bounded number of commits and then waits for it, so a slow consumer costs no memory.
"""

from __future__ import annotations

import contextlib
import math
import threading
import time
from collections import deque
from typing import TYPE_CHECKING

from aurolog import _core
from aurolog.errors import ClosedError, InputError

if TYPE_CHECKING:
    import asyncio  # at run time only for those who use it: it takes long to import
    from types import TracebackType

    from aurolog.values import Commit

__all__ = ["Follower"]

AHEAD_COMMITS_MAX = 256
AHEAD_PAGES_MAX = 1 << 20


def _seconds(timeout: float | None) -> float:
    """A timeout as a number; none is an endless one."""
    if timeout is None:
        return math.inf
    try:
        seconds = float(timeout)
    except (TypeError, ValueError):
        seconds = math.nan
    if not seconds >= 0:
        raise InputError(f"timeout is a number of seconds from 0 on, not {timeout!r:.60}")
    return seconds


class _Source:
    """Where the commits come from. Knows neither the follower nor the volume."""

    def __init__(self, store: _core.Store, after: int) -> None:
        self._store = store
        self._tail = _core.Tail(store, after)
        #: of the last commit that was found: what an interrupt lost is found again
        self.lsn = after
        self._turn = threading.RLock()  # a signal handler may ask for the next one, too
        self.closing = False

    def close(self) -> None:
        """Whoever waits comes back."""
        self.closing = True
        self._store.wake()

    def check_open(self) -> None:
        """Raises when the volume is closed, or the parent process's."""
        self._store.check_open(for_writing=False)

    def take(self) -> Commit | None:
        """The next commit, without waiting."""
        with self._turn:
            commit = self._tail.next(self.lsn)
            if commit is not None:
                self.lsn = commit.lsn
            return commit

    def refresh(self) -> None:
        """Has what is there found without waiting."""
        self._store.refresh()

    def wait(self, seconds: float = math.inf) -> Commit | None:
        """The next commit, waited for; ``None``: there is none in time, or it is closed."""
        end = time.monotonic() + seconds
        with self._turn:
            while not self.closing:
                durable = self._store.durable_lsn  # before the look: what comes later wakes us
                commit = self._tail.next(self.lsn)
                if commit is not None:
                    self.lsn = commit.lsn
                    return commit
                left = max(0.0, min((end - time.monotonic()) * 1000, _core.WAIT_MS))
                moved = self._store.wait_above(durable, math.ceil(left))
                if not moved and time.monotonic() >= end:
                    break
        return None


class _Worker:
    """The thread that waits for event loops, and what it has found for them."""

    def __init__(self, source: _Source, timed: bool) -> None:
        self._source = source
        self._timed = timed
        self.changed = threading.Condition(threading.RLock())
        self.found: deque[Commit] = deque()
        self.found_pages = 0
        self.waiters: list[asyncio.Future[None]] = []
        #: it has found what there is, and waits for more
        self.idle = False
        self.over = False
        self.error: BaseException | None = None

    def run(self) -> None:
        try:
            self._source.refresh()
            while self._wait_for_room():
                while self._has_room() and (commit := self._source.take()) is not None:
                    self._keep(commit)
                self._tell()
                if not self._has_room():
                    continue
                self.idle = True
                if self._timed:
                    self._tell()  # their time counts from now on
                found = self._source.wait()
                self.idle = False
                if found is None:
                    break
                self._keep(found)
        except BaseException as error:  # noqa: BLE001 - it is raised where a commit is awaited
            self.error = error
        with self.changed:
            self.over = True
        self._tell()

    def _has_room(self) -> bool:
        return len(self.found) < AHEAD_COMMITS_MAX and self.found_pages < AHEAD_PAGES_MAX

    def _wait_for_room(self) -> bool:
        with self.changed:
            while not self._has_room() and not self._source.closing:
                self.changed.wait()
        return not self._source.closing

    def _keep(self, commit: Commit) -> None:
        with self.changed:
            self.found.append(commit)
            self.found_pages += len(commit.pages)

    def take(self) -> Commit | None:
        """The next commit that was found."""
        with self.changed:
            if not self.found:
                return None
            commit = self.found.popleft()
            self.found_pages -= len(commit.pages)
            self.changed.notify_all()
            return commit

    def _tell(self) -> None:
        """Wakes whoever waits, each loop once."""
        with self.changed:
            waiters, self.waiters = self.waiters, []
        by_loop: dict[asyncio.AbstractEventLoop, list[asyncio.Future[None]]] = {}
        for waiter in waiters:
            by_loop.setdefault(waiter.get_loop(), []).append(waiter)
        for loop, told in by_loop.items():
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody is left to be told
                loop.call_soon_threadsafe(_set, told)


def _set(waiters: list[asyncio.Future[None]]) -> None:
    for waiter in waiters:
        if not waiter.done():
            waiter.set_result(None)


class Follower:
    """The commits of a volume as they become durable, made by ``Volume.follow``.

    Iterate it with ``for`` or with ``async for``, not with both. It gives each commit once, in the
    order of the log, never one that is not durable; where threads or tasks share it, each commit to
    one of them. ``close``, which any thread may call, ends it; so does the end of a ``with`` block,
    or of its last reference.
    """

    __slots__ = ("__weakref__", "_generation", "_lsn", "_over", "_seconds", "_source", "_worker")

    def __init__(self, store: _core.Store, after: int, timeout: float | None) -> None:
        self._seconds = _seconds(timeout)
        self._source = _Source(store, after)
        self._generation = _core.fork_generation
        self._lsn = after
        self._over = False
        self._worker: _Worker | None = None

    @property
    def lsn(self) -> int:
        """The LSN of the last commit given, or where it began: ``since`` for one that goes on."""
        return self._source.lsn if self._worker is None else self._lsn

    # In a thread

    def __iter__(self) -> Follower:
        return self

    def __next__(self) -> Commit:
        if self._worker is not None:
            raise InputError("the follower is iterated with async for: make another one")
        commit = None if self._over else self._source.wait(self._seconds)
        if commit is None:
            self._over = True
            raise StopIteration
        return commit

    # In an event loop

    def __aiter__(self) -> Follower:
        return self

    async def __anext__(self) -> Commit:
        from asyncio import get_running_loop, wait  # noqa: PLC0415 - see above

        worker = self._begin()
        in_time = True
        while not self._over:
            with worker.changed:
                over = worker.over or not in_time  # before the look: then there is no more
                idle = worker.idle
                commit = worker.take()
                waiter = get_running_loop().create_future()
                if commit is None and not over:
                    worker.waiters.append(waiter)
            if commit is not None:
                self._lsn = commit.lsn
                return commit
            if not over:
                # The time counts while somebody waits, and what is there already needs none.
                seconds = self._seconds if idle and self._seconds < math.inf else None
                done, _ = await wait([waiter], timeout=seconds)
                in_time = bool(done)
                continue
            self.close()
            if worker.error is not None:
                raise worker.error
        raise StopAsyncIteration

    def _begin(self) -> _Worker:
        """The thread that waits for the loop."""
        if self._generation != _core.fork_generation:  # it is not in a forked child
            self._source.check_open()
        if self._worker is None:
            worker = _Worker(self._source, self._seconds < math.inf)
            # A daemon: it keeps nothing but the store, and ends with its source.
            threading.Thread(target=worker.run, name="aurolog follower", daemon=True).start()
            self._worker = worker
        return self._worker

    # Ending

    def close(self) -> None:
        """Ends the iteration, here and wherever it waits. Harmless a second time."""
        self._over = True
        if self._generation == _core.fork_generation:
            self._end()

    def volume_closes(self) -> None:
        """The volume is being closed: an iteration that goes on gets ``ClosedError``."""
        worker = self._worker
        if worker is not None and not worker.over:
            worker.error = worker.error or ClosedError("the volume has been closed")
            self._end()

    def _end(self) -> None:
        self._source.close()
        worker = self._worker
        if worker is not None:
            with worker.changed:
                worker.changed.notify_all()

    def __del__(self) -> None:
        if getattr(self, "_worker", None) is not None:
            self.close()

    def __enter__(self) -> Follower:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    async def __aenter__(self) -> Follower:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<aurolog.Follower at LSN {self.lsn}{', closed' if self._over else ''}>"
