"""Commits for event loops: a thread logs them, waits for their syncs, and tells the loops.

So a loop never waits for a lock, a disk or another transaction. What comes while one sync is under
way is logged together and shares the next one, and each loop is told once per sync, not once per
commit.
"""

from __future__ import annotations

import contextlib
import threading
from dataclasses import dataclass
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, TypeAlias

from aurolog import _core

if TYPE_CHECKING:
    import asyncio  # at run time only for those who use it: it takes long to import

__all__ = ["Committer"]


@dataclass(slots=True)
class _Commit:
    changes: bytes
    durability: int
    note: bytes
    time_ns: int
    outcome: Any
    loop: asyncio.AbstractEventLoop
    future: asyncio.Future[int | None]
    error: Exception | None = None


#: Commits in their order; None ends the thread.
_Queue: TypeAlias = "SimpleQueue[_Commit | None]"


class Committer:
    """One volume's committing thread; it begins with the first commit that a loop asks for."""

    __slots__ = ("_lock", "_queue", "_store", "_thread")

    def __init__(self, store: _core.Store) -> None:
        self._store = store
        self._queue: _Queue = SimpleQueue()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def commit(
        self, changes: bytes, durability: int, note: bytes, time_ns: int, outcome: Any
    ) -> asyncio.Future[int | None]:
        """Commits packed changes; the future, of the running loop, has their LSN once they are
        durable, or the commit's exception. C notes in ``outcome`` whether they were logged."""
        from asyncio import get_running_loop  # noqa: PLC0415 - see above

        self._store.check_open(for_writing=True)
        loop = get_running_loop()
        future: asyncio.Future[int | None] = loop.create_future()
        with self._lock:
            if self._thread is None:
                # A daemon: at the interpreter's exit the volume is closed, and that ends it.
                self._thread = threading.Thread(
                    target=_run,
                    args=(self._store, self._queue),
                    name="aurolog commits",
                    daemon=True,
                )
                self._thread.start()
        self._queue.put(_Commit(changes, durability, note, time_ns, outcome, loop, future))
        return future

    def close(self) -> None:
        """Ends the thread, after everything that was asked for."""
        with self._lock:
            thread, self._thread = self._thread, None
        if thread is not None:
            self._queue.put(None)
            thread.join()

    def __del__(self) -> None:
        # The thread knows only store and queue, so a dropped volume does not live on with it.
        if getattr(self, "_thread", None) is not None:
            self._queue.put(None)


def _run(store: _core.Store, queue: _Queue) -> None:
    while (first := queue.get()) is not None:
        commits = [first]
        last = False
        while not queue.empty() and not last:
            following = queue.get()
            if following is None:
                last = True
            else:
                commits.append(following)
        for commit in commits:
            _log(store, commit)
        for durability in (_core.OS, _core.SYNC):
            _finish(store, durability, [c for c in commits if c.durability == durability])
        if last:
            return


def _log(store: _core.Store, commit: _Commit) -> None:
    try:
        store.log_changes(commit.changes, commit.note, commit.time_ns, commit.outcome)
    except Exception as error:  # noqa: BLE001 - any is raised where the commit is awaited
        commit.error = error


def _finish(store: _core.Store, durability: int, commits: list[_Commit]) -> None:
    """Waits for the commits, all of one durability, and tells their loops."""
    logged = [commit for commit in commits if commit.error is None]
    try:
        if logged:
            store.wait(logged[-1].outcome.lsn, durability)
    except Exception:  # noqa: BLE001 - not of all of them, perhaps: each is asked for its own
        for commit in logged:
            try:
                store.wait(commit.outcome.lsn, durability)
            except Exception as error:  # noqa: BLE001 - the same
                commit.error = error
    by_loop: dict[asyncio.AbstractEventLoop, list[_Commit]] = {}
    for commit in commits:
        by_loop.setdefault(commit.loop, []).append(commit)
    for loop, told in by_loop.items():
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody is left to be told
            loop.call_soon_threadsafe(_tell, told)


def _tell(commits: list[_Commit]) -> None:
    for commit in commits:
        if commit.future.done():
            continue  # cancelled
        if commit.error is not None:
            commit.future.set_exception(commit.error)
        else:
            commit.future.set_result(commit.outcome.lsn)
