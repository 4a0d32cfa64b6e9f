"""Transactions and reads in event loops: the loop goes on, syncs are shared, and nothing is lost.

Every test runs in asyncio's own loop and in uvloop.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import itertools
import os
import random
import signal
import sys
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from support import Child, need_strace, strike_at, traced

import aurolog
from aurolog import _core
from aurolog.committer import Commit, _Line, _Syncer
from aurolog.transaction import AsyncTransaction

pytestmark = pytest.mark.threads

SECONDS_MAX = 60


class Counting:
    """A loop that counts what threads ask of it, and it of them."""

    wake_ups = jobs = 0

    def call_soon_threadsafe(self, *arguments: Any, **more: Any) -> Any:
        self.wake_ups += 1
        return super().call_soon_threadsafe(*arguments, **more)  # type: ignore[misc]

    def run_in_executor(self, *arguments: Any) -> Any:
        self.jobs += 1
        return super().run_in_executor(*arguments)  # type: ignore[misc]


def loop_class(name: str) -> type:
    if name == "asyncio":
        return asyncio.SelectorEventLoop
    reason = "SKIPPED, uvloop is not here: pip install '.[test]'"
    found: type = pytest.importorskip("uvloop", reason=reason).Loop
    return found


new_loop: Callable[[], Any] = asyncio.SelectorEventLoop


@pytest.fixture(autouse=True, params=["asyncio", "uvloop"])
def _loop(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    made = type("CountingLoop", (Counting, loop_class(request.param)), {})
    monkeypatch.setattr(sys.modules[__name__], "new_loop", made)


def run(main: Coroutine[Any, Any, Any]) -> Any:
    """Runs a coroutine in a loop of its own."""
    with asyncio.Runner(loop_factory=new_loop) as runner:
        return runner.run(main)


def counts() -> Counting:
    """The running loop, as it counts."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, Counting)
    return loop


async def one(db: aurolog.Volume, page: int, data: bytes) -> int:
    """A small durable commit; its LSN."""
    async with db.transaction(durability="sync") as tx:
        tx.write(page, 0, data)
    assert tx.outcome == "committed"
    assert tx.lsn is not None
    assert db.durable_lsn >= tx.lsn, "told before it was durable"
    return tx.lsn


async def begin(db: aurolog.Volume, page: int, data: bytes) -> AsyncTransaction:
    """One with a change, by hand."""
    tx = await db.transaction()
    tx.write(page, 0, data)
    return tx


async def add_one(db: aurolog.Volume, page: int = 0) -> None:
    """Counts in the page."""
    async with db.transaction() as tx:
        number = int.from_bytes((await tx.read(page))[:8], "little")
        await asyncio.sleep(0)
        tx.write(page, 0, (number + 1).to_bytes(8, "little"))


def number_in(reader: Any, page: int = 0) -> int:
    return int.from_bytes(reader[page][:8], "little")


async def until(holds: Callable[[], object]) -> None:
    """Waits, with the loop going on, until something holds."""
    end = time.monotonic() + SECONDS_MAX
    while not holds():
        assert time.monotonic() < end, "it never came to be"
        await asyncio.sleep(0.001)


async def stands_in_line(db: aurolog.Volume, count: int = 1) -> None:
    """Until so many wait for the writer's place in event loops."""
    await until(lambda: len(db._committer._line.waiting) == count)


def own_threads() -> list[threading.Thread]:
    """Those that any volume has now."""
    names = ("aurolog commits", "aurolog turns")
    return [thread for thread in threading.enumerate() if thread.name in names]


@contextlib.contextmanager
def place_taken(db: aurolog.Volume) -> Iterator[threading.Event]:
    """Another thread has the writer's place until the event is set."""
    taken, free = threading.Event(), threading.Event()

    def hold() -> None:
        with db.transaction() as tx:
            assert len(tx[0]) == db.page_size  # a reading takes the place
            taken.set()
            assert free.wait(SECONDS_MAX)
            tx.write(500, 0, b"held")

    holder = threading.Thread(target=hold)
    holder.start()
    assert taken.wait(SECONDS_MAX)
    try:
        yield free
    finally:
        free.set()
        holder.join()


def assert_usable(db: aurolog.Volume) -> None:
    """Nobody has kept the writer's place: another thread gets it."""
    done = threading.Event()

    def commit() -> None:
        with db.transaction() as tx:
            tx.write(99, 0, b"usable")
        done.set()

    threading.Thread(target=commit, daemon=True).start()
    assert done.wait(SECONDS_MAX), "the writer's place is lost"


# --- commits --------------------------------------------------------------------------------------


def test_tasks_share_syncs_and_each_loop_is_told_once_for_all_of_one(db: aurolog.Volume) -> None:
    async def main(free: threading.Event) -> list[int]:
        loop = counts()
        wake_ups, syncs = loop.wake_ups, db.stats().disk_syncs
        commits = [asyncio.ensure_future(one(db, page, b"x%d" % page)) for page in range(400)]
        await stands_in_line(db, 400)
        free.set()
        lsns = await asyncio.gather(*commits)
        assert 1 <= db.stats().disk_syncs - syncs <= 10
        assert 1 <= loop.wake_ups - wake_ups <= 10
        return lsns

    with place_taken(db) as free:
        lsns = run(main(free))
    assert lsns == sorted(set(lsns))
    assert db.durable_lsn == max(lsns)
    for page in range(400):
        assert db[page].rstrip(b"\0") == b"x%d" % page
        assert db.at(lsns[page])[page] == db[page]


def test_a_loop_is_woken_no_more_often_than_there_are_syncs(db: aurolog.Volume) -> None:
    async def mine(page: int) -> None:
        for _ in range(20):
            await one(db, page, b"y")

    async def main() -> None:
        loop = counts()
        wake_ups, syncs = loop.wake_ups, db.stats().disk_syncs
        await asyncio.gather(*map(mine, range(64)))
        assert 1 <= loop.wake_ups - wake_ups <= db.stats().disk_syncs - syncs + 2

    run(main())
    assert db.stats().commits == 64 * 20


def test_the_loop_goes_on_while_another_thread_has_the_writers_place(db: aurolog.Volume) -> None:
    async def main(free: threading.Event) -> None:
        commit = asyncio.ensure_future(one(db, 1, b"awaited"))
        await stands_in_line(db)
        for _ in range(1000):
            await asyncio.sleep(0)
        assert not commit.done()
        free.set()
        await commit

    with place_taken(db) as free:
        run(main(free))
    assert db[500][:4] == b"held"
    assert db[1][:7] == b"awaited"


def test_a_commit_is_over_when_it_is_asked_for_and_awaited_later(db: aurolog.Volume) -> None:
    async def main() -> None:
        waiting = []
        for page in range(20):
            tx = await db.transaction(note="later")
            tx.write(page, 0, bytes([page + 1]))
            waiting.append((tx, tx.commit()))
            assert tx.outcome in ("unknown", "committed")
            with pytest.raises(aurolog.TransactionError, match="over"):
                tx.write(page, 0, b"x")
            with pytest.raises(aurolog.TransactionError, match="over"):
                tx.commit()
        for tx, commit in waiting:
            assert await commit == tx.lsn
            assert tx.outcome == "committed"
        lsns = [tx.lsn for tx, _ in waiting]
        assert lsns == sorted(set(lsns), key=int)

    run(main())
    assert [db[page][0] for page in range(20)] == list(range(1, 21))
    assert {batch.note for batch in db.log() if batch.records[0].kind == "write"} == {"later"}


def test_commits_keep_the_order_of_their_calls_awaited_or_not(db: aurolog.Volume) -> None:
    async def main() -> None:
        for turn in range(100):
            first = await begin(db, 0, b"first")
            waiting = first.commit()
            with db.transaction() as second:
                if turn % 2:
                    assert second[0][:5] == b"first"
                second.write(0, 0, b"later")
            assert await waiting == first.lsn
            assert (first.lsn or 0) < (second.lsn or 0)
            assert db[0][:5] == b"later"

    run(main())


def test_commits_that_stand_in_line_keep_their_order(db: aurolog.Volume) -> None:
    async def main(free: threading.Event) -> None:
        commits = [(await begin(db, 0, bytes([n + 1]))).commit() for n in range(5)]
        with_image = await db.transaction()
        with_image[0] = bytes([6]) * db.page_size
        commits.append(with_image.commit())
        last = await begin(db, 0, bytes([7]))
        commits.append(last.commit())
        free.set()
        lsns = [await commit for commit in commits]
        assert lsns == sorted(lsns, key=lambda lsn: lsn or 0)
        assert None not in lsns

    with place_taken(db) as free:
        run(main(free))
    assert db[0][:2] == bytes([7, 6])


def test_a_commit_in_one_call_comes_behind_the_threads_awaited_ones(path: Path) -> None:
    """Outside the loop it waits for them."""

    async def main(db: aurolog.Volume) -> AsyncTransaction:
        first = await begin(db, 0, b"first")
        first.commit()
        assert first.lsn is None
        return first

    with aurolog.open(path) as db:
        with place_taken(db) as free:
            loop = new_loop()
            first = loop.run_until_complete(main(db))
            threading.Timer(0.1, free.set).start()
            with db.transaction() as tx:
                tx.write(0, 0, b"second")
            assert (first.lsn or 0) < (tx.lsn or 0)
            loop.close()
        assert db[0][:6] == b"second"


def test_changes_that_are_none_commit_as_none(db: aurolog.Volume) -> None:
    async def main() -> None:
        async with db.transaction() as tx:
            tx.apply([])
            tx.apply(b"")
        assert (tx.lsn, tx.outcome) == (None, "committed")

    run(main())


def test_an_exception_in_the_block_rolls_back(db: aurolog.Volume) -> None:
    async def main() -> None:
        with pytest.raises(ZeroDivisionError):
            async with db.transaction() as tx:
                tx.write(0, 0, b"lost")
                await tx.read(0)
                raise ZeroDivisionError
        assert tx.outcome == "rolled back"
        async with db.transaction() as tx:
            tx.write(0, 0, b"by hand")
            tx.rollback()
        assert tx.outcome == "rolled back"
        async with db.transaction() as tx:
            pass
        assert (tx.lsn, tx.outcome) == (None, "committed")
        assert await (await db.transaction()).commit() is None

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
            tx = await db.transaction(durability="os" if number % 3 else "sync")
            tx.write(1, 0, bytes([number]))
            mixed.append(tx.commit())
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


def test_the_times_of_awaited_commits_are_the_clocks(path: Path) -> None:
    async def main(db: aurolog.Volume) -> None:
        async with db.transaction() as tx:
            tx.write(0, 0, b"x")
        times.append(-1)
        tx = await begin(db, 0, b"y")
        with pytest.raises(aurolog.InputError, match="clock"):
            await tx.commit()
        assert tx.outcome == "rolled back"

    times = [10**18]
    with aurolog.open(path, clock=lambda: times[-1]) as db:
        run(main(db))
        assert db.versions(0)[0].time.timestamp() == 10**9
        assert len(db.versions(0)) == 1


# --- reading in a transaction ---------------------------------------------------------------------


def test_no_increment_is_lost(db: aurolog.Volume) -> None:
    """Each task reads, awaits, and writes; plain threads do so, too."""

    def count() -> None:
        for _ in range(50):
            with db.transaction() as tx:
                tx.write(0, 0, (number_in(tx) + 1).to_bytes(8, "little"))

    async def mine() -> None:
        for _ in range(10):
            await add_one(db)

    async def main() -> None:
        await asyncio.gather(*(mine() for _ in range(50)))

    threads = [threading.Thread(target=count) for _ in range(2)]
    for thread in threads:
        thread.start()
    run(main())
    for thread in threads:
        thread.join()
    assert number_in(db) == 50 * 10 + 2 * 50


def test_a_transaction_sees_the_newest_state_and_its_own_changes(db: aurolog.Volume) -> None:
    async def main() -> None:
        await one(db, 0, b"committed")
        async with db.transaction() as tx:
            tx.write(0, 0, b"C")
            assert (await tx.read(0))[:9] == b"Committed"
            tx.move(0, 0, 9, 9)
            tx.fill(1, 0, 10, 7)
            tx[2] = bytes([2]) * db.page_size
            tx.write(2, 1, b"two")
            tx.apply([("put", 3, bytes([3]) * db.page_size), (4, 0, b"four")])
            assert (await tx.read(0))[:18] == b"CommittedCommitted"
            assert (await tx.read(1))[:11] == bytes([7] * 10 + [0])
            assert (await tx.read(2))[:5] == b"\x02two\x02"
            assert (await tx.read(3)) == bytes([3]) * db.page_size
            assert await tx.length() == 5
            tx.truncate(2)
            assert await tx.length() == 2
            assert await tx.read(2) == bytes(db.page_size)
            assert len(db) == 1
        assert len(db) == 2
        with pytest.raises(aurolog.InputError, match="outside the volume"):
            await (await db.transaction()).read(1 << 60)
        with pytest.raises(aurolog.TransactionError, match="over"):
            await tx.read(0)
        with pytest.raises(aurolog.TransactionError, match="over"):
            await tx.length()

    run(main())


def test_those_who_read_are_served_in_their_order_and_the_loop_goes_on(db: aurolog.Volume) -> None:
    served = []

    async def mine(number: int) -> None:
        async with db.transaction() as tx:
            await tx.read(0)
            served.append(number)
            await asyncio.sleep(0.001)
            tx.write(0, 0, bytes([number]))

    async def main(free: threading.Event) -> None:
        tasks = []
        for number in range(20):
            tasks.append(asyncio.ensure_future(mine(number)))
            await stands_in_line(db, number + 1)
        free.set()
        await asyncio.gather(*tasks)

    with place_taken(db) as free:
        run(main(free))
    assert served == list(range(20))
    assert db[0][0] == 19


def test_tasks_that_only_collect_go_on_beside_one_that_has_the_place(db: aurolog.Volume) -> None:
    async def main() -> None:
        async with db.transaction() as tx:
            assert await tx.length() == 0
            others = [await begin(db, page, b"other") for page in range(1, 50)]
            for other in others:
                other.write(0, 100, b"more")
                other[60] = bytes(db.page_size)
            commits = [other.commit() for other in others]
            await asyncio.sleep(0.01)
            assert not any(commit.done() for commit in commits)
            tx.write(0, 0, b"first")
        lsns = await asyncio.gather(*commits)
        assert (tx.lsn or 0) < min(lsns)
        assert lsns == sorted(lsns)

    run(main())
    assert db[0][:5] == b"first"
    assert db[49][:5] == b"other"


def test_two_calls_of_one_transaction_at_once_wait_for_each_other(db: aurolog.Volume) -> None:
    async def main(free: threading.Event) -> None:
        tx = await begin(db, 1, b"one")
        reads = asyncio.gather(tx.read(1), tx.read(500), tx.length())
        await stands_in_line(db)
        free.set()
        one_page, held, length = await reads
        assert (one_page[:3], held[:4], length) == (b"one", b"held", 501)
        tx[2] = bytes([2]) * db.page_size  # from here on a thread is asked
        assert [page[0] for page in await asyncio.gather(*map(tx.read, (2, 2, 1)))] == [2, 2, 111]
        await tx.commit()

    with place_taken(db) as free:
        run(main(free))


def test_of_a_whole_page_only_the_difference_is_logged(path: Path) -> None:
    image = bytearray(os.urandom(4096))

    async def main(db: aurolog.Volume) -> None:
        async with db.transaction() as tx:
            tx[0] = image
        for n, how in enumerate(("item", "put", "read before", "put", "item")):
            image[100 * n] ^= 255
            before = db.stats().log_bytes
            async with db.transaction() as tx:
                if how == "read before":
                    assert len(await tx.read(0)) == 4096
                if how == "put":
                    tx.apply([("put", 0, bytes(image))])
                else:
                    tx[0] = bytes(image)
            assert db.stats().log_bytes - before < 200, how
            assert db[0] == image
        before = db.stats().log_bytes
        async with db.transaction() as tx:
            tx.apply([("image", 0, bytes(image))])
        assert db.stats().log_bytes - before > 4096

    with aurolog.open(path) as db:
        run(main(db))


def test_whole_pages_of_one_transaction_are_compared_with_what_it_did_before(
    db: aurolog.Volume,
) -> None:
    first, second = os.urandom(4096), os.urandom(4096)

    async def main() -> None:
        async with db.transaction() as tx:
            tx[0] = first
            tx.write(0, 10, b"x")
            tx[0] = second
            tx.move(0, 0, 100, 50)
            tx[0] = second
            tx.truncate(0)
            tx[0] = first
            tx[1] = bytes(4096)

    run(main())
    assert (db[0], len(db)) == (first, 2)


def test_more_changes_than_a_transaction_holds_are_refused_where_they_come(
    db: aurolog.Volume, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> None:
        monkeypatch.setattr(AsyncTransaction, "_collected_max", 10_000)
        tx = await begin(db, 0, b"kept")
        with pytest.raises(aurolog.InputError, match="at most"):
            tx.apply([("image", n, bytes(4096)) for n in range(3)])
        for _ in range(2):
            tx[1] = bytes(4096)
        with pytest.raises(aurolog.InputError, match="at most"):
            tx[2] = bytes(4096)
        with pytest.raises(aurolog.InputError, match="at most"):
            tx.write(2, 0, bytes(2000))
        await tx.commit()

    run(main())
    assert db[0][:4] == b"kept"
    assert len(db) == 2


def test_pages_are_read_from_the_disk_in_a_thread(path: Path) -> None:
    with aurolog.open(path) as db, db.transaction() as tx:
        tx.apply([("image", n, bytes([n & 255]) * 4096) for n in range(300)])

    async def main(db: aurolog.Volume) -> None:
        loop = counts()
        async with db.transaction() as tx:
            assert (await tx.read(7))[0] == 7
            assert loop.jobs == 1
            assert (await tx.read(7))[0] == 7
            assert loop.jobs == 1, "what is cached is here at once"
            tx.write(7, 0, b"own")
            assert (await tx.read(7))[:4] == b"own\x07"
            assert loop.jobs == 1

    with aurolog.open(path, cache_bytes=0) as db:
        run(main(db))


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
                seen = (await tx.read(0))[:8]
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


# --- plain transactions in a loop's thread --------------------------------------------------------

WAITING: dict[str, Callable[[aurolog.Transaction], Any]] = {
    "read": lambda tx: tx[0],
    "length": len,
    "put": lambda tx: tx.__setitem__(0, bytes(4096)),
    "more than is collected": lambda tx: tx.apply([("image", n, bytes(4096)) for n in range(20)]),
    "the write that is too many": lambda tx: [tx.write(5, 0, bytes(4096)) for _ in range(20)],
    "commit": lambda tx: tx.commit(),
    "exit": lambda tx: tx.__exit__(None, None, None),
}


@pytest.mark.parametrize("name", WAITING)
def test_a_call_that_would_keep_the_loop_waiting_is_refused_and_loses_nothing(
    db: aurolog.Volume, name: str
) -> None:
    async def main(free: threading.Event) -> None:
        tx = db.transaction()
        tx.write(0, 0, b"kept")
        for _ in range(2):
            begun = time.monotonic()
            with pytest.raises(aurolog.TransactionError, match="async with"):
                WAITING[name](tx)
            assert time.monotonic() - begun < SECONDS_MAX / 2
            assert tx.outcome == "open"
        free.set()
        await until(lambda: db[500][:4] == b"held")
        tx.write(0, 4, b" too")
        tx.commit()

    with place_taken(db) as free:
        run(main(free))
    assert db[0][:8] == b"kept too"


def test_a_call_behind_the_threads_commit_in_line_is_refused(db: aurolog.Volume) -> None:
    """It would come before it, or wait for it."""

    async def main(free: threading.Event) -> None:
        first = (await begin(db, 0, b"first")).commit()
        tx = db.transaction()
        tx.write(0, 0, b"later")
        with pytest.raises(aurolog.TransactionError, match="a commit before it"):
            tx.commit()
        free.set()
        await first
        tx.commit()

    with place_taken(db) as free:
        run(main(free))
    assert db[0][:5] == b"later"


def test_a_plain_transaction_works_in_a_loop_where_nothing_is_in_its_way(
    db: aurolog.Volume,
) -> None:
    async def main() -> None:
        with db.transaction(durability="sync") as tx:
            tx.write(0, 0, b"a")
        with db.transaction() as tx:
            tx[1] = tx[0]
            tx.apply([("image", n, bytes(4096)) for n in range(2, 30)])
        tx = db.transaction()
        async with db.transaction() as other:
            assert await other.length() == 30
            with pytest.raises(aurolog.TransactionError, match="for ever"):
                tx[0]
        assert tx[1][:1] == b"a"
        tx.rollback()

    run(main())
    assert db.visible_lsn == db.stats().records


def test_a_transaction_becomes_one_of_the_loop_with_what_it_has(db: aurolog.Volume) -> None:
    async def main() -> None:
        plain = db.transaction(note="from before")
        assert type(plain) is aurolog.Transaction
        plain.write(0, 0, b"before")
        assert len(plain) == 1  # and so the writer's place goes with it
        async with plain as tx:
            assert tx is plain
            assert type(tx) is AsyncTransaction
            tx.write(0, 6, b" and after")
            assert (await tx.read(0))[:16] == b"before and after"
            with pytest.raises(TypeError):
                plain[0]
            async with tx as again:
                assert again is tx
        assert plain.outcome == "committed"
        over = db.transaction()
        over.rollback()
        with pytest.raises(aurolog.TransactionError, match="over"):
            await over

    run(main())
    assert db[0][:16] == b"before and after"
    assert next(db.log()).note == "from before"


def test_a_transaction_goes_from_loop_to_loop(db: aurolog.Volume) -> None:
    async def first() -> AsyncTransaction:
        tx = await begin(db, 0, b"abc")
        assert (await tx.read(0))[:3] == b"abc"
        return tx

    async def second() -> None:
        tx.write(0, 3, b"def")
        assert (await tx.read(0))[:6] == b"abcdef"
        await tx.commit()

    tx = run(first())
    thread = threading.Thread(target=lambda: run(second()))
    thread.start()
    thread.join()
    assert db[0][:6] == b"abcdef"


def test_a_transaction_that_nobody_ends_gives_the_place_back(db: aurolog.Volume) -> None:
    async def main() -> None:
        tx = await db.transaction()
        await tx.read(0)
        waiting = asyncio.ensure_future(one(db, 1, b"next"))
        await stands_in_line(db)
        del tx
        gc.collect()
        await waiting

    run(main())


# --- rewinds --------------------------------------------------------------------------------------


def test_a_rewind_ends_the_transactions_of_a_loop_with_a_conflict(db: aurolog.Volume) -> None:
    async def main() -> None:
        first = await one(db, 0, b"first")
        await one(db, 0, b"later")
        collected, with_image, reader = [await begin(db, 1, b"lost") for _ in range(3)]
        with_image[2] = bytes(db.page_size)
        assert (await reader.read(0))[:5] == b"later"
        rewind = await db.backtrack_async(first)
        assert (rewind.to_lsn, db[0][:5]) == (first, b"first")
        with pytest.raises(aurolog.ConflictError):
            await reader.read(0)
        for tx in (collected, with_image):
            with pytest.raises(aurolog.ConflictError):
                await tx.commit()
        late = await begin(db, 1, b"new")
        await db.backtrack_async(rewind.from_lsn)
        with pytest.raises(aurolog.ConflictError):
            await late.read(0)
        with pytest.raises(aurolog.TransactionError, match="over"):
            await late.length()
        assert {tx.outcome for tx in (collected, with_image, reader, late)} == {"rolled back"}
        await one(db, 3, b"goes on")
        assert db[0][:5] == b"later"

    run(main())
    assert db[1] == bytes(4096)
    assert_usable(db)


def test_what_stands_in_line_when_the_volume_is_rewound_conflicts(db: aurolog.Volume) -> None:
    async def main() -> None:
        first = await one(db, 0, b"first")
        await one(db, 0, b"later")
        holder = await db.transaction()
        assert await holder.length() == 1
        in_line = [await begin(db, 1, b"lost") for _ in range(3)]
        in_line[1][2] = bytes(db.page_size)
        waiting = [in_line[0].commit(), in_line[1].commit()]
        waiting.append(asyncio.ensure_future(in_line[2].read(0)))
        await stands_in_line(db, 3)
        await db.backtrack_async(first)
        told = await asyncio.gather(*waiting, return_exceptions=True)
        assert [type(error) for error in told] == [aurolog.ConflictError] * 3
        assert {tx.outcome for tx in in_line} == {"rolled back"}
        with pytest.raises(aurolog.ConflictError):
            await holder.commit()
        await one(db, 3, b"goes on")

    run(main())
    assert db[1] == bytes(4096)


def test_what_a_loop_has_asked_for_comes_before_what_its_thread_does_next(
    db: aurolog.Volume,
) -> None:
    async def main() -> None:
        first = await one(db, 0, b"first")
        for turn in range(50):
            asked = await begin(db, 0, b"later%d" % turn)
            commit = asked.commit()
            if turn % 3 == 0:
                db.backtrack(first)
                assert db[0].rstrip(b"\0") == b"first"
            elif turn % 3 == 1:
                assert db.restore_point(f"name {turn}").lsn == asked.lsn
            else:
                assert db.sync() == asked.lsn
            assert await commit == asked.lsn
            assert asked.outcome == "committed"

    run(main())


def test_an_error_of_one_that_was_first_in_line_is_not_anothers() -> None:
    """It has been served while the thread waited for the place."""

    def conflict(*_: Any) -> None:
        commits[0].lsn = 1
        raise aurolog.ConflictError

    line = _Line(SimpleNamespace(begin=conflict))  # type: ignore[arg-type]
    loop = new_loop()
    commits = [Commit(loop, _core.RunMark(0), 0) for _ in range(2)]
    line.waiting.extend(commits)
    assert line._serve_next()
    assert [commit.error for commit in commits] == [None, None]
    assert line.waiting == [commits[1]]
    loop.close()


def test_names_are_awaited_and_never_keep_a_loop_waiting(db: aurolog.Volume) -> None:
    async def main() -> None:
        lsn = await one(db, 0, b"x")
        async with db.transaction() as tx:
            assert await tx.length() == 1
            for call in (db.restore_point, db.delete_restore_point):
                with pytest.raises(aurolog.TransactionError, match="for ever"):
                    call("name")
            made = asyncio.ensure_future(db.restore_point_async("name"))
            await asyncio.sleep(0.01)
            assert not made.done()
        assert (await made).lsn == lsn
        await db.delete_restore_point_async("name")
        assert db.restore_points == {}

    run(main())


# --- cancelling -----------------------------------------------------------------------------------


def test_a_cancelled_waiter_does_not_stop_the_commit(db: aurolog.Volume) -> None:
    async def main() -> AsyncTransaction:
        tx = await begin(db, 3, b"goes on")
        commit = tx.commit()
        commit.cancel()
        with pytest.raises(asyncio.CancelledError):
            await commit
        await one(db, 4, b"behind it")  # and told together with it, or later
        return tx

    tx = run(main())
    assert tx.outcome == "committed"
    assert tx.lsn is not None
    assert db.at(tx.lsn)[3][:7] == b"goes on"


def test_who_is_cancelled_in_line_gives_up_its_turn_and_nothing_else(db: aurolog.Volume) -> None:
    async def main(free: threading.Event) -> None:
        tx = await begin(db, 0, b"kept")
        reading = asyncio.ensure_future(tx.read(0))
        await stands_in_line(db)
        behind = asyncio.ensure_future(add_one(db, 1))
        await stands_in_line(db, 2)
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
        assert tx.outcome == "open"
        free.set()
        await behind
        assert number_in(db, 1) == 1
        tx.write(0, 4, b" too")
        assert (await tx.read(0))[:8] == b"kept too"
        await tx.commit()

    with place_taken(db) as free:
        run(main(free))
    assert db[0][:8] == b"kept too"


def test_who_is_cancelled_just_when_the_place_has_come_gives_it_back(
    db: aurolog.Volume, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main(free: threading.Event) -> None:
        tx = await begin(db, 0, b"kept")
        reading = asyncio.ensure_future(tx.read(0))
        take_turn = AsyncTransaction._take_turn

        def take_and_cancel(self: AsyncTransaction, *arguments: Any) -> None:
            take_turn(self, *arguments)
            reading.cancel()

        monkeypatch.setattr(AsyncTransaction, "_take_turn", take_and_cancel)
        await stands_in_line(db)
        free.set()
        with pytest.raises(asyncio.CancelledError):
            await reading
        assert tx.outcome == "open"
        await asyncio.to_thread(assert_usable, db)
        await tx.commit()

    with place_taken(db) as free:
        run(main(free))
    assert db[0][:4] == b"kept"


def test_one_of_two_that_wait_with_a_transaction_is_cancelled_alone(db: aurolog.Volume) -> None:
    async def main(free: threading.Event) -> None:
        tx = await db.transaction()
        first, second = (asyncio.ensure_future(tx.read(n)) for n in (0, 500))
        await stands_in_line(db)
        first.cancel()
        free.set()
        assert (await second)[:4] == b"held"
        assert first.cancelled()
        tx.rollback()

    with place_taken(db) as free:
        run(main(free))
    assert_usable(db)


def test_ending_a_transaction_tells_who_waits_with_it(db: aurolog.Volume) -> None:
    async def main(free: threading.Event) -> None:
        for end in ("rollback", "commit"):
            tx = await begin(db, 0, end.encode())
            reading = asyncio.ensure_future(tx.read(0))
            await stands_in_line(db)
            ended = getattr(tx, end)()
            with pytest.raises(aurolog.TransactionError, match="over"):
                await reading
        free.set()
        await ended

    with place_taken(db) as free:
        run(main(free))
    assert db[0][:6] == b"commit"
    assert_usable(db)


@pytest.mark.parametrize("contended", [False, True])
def test_cancelling_at_every_await_loses_nothing(path: Path, contended: bool) -> None:
    """A task that collects, reads from cache and disk, puts and commits, cancelled after so many
    rounds of the loop; beside it another that always wants the place."""

    async def work(db: aurolog.Volume, number: int, to: list[AsyncTransaction]) -> None:
        async with db.transaction() as tx:
            to.append(tx)
            tx.write(0, 0, number.to_bytes(8, "little"))
            await tx.read(0)
            await tx.read(200)
            tx[1] = number.to_bytes(8, "little") * 512
            await tx.read(1)
            await tx.length()
            tx[2] = number.to_bytes(8, "little") * 512

    async def others(db: aurolog.Volume, stop: asyncio.Event) -> None:
        while not stop.is_set():
            await add_one(db, 3)

    async def main(db: aurolog.Volume) -> None:
        stop = asyncio.Event()
        beside = [asyncio.ensure_future(others(db, stop)) for _ in range(2 if contended else 0)]
        held, in_time = 0, 0
        rng = random.Random(7)
        for number in itertools.count(1):
            begun: list[AsyncTransaction] = []
            task = asyncio.ensure_future(work(db, number, begun))
            for _ in range(number if number < 60 else rng.randrange(400)):
                await asyncio.sleep(0 if rng.random() < 0.9 else 0.0001)
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
            await one(db, 4, b"behind it")
            found = number_in(db)
            if not begun:
                assert found == held
                continue
            outcome = begun[0].outcome
            assert found in {"committed": {number}, "rolled back": {held}}[outcome], number
            assert number_in(db, 1) == number_in(db, 2) == found
            held = found
            in_time += outcome == "committed"
            if number > 150 and in_time > 5:
                break
        stop.set()
        await asyncio.gather(*beside)

    with aurolog.open(path) as db, db.transaction() as tx:
        tx.apply([("image", n, bytes([0]) * 4096) for n in range(300)])
    with aurolog.open(path, cache_bytes=0, durability="os") as db:
        run(main(db))
        assert_usable(db)


@pytest.mark.parametrize("waits", [False, True])
@pytest.mark.parametrize("kind", ["collected", "image", "read"])
def test_an_interrupt_at_every_point_of_an_awaited_commit_leaves_a_told_outcome(
    path: Path, waits: bool, kind: str
) -> None:
    """Logged at once, or in line because another has the writer's place."""

    async def main(db: aurolog.Volume) -> None:
        with place_taken(db) as free:  # starting a thread is not to be interrupted
            in_line = (await begin(db, 9, b"the threads are there")).commit()
            free.set()
            await in_line
        held = 0
        for point in itertools.count(1):
            tx = await begin(db, 0, point.to_bytes(8, "little"))
            if kind == "image":
                tx[0] = point.to_bytes(8, "little") * 512
            elif kind == "read" and not waits:
                await tx.read(0)
            futures: list[asyncio.Future[int | None]] = []
            with place_taken(db) if waits else contextlib.nullcontext():
                struck = strike_at(point, lambda tx=tx, to=futures: to.append(tx.commit()))
            for future in futures:
                assert await future == tx.lsn
            if tx.outcome == "open":
                tx.rollback()
            await one(db, 2, b"usable")
            await until(lambda tx=tx: tx.outcome != "unknown")
            found = number_in(db)
            assert found in {"committed": {point}, "rolled back": {held}}[tx.outcome], point
            held = found
            if not struck:
                assert tx.outcome == "committed"
                assert point > 10
                return

    with aurolog.open(path) as db:
        run(main(db))


@pytest.mark.parametrize("waits", [False, True])
def test_ctrl_c_ends_the_loop_and_keeps_no_place(db: aurolog.Volume, waits: bool) -> None:
    """In a task that reads, waiting for the place or having it."""
    kept: list[AsyncTransaction] = []

    async def main() -> None:
        async with db.transaction() as tx:
            kept.append(tx)
            tx.write(0, 0, b"lost")
            if not waits:
                await tx.read(0)
            asyncio.get_running_loop().call_later(0.05, lambda: os.kill(os.getpid(), signal.SIGINT))
            if waits:
                await tx.read(0)
            await asyncio.sleep(SECONDS_MAX)

    with place_taken(db) if waits else contextlib.nullcontext(), pytest.raises(KeyboardInterrupt):
        run(main())
    assert kept[0].outcome == "rolled back"
    assert_usable(db)
    assert db[0] == bytes(4096)


# --- closing --------------------------------------------------------------------------------------


def test_closing_refuses_what_stands_in_line(path: Path) -> None:
    async def main() -> None:
        db = aurolog.open(path)
        mine = await db.transaction()
        assert await mine.read(0) == bytes(4096)
        in_line = [await begin(db, page, b"never") for page in range(3)]
        commit = in_line[0].commit()
        in_line[1][5] = bytes(4096)
        with_image = in_line[1].commit()
        reading = asyncio.ensure_future(in_line[2].read(0))
        await stands_in_line(db, 3)
        db.close()
        for waiting in (commit, with_image, reading):
            with pytest.raises(aurolog.ClosedError):
                await waiting
        assert [tx.outcome for tx in in_line] == ["rolled back", "rolled back", "open"]
        for tx in (in_line[2], mine):
            with pytest.raises(aurolog.ClosedError):
                await tx.commit()
            assert tx.outcome == "rolled back"
        assert own_threads() == []

    run(main())
    with aurolog.open(path) as db:
        assert len(db) == 0


def test_closing_finishes_what_was_asked_for_and_later_commits_are_refused(path: Path) -> None:
    async def main() -> None:
        db = aurolog.open(path)
        commits = [(await begin(db, page, b"z")).commit() for page in range(30)]
        late = await begin(db, 99, b"late")
        db.close()
        assert all(lsn is not None for lsn in await asyncio.gather(*commits))
        with pytest.raises(aurolog.ClosedError):
            await late.commit()
        assert late.outcome == "rolled back"
        assert own_threads() == []

    run(main())
    with aurolog.open(path) as db:
        assert db.recovery.clean
        assert len(db) == 30


def test_closing_while_calls_are_under_way_ends_them_all(path: Path) -> None:
    with aurolog.open(path) as db, db.transaction() as tx:
        tx.apply([("image", n, bytes([1]) * 4096) for n in range(300)])

    async def work(db: aurolog.Volume, number: int) -> None:
        while True:
            if number % 3:
                await add_one(db, number)
                await db.read_async(number * 7)
            else:
                await one(db, number, b"x")

    async def main() -> None:
        db = aurolog.open(path, cache_bytes=0)
        tasks = [asyncio.ensure_future(work(db, number)) for number in range(30)]
        await asyncio.sleep(0.05)
        db.close()
        ended = await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), SECONDS_MAX)
        assert {type(error) for error in ended} == {aurolog.ClosedError}

    for _ in range(5):
        run(main())
        with aurolog.open(path) as db:
            assert db.recovery.clean


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_a_dropped_volume_frees_its_lock_after_awaited_commits_too(path: Path) -> None:
    async def main() -> None:
        db = aurolog.open(path)
        await one(db, 0, b"x")

    run(main())
    gc.collect()
    for thread in own_threads():
        thread.join(60)
    with aurolog.open(path) as db:
        assert db[0][:1] == b"x"


def test_a_loop_that_is_closed_meanwhile_loses_only_the_news(path: Path) -> None:
    async def main(db: aurolog.Volume) -> None:
        (await begin(db, 0, b"unheard")).commit()

    with aurolog.open(path) as db:
        run(main(db))
        db.sync()
        run(one(db, 1, b"heard"))
    with aurolog.open(path) as db:
        assert db[0][:7] == b"unheard"
        assert db[1][:5] == b"heard"


def test_a_loop_that_is_closed_in_line_loses_its_turn(db: aurolog.Volume) -> None:
    async def main() -> None:
        await (await db.transaction()).read(0)

    with place_taken(db) as free:
        loop = new_loop()
        loop.set_exception_handler(lambda *_: None)  # a task that is never ended is told of
        task = loop.create_task(main())
        loop.run_until_complete(stands_in_line(db))
        loop.close()
        free.set()
    assert_usable(db)
    run(add_one(db, 7))
    assert not task.done()
    del task
    gc.collect()
    assert_usable(db)


def test_a_loop_waits_for_the_highest_of_what_it_was_asked_for() -> None:
    """Threads that log in one order may ask in another."""
    waited: list[int] = []
    store: Any = SimpleNamespace(
        wait=lambda lsn, _durability: waited.append(lsn), durable_lsn=7, path=""
    )
    line: Any = SimpleNamespace(take_logged=list)
    loop = new_loop()
    commits = [Commit(loop, _core.RunMark(0), 0) for _ in range(2)]
    commits[0].lsn, commits[1].lsn = 7, 5
    _Syncer(store, line)._finish(commits)
    loop.close()
    assert waited == [7]


def test_whoever_takes_a_commit_out_of_the_line_has_its_loop_told() -> None:
    """The thread that waits for the place may do so after the other has looked."""

    def refuse(*_: Any) -> None:
        raise aurolog.StorageError(5, "the disk failed")

    line = _Line(SimpleNamespace(begin=refuse))  # type: ignore[arg-type]
    loop = new_loop()
    commit = Commit(loop, _core.RunMark(0), 0)
    line.waiting.append(commit)
    assert line._serve_next()
    assert line.take_logged() == []
    line.syncing._rung = False  # the other thread sleeps again
    assert not line._serve_next()
    assert line.syncing._rung
    assert line.take_logged() == [commit]
    assert isinstance(commit.error, aurolog.StorageError)
    loop.close()


def test_who_may_not_write_is_told_where_it_asks(path: Path) -> None:
    aurolog.open(path).close()

    async def main() -> None:
        with aurolog.open(path, read_only=True) as db, pytest.raises(aurolog.ReadOnlyError):
            async with db.transaction() as tx:
                tx.write(0, 0, b"x")
        with aurolog.open(path) as db:
            async with db.transaction() as tx:
                with pytest.raises(aurolog.InputError):
                    tx.write(0, 4090, b"too long")
                with pytest.raises(aurolog.InputError):
                    tx[0] = b"too short"
                with pytest.raises(aurolog.InputError):
                    tx[1 << 60] = bytes(4096)
                with pytest.raises(aurolog.InputError):
                    tx.apply([("put", 0, b"too short")])

    run(main())
    with aurolog.open(path) as db:
        tx = run(begin(db, 0, b"no loop"))
        with pytest.raises(RuntimeError):
            tx.commit()
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

    def fail(self: _Syncer, commits: list[Commit]) -> None:
        raise RuntimeError("an accident")

    async def commits() -> list[Any]:
        with monkeypatch.context() as patched:
            patched.setattr(_Syncer, "_finish", fail)
            return await asyncio.gather(
                *[one(db, n, b"x") for n in range(3)], return_exceptions=True
            )

    told = run(commits())
    assert [str(error) for error in told] == ["an accident"] * 3
    assert run(one(db, 9, b"y")) == db.durable_lsn


# --- what else may block --------------------------------------------------------------------------


def test_reads_are_awaited_and_cached_pages_need_no_thread(path: Path) -> None:
    with aurolog.open(path) as db, db.transaction() as tx:
        tx.apply([("image", n, bytes([n & 255]) * 4096) for n in range(300)])

    async def main(db: aurolog.Volume) -> None:
        loop = counts()
        old = await db.at_async(db.visible_lsn)
        jobs = loop.jobs
        for reader in (db, old):
            assert (await reader.read_async(7))[0] == 7
            assert loop.jobs == jobs + 1, "the first is read from the disk"
            for _ in range(3):
                assert await reader.read_async(7) == bytes([7]) * 4096
                assert bytes(await reader.read_many_async([7, 7])) == bytes([7]) * 8192
            assert loop.jobs == jobs + 1
        await one(db, 7, b"new")
        await one(db, 8, b"other")
        jobs = loop.jobs
        assert (await old.read_async(7))[:3] == b"\7\7\7"
        assert (await db.read_async(7))[:3] == b"new"
        assert loop.jobs <= jobs + 2
        for number in range(5):  # commits elsewhere change nothing of that
            await one(db, 250 + number, b"elsewhere")
            jobs = loop.jobs
            assert (await db.read_async(7))[:3] == b"new"
            assert loop.jobs == jobs
        many = await db.read_many_async(range(200))
        assert [many[n * 4096 + 8] for n in range(200)] == list(range(200))
        out = bytearray(2 * 4096)
        await db.read_many_async([7, 9], out=out)
        assert (out[:3], out[4096]) == (b"new", 9)
        old.close()
        for call in (old.read_async(0), old.read_many_async([0])):
            with pytest.raises(aurolog.ClosedError, match="view is closed"):
                await call

    with aurolog.open(path) as db:
        run(main(db))


def test_what_cannot_be_read_is_told_as_it_is_without_await(db: aurolog.Volume) -> None:
    async def main() -> None:
        for page in (-1, 1 << 60, 1 << 70, "x"):
            with pytest.raises(aurolog.InputError) as plain:
                db[page]
            with pytest.raises(aurolog.InputError) as awaited:
                await db.read_async(page)
            assert str(plain.value) == str(awaited.value)
            with pytest.raises(aurolog.InputError):
                await db.read_many_async([page])
        with pytest.raises(aurolog.InputError):
            await db.read_many_async([0], out=bytearray(5))
        with pytest.raises(aurolog.LsnError):
            await db.at_async(10)
        db.close()
        for call in (
            db.read_async(0),
            db.read_many_async([0]),
            db.at_async(0),
            db.sync_async(),
        ):
            with pytest.raises(aurolog.ClosedError):
                await call

    run(main())


def test_a_sync_is_awaited(db: aurolog.Volume) -> None:
    async def main() -> None:
        async with db.transaction(durability="os") as tx:
            tx.write(0, 0, b"x")
        assert await db.sync_async() == db.durable_lsn == tx.lsn

    run(main())


def test_threads_behind_one_commit_in_line_all_go_on(path: Path) -> None:
    """They wait for the same commit, each told of its turn."""
    interval = sys.getswitchinterval()

    async def main(db: aurolog.Volume) -> None:
        for _ in range(20):
            holder = await begin(db, 0, b"holds")
            await holder.read(0)
            before = await begin(db, 1, b"before")
            committed = before.commit()
            barrier = threading.Barrier(7)

            def commit(page: int, barrier: threading.Barrier = barrier) -> None:
                barrier.wait()
                with db.transaction() as tx:
                    tx.write(page, 0, b"behind")

            with ThreadPoolExecutor(6) as pool:
                behind = [pool.submit(commit, 3 + number) for number in range(6)]
                barrier.wait()
                holder.rollback()
                await committed
                for future in behind:
                    await asyncio.wait_for(asyncio.wrap_future(future), SECONDS_MAX)

    sys.setswitchinterval(1e-6)
    try:
        with aurolog.open(path, durability="os") as db:
            run(main(db))
    finally:
        sys.setswitchinterval(interval)


@pytest.mark.parametrize("what", ["names", "threads"])
def test_those_who_wait_for_the_place_do_not_keep_its_holder_from_reading(
    path: Path, what: str
) -> None:
    """They fill the loop's executor, which the holder does not need."""

    def commit(page: int) -> None:
        with db.transaction() as tx:
            tx.write(page, 0, b"late")

    async def main() -> None:
        waiting: list[asyncio.Future[Any]]
        async with db.transaction() as tx:
            await tx.read(0)
            if what == "names":
                waiting = [
                    asyncio.ensure_future(db.restore_point_async(f"name {n}")) for n in range(64)
                ]
            else:
                waiting = [
                    asyncio.ensure_future(asyncio.to_thread(commit, 1000 + n)) for n in range(64)
                ]
            await asyncio.sleep(0)
            for page in range(100, 140):
                tx[page] = bytes([page]) * 4096
                await asyncio.wait_for(tx.read(page), SECONDS_MAX)
                await asyncio.wait_for(db.read_async(page - 100), SECONDS_MAX)
        await asyncio.gather(*waiting)

    with aurolog.open(path, durability="os", cache_bytes=0) as db:
        with db.transaction() as tx:
            tx.apply([(page, 0, b"z") for page in range(200)])
        run(main())
        assert len(db.restore_points) == (64 if what == "names" else 0)


def test_the_same_page_is_put_twice(path: Path) -> None:
    async def main(db: aurolog.Volume) -> None:
        async with db.transaction() as tx:
            tx[0] = b"x" * 4096
            tx[0] = b"x" * 4096
        async with db.transaction() as tx:
            tx[0] = b"x" * 4096
            tx[0] = b"x" * 4096
        assert tx.outcome == "committed"

    with aurolog.open(path, durability="os") as db:
        run(asyncio.wait_for(main(db), SECONDS_MAX))
        assert db[0] == b"x" * 4096
