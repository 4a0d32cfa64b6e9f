"""What event loops wait for: the writer's place, and syncs. Two threads do it for them.

A commit is logged where it is asked for, so commits keep their order and whoever comes next sees
it. Only where another transaction has the writer's place it stands in line, and so does a
transaction that wants to read. In the line who comes first is served first: by a thread that waits
for the place, or, at once, by whoever gives the place up in a loop.

The other thread waits for the syncs. What is logged while one is under way shares the next one, and
each loop is told once per sync, not once per commit.
"""

from __future__ import annotations

import contextlib
import threading
from collections import deque
from collections.abc import Callable, Iterator
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias
from weakref import ref

from aurolog import _core
from aurolog.errors import ClosedError
from aurolog.loops import running_loop

if TYPE_CHECKING:
    import asyncio  # at run time only for those who use it: it takes long to import

__all__ = ["Commit", "Committer", "Turn"]


class Commit:
    """One commit that a loop awaits."""

    __slots__ = (
        "_conclude",
        "changes",
        "durability",
        "error",
        "future",
        "logged",
        "loop",
        "note",
        "outcome",
        "queued",
        "reads",
        "run",
        "time_ns",
    )

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        conclude: Callable[[Commit], None],
        run: _core.RunMark,
        durability: int,
        note: bytes,
        outcome: Any,
    ) -> None:
        self.loop = loop
        self.run = run
        self.future: asyncio.Future[int | None] = loop.create_future()
        self._conclude = conclude
        self.durability = durability
        self.note = note
        self.time_ns = 0
        #: where C notes whether it was logged, and the LSN to wait for: its own, or, where nothing
        #: was written, that of what was read
        self.outcome = outcome
        #: what it has to log when its turn comes; None when it is logged where it was asked for
        self.changes: bytes | None = None
        #: whether logging them may read pages, to find what differs in them
        self.reads = False
        #: set when it has been logged, or never will be
        self.logged: threading.Event | None = None
        self.error: BaseException | None = None
        #: a thread has it, and nobody else decides how it goes
        self.queued = False

    @property
    def served(self) -> bool:
        """Whether it needs no place in the line any more."""
        return self.error is not None or bool(self.outcome.logged)

    def tell(self) -> None:
        """Called in its loop when it is known how it went."""
        self._conclude(self)
        if self.future.done():
            return  # cancelled
        if self.error is not None:
            self.future.set_exception(self.error)
        else:
            self.future.set_result(self.outcome.lsn if self.outcome.logged else None)


class Turn:
    """A transaction of a loop that waits for the writer's place.

    ``take`` is called in the loop with the native transaction that has the place, or without one
    and with an error; perhaps more than once.
    """

    __slots__ = ("_take", "loop", "run", "served")

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        run: _core.RunMark,
        take: Callable[[_core.NativeTransaction | None, BaseException | None], None],
    ) -> None:
        self.loop = loop
        self.run = run
        self._take = take
        #: has had its turn, or waits no more
        self.served = False

    def give(
        self, native: _core.NativeTransaction | None, error: BaseException | None = None
    ) -> None:
        """Has the loop take the place."""
        try:
            if running_loop() is self.loop:
                self.loop.call_soon(self._take, native, error)
            else:
                self.loop.call_soon_threadsafe(self._take, native, error)
        except RuntimeError:  # the loop is closed: the place is free again
            if native is not None:
                native.free()
        self.served = True


#: Commits in their order; None ends the thread.
_Queue: TypeAlias = "SimpleQueue[Commit | None]"


class _Line:
    """Those in event loops who wait for the writer's place, and the thread that waits for it.

    One that is served leaves the line only afterwards. So an interrupt loses nobody: it has been
    served, or whoever looks next does it.
    """

    def __init__(self, store: _core.Store, syncs: _Queue) -> None:
        self.closing = threading.Event()
        self.running = threading.Lock()
        #: True for each who came; None ends the thread
        self.arrivals: SimpleQueue[bool | None] = SimpleQueue()
        self._store = store
        self._syncs = syncs
        self.waiting: deque[Commit | Turn] = deque()
        self._lock = threading.RLock()  # a signal handler may commit, too

    def __bool__(self) -> bool:
        return bool(self.waiting)

    def _first(self) -> Commit | Turn | None:
        """Who is to be served next; those before leave the line. With the lock held."""
        while self.waiting:
            first = self.waiting[0]
            if not first.served:
                return first
            if isinstance(first, Commit):
                if first.logged is not None:
                    first.logged.set()
                self._syncs.put(first)
            self.waiting.popleft()
        return None

    def serve(self) -> None:
        """Serves whom it can without waiting."""
        with self._lock:
            while (first := self._first()) is not None:
                if isinstance(first, Commit):
                    if first.reads or not _log(self._store, first):
                        return  # or it is the thread's
                else:
                    try:
                        native = self._store.begin(first.run, 0)
                    except Exception as error:  # noqa: BLE001 - it is raised where it is waited for
                        first.give(None, error)
                        continue
                    if native is None:
                        return
                    first.give(native)

    def run(self) -> None:
        """The thread: waits for the place as long as somebody is in line."""
        with _only_one(self.running) as is_first:
            while is_first and self.arrivals.get():
                while self._serve_next():
                    pass

    def _serve_next(self) -> bool:
        """Whether there was somebody to be served."""
        with self._lock:
            first = self._first()
        if first is None:
            return False
        try:
            if self.closing.is_set():
                raise ClosedError("the volume was closed before its turn came")
            native = self._store.begin(first.run, _core.WAIT_MS)
            if native is not None:
                self._hand_over(native, first.run)
        except BaseException as error:  # noqa: BLE001 - it is raised where somebody waits
            if isinstance(first, Commit):
                first.error = error
            else:
                first.give(None, error)
        return True

    def _hand_over(self, native: _core.NativeTransaction, run: _core.RunMark) -> None:
        """Gives the place to the first in line. Nobody passes a commit that it is given to."""
        with self._lock:
            first = self._first()
            if first is not None and first.run is not run:
                native.free()  # another has become the first, and it is for another run
                return
            if isinstance(first, Turn):
                first.give(native)
                return
        if first is not None:
            try:
                native.apply(first.changes)
                while not native.log(first.note, first.time_ns, first.outcome, _core.WAIT_MS):
                    pass  # too much is in flight
            except Exception as error:  # noqa: BLE001 - it is raised where the commit is awaited
                first.error = error
        native.free()
        self.serve()


def _log(store: _core.Store, commit: Commit) -> bool:
    """Logs a commit, or notes why not; False when the writer's place was not to be had at once."""
    assert commit.changes is not None
    try:
        return store.log_changes(
            commit.changes, commit.run, commit.note, commit.time_ns, commit.outcome, 0
        )
    except Exception as error:  # noqa: BLE001 - any is raised where the commit is awaited
        commit.error = error
        return True


@contextlib.contextmanager
def _only_one(running: threading.Lock) -> Iterator[bool]:
    """Whether no other thread does the same: an interrupt may have one started twice."""
    is_first = running.acquire(blocking=False)
    try:
        yield is_first
    finally:
        if is_first:
            running.release()


class Here(threading.local):
    """What each thread has of its own on a volume."""

    def __init__(self) -> None:
        #: stands for the thread: its number would be another's when it has ended
        self.thread = object()
        #: set when its last commit that stood in line is logged
        self.handed_over: threading.Event | None = None


class Holder(Protocol):
    """A transaction that has taken the writer's place, and may have given it up."""

    def holds_for(self, thread: object) -> bool:
        """Whether it has the place, and this thread was the last to call it."""
        ...


class Committer:
    """What the transactions of one volume share. Its threads begin when they are first needed."""

    __slots__ = (
        "__weakref__",
        "_line",
        "_lock",
        "_syncer",
        "_syncing",
        "_syncs",
        "_turning",
        "here",
        "holder",
        "store",
    )

    def __init__(self, store: _core.Store) -> None:
        self.store = store
        self.here = Here()
        #: who last took the writer's place to keep it for a while
        self.holder: ref[Holder] | None = None
        self._syncs: _Queue = SimpleQueue()
        self._line = _Line(store, self._syncs)
        self._syncer = _Syncer(store, self._syncs)
        self._lock = threading.RLock()  # a signal handler may close what its thread commits to
        self._turning: threading.Thread | None = None
        self._syncing: threading.Thread | None = None

    # The writer's place

    def begin_now(self, run: _core.RunMark) -> _core.NativeTransaction | None:
        """A native transaction; None when another has the writer's place or is in line for it."""
        return None if self._line else self.store.begin(run, 0)

    def wait_for_turn(self, who: Commit | Turn) -> None:
        """Stands in line. A commit is made when its turn comes, and its loop told when it is
        durable."""
        with self._lock:
            self._have_syncing()
            if self._turning is None:
                self._turning = _start("aurolog turns", self._line.run)
            if isinstance(who, Commit):
                who.logged = self.here.handed_over = threading.Event()
                # An interrupt comes behind the next call at the earliest: then it is in line.
                who.queued = True
            try:
                self._line.waiting.append(who)
            finally:
                self._line.arrivals.put(True)

    def why_not_wait(self) -> str | None:
        """Why the calling thread must not wait for the writer's place; None when it may."""
        holder = None if self.holder is None else self.holder()
        if holder is not None and holder.holds_for(self.here.thread):
            return (
                "a transaction that this thread has used last has the writer's place, so waiting "
                "for it would last for ever: commit that one or roll it back first"
            )
        if running_loop() is not None:
            return (
                "this would keep the thread's event loop waiting for another transaction, or for a "
                "commit before it: use `async with db.transaction()`, or asyncio.to_thread"
            )
        return None

    def given_up(self) -> None:
        """The place is free: who is in line gets it, and waits for no thread."""
        if self._line:
            self._line.serve()

    # Commits

    def commit(self, commit: Commit) -> None:
        """Logs its changes, now or when the writer's place is free; the loop is told later."""
        if commit.reads or self._line or not _log(self.store, commit):
            self.wait_for_turn(commit)
        elif commit.error is not None:
            raise commit.error
        else:
            self.tell_when_durable(commit)

    def tell_when_durable(self, commit: Commit) -> None:
        """The loop is told of a commit that is logged."""
        with self._lock:
            self._have_syncing()
            commit.queued = True  # likewise
            self._syncs.put(commit)

    @staticmethod
    def tell(commit: Commit) -> None:
        """The loop is told of a commit that has failed."""
        _tell_loops([commit])

    def _have_syncing(self) -> None:
        if self._line.closing.is_set():
            raise ClosedError("the volume is closed: open it again")
        if self._syncing is None:
            self._syncing = _start("aurolog commits", self._syncer.run)

    def close(self) -> None:
        """Ends the threads. What is logged becomes durable first; what waits for the writer's place
        is refused with ``ClosedError``."""
        with self._lock:
            self._line.closing.set()
            turning, self._turning = self._turning, None
            syncing, self._syncing = self._syncing, None
        if turning is not None:
            self._line.arrivals.put(None)
            _wait_for_end(turning, self._line.running)
        if syncing is not None:
            self._syncs.put(None)
            _wait_for_end(syncing, self._syncer.running)

    def __del__(self) -> None:
        if getattr(self, "_turning", None) is not None:
            self._line.arrivals.put(None)
        if getattr(self, "_syncing", None) is not None:
            self._syncs.put(None)


def _start(name: str, run: Callable[[], None]) -> threading.Thread:
    """A daemon: at the interpreter's exit the volume is closed, and that ends it.

    What it runs knows neither committer nor volume, so both can be dropped.
    """
    thread = threading.Thread(target=run, name=name, daemon=True)
    thread.start()
    return thread


def _wait_for_end(thread: threading.Thread, running: threading.Lock) -> None:
    thread.join()
    with running:  # should it have been started twice
        pass


class _Syncer:
    """What the thread that waits for syncs does, round by round."""

    def __init__(self, store: _core.Store, queue: _Queue) -> None:
        self.running = threading.Lock()
        self._store = store
        self._queue = queue
        self._taken: deque[Commit | None] = deque()

    def run(self) -> None:
        """Until it is told to end."""
        with _only_one(self.running) as is_first:
            while is_first and self._serve():
                pass

    def _serve(self) -> bool:
        """Whether it is to go on. An idle thread keeps nobody's loop."""
        self._taken.append(self._queue.get())
        while self._take():
            commits: list[Commit] = []
            while self._taken and (commit := self._taken[0]) is not None:
                commits.append(commit)
                self._taken.popleft()
            if not commits:
                return False
            self._round(commits)
        return True

    def _take(self) -> bool:
        """Takes what has come; whether there is something to do."""
        while not self._queue.empty():
            self._taken.append(self._queue.get())
        return bool(self._taken)

    def _round(self, commits: list[Commit]) -> None:
        try:
            self._finish(commits)
        except BaseException as error:  # noqa: BLE001 - nobody may be left waiting
            for commit in commits:
                commit.error = commit.error or error
            _tell_loops(commits)

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
            if commit.error is None and not 0 < commit.outcome.lsn <= durable:
                break
            found.append(commit)
            self._taken.popleft()
        return found


def _tell_loops(commits: list[Commit]) -> None:
    by_loop: dict[asyncio.AbstractEventLoop, list[Commit]] = {}
    for commit in commits:
        by_loop.setdefault(commit.loop, []).append(commit)
    for loop, told in by_loop.items():
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody is left to be told
            loop.call_soon_threadsafe(_tell, told)


def _tell(commits: list[Commit]) -> None:
    for commit in commits:
        commit.tell()
