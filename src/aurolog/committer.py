"""What event loops wait for: the writer's place, and syncs. Two threads do it for them.

A loop only puts its commits into a line. One thread logs what has gathered there, in one crossing,
waits for the sync, and tells each loop once of all that is durable; what comes meanwhile shares the
next sync. In the line who comes first is served first. Whoever is to see what was committed before
serves the line itself, as far as that needs no waiting.

Where another transaction has the writer's place, the other thread waits for it. It logs commits
that may have to read from the disk, too, and hands the place to transactions that want to read.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, Protocol
from weakref import ref

from aurolog import _core
from aurolog.errors import ClosedError
from aurolog.loops import running_loop

if TYPE_CHECKING:
    import asyncio  # at run time only for those who use it: it takes long to import

__all__ = ["Commit", "Committer", "Turn"]


#: of threads that come to wait for the same commit
_waiting = threading.Lock()


class Commit:
    """One commit that a loop awaits."""

    #: what it has to log when its turn comes
    changes = b""
    #: it has a note, a time, or reads pages: it is logged by itself
    is_special = False
    reads = False
    note = b""
    time_ns = 0
    #: its LSN once it is logged
    lsn = 0
    #: where C notes how the commit of a native transaction went; its LSN is the one to wait for,
    #: where nothing was written that of what was read
    outcome: Any = None
    error: BaseException | None = None
    #: set when it leaves the line, where a thread waits for that
    logged: threading.Event | None = None
    #: has had its turn and is not logged: nothing was written, or it has failed
    served = False
    #: a thread has it, and nobody else decides how it goes
    queued = False

    def __init__(
        self, loop: asyncio.AbstractEventLoop, run: _core.RunMark, durability: int
    ) -> None:
        self.loop = loop
        self.run = run
        self.future: asyncio.Future[int | None] = loop.create_future()
        self.durability = durability

    @property
    def is_logged(self) -> bool:
        """Whether it is in the log, whatever comes after."""
        if not self.lsn and self.outcome is not None and self.outcome.logged:
            self.lsn = self.outcome.lsn
        return self.lsn != 0

    @property
    def lsn_to_wait_for(self) -> int:
        """What has to be durable, or visible; 0 when nothing has."""
        return self.lsn or (int(self.outcome.lsn) if self.outcome is not None else 0)

    def wait_in_line(self) -> None:
        """Waits, in a thread that may, until it has been served."""
        with _waiting:
            if self.logged is None:
                self.logged = threading.Event()
        if not (self.lsn or self.served):  # who serves it looks afterwards
            self.logged.wait()

    def refuse(self, error: BaseException) -> None:
        """It never will be logged, or nobody knows whether it will be durable."""
        self.error = error
        self.served = True


class Turn:
    """A transaction of a loop that waits for the writer's place.

    ``take`` is called in the loop with the native transaction that has the place, or without one
    and with an error; perhaps more than once.
    """

    #: no commit, and so logged with none
    is_special = True
    lsn = 0

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


#: at most so many are logged in one crossing
BATCH_COMMITS = 256


class _Bell:
    """What wakes a thread; who rings while it is awake is heard when it would fall asleep."""

    def __init__(self) -> None:
        self.running = threading.Lock()  # by the thread
        self._rung = self._asleep = self._ended = False
        self._queue: SimpleQueue[None] = SimpleQueue()

    def ring(self) -> None:
        """Has the thread look what there is to do."""
        self._rung = True
        if self._asleep:
            self._asleep = False
            self._queue.put(None)

    def end(self) -> None:
        """Has the thread end, when it has done what there was."""
        self._ended = True
        self.ring()

    def wait(self) -> bool:
        """Called by the thread: until it is rung; False when it is to end."""
        while not self._rung:
            self._asleep = True
            if not self._rung:
                self._queue.get()
        self._asleep = self._rung = False
        return not self._ended


class _Line:
    """Those in event loops who wait for the writer's place, and what is logged and not yet durable.

    One that is served leaves the line only afterwards. So an interrupt loses nobody: it has been
    served, or whoever looks next does it.
    """

    def __init__(self, store: _core.Store) -> None:
        self._store = store
        #: anybody appends to it
        self.waiting: list[Commit | Turn] = []
        self.closing = False
        self._logged: list[Commit] = []
        #: commits that are being logged, the first in line, and where their LSNs are noted
        self._batch: tuple[list[Commit], Any] | None = None
        self._lock = threading.RLock()  # a signal handler may commit, too
        #: for each of the two threads: what wakes it, and whether it sleeps
        self.syncing, self.turning = _Bell(), _Bell()

    def first(self) -> Commit | Turn | None:
        """Who is to be served next; those who have been leave the line. With the lock held."""
        waiting = self.waiting
        if self._batch is not None:
            commits, lsns = self._batch
            for commit, lsn in zip(commits, _core.lsns_of(lsns, len(commits)), strict=True):
                commit.lsn = lsn
            self._batch = None
            if commits[-1].lsn and all(commit.logged is None for commit in commits):
                self._logged += commits
                del waiting[: len(commits)]
        while waiting:
            first = waiting[0]
            if not (first.lsn or first.served):
                return first
            if isinstance(first, Commit):
                self._logged.append(first)
                if first.logged is not None:
                    first.logged.set()
            del waiting[0]
        return None

    def serve(self) -> None:
        """Serves whom it can without waiting, and has those told who are logged by that."""
        self.log()
        self.ring_for_logged()

    def ring_for_logged(self) -> None:
        """Whoever looks at the line may find that somebody is to leave it."""
        if self._logged:
            self.syncing.ring()

    def log(self) -> None:
        """The same for the thread that takes those who are logged."""
        with self._lock:
            while (first := self.first()) is not None:
                if isinstance(first, Turn):
                    try:
                        native = self._store.begin(first.run, 0)
                    except Exception as error:  # noqa: BLE001 - raised where it is awaited
                        first.give(None, error)
                        continue
                    if native is None:
                        return
                    first.give(native)
                elif first.reads or not self._log(first):
                    return

    def _log(self, first: Commit) -> bool:
        """Logs the first and those behind it that are like it; False when it has to wait."""
        commits: list[Any] = [first]
        if not first.is_special:
            commits, run = self.waiting[:BATCH_COMMITS], first.run
            alike = [who.run is run and not who.is_special for who in commits]
            if not all(alike):
                del commits[alike.index(False) :]
        changes = [commit.changes for commit in commits]
        lsns = _core.new_lsns(len(commits))
        self._batch = commits, lsns
        try:
            return self._store.log_commits(changes, first.run, first.note, first.time_ns, lsns)
        except Exception as error:  # noqa: BLE001 - it is raised where the commit is awaited
            refused = self.first()
            if isinstance(refused, Commit):
                refused.refuse(error)
            return True

    def take_logged(self) -> list[Commit]:
        """Those that wait for a sync now."""
        with self._lock:
            taken, self._logged = self._logged, []
        return taken

    def add_logged(self, commit: Commit) -> None:
        """One more, logged elsewhere."""
        with self._lock:
            self._logged.append(commit)
        self.syncing.ring()

    # The thread that waits for the place

    def wait_for_place(self) -> None:
        """As long as somebody is in line, until it is told to end."""
        with _only_one(self.turning) as is_first:
            while is_first and self.turning.wait():
                while self._serve_next():
                    pass
            while is_first and self._serve_next():
                pass

    def _serve_next(self) -> bool:
        """Whether there was somebody to be served."""
        with self._lock:
            first = self.first()
        self.ring_for_logged()
        if first is None:
            return False
        try:
            if self.closing:
                raise ClosedError("the volume was closed before its turn came")
            native = self._store.begin(first.run, _core.WAIT_MS)
            if native is not None:
                self._hand_over(native)
        except BaseException as error:  # noqa: BLE001 - it is raised where somebody waits
            with self._lock:
                if self.first() is not first:
                    pass  # it was served meanwhile, and it was not about that
                elif isinstance(first, Commit):
                    first.refuse(error)
                else:
                    first.give(None, error)
        return True

    def _hand_over(self, native: _core.NativeTransaction) -> None:
        """Gives the place to the first in line. Nobody passes a commit that has it."""
        with self._lock:
            first = self.first()
            is_its_run = first is not None and first.run is native.run
            if isinstance(first, Turn) and is_its_run:
                first.give(native)
                return
        if isinstance(first, Commit) and first.reads and is_its_run:
            first.outcome = _core.new_outcome()
            try:
                native.apply(first.changes)
                while not native.log(first.note, first.time_ns, first.outcome, _core.WAIT_MS):
                    pass  # too much is in flight
                first.served = not first.is_logged
            except Exception as error:  # noqa: BLE001 - it is raised where the commit is awaited
                first.refuse(error)
        native.free()
        self.serve()


@contextlib.contextmanager
def _only_one(bell: _Bell) -> Iterator[bool]:
    """Whether no other thread does the same: an interrupt may have one started twice."""
    is_first = bell.running.acquire(blocking=False)
    try:
        yield is_first
    finally:
        if is_first:
            bell.running.release()


class Here(threading.local):
    """What each thread has of its own on a volume."""

    def __init__(self) -> None:
        #: stands for the thread: its number would be another's when it has ended
        self.thread = object()


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
        "_threads",
        "guard",
        "here",
        "holder",
        "page_size",
        "pages_max",
        "store",
    )

    def __init__(self, store: _core.Store) -> None:
        self.store = store
        self.page_size = store.page_size
        self.pages_max = store.pages_max
        self.here = Here()
        #: who last took the writer's place to keep it for a while
        self.holder: ref[Holder] | None = None
        #: for the few steps in which a transaction begins or ends
        self.guard = threading.RLock()
        self._line = _Line(store)
        self._syncer = _Syncer(store, self._line)
        self._lock = threading.RLock()  # a signal handler may close what its thread commits to
        self._threads: list[threading.Thread] = []

    # The writer's place

    def begin_now(self, run: _core.RunMark) -> _core.NativeTransaction | None:
        """A native transaction; None when another has the writer's place or is in line for it."""
        if self._line.waiting:
            self._line.serve()
            if self._line.waiting:
                return None
        return self.store.begin(run, 0)

    def wait_for_turn(self, turn: Turn) -> None:
        """Stands in line for the writer's place."""
        with self._lock:
            self._need_threads()
            self._line.waiting.append(turn)
        self._line.turning.ring()

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

    def commit_before(self) -> Commit | None:
        """The last commit in line, where there is one still after all that could be done: whoever
        commits now comes behind it."""
        if not self._line.waiting:
            return None
        self._line.serve()
        for who in reversed(tuple(self._line.waiting)):
            if isinstance(who, Commit) and not (who.lsn or who.served):
                return who
        return None

    def serve(self) -> None:
        """Who is in line is served, as far as that needs no waiting: the place may be free, or what
        comes now is to come behind them."""
        if self._line.waiting:
            self._line.serve()

    # Commits

    def commit(self, commit: Commit) -> None:
        """Puts it into the line; it is logged, and its loop told when it is durable."""
        line = self._line
        with self._lock:
            if line.closing or len(self._threads) < 2:
                self._need_threads()
            # An interrupt comes behind the next call at the earliest: then it is in line.
            commit.queued = True
            try:
                line.waiting.append(commit)
            finally:
                line.syncing.ring()

    def tell_when_durable(self, commit: Commit) -> None:
        """The loop is told of a commit that is logged, or has failed."""
        with self._lock:
            self._need_threads()
            commit.queued = True
            self._line.add_logged(commit)

    def _need_threads(self) -> None:
        if self._line.closing:
            raise ClosedError("the volume is closed: open it again")
        tasks = (
            ("aurolog turns", self._line.wait_for_place),
            ("aurolog commits", self._syncer.run),
        )
        while len(self._threads) < len(tasks):
            # Daemons: at the interpreter's exit the volume is closed, and that ends them. They know
            # neither this object nor the volume, so both can be dropped.
            name, run = tasks[len(self._threads)]
            thread = threading.Thread(target=run, name=name, daemon=True)
            thread.start()
            self._threads.append(thread)

    def close(self) -> None:
        """Ends the threads. What can be logged becomes durable first; what waits for the writer's
        place is refused with ``ClosedError``."""
        with self._lock:
            was_closing, self._line.closing = self._line.closing, True
            threads, self._threads = self._threads, []
        if not was_closing:
            self._line.serve()
        for bell, thread in zip((self._line.turning, self._line.syncing), threads, strict=False):
            bell.end()
            thread.join()
            with bell.running:  # should it have been started twice
                pass

    def __del__(self) -> None:
        if hasattr(self, "_threads"):  # an interrupt leaves one without its members
            for bell in (self._line.turning, self._line.syncing):
                bell.end()


class _Syncer:
    """What the thread does that logs commits and waits for syncs, round by round."""

    def __init__(self, store: _core.Store, line: _Line) -> None:
        self._store = store
        self._line = line
        #: logged behind what was waited for
        self._later: list[Commit] = []

    def run(self) -> None:
        """Until it is told to end."""
        line = self._line
        with _only_one(line.syncing) as is_first:
            while is_first and line.syncing.wait():
                while self._serve():
                    pass
            while is_first and self._serve():
                pass

    def _serve(self) -> bool:
        """Whether there was something to do. An idle thread keeps nobody's loop."""
        self._line.log()
        if self._line.waiting:
            self._line.turning.ring()
        commits, self._later = self._later + self._line.take_logged(), []
        if commits:
            self._round(commits)
        return bool(commits)

    def _round(self, commits: list[Commit]) -> None:
        try:
            self._finish(commits)
        except BaseException as error:  # noqa: BLE001 - nobody may be left waiting
            for commit in commits:
                commit.error = commit.error or error
            tell(commits)

    def _finish(self, commits: list[Commit]) -> None:
        """Waits for the commits, those first that need no sync, and tells their loops."""
        levels = {commit.durability for commit in commits}
        for durability in (_core.OS, _core.SYNC):
            if durability not in levels:
                continue
            group = commits
            if len(levels) > 1:
                group = [commit for commit in commits if commit.durability == durability]
            try:
                # Threads that log in one order may ask in another.
                self._store.wait(max([commit.lsn_to_wait_for for commit in group]), durability)
            except Exception:  # noqa: BLE001 - not of all, perhaps: each is asked for its own
                for commit in group:
                    try:
                        self._store.wait(commit.lsn_to_wait_for, durability)
                    except Exception as error:  # noqa: BLE001 - the same
                        commit.error = commit.error or error
            tell(group + self._durable_too())

    def _durable_too(self) -> list[Commit]:
        """What has been logged meanwhile and is durable by the same sync."""
        durable, found = self._store.durable_lsn, []
        later, self._later = self._later + self._line.take_logged(), []
        for commit in later:
            if commit.error is not None or 0 < commit.lsn_to_wait_for <= durable:
                found.append(commit)
            else:
                self._later.append(commit)
        return found


def tell(commits: list[Commit]) -> None:
    """Has the loops told, each once, of commits that are over."""
    by_loop = {commits[0].loop: commits}
    if len({commit.loop for commit in commits}) > 1:
        by_loop = {}
        for commit in commits:
            by_loop.setdefault(commit.loop, []).append(commit)
    for loop, told in by_loop.items():
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody is left to be told
            loop.call_soon_threadsafe(told_in_loop, told)


def told_in_loop(commits: list[Commit]) -> None:
    """Called in their loop."""
    for commit in commits:
        if not commit.lsn and not commit.is_logged:
            commit.served = True
        future = commit.future
        if future.done():
            continue  # cancelled
        if commit.error is not None:
            future.set_exception(commit.error)
        else:
            future.set_result(commit.lsn or None)
