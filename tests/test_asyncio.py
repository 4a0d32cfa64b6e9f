"""Commits awaited in event loops: the loop goes on, syncs are shared, and nothing is lost by it."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import itertools
import threading
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue
from types import SimpleNamespace
from typing import Any

import pytest
from support import Child, need_strace, strike_at, traced

import aurolog
from aurolog import _core
from aurolog.committer import Commit, _Worker

pytestmark = pytest.mark.threads


async def one(db: aurolog.Volume, page: int, data: bytes) -> int:
    """A small durable commit; its LSN."""
    async with db.transaction(durability="sync") as tx:
        tx.write(page, 0, data)
    assert tx.outcome == "committed"
    assert tx.lsn is not None
    assert db.durable_lsn >= tx.lsn, "told before it was durable"
    return tx.lsn


def committing_threads() -> list[threading.Thread]:
    """Those that any volume has now."""
    return [thread for thread in threading.enumerate() if thread.name == "aurolog commits"]


@contextlib.contextmanager
def place_taken(db: aurolog.Volume) -> Iterator[threading.Event]:
    """Another thread has the writer's place until the event is set."""
    taken, free = threading.Event(), threading.Event()

    def hold() -> None:
        with db.transaction() as tx:
            assert len(tx[0]) == db.page_size  # a reading takes the place
            taken.set()
            assert free.wait(60)
            tx.write(500, 0, b"held")

    holder = threading.Thread(target=hold)
    holder.start()
    assert taken.wait(60)
    try:
        yield free
    finally:
        free.set()
        holder.join()


class CountingLoop(asyncio.SelectorEventLoop):
    """Counts how often another thread has called it."""

    calls = 0

    def call_soon_threadsafe(self, *args: Any, **more: Any) -> asyncio.Handle:
        self.calls += 1
        return super().call_soon_threadsafe(*args, **more)


def run(main: Coroutine[Any, Any, Any], factory: Callable[[], Any] | None = None) -> Any:
    """Runs a coroutine in a loop of its own."""
    with asyncio.Runner(loop_factory=factory) as runner:
        return runner.run(main)


def test_tasks_share_syncs_and_each_loop_is_told_once_for_all_of_one(db: aurolog.Volume) -> None:
    async def main(free: threading.Event) -> list[int]:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, CountingLoop)
        calls, syncs = loop.calls, db.stats().disk_syncs
        commits = [asyncio.ensure_future(one(db, page, b"x%d" % page)) for page in range(400)]
        for _ in range(10):
            await asyncio.sleep(0)  # all have asked for their commit
        free.set()
        lsns = await asyncio.gather(*commits)
        assert 1 <= db.stats().disk_syncs - syncs <= 10
        assert 1 <= loop.calls - calls <= 10
        return lsns

    with place_taken(db) as free:
        lsns = run(main(free), CountingLoop)
    assert lsns == sorted(set(lsns))
    assert db.durable_lsn == max(lsns)
    for page in range(400):
        assert db[page].rstrip(b"\0") == b"x%d" % page
        assert db.at(lsns[page])[page] == db[page]


def test_the_loop_goes_on_while_another_thread_has_the_writers_place(db: aurolog.Volume) -> None:
    async def main(free: threading.Event) -> None:
        commit = asyncio.ensure_future(one(db, 1, b"awaited"))
        for _ in range(1000):
            await asyncio.sleep(0)
        assert not commit.done()
        free.set()
        await commit

    with place_taken(db) as free:
        run(main(free))
    assert db[500][:4] == b"held"
    assert db[1][:7] == b"awaited"


def test_a_commit_in_one_call_waits_for_the_threads_awaited_one_before_it(path: Path) -> None:
    frees: list[threading.Event] = []

    def clock() -> int:  # asked when the second commit begins
        for free in frees:
            free.set()
        return 1

    async def main(db: aurolog.Volume, free: threading.Event) -> None:
        with_turn = db.transaction()
        with_turn.write(0, 0, b"first")
        first = with_turn.commit_async()
        frees.append(free)
        with db.transaction() as tx:
            tx.write(0, 0, b"second")
        lsn = await first
        assert lsn is not None
        assert tx.lsn is not None
        assert lsn < tx.lsn

    with aurolog.open(path, clock=clock) as db:
        with place_taken(db) as free:
            run(main(db, free))
        assert db[0][:6] == b"second"


def test_a_commit_is_over_when_it_is_asked_for_and_awaited_later(db: aurolog.Volume) -> None:
    async def main() -> None:
        waiting = []
        for page in range(20):
            tx = db.transaction(note="later")
            tx.write(page, 0, bytes([page + 1]))
            waiting.append((tx, tx.commit_async()))
            assert tx.outcome in ("unknown", "committed")
            with pytest.raises(aurolog.TransactionError):
                tx.write(page, 0, b"x")
        for tx, commit in waiting:
            assert await commit == tx.lsn
            assert tx.outcome == "committed"
        lsns = [tx.lsn for tx, _ in waiting]
        assert lsns == sorted(set(lsns), key=int)

    run(main())
    assert [db[page][0] for page in range(20)] == list(range(1, 21))
    assert {batch.note for batch in db.log() if batch.records[0].kind == "write"} == {"later"}


def test_a_threads_commits_keep_their_order_awaited_or_not(db: aurolog.Volume) -> None:
    async def main() -> None:
        for turn in range(100):
            first = db.transaction()
            first.write(0, 0, b"first")
            waiting = first.commit_async()
            with db.transaction() as second:
                if turn % 2:
                    assert second[0][:5] == b"first"
                second.write(0, 0, b"later")
            assert await waiting == first.lsn
            assert (first.lsn or 0) < (second.lsn or 0)
            assert db[0][:5] == b"later"

    run(main())


def test_a_commit_that_waits_for_its_turn_keeps_it(db: aurolog.Volume) -> None:
    async def main(free: threading.Event) -> None:
        commits = []
        for number in range(5):
            tx = db.transaction()
            tx.write(0, 0, bytes([number + 1]))
            commits.append(tx.commit_async())
        with db.transaction() as last:
            free.set()
            last.write(0, 0, bytes([last[0][0] + 1]))
        lsns = [await commit for commit in commits]
        assert lsns == sorted(lsns, key=lambda lsn: lsn or 0)
        assert (lsns[-1] or 0) < (last.lsn or 0)

    with place_taken(db) as free:
        run(main(free))
    assert db[0][0] == 6


def test_closing_refuses_what_waits_for_a_place_that_nobody_gives_up(path: Path) -> None:
    async def main() -> None:
        db = aurolog.open(path)
        with ThreadPoolExecutor(1) as pool:
            mine = pool.submit(db.transaction).result()
            assert pool.submit(mine.__getitem__, 0).result() == bytes(4096)  # it has the place
            tx = db.transaction()
            tx.write(0, 0, b"never")
            commit = tx.commit_async()
            db.close()
            with pytest.raises(aurolog.ClosedError):
                await commit
            assert tx.outcome == "rolled back"
            del mine

    run(main())
    with aurolog.open(path) as db:
        assert len(db) == 0


def test_changes_that_are_none_commit_as_none(db: aurolog.Volume) -> None:
    async def main() -> None:
        async with db.transaction() as tx:
            tx.apply([])
            tx.apply(b"")
        assert (tx.lsn, tx.outcome) == (None, "committed")

    run(main())


def test_a_cancelled_waiter_does_not_stop_the_commit(db: aurolog.Volume) -> None:
    async def main() -> aurolog.Transaction:
        tx = db.transaction()
        tx.write(3, 0, b"goes on")
        commit = tx.commit_async()
        commit.cancel()
        with pytest.raises(asyncio.CancelledError):
            await commit
        await one(db, 4, b"behind it")  # and told together with it, or later
        return tx

    tx = run(main())
    assert tx.outcome == "committed"
    assert tx.lsn is not None
    assert db.at(tx.lsn)[3][:7] == b"goes on"


def test_a_transaction_that_reads_commits_too_and_one_without_changes_is_nothing(
    db: aurolog.Volume,
) -> None:
    async def main() -> None:
        for number in range(1, 30):
            others = [asyncio.ensure_future(one(db, page, b"other")) for page in range(1, 9)]
            await asyncio.sleep(0)  # they are with the committing thread now
            async with db.transaction() as tx:
                tx.write(0, 0, bytes([tx[0][0] + 1]))
            assert db.at(tx.lsn or 0)[0][0] == number
            await asyncio.gather(*others)
        async with db.transaction() as tx:
            pass
        assert (tx.lsn, tx.outcome) == (None, "committed")
        assert await db.transaction().commit_async() is None

    run(main())
    assert db[0][0] == 29


def test_an_exception_in_the_block_rolls_back(db: aurolog.Volume) -> None:
    async def main() -> None:
        with pytest.raises(ZeroDivisionError):
            async with db.transaction() as tx:
                tx.write(0, 0, b"lost")
                raise ZeroDivisionError
        assert tx.outcome == "rolled back"
        async with db.transaction() as tx:
            tx.write(0, 0, b"by hand")
            tx.rollback()
        assert tx.outcome == "rolled back"

    run(main())
    assert len(db) == 0


def test_commits_for_the_process_only_are_awaited_too(db: aurolog.Volume) -> None:
    async def main() -> None:
        async with db.transaction(durability="os") as tx:
            tx.write(0, 0, b"os")
        assert db[0][:2] == b"os"
        assert db.visible_lsn == tx.lsn
        mixed = []
        for number in range(50):
            tx = db.transaction(durability="os" if number % 3 else "sync")
            tx.write(1, 0, bytes([number]))
            mixed.append(tx.commit_async())
        lsns = await asyncio.gather(*mixed)
        assert db.visible_lsn == lsns[-1]
        assert db.durable_lsn >= (lsns[48] or 0)

    run(main())


def test_loops_in_several_threads_share_a_volume(db: aurolog.Volume) -> None:
    async def mine(page: int) -> None:
        for _ in range(40):
            await one(db, page, b"y")

    async def main(first: int) -> None:
        await asyncio.gather(*map(mine, range(first, first + 50)))

    threads = [threading.Thread(target=run, args=(main(50 * n),)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(db[page][:1] == b"y" for page in range(200))


def test_a_transaction_that_only_read_is_over_when_what_it_read_is_visible(path: Path) -> None:
    """It may have read what is logged and not yet durable, and nobody else sees."""
    stop = threading.Event()

    def write(db: aurolog.Volume) -> None:
        while not stop.is_set():
            with db.transaction() as tx:
                tx.write(0, 0, (int.from_bytes(tx[0][:8], "little") + 1).to_bytes(8, "little"))

    async def main(db: aurolog.Volume) -> None:
        for _ in range(300):
            async with db.transaction() as tx:
                seen = tx[0][:8]
            assert (tx.lsn, tx.outcome) == (None, "committed")
            shown = int.from_bytes(db[0][:8], "little")
            assert shown >= int.from_bytes(seen, "little")

    with aurolog.open(path) as db:
        threads = [threading.Thread(target=write, args=(db,)) for _ in range(3)]
        for thread in threads:
            thread.start()
        try:
            run(main(db))
        finally:
            stop.set()
            for thread in threads:
                thread.join()


@pytest.mark.parametrize("waits", [False, True])
def test_an_interrupt_at_every_point_of_an_awaited_commit_leaves_a_told_outcome(
    path: Path, waits: bool
) -> None:
    """Logged at once, or handed over because another has the writer's place."""

    async def main(db: aurolog.Volume) -> None:
        await one(db, 9, b"the thread is there")
        held = 0
        for point in itertools.count(1):
            tx = db.transaction()
            tx.write(0, 0, point.to_bytes(8, "little"))
            futures: list[asyncio.Future[int | None]] = []
            with place_taken(db) if waits else contextlib.nullcontext():
                struck = strike_at(point, lambda tx=tx, to=futures: to.append(tx.commit_async()))
            for future in futures:
                assert await future == tx.lsn
            if tx.outcome == "open":
                tx.rollback()
            await one(db, 2, b"usable")
            found = int.from_bytes(db[0][:8], "little")
            assert found in {"committed": {point}, "rolled back": {held}}[tx.outcome], point
            held = found
            if not struck:
                assert tx.outcome == "committed"
                assert point > 10
                return

    with aurolog.open(path) as db:
        run(main(db))


def test_a_loop_waits_for_the_highest_of_what_it_was_asked_for() -> None:
    """Threads that log in one order may ask in another."""
    waited: list[int] = []
    store: Any = SimpleNamespace(
        wait=lambda lsn, _durability: waited.append(lsn), durable_lsn=7, path=""
    )
    worker = _Worker(store, SimpleQueue(), threading.Event())
    commits = [
        Commit(_core.RunMark(0), 0, b"", 0, SimpleNamespace(lsn=lsn, logged=1)) for lsn in (7, 5)
    ]
    worker._finish(commits)
    assert waited == [7]


def test_closing_finishes_what_was_asked_for_and_later_commits_are_refused(path: Path) -> None:
    async def main() -> None:
        db = aurolog.open(path)
        commits = []
        for page in range(30):
            tx = db.transaction()
            tx.write(page, 0, b"z")
            commits.append(tx.commit_async())
        late = db.transaction()
        late.write(99, 0, b"late")
        db.close()
        assert all(lsn is not None for lsn in await asyncio.gather(*commits))
        with pytest.raises(aurolog.ClosedError):
            await late.commit_async()
        assert committing_threads() == []

    run(main())
    with aurolog.open(path) as db:
        assert db.recovery.clean
        assert len(db) == 30


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_a_dropped_volume_frees_its_lock_after_awaited_commits_too(path: Path) -> None:
    async def main() -> None:
        db = aurolog.open(path)
        await one(db, 0, b"x")

    run(main())
    gc.collect()
    for thread in committing_threads():
        thread.join(60)
    with aurolog.open(path) as db:
        assert db[0][:1] == b"x"


def test_a_loop_that_is_closed_meanwhile_loses_only_the_news(path: Path) -> None:
    async def main(db: aurolog.Volume) -> None:
        tx = db.transaction()
        tx.write(0, 0, b"unheard")
        tx.commit_async()

    with aurolog.open(path) as db:
        run(main(db))
        db.sync()
        run(one(db, 1, b"heard"))
    with aurolog.open(path) as db:
        assert db[0][:7] == b"unheard"
        assert db[1][:5] == b"heard"


def test_who_may_not_write_is_told_where_it_asks(path: Path) -> None:
    aurolog.open(path).close()

    async def main() -> None:
        with aurolog.open(path, read_only=True) as db, pytest.raises(aurolog.ReadOnlyError):
            async with db.transaction() as tx:
                tx.write(0, 0, b"x")
        with aurolog.open(path) as db:
            async with db.transaction() as tx:
                with pytest.raises(aurolog.TransactionError):
                    db.transaction()
                with pytest.raises(aurolog.InputError):
                    tx.write(0, 4090, b"too long")

    run(main())
    with aurolog.open(path) as db:
        tx = db.transaction()
        tx.write(0, 0, b"no loop")
        with pytest.raises(RuntimeError):
            tx.commit_async()
        tx.rollback()


def test_awaited_commits_of_a_disk_that_fails_have_an_unknown_outcome(path: Path) -> None:
    need_strace()
    syncs = "fsync,fdatasync"
    with Child("failing_async", path) as child:
        assert child.line() == "ready"
        with traced(child.pid, "-e", f"trace={syncs}", "-e", f"inject={syncs}:error=EIO"):
            child.say("syncs fail from now on")
            assert child.line() == "lost CommitOutcomeUnknown unknown"
            assert child.line() == "others True"
            assert child.line() == "again StorageError"
        assert child.end() == 0
    with aurolog.open(path) as db:
        assert db[0][:4] == b"kept"


def test_whatever_happens_to_the_committing_thread_is_told(
    db: aurolog.Volume, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody is left waiting."""

    def fail(self: _Worker, commits: list[Commit]) -> None:
        raise RuntimeError("an accident")

    async def commits() -> list[Any]:
        with monkeypatch.context() as patched:
            patched.setattr(_Worker, "_finish", fail)
            return await asyncio.gather(
                *[one(db, n, b"x") for n in range(3)], return_exceptions=True
            )

    told = asyncio.run(commits())
    assert [str(error) for error in told] == ["an accident"] * 3
    assert asyncio.run(one(db, 9, b"y")) == db.durable_lsn
