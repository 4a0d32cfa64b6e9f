"""Commits awaited in event loops: the loop goes on, syncs are shared, and nothing is lost by it."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from support import Child, need_strace, traced

import aurolog


async def one(db: aurolog.Volume, page: int, data: bytes) -> int:
    """A small durable commit; its LSN."""
    async with db.transaction(durability="sync") as tx:
        tx.write(page, 0, data)
    assert tx.outcome == "committed"
    assert tx.lsn is not None
    return tx.lsn


def committing_threads() -> list[threading.Thread]:
    """Those that any volume has now."""
    return [thread for thread in threading.enumerate() if thread.name == "aurolog commits"]


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
    taken, free = threading.Event(), threading.Event()

    def hold() -> None:
        with db.transaction() as tx:
            assert tx[0] == bytes(4096)
            taken.set()
            assert free.wait(60)

    async def main() -> list[int]:
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

    holder = threading.Thread(target=hold)
    holder.start()
    assert taken.wait(60)
    lsns = run(main(), CountingLoop)
    holder.join()
    assert lsns == sorted(set(lsns))
    assert db.durable_lsn == max(lsns)
    for page in range(400):
        assert db[page].rstrip(b"\0") == b"x%d" % page
        assert db.at(lsns[page])[page] == db[page]


def test_the_loop_goes_on_while_another_thread_has_the_writers_place(db: aurolog.Volume) -> None:
    taken, free = threading.Event(), threading.Event()

    def hold() -> None:
        with db.transaction() as tx:
            assert tx[0] == bytes(4096)  # a reading takes the place
            taken.set()
            assert free.wait(60)
            tx.write(0, 0, b"held")

    async def main() -> None:
        commit = asyncio.ensure_future(one(db, 1, b"awaited"))
        for _ in range(1000):
            await asyncio.sleep(0)
        assert not commit.done()
        free.set()
        await commit

    holder = threading.Thread(target=hold)
    holder.start()
    assert taken.wait(60)
    run(main())
    holder.join()
    assert db[0][:4] == b"held"
    assert db[1][:7] == b"awaited"


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
    taken, waiting = threading.Event(), threading.Event()

    def hold() -> None:
        with db.transaction() as tx:
            assert tx[9] == bytes(4096)
            taken.set()
            assert waiting.wait(60)

    async def main() -> None:
        commits = []
        for number in range(5):
            tx = db.transaction()
            tx.write(0, 0, bytes([number + 1]))
            commits.append((tx, tx.commit_async()))
        with db.transaction() as last:
            waiting.set()
            last.write(0, 0, bytes([last[0][0] + 1]))
        lsns = [await commit for _, commit in commits]
        assert lsns == sorted(lsns, key=lambda lsn: lsn or 0)
        assert (lsns[-1] or 0) < (last.lsn or 0)

    holder = threading.Thread(target=hold)
    holder.start()
    assert taken.wait(60)
    run(main())
    holder.join()
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
    async def main(first: int) -> None:
        await asyncio.gather(*(one(db, page, b"y") for page in range(first, first + 50)))

    threads = [threading.Thread(target=run, args=(main(50 * n),)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(db[page][:1] == b"y" for page in range(200))


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
