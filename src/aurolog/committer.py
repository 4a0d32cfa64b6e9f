"""Commits for event loops: a thread waits for their syncs and tells the loops.

A commit is logged where it is asked for, so commits keep their order and whoever comes next sees
it; only where another transaction has the writer's place, the thread does that too, and no loop
ever waits for it. What is logged while one sync is under way shares the next one, and each loop is
told once per sync, not once per commit.
"""

from __future__ import annotations

import contextlib
import threading
from collections import deque
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, TypeAlias

from aurolog import _core
from aurolog.errors import ClosedError

if TYPE_CHECKING:
    import asyncio  # at run time only for those who use it: it takes long to import

__all__ = ["Commit", "Committer"]


class Commit:
    """One commit that a loop awaits."""

    __slots__ = (
        "changes",
        "durability",
        "error",
        "future",
        "logged",
        "loop",
        "note",
        "outcome",
        "queued",
        "run",
        "time_ns",
    )

    def __init__(
        self, run: _core.RunMark, durability: int, note: bytes, time_ns: int, outcome: Any
    ) -> None:
        self.run = run
        self.durability = durability
        self.note = note
        self.time_ns = time_ns
        #: where C notes whether it was logged, and the LSN to wait for: its own, or, where nothing
        #: was written, that of what was read
        self.outcome = outcome
        #: what is still to be logged, and set when it is, or never will be; None when it is
        self.changes: bytes | None = None
        self.logged: threading.Event | None = None
        self.loop: asyncio.AbstractEventLoop | None = None
        self.future: asyncio.Future[int | None] | None = None
        self.error: BaseException | None = None
        #: the thread has it, and nobody else decides how it goes
        self.queued = False


#: Commits in their order; None ends the thread.
_Queue: TypeAlias = "SimpleQueue[Commit | None]"


class Committer:
    """One volume's committing thread; it begins with the first commit that a loop awaits."""

    __slots__ = ("_closing", "_lock", "_queue", "_store", "_thread")

    def __init__(self, store: _core.Store) -> None:
        self._store = store
        self._queue: _Queue = SimpleQueue()
        self._lock = threading.RLock()  # a signal handler may close what its thread commits to
        self._closing = threading.Event()
        self._thread: threading.Thread | None = None

    def submit(self, commit: Commit) -> asyncio.Future[int | None]:
        """The future, of the running loop, has the commit's LSN once it is durable, or its
        exception."""
        from asyncio import get_running_loop  # noqa: PLC0415 - see above

        commit.loop = get_running_loop()
        commit.future = commit.loop.create_future()
        with self._lock:
            if self._closing.is_set():
                raise ClosedError("the volume is closed: open it again")
            if self._thread is None:
                # A daemon: at the interpreter's exit the volume is closed, and that ends it. It
                # knows neither this object nor the volume, so both can be dropped.
                thread = threading.Thread(
                    target=_Worker(self._store, self._queue, self._closing).run,
                    name="aurolog commits",
                    daemon=True,
                )
                thread.start()
                self._thread = thread
            # An interrupt comes after the call at the earliest: then it is queued.
            commit.queued = True
            self._queue.put(commit)
        return commit.future

    def close(self) -> None:
        """Ends the thread. What is logged becomes durable first; what waits for the writer's place
        is refused with ``ClosedError``."""
        with self._lock:
            self._closing.set()
            thread, self._thread = self._thread, None
            if thread is not None:
                self._queue.put(None)
        if thread is not None and thread is not threading.current_thread():
            thread.join()

    def __del__(self) -> None:
        if getattr(self, "_thread", None) is not None:
            self._queue.put(None)


class _Worker:
    """What the thread does, round by round."""

    def __init__(self, store: _core.Store, queue: _Queue, closing: threading.Event) -> None:
        self._store = store
        self._queue = queue
        self._closing = closing
        self._taken: deque[Commit | None] = deque()

    def run(self) -> None:
        while True:
            self._taken.append(self._queue.get())
            while self._take():
                commits: list[Commit] = []
                while self._taken and (commit := self._taken[0]) is not None:
                    commits.append(commit)
                    self._taken.popleft()
                if not commits:
                    return
                self._round(commits)
                del commit
                del commits  # an idle thread keeps nobody's loop

    def _take(self) -> bool:
        """Takes what has come; whether there is something to do."""
        while not self._queue.empty():
            self._taken.append(self._queue.get())
        return bool(self._taken)

    def _round(self, commits: list[Commit]) -> None:
        told = 0
        try:
            for n, commit in enumerate(commits):
                if commit.changes is not None and not self._log(commit, 0):
                    self._finish(commits[told:n])  # they are logged, and this one has to wait
                    told = n
                    while not self._log(commit, _core.WAIT_MS):
                        if self._closing.is_set():
                            commit.error = ClosedError("the volume was closed before its turn came")
                            break
                if commit.logged is not None:
                    commit.logged.set()
            self._finish(commits[told:])
        except BaseException as error:  # noqa: BLE001 - nobody may be left waiting
            for commit in commits[told:]:
                commit.error = commit.error or error
                if commit.logged is not None:
                    commit.logged.set()
            _tell_loops(commits[told:])

    def _log(self, commit: Commit, wait_ms: int) -> bool:
        """Logs the commit; False when the writer's place was not to be had."""
        assert commit.changes is not None
        try:
            return self._store.log_changes(
                commit.changes, commit.run, commit.note, commit.time_ns, commit.outcome, wait_ms
            )
        except Exception as error:  # noqa: BLE001 - any is raised where the commit is awaited
            commit.error = error
            return True

    def _finish(self, commits: list[Commit]) -> None:
        """Waits for the commits, those first that need no sync, and tells their loops."""
        for durability in (_core.OS, _core.SYNC):
            group = [commit for commit in commits if commit.durability == durability]
            waiting = [commit for commit in group if commit.error is None]
            try:
                if waiting:  # threads that log in one order may ask in another
                    self._store.wait(max(c.outcome.lsn for c in waiting), durability)
            except Exception:  # noqa: BLE001 - not of all, perhaps: each is asked for its own
                for commit in waiting:
                    try:
                        self._store.wait(commit.outcome.lsn, durability)
                    except Exception as error:  # noqa: BLE001 - the same
                        commit.error = error
            _tell_loops(group + self._durable_too() if group else group)

    def _durable_too(self) -> list[Commit]:
        """What has come meanwhile and is durable by the same sync."""
        durable, found = self._store.durable_lsn, []
        self._take()
        while self._taken and (commit := self._taken[0]) is not None:
            if commit.changes is not None or not 0 < commit.outcome.lsn <= durable:
                break
            found.append(commit)
            self._taken.popleft()
        return found


def _tell_loops(commits: list[Commit]) -> None:
    by_loop: dict[asyncio.AbstractEventLoop, list[Commit]] = {}
    for commit in commits:
        if commit.loop is not None:
            by_loop.setdefault(commit.loop, []).append(commit)
    for loop, told in by_loop.items():
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody is left to be told
            loop.call_soon_threadsafe(_tell, told)


def _tell(commits: list[Commit]) -> None:
    for commit in commits:
        if commit.future is None or commit.future.done():
            continue  # cancelled
        if commit.error is not None:
            commit.future.set_exception(commit.error)
        else:
            commit.future.set_result(commit.outcome.lsn if commit.outcome.logged else None)
