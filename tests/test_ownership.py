"""What a call holds is never lost and never another's: under Ctrl-C, in signal handlers, between
threads, and when a program forgets to close.

The interpreter runs signal handlers and finalizers as soon as a call into C returns. A profile
function is called at the same points, so tests strike at each of them in turn.
"""

from __future__ import annotations

import contextlib
import copy
import itertools
import os
import pickle
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support import strike_at

import aurolog

SECONDS_MAX = 60


def interleaved(call: Callable[[], Any], meanwhile: Callable[[], Any]) -> Any:
    """A call's result, with another call made wherever a signal handler could make it."""
    inside = False

    def handle(_frame: object, event: str, _argument: object) -> None:
        nonlocal inside
        if event == "c_return" and not inside:
            inside = True
            with contextlib.suppress(aurolog.AurologError):
                meanwhile()
            inside = False

    try:
        sys.setprofile(handle)
        return call()
    finally:
        sys.setprofile(None)


def in_thread(call: Callable[[], Any]) -> BaseException | None:
    """Makes a call in a thread of its own; what it raised."""
    raised: list[BaseException | None] = []

    def run() -> None:
        try:
            call()
        except BaseException as error:
            raised.append(error)
        else:
            raised.append(None)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(SECONDS_MAX)
    assert raised, "the call never returned"
    return raised[0]


def together(count: int, work: Callable[[int], Any]) -> list[BaseException]:
    """Makes a call in each of several threads at once, which change places as often as they can;
    what was raised."""
    raised: list[BaseException] = []
    start = threading.Barrier(count)

    def run(which: int) -> None:
        start.wait()
        try:
            work(which)
        except BaseException as error:
            raised.append(error)

    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        threads = [threading.Thread(target=run, args=(n,), daemon=True) for n in range(count)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(SECONDS_MAX)
            assert not thread.is_alive(), "the call never returned"
    finally:
        sys.setswitchinterval(before)
    return raised


def commit_one(db: aurolog.Volume) -> None:
    with db.transaction() as tx:
        tx.write(9, 0, b"usable")


# --- interrupts -----------------------------------------------------------------------------------


def test_an_interrupt_at_every_point_of_beginning_keeps_no_writers_place(
    db: aurolog.Volume,
) -> None:
    for point in itertools.count(1):
        struck = strike_at(point, lambda: db.transaction()[0])
        assert in_thread(lambda: commit_one(db)) is None, f"point {point}"
        commit_one(db)
        if not struck:
            break
    assert point > 5


def test_an_interrupt_at_every_point_of_a_block_leaves_the_thread_free(db: aurolog.Volume) -> None:
    def block() -> None:
        with db.transaction() as tx:
            assert tx[0][:1] in (b"\0", b"x")
            tx.write(0, 0, b"x")

    for point in itertools.count(1):
        struck = strike_at(point, block)
        commit_one(db)
        assert in_thread(lambda: commit_one(db)) is None, f"point {point}"
        if not struck:
            break
    assert point > 10


def test_an_interrupt_at_every_point_of_pinning_leaves_no_page_pinned(db: aurolog.Volume) -> None:
    commit_one(db)
    for point in itertools.count(1):
        struck = strike_at(point, lambda: db.view_page(9))
        assert db.stats().pinned_pages == 0, f"point {point}"
        if not struck:
            break
    assert point > 3


@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_an_interrupt_at_every_point_of_opening_leaves_the_volume_free(path: Path) -> None:
    aurolog.open(path).close()
    for point in itertools.count(1):
        struck = strike_at(point, lambda: aurolog.open(path).close())
        aurolog.open(path).close()
        if not struck:
            break
    assert point > 5


def test_an_interrupt_while_changes_are_handed_over_applies_each_once(db: aurolog.Volume) -> None:
    """A move that is applied twice moves twice."""
    outcomes = set()
    for point in itertools.count(1):
        with db.transaction() as tx:
            tx.write(0, 0, b"abcdefgh")
        tx = db.transaction()
        tx.move(0, 0, 1, 4)
        struck = strike_at(point, lambda tx=tx: tx[0])
        outcomes.add(tx.outcome)
        if tx.outcome == "open":
            tx.commit()
            assert db[0][:8] == b"aabcdfgh", f"point {point}"
        else:
            assert db[0][:8] == b"abcdefgh", f"point {point}"
        if not struck:
            break
    assert "open" in outcomes


# --- signal handlers and finalizers ---------------------------------------------------------------


def test_a_call_in_between_changes_nothing_of_what_a_call_returns(db: aurolog.Volume) -> None:
    with db.transaction() as tx:
        tx.apply([("image", page, bytes([65 + page]) * 4096) for page in range(4)])
    tx = db.transaction()
    tx.write(9, 0, b"own")
    assert len(tx) == 10
    assert interleaved(lambda: tx[1], lambda: tx[2]) == b"B" * 4096
    assert interleaved(lambda: len(tx), lambda: len(db)) == 10
    assert interleaved(lambda: len(db), lambda: len(tx)) == 4
    assert interleaved(lambda: db[1], lambda: tx[2]) == b"B" * 4096
    with pytest.raises(aurolog.LsnError, match="above the visible LSN"):
        interleaved(lambda: db.at(1 << 40), lambda: db.read_many([1 << 60]))
    with pytest.raises(aurolog.InputError, match=f"page {1 << 50} "):
        interleaved(lambda: tx[1 << 50], lambda: db.at(1 << 40))
    tx.commit()


def test_a_write_in_between_is_not_lost(db: aurolog.Volume) -> None:
    tx = db.transaction()
    tx.write(0, 0, b"x" * 100)
    numbers = itertools.count()
    interleaved(lambda: tx[0], lambda: tx.write(1, next(numbers), b"y"))
    tx.commit()
    count = next(numbers)
    assert count > 3
    assert db[1] == (b"y" * count).ljust(4096, b"\0")


# --- threads --------------------------------------------------------------------------------------

CALLS: dict[str, Callable[[aurolog.Transaction], Any]] = {
    "write": lambda tx: tx.write(1, 0, b"of another"),
    "write of another buffer": lambda tx: tx.write(1, 0, bytearray(b"of another")),
    "move": lambda tx: tx.move(0, 0, 8, 4),
    "fill": lambda tx: tx.fill(1, 0, 8, 1),
    "put": lambda tx: tx.__setitem__(1, b"of another".ljust(4096, b"\0")),
    "truncate": lambda tx: tx.truncate(9),
    "apply": lambda tx: tx.apply([(1, 0, b"of another")]),
    "read": lambda tx: tx[0],
    "length": len,
}


@pytest.mark.parametrize("ends", [False, True])
@pytest.mark.parametrize("begun", [False, True])
@pytest.mark.parametrize("name", CALLS)
def test_a_transaction_goes_from_thread_to_thread(
    db: aurolog.Volume, name: str, begun: bool, ends: bool
) -> None:
    tx = db.transaction()
    tx.write(0, 0, b"own")
    if begun:
        assert tx[0][:3] == b"own"
    assert in_thread(lambda: CALLS[name](tx)) is None
    tx.write(0, 3, b" goes on")
    if ends:
        assert in_thread(tx.commit) is None
    else:
        tx.commit()
    assert tx.outcome == "committed"
    assert db[0][:11].startswith(b"own goes on" if name != "move" else b"own goes")
    if name in ("write", "write of another buffer", "put", "apply"):
        assert db[1][:10] == b"of another"
    assert len(list(db.log())) == 1, "one commit"


@pytest.mark.threads
def test_a_generator_with_a_transaction_lives_in_whatever_thread_asks_it(
    db: aurolog.Volume,
) -> None:
    def counting() -> Iterator[int]:
        with db.transaction() as tx:
            for number in range(20):
                tx.write(0, number, bytes([number + 1]))
                yield tx[0][number]

    numbers = counting()
    seen: list[int] = []
    while len(seen) < 20:
        assert in_thread(lambda: seen.append(next(numbers))) is None
    assert isinstance(in_thread(lambda: next(numbers)), StopIteration)
    assert seen == list(range(1, 21)) == list(db[0][:20])


@pytest.mark.threads
def test_what_threads_write_into_one_transaction_is_all_there(db: aurolog.Volume) -> None:
    """One at a time is the rule; who breaks it loses nothing that was taken."""
    tx = db.transaction()
    ended: list[int] = []

    def write(mine: int) -> None:
        while mine == 4 and len(ended) < 4:  # has what is there by then handed over
            with contextlib.suppress(aurolog.TransactionError):
                assert tx[200] == bytes(4096)
        for number in range(6000 if mine < 4 else 0):
            done = False
            while not done:  # or another hands 64 KiB over just then
                with contextlib.suppress(aurolog.TransactionError):
                    tx.write(mine * 16 + number // 500, number % 500 * 8, b"%08d" % number)
                    done = True
        ended.append(mine)

    assert together(5, write) == []
    tx.commit()
    for mine in range(4):
        for number in range(6000):
            at = number % 500 * 8
            assert db[mine * 16 + number // 500][at : at + 8] == b"%08d" % number


@pytest.mark.threads
def test_a_write_beside_the_commit_is_in_it_or_refused(db: aurolog.Volume) -> None:
    def once(turn: int) -> None:
        tx = db.transaction()
        told: list[int] = []

        def work(which: int) -> None:
            if which == 0:
                while len(told) < turn % 50:
                    pass
                tx.commit()
                return
            with contextlib.suppress(aurolog.TransactionError):
                for number in range(1000):
                    tx.write(turn, number * 4, b"%04d" % number)
                    told.append(number)

        assert together(2, work) == []
        page = db.at(tx.lsn or 0)[turn]
        for number in told:
            assert page[number * 4 : number * 4 + 4] == b"%04d" % number, (turn, number)

    for turn in range(1, 200):
        once(turn)


def test_a_write_that_another_thread_s_commit_has_overtaken_is_told(db: aurolog.Volume) -> None:
    """Between looking at the transaction and adding to it."""
    for data in (b"late", bytearray(b"late")):
        tx = db.transaction()

        class Overtaken(list[bytes]):
            def append(self, change: bytes, tx: aurolog.Transaction = tx) -> None:
                tx.rollback()
                super().append(change)

        tx._pending = Overtaken()
        with pytest.raises(aurolog.TransactionError, match="nobody knows"):
            tx.write(0, 0, data)
    assert len(db) == 0


@pytest.mark.threads
@pytest.mark.parametrize("begun", [False, True])
def test_one_of_many_ends_a_transaction(db: aurolog.Volume, begun: bool) -> None:
    for _ in range(100):
        tx = db.transaction()
        tx.write(0, 0, b"x")
        if begun:
            assert len(tx)
        commits = db.stats().commits
        raised = together(3, lambda _, tx=tx: tx.commit())
        assert [type(error) for error in raised] == [aurolog.TransactionError] * 2
        assert tx.outcome == "committed"
        assert db.stats().commits == commits + 1


@pytest.mark.threads
def test_calls_of_one_transaction_in_several_threads_tear_nothing(db: aurolog.Volume) -> None:
    """Reads, puts, changes and the end at once: each works or is refused."""

    def once(turn: int) -> None:
        tx = db.transaction()
        tx[0] = bytes(4096)
        calls: list[Callable[[int], Any]] = [
            lambda _: len(set(tx[0])) == 1,
            lambda n: tx.__setitem__(0, bytes([n & 255]) * 4096),
            lambda n: tx.apply([("fill", 1, 0, 4096, n & 255)] * 500),
            lambda _: len(tx) in (1, 2, 10),
            lambda n: (tx.rollback() if turn % 2 else tx.commit() and None) if n > 99 else None,
        ]

        def work(which: int) -> None:
            for number in itertools.count():
                with contextlib.suppress(aurolog.TransactionError):
                    assert calls[which](number) in (None, True)
                if tx.outcome != "open":
                    return

        assert together(len(calls), work) == []
        commit_one(db)

    for turn in range(30):
        once(turn)


def test_a_transaction_of_a_thread_that_has_ended_is_no_ones_and_anyones(
    db: aurolog.Volume,
) -> None:
    """Threads are numbered, and numbers are used again."""
    kept = []

    def leave() -> None:
        tx = db.transaction()
        tx.write(0, 0, b"left")
        assert len(tx) == 1  # it has the writer's place
        kept.append(tx)

    assert in_thread(leave) is None
    waiting = threading.Thread(target=lambda: commit_one(db))
    waiting.start()
    waiting.join(0.3)
    assert waiting.is_alive(), "waits, and is not told that it had the place itself"
    kept.pop().commit()
    waiting.join(SECONDS_MAX)
    assert not waiting.is_alive()
    assert db[0][:4] == b"left"
    assert db[9][:6] == b"usable"


# --- who would wait for himself -------------------------------------------------------------------

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
def test_who_would_wait_for_himself_is_refused_and_loses_nothing(
    db: aurolog.Volume, name: str
) -> None:
    commit_one(db)
    tx = db.transaction()
    tx.write(0, 0, b"kept")
    holder = db.transaction()
    assert holder[9][:6] == b"usable"
    for _ in range(2):
        with pytest.raises(aurolog.TransactionError, match="for ever: commit that one or roll it"):
            WAITING[name](tx)
        assert tx.outcome == "open"
    holder.write(1, 0, b"held")
    holder.commit()
    tx.write(0, 4, b" too")
    tx.commit()
    assert db[0][:8] == b"kept too"
    assert db[1][:4] == b"held"


def test_a_refused_write_is_not_kept(db: aurolog.Volume) -> None:
    """Whoever makes it again makes it once."""
    with db.transaction() as tx:
        tx.write(0, 0, b"abcdefgh")
    tx = db.transaction()
    with db.transaction() as holder:
        assert len(holder) == 1
        for _ in range(15):
            tx.write(1, 0, bytes(4096))
        with pytest.raises(aurolog.TransactionError):
            for count in range(1000):  # noqa: B007 - how many there were
                tx.move(0, 0, 1, 4000)
        assert count > 100
        holder.rollback()
    tx.move(0, 0, 1, 4000)
    tx.commit()
    assert db[0].count(b"a") == count + 2


def test_who_waits_for_another_thread_is_not_refused(db: aurolog.Volume) -> None:
    """Though it has used the transaction that is in its way: another thread does so now."""
    holder = db.transaction()
    assert len(holder) == 0
    taken, free = threading.Event(), threading.Event()

    def go_on() -> None:
        holder[1] = bytes(4096)
        taken.set()
        assert free.wait(SECONDS_MAX)
        holder.commit()

    thread = threading.Thread(target=go_on)
    thread.start()
    assert taken.wait(SECONDS_MAX)
    timer = threading.Timer(0.2, free.set)
    timer.start()
    commit_one(db)
    thread.join()
    timer.join()
    assert (len(db), holder.outcome) == (10, "committed")


# --- user's code that is called in the middle of a call -------------------------------------------


@pytest.mark.parametrize("begun", [False, True])
@pytest.mark.parametrize("end", ["rollback", "commit"])
def test_a_transaction_that_apply_s_iterable_ends_stays_ended(
    db: aurolog.Volume, end: str, begun: bool
) -> None:
    def changes() -> Any:
        yield (0, 0, b"before")
        getattr(tx, end)()
        yield (0, 0, b"behind")

    tx = db.transaction()
    tx.write(1, 0, b"own")
    if begun:
        assert len(tx) == 2
    with pytest.raises(aurolog.TransactionError, match="over"):
        tx.apply(changes())
    assert tx.outcome == {"rollback": "rolled back", "commit": "committed"}[end]
    assert db[0] == bytes(4096)
    assert db[1][:3] == (b"own" if end == "commit" else bytes(3))
    commit_one(db)


def test_a_transaction_that_the_clock_ends_stays_ended(path: Path) -> None:
    def clock() -> int:
        tx.rollback()
        return 1

    with aurolog.open(path, clock=clock) as db:
        tx = db.transaction()
        tx.write(0, 0, b"x")
        with pytest.raises(aurolog.TransactionError, match="over"):
            tx.commit()
        assert tx.outcome == "rolled back"
        assert len(db) == 0


# --- handles --------------------------------------------------------------------------------------


def test_handles_can_be_neither_copied_nor_pickled(db: aurolog.Volume) -> None:
    with db.transaction() as tx, db.at(0) as view:
        for handle in (db, tx, view):
            for alias in (copy.copy, copy.deepcopy, pickle.dumps):
                with pytest.raises(TypeError, match="neither copied nor pickled"):
                    alias(handle)


def test_nothing_is_iterated_backwards(db: aurolog.Volume) -> None:
    with db.transaction() as tx, db.at(0) as view:
        for handle in (db, tx, view):
            with pytest.raises(TypeError, match="not reversible"):
                reversed(handle)


def test_attributes_are_read_only_and_misspelt_ones_are_told(db: aurolog.Volume) -> None:
    with db.at(0) as view, db.transaction() as tx:
        for handle, names in (
            (db, "closed durability durable_lsn epoch page_size path read_only recovery"),
            (db, "retention visible_lsn volume_id"),
            (view, "lsn page_size time"),
            (tx, "lsn outcome"),
        ):
            for name in names.split():
                before = getattr(handle, name)
                with pytest.raises(AttributeError):
                    setattr(handle, name, 5)
                assert getattr(handle, name) == before
            with pytest.raises(AttributeError):
                handle.durabilty = "os"
    assert db[0] == bytes(4096)


# --- volumes that nobody closed -------------------------------------------------------------------


def test_a_volume_that_nobody_closed_is_told_of(path: Path) -> None:
    db = aurolog.open(path)
    with pytest.warns(ResourceWarning, match=r"unclosed .*volume\.aurolog"):
        del db


EXITS = {
    "end": "",
    "exit": "sys.exit(3)",
    "error": "raise ValueError",
    "view": "view = db.at(0); pin = db.view_page(0)",
    "open transaction": "tx = db.transaction(); tx[0]",
    "committing daemons": """
def commit():
    while True:
        try:
            with db.transaction() as tx: tx.write(0, 0, b"x")
        except aurolog.ClosedError:
            return
for _ in range(3): threading.Thread(target=commit, daemon=True).start()
time.sleep(0.1)
""",
    "a forked child ends first": """
if os.fork() == 0: sys.exit(0)
os.wait()
with db.transaction() as tx: tx.write(0, 0, b"x")
""",
}


@pytest.mark.parametrize("name", EXITS)
def test_a_volume_left_open_is_closed_when_python_ends(path: Path, name: str) -> None:
    start = "import aurolog, os, sys, threading, time\ndb = aurolog.open(sys.argv[1])\n"
    program = start + EXITS[name]
    ran = subprocess.run(
        [sys.executable, "-W", "always", "-c", program, str(path)],
        capture_output=True,
        check=False,
        timeout=SECONDS_MAX,
        text=True,
    )
    assert ran.returncode == {"exit": 3, "error": 1}.get(name, 0)
    assert ran.stderr.count("ResourceWarning: unclosed") == 1
    with aurolog.open(path) as db:
        assert db.recovery.clean


def test_a_closed_volume_is_not_told_of(path: Path) -> None:
    program = "import aurolog, sys\nwith aurolog.open(sys.argv[1]) as db: pass\n"
    ran = subprocess.run(
        [sys.executable, "-W", "error", "-c", program, str(path)],
        capture_output=True,
        check=True,
        env={**os.environ, "PYTHONDEVMODE": "1"},
    )
    assert ran.stderr == b""


BAD_CALLS: dict[str, Callable[[Any], Any]] = {
    "apply": lambda tx: tx.apply([("write", 0, 4090, b"x" * 20)]),
    "packed": lambda tx: tx.apply(b"junk"),
    "read": lambda tx: tx[1 << 60],
    "negative": lambda tx: tx[-1],
    "put": lambda tx: tx.__setitem__(1 << 60, bytes(4096)),
}


@pytest.mark.parametrize("call", BAD_CALLS)
def test_an_error_that_is_kept_keeps_no_place(path: Path, call: str) -> None:
    """Its traceback has the frames of the call, and what they held."""
    with aurolog.open(path) as db:
        tx = db.transaction()
        tx[0]
        with pytest.raises(aurolog.InputError) as kept:
            BAD_CALLS[call](tx)
        tx.rollback()
        with db.transaction() as other:
            other.write(0, 0, b"other")
        assert db[0][:5] == b"other"
        del kept
