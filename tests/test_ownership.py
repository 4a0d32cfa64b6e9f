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
from collections.abc import Callable
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
    "write": lambda tx: tx.write(1, 0, b"foreign"),
    "write of another buffer": lambda tx: tx.write(1, 0, bytearray(b"foreign")),
    "move": lambda tx: tx.move(1, 0, 8, 4),
    "fill": lambda tx: tx.fill(1, 0, 8, 1),
    "put": lambda tx: tx.__setitem__(1, bytes(4096)),
    "truncate": lambda tx: tx.truncate(0),
    "apply": lambda tx: tx.apply([(1, 0, b"foreign")]),
    "read": lambda tx: tx[0],
    "length": len,
    "commit": lambda tx: tx.commit(),
    "rollback": lambda tx: tx.rollback(),
    "exit": lambda tx: tx.__exit__(None, None, None),
    "exit with an error": lambda tx: tx.__exit__(ValueError, ValueError(), None),
}


@pytest.mark.parametrize("begun", [False, True])
@pytest.mark.parametrize("name", CALLS)
def test_a_transaction_belongs_to_the_thread_that_made_it(
    db: aurolog.Volume, name: str, begun: bool
) -> None:
    tx = db.transaction()
    tx.write(0, 0, b"own")
    if begun:
        assert tx[0][:3] == b"own"
    error = in_thread(lambda: CALLS[name](tx))
    assert isinstance(error, aurolog.TransactionError)
    assert "thread" in str(error)
    assert (tx.outcome, tx.lsn) == ("open", None)
    tx.write(0, 3, b" goes on")
    tx.commit()
    assert db[0][:11] == b"own goes on"
    assert len(db) == 1


@pytest.mark.threads
def test_writes_of_several_threads_are_refused_and_those_of_the_owner_kept(
    db: aurolog.Volume,
) -> None:
    taken, stop = [0] * 3, threading.Event()

    def write(mine: int) -> None:
        while not stop.is_set():
            with contextlib.suppress(aurolog.TransactionError):
                tx.write(100 + mine, 0, b"foreign")
                taken[mine] += 1

    tx = db.transaction()
    threads = [threading.Thread(target=write, args=(i,)) for i in range(3)]
    for thread in threads:
        thread.start()
    for number in range(5000):
        tx.write(number // 500, number % 500 * 8, number.to_bytes(8, "little"))
    stop.set()
    for thread in threads:
        thread.join()
    tx.commit()
    assert taken == [0, 0, 0]
    assert len(db) == 10
    for number in range(5000):
        at = number % 500 * 8
        assert db[number // 500][at : at + 8] == number.to_bytes(8, "little")


@pytest.mark.threads
def test_a_dead_threads_transaction_is_in_nobodys_way(db: aurolog.Volume) -> None:
    """Threads are numbered, and numbers are used again."""
    kept = []

    def leave() -> None:
        tx = db.transaction()
        tx.write(0, 0, b"left")
        kept.append(tx)

    assert in_thread(leave) is None
    for _ in range(5):
        assert in_thread(lambda: commit_one(db)) is None
    assert isinstance(in_thread(kept[0].commit), aurolog.TransactionError)
    kept.clear()
    assert db[0] == bytes(4096)


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
