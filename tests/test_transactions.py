"""Transactions: all or nothing, alone, in order, durable when they say so, and cheap in the log."""

from __future__ import annotations

import contextlib
import itertools
import os
import random
import signal
import struct
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support import (
    Child,
    Draft,
    Model,
    assert_same,
    perform,
    random_change,
    run,
    strike_at,
    wait_until,
)

import aurolog

# --- what others do meanwhile ---------------------------------------------------------------------


@pytest.mark.threads
def test_a_transaction_reads_what_is_logged_behind_a_bulk_load_and_not_yet_written(
    tmp_path: Path,
) -> None:
    """The newest records of a page then lie on both sides of the place up to which the file is
    written.
    """
    load = [*(("image", page, os.urandom(4096)) for page in range(100, 400)), (7, 0, b"loaded")]
    for turn in range(20):
        with aurolog.open(tmp_path / str(turn)) as db:
            with db.transaction() as tx:
                tx.apply(load)

            def commit(byte: int, db: aurolog.Volume = db) -> None:
                with db.transaction() as tx:
                    tx.write(byte, 0, b"logged")
                    tx.write(7, 8 + byte, bytes([byte]))

            threads = [threading.Thread(target=commit, args=(byte,)) for byte in range(1, 5)]
            for thread in threads:
                thread.start()
            logged = 0
            while logged < 2:  # the second is written when the first is synced, and not before
                with db.transaction() as tx:
                    logged = sum(tx[byte][0] != 0 for byte in range(1, 5))
                    if logged >= 2:
                        assert tx[7][:6] == b"loaded"  # the first reading of this page
            for thread in threads:
                thread.join()
            assert db[7][:13] == b"loaded\0\0\0\1\2\3\4"


def test_changes_of_every_kind_without_end_are_handed_over_before_the_commit(path: Path) -> None:
    with aurolog.open(path, page_size=512) as db:
        with db.transaction() as tx:
            for number in range(3000):
                tx.fill(number % 7, 0, 16, number % 256)
                tx.move(number % 7, 0, 100, 16)
            last = {number % 7: number % 256 for number in range(3000)}
            assert {page: tx[page][100] for page in range(7)} == last
        assert {page: db[page][100] for page in range(7)} == last


@pytest.mark.parametrize("now", [-1, 2**63])
def test_a_clock_that_goes_wrong_is_told_and_commits_nothing(path: Path, now: int) -> None:
    with aurolog.open(path, clock=lambda: now) as db:
        with pytest.raises(aurolog.InputError, match="clock"), db.transaction() as tx:
            tx.write(0, 0, b"x")
        assert (tx.outcome, len(db)) == ("rolled back", 0)


def test_more_truncates_than_a_transaction_may_have_are_refused(db: aurolog.Volume) -> None:
    with db.transaction() as tx:
        tx.write(7, 0, b"kept")
    packed = aurolog.pack_changes([("truncate", 1 << 20)] * 1024)
    with db.transaction() as tx:
        tx.write(8, 0, b"kept too")
        with pytest.raises(aurolog.InputError, match="truncates"):
            tx.apply(packed * 1025)
        tx.apply(packed * 1023)
    assert len(db) == 9
    assert db[7][:4] == b"kept"
    assert db[8][:8] == b"kept too"


# --- all or nothing -------------------------------------------------------------------------------


def test_an_exception_in_the_block_undoes_every_change(db: aurolog.Volume) -> None:
    with db.transaction() as tx:
        tx.write(0, 0, b"kept")
        tx.write(5, 0, b"kept too")
    before = db.visible_lsn
    with pytest.raises(ZeroDivisionError), db.transaction() as tx:
        tx.write(0, 0, b"lost")
        tx[5] = b"\xff" * 4096
        tx.fill(9, 0, 10, 1)
        tx.truncate(1)
        raise ZeroDivisionError
    assert tx.outcome == "rolled back"
    assert tx.lsn is None
    assert db.visible_lsn == before
    assert len(db) == 6
    assert db[0][:4] == b"kept"
    assert db[5][:8] == b"kept too"
    with db.transaction() as tx:
        assert tx[0][:4] == b"kept"


def test_changes_are_seen_by_nobody_else_before_the_commit(db: aurolog.Volume) -> None:
    with db.transaction() as tx:
        tx.write(0, 0, b"new")
        assert tx[0][:3] == b"new"
        assert db[0][:3] == bytes(3)
        assert len(db) == 0
        assert len(tx) == 1
    assert db[0][:3] == b"new"


def test_commit_and_rollback_by_hand(db: aurolog.Volume) -> None:
    tx = db.transaction()
    assert (tx.outcome, tx.lsn) == ("open", None)
    tx.write(0, 0, b"a")
    lsn = tx.commit()
    assert (tx.outcome, tx.lsn) == ("committed", lsn)
    assert lsn == db.visible_lsn
    tx = db.transaction()
    tx.write(0, 0, b"b")
    tx.rollback()
    assert (tx.outcome, tx.lsn) == ("rolled back", None)
    assert db[0][:1] == b"a"


def test_a_commit_inside_the_block_is_enough(db: aurolog.Volume) -> None:
    with db.transaction() as tx:
        tx.write(0, 0, b"a")
        tx.commit()
    assert tx.outcome == "committed"
    with db.transaction() as tx:
        tx.write(0, 0, b"b")
        tx.rollback()
    assert tx.outcome == "rolled back"
    assert db[0][:1] == b"a"


FINISHED_CALLS: dict[str, Callable[[aurolog.Transaction], Any]] = {
    "write": lambda tx: tx.write(0, 0, b"z"),
    "move": lambda tx: tx.move(0, 0, 1, 1),
    "fill": lambda tx: tx.fill(0, 0, 1, 1),
    "setitem": lambda tx: tx.__setitem__(0, bytes(4096)),
    "getitem": lambda tx: tx[0],
    "len": lambda tx: len(tx),
    "truncate": lambda tx: tx.truncate(0),
    "apply": lambda tx: tx.apply([(0, 0, b"z")]),
    "commit": lambda tx: tx.commit(),
    "rollback": lambda tx: tx.rollback(),
    "enter": lambda tx: tx.__enter__(),
}


@pytest.mark.parametrize("end", ["commit", "rollback"])
@pytest.mark.parametrize("name", FINISHED_CALLS)
def test_a_finished_transaction_takes_nothing_more(db: aurolog.Volume, name: str, end: str) -> None:
    tx = db.transaction()
    tx.write(0, 0, b"a")
    getattr(tx, end)()
    after = db[0]
    with pytest.raises(aurolog.TransactionError):
        FINISHED_CALLS[name](tx)
    assert db[0] == after
    with db.transaction() as tx:
        tx.write(1, 0, b"free")


def test_a_transaction_that_wrote_nothing_takes_no_lsn(db: aurolog.Volume) -> None:
    with db.transaction() as tx:
        tx.write(0, 0, b"a")
    before, commits, log_bytes = db.visible_lsn, db.stats().commits, db.stats().log_bytes
    with db.transaction() as tx:
        pass
    assert (tx.outcome, tx.lsn) == ("committed", None)
    with db.transaction() as tx:
        assert tx[0][:1] == b"a"
    assert tx.lsn is None
    with db.transaction() as tx:
        tx.apply([])
        tx.apply(b"")
    assert tx.lsn is None
    assert (db.visible_lsn, db.stats().commits, db.stats().log_bytes) == (
        before,
        commits,
        log_bytes,
    )


def test_each_record_takes_one_lsn_and_the_last_is_the_commit_lsn(db: aurolog.Volume) -> None:
    last = 0
    for count in (1, 7, 300):
        with db.transaction() as tx:
            tx.apply([(i, 8 * i, b"x") for i in range(count)])
        assert tx.lsn == last + count
        last = tx.lsn


def test_transactions_that_only_collect_are_in_nobodys_way(db: aurolog.Volume) -> None:
    with db.transaction() as outer:
        outer.write(0, 0, b"outer")
        with db.transaction() as inner:
            inner.write(0, 0, b"inner, first")
            assert inner[0][:12] == b"inner, first"
        assert db[0][:12] == b"inner, first"
        assert outer[0][:12] == b"outer, first"
    assert (inner.lsn, outer.lsn) == (1, 2)
    many = [db.transaction() for _ in range(100)]
    for number, tx in enumerate(many):
        tx.write(number, 0, bytes([number]))
    lsns = [tx.commit() for tx in reversed(many)]
    assert lsns == sorted(lsns, key=lambda lsn: lsn or 0)
    assert [db[number][0] for number in range(100)] == list(range(100))


def test_a_second_transaction_in_one_thread_raises_instead_of_waiting_for_itself(
    db: aurolog.Volume,
) -> None:
    with db.transaction() as tx:
        tx.write(0, 0, b"outer")
        tx[0]
        with pytest.raises(aurolog.TransactionError, match="for ever"), db.transaction() as inner:
            inner.write(0, 0, b"inner")
        tx.write(1, 0, b"still good")
    assert db[0][:5] == b"outer"
    assert db[1][:10] == b"still good"
    with db.transaction() as tx:
        tx.write(0, 0, b"after")
    assert db[0][:5] == b"after"


def test_a_nested_transaction_that_fails_uncaught_undoes_the_outer_one_only(
    db: aurolog.Volume,
) -> None:
    with pytest.raises(aurolog.TransactionError), db.transaction() as outer:
        outer.write(0, 0, b"outer")
        assert len(outer) == 1
        with db.transaction() as inner:
            inner.write(0, 0, b"inner")
    assert outer.outcome == "rolled back"
    assert inner.outcome == "open"  # it was refused at its end, and lost nothing
    inner.rollback()
    assert len(db) == 0
    with db.transaction() as tx:
        tx.write(0, 0, b"after")
    assert db[0][:5] == b"after"


def test_a_note_is_kept_with_the_commit(path: Path) -> None:
    longest = "ü" * 127 + "x"
    with aurolog.open(path) as db:
        with db.transaction(note="größe\n\0 → 🗄") as tx:
            tx.write(0, 0, b"a")
        first = tx.lsn
        with db.transaction(note=longest) as tx:
            tx.write(0, 0, b"b")
        with db.transaction() as tx:
            tx.write(0, 0, b"c")
    with aurolog.open(path) as db:
        notes = [batch.note for batch in db.log(first, tx.lsn) if batch.kind == "pages"]
    assert notes == ["größe\n\0 → 🗄", longest, ""]


# --- the changes ----------------------------------------------------------------------------------


def _both(db: aurolog.Volume, model: Model, *changes: tuple[Any, ...]) -> None:
    """Commits the changes in one transaction, checking what it sees after each, then what the
    volume shows.
    """
    draft = model.begin()
    with db.transaction() as tx:
        for change in changes:
            tx.apply([change])
            draft.apply([change])
            assert len(tx) == draft.length, change
            for page in {*draft.touched, draft.length}:
                assert tx[page] == draft.page(page), change
    assert_same(db, model.commit(draft, tx.lsn), also=draft.touched)


RAMP = bytes(i & 0xFF for i in range(4096))
CHANGES: dict[str, list[tuple[Any, ...]]] = {
    "write at both ends": [("write", 3, 0, b"first"), ("write", 3, 4095, b"l")],
    "write over a write": [("write", 0, 10, b"aaaaaa"), ("write", 0, 13, b"bbbbbb")],
    "write a whole page": [("write", 1, 0, RAMP)],
    "move up, overlapping": [("image", 0, RAMP), ("move", 0, 100, 103, 1000)],
    "move down, overlapping": [("image", 0, RAMP), ("move", 0, 103, 100, 1000)],
    "move by one, almost everything": [("image", 0, RAMP), ("move", 0, 0, 1, 4095)],
    "move down by one": [("image", 0, RAMP), ("move", 0, 1, 0, 4095)],
    "move onto itself": [("image", 0, RAMP), ("move", 0, 7, 7, 100)],
    "move the whole page": [("image", 0, RAMP), ("move", 0, 0, 0, 4096)],
    "move in a page never written": [("move", 8, 0, 100, 100)],
    "fill a range": [("image", 0, RAMP), ("fill", 0, 1, 4094, 0xEE)],
    "fill a whole page": [("image", 0, RAMP), ("fill", 0, 0, 4096, 0)],
    "fill with 255": [("fill", 2, 4095, 1, 255)],
    "image over everything": [("write", 0, 0, b"old"), ("image", 0, RAMP)],
    "truncate everything": [("image", 0, RAMP), ("image", 9, RAMP), ("truncate", 0)],
    "truncate behind the end": [("image", 3, RAMP), ("truncate", 100)],
    "truncate, then write beyond": [
        ("image", 0, RAMP),
        ("image", 5, RAMP),
        ("image", 9, RAMP),
        ("truncate", 3),
        ("write", 9, 5, b"again"),
        ("write", 4, 5, b"again"),
    ],
    "truncate twice with a write between": [
        ("image", 5, RAMP),
        ("truncate", 2),
        ("write", 7, 0, b"seven"),
        ("truncate", 6),
        ("move", 5, 0, 9, 9),
    ],
    "grow far": [("write", 1_000_000, 0, b"far"), ("write", 2, 0, b"near")],
    "grow far and shrink": [
        ("write", 1_000_000, 0, b"far"),
        ("truncate", 4),
        ("write", 2, 0, b"x"),
    ],
}


@pytest.mark.parametrize("name", CHANGES)
@pytest.mark.parametrize("before", [False, True], ids=["fresh", "on old pages"])
def test_a_transaction_reads_its_own_changes_and_commits_them(
    db: aurolog.Volume, name: str, before: bool
) -> None:
    model = Model(4096)
    if before:
        old = random.Random(name).randbytes(4096)
        _both(db, model, *[("image", page, old) for page in range(11)])
    _both(db, model, *CHANGES[name])


def test_a_page_put_whole_reads_as_put_whatever_was_there(
    db: aurolog.Volume, rng: random.Random
) -> None:
    model = Model(4096)
    images = [bytes(4096), b"\xff" * 4096, RAMP, rng.randbytes(4096)]
    for _ in range(30):
        base = bytearray(rng.choice(images))
        for _ in range(rng.choice((0, 1, 3, 40))):
            at, count = rng.randrange(4096), rng.choice((1, 2, 9, 200))
            base[at : at + count] = rng.randbytes(len(base[at : at + count]))
        images.append(bytes(base))
        run(db, model, [("image", rng.randrange(3), bytes(base)) for _ in range(2)])
        assert_same(db, model.newest)
    for state in model.states:
        assert_same(db.at(state.lsn), state)


def test_a_page_put_whole_may_be_any_buffer(db: aurolog.Volume) -> None:
    with db.transaction() as tx:
        tx[0] = bytearray(RAMP)
        tx[1] = memoryview(RAMP)
        tx[2] = tx[0]
        tx.write(3, 1, memoryview(bytearray(b"view"))[1:])
        tx.write(4, 0, memoryview(struct.pack("<4I", 1, 2, 3, 4)).cast("I"))
    assert db[0] == db[1] == db[2] == RAMP
    assert db[3][:4] == b"\0iew"
    assert db[4][:16] == struct.pack("<4I", 1, 2, 3, 4)


def test_zeros_put_on_a_page_never_written_still_grow_the_volume(db: aurolog.Volume) -> None:
    with db.transaction() as tx:
        tx[6] = bytes(4096)
        assert len(tx) == 7
    assert len(db) == 7
    assert db[6] == bytes(4096)


def test_data_is_taken_when_it_is_given(db: aurolog.Volume) -> None:
    buffer = bytearray(b"given")
    page = bytearray(RAMP)
    with db.transaction() as tx:
        tx.write(0, 0, buffer)
        tx[1] = page
        buffer[:] = b"later"
        page[:] = bytes(4096)
    assert db[0][:5] == b"given"
    assert db[1] == RAMP


def test_a_strided_buffer_is_written_right_or_refused(db: aurolog.Volume) -> None:
    try:
        with db.transaction() as tx:
            tx.write(0, 0, memoryview(b"a-b-c-")[::2])
    except aurolog.InputError:
        assert db[0][:6] == bytes(6)
    else:
        assert db[0][:6] == b"abc" + bytes(3)


@pytest.mark.parametrize("page_size", [4096, 65536])
@pytest.mark.parametrize(
    "change", [("write", 0, 0, b""), ("move", 0, 0, 8, 0), ("fill", 0, 0, 0, 0xEE)]
)
def test_a_change_of_no_bytes_is_nothing_or_refused_and_never_a_whole_page(
    path: Path, page_size: int, change: tuple[Any, ...]
) -> None:
    """The packed form writes 65,536 as 0: a length of 0 must not become one."""
    image = bytes(range(256)) * (page_size // 256)
    with aurolog.open(path, page_size=page_size, durability="os") as db:
        with db.transaction() as tx:
            tx[0] = image
        for give in (
            lambda tx: perform(tx, change),
            lambda tx: tx.apply([change, (0, 0, b"!")]),
            lambda tx: tx.apply(
                aurolog.pack_changes([change, ("image", 1, image), ("image", 2, image)])
            ),
        ):
            with contextlib.suppress(aurolog.InputError), db.transaction() as tx:
                give(tx)
            assert db[0][1:] == image[1:]


def test_the_last_page_of_128_tib_can_be_written_and_the_next_cannot(db: aurolog.Volume) -> None:
    last = (1 << 47) // 4096 - 1
    with db.transaction() as tx:
        tx.write(last, 4095, b"!")
        with pytest.raises(aurolog.InputError):
            tx.write(last + 1, 0, b"!")
    assert len(db) == last + 1
    assert db[last][-1:] == b"!"
    assert db.verify().ok


# --- many changes in one crossing -----------------------------------------------------------------


def _some_changes(rng: random.Random, count: int) -> list[tuple[Any, ...]]:
    return [random_change(rng, 4096, 30) for _ in range(count)]


@pytest.mark.parametrize("packed", [False, True])
def test_apply_does_what_the_single_calls_do(
    db: aurolog.Volume, rng: random.Random, packed: bool
) -> None:
    model = Model(4096)
    for count in (1, 2, 60, 400):
        changes = _some_changes(rng, count)
        draft = model.begin()
        draft.apply(changes)
        with db.transaction() as tx:
            tx.apply(aurolog.pack_changes(changes) if packed else iter(changes))
        assert_same(db, model.commit(draft, tx.lsn), also=range(31))
    for state in model.states:
        assert_same(db.at(state.lsn), state)


def test_short_and_named_tuples_are_the_same_write(db: aurolog.Volume) -> None:
    changes = [(1, 2, b"x"), ("write", 1, 3, b"y")]
    assert aurolog.pack_changes(changes) == _packed(1, 1, b"x", 2) + _packed(1, 1, b"y", 3)
    with db.transaction() as tx:
        tx.apply(changes)
    assert db[1][:5] == b"\0\0xy\0"


def _packed(
    kind: int,
    page: int,
    data: bytes = b"",
    offset: int = 0,
    length: int | None = None,
    src: int = 0,
) -> bytes:
    """A change by the documented layout, built by hand."""
    size = len(data) if length is None else length
    return struct.pack("<BBHHHQ", kind, 0, offset, size & 0xFFFF, src, page) + data


def test_packed_changes_have_the_documented_layout(db: aurolog.Volume) -> None:
    changes = [
        ("write", 1, 7, b"data"),
        ("image", 2, RAMP),
        ("move", 2, 30, 40, 50),
        ("fill", 1, 100, 20, 0x7F),
        ("truncate", 9),
    ]
    by_hand = b"".join(
        [
            _packed(1, 1, b"data", 7),
            _packed(4, 2, RAMP),
            _packed(2, 2, offset=40, length=50, src=30),
            _packed(3, 1, offset=100, length=20, src=0x7F),
            _packed(5, 9),
        ]
    )
    assert aurolog.pack_changes(changes) == by_hand
    draft = Draft(Model(4096).newest)
    draft.apply(changes)
    with db.transaction() as tx:
        tx.apply(memoryview(by_hand))
    for page in range(4):
        assert db[page] == draft.page(page)


def test_a_packed_length_of_zero_stands_for_65536(path: Path) -> None:
    big = bytes(range(256)) * 256
    with aurolog.open(path, page_size=65536) as db:
        packed = _packed(4, 0, big) + _packed(3, 1, length=0, src=0x55) + _packed(1, 2, big)
        assert (
            aurolog.pack_changes(
                [("image", 0, big), ("fill", 1, 0, 65536, 0x55), ("write", 2, 0, big)]
            )
            == packed
        )
        with db.transaction() as tx:
            tx.apply(packed)
            tx.apply(_packed(2, 2, offset=0, length=0, src=0))
        assert (db[0], db[1], db[2]) == (big, b"\x55" * 65536, big)


GOOD = _packed(1, 0, b"never kept")
BAD_PACKED: dict[str, bytes] = {
    "half a header": _packed(3, 0, length=4)[:9],
    "one byte": b"\x01",
    "data missing": _packed(1, 0, b"", length=5),
    "data cut short": _packed(1, 0, b"12345")[:-1],
    "image cut short": _packed(4, 0, RAMP)[:-1],
    "image of another size": _packed(4, 0, RAMP[:100]),
    "kind 0": _packed(0, 0, b""),
    "kind 6": _packed(6, 0, b"x"),
    "kind 255": _packed(255, 0, b"x"),
    "reserved byte set": b"\x01\x01" + _packed(1, 0, b"x")[2:],
    "write over the end": _packed(1, 0, b"12", 4095),
    "write at the end": _packed(1, 0, b"1", 4096),
    "write of 65536 bytes": _packed(1, 0, bytes(65536)),
    "image not at 0": _packed(4, 0, RAMP, 8),
    "move from over the end": _packed(2, 0, offset=0, length=10, src=4090),
    "move to over the end": _packed(2, 0, offset=4090, length=10, src=0),
    "fill over the end": _packed(3, 0, offset=4090, length=10, src=1),
    "fill with 256": _packed(3, 0, offset=0, length=10, src=256),
    "page outside": _packed(1, (1 << 47) // 4096, b"x"),
    "page of all ones": _packed(1, (1 << 64) - 1, b"x"),
    "truncate outside": _packed(5, (1 << 64) - 1),
    "zeros": bytes(16),
}


@pytest.mark.parametrize("name", BAD_PACKED)
@pytest.mark.parametrize("place", ["alone", "after a good one", "before a good one"])
def test_a_bad_packed_change_raises_and_nothing_of_its_call_is_kept(
    db: aurolog.Volume, name: str, place: str
) -> None:
    packed = {
        "alone": BAD_PACKED[name],
        "after a good one": GOOD + BAD_PACKED[name],
        "before a good one": BAD_PACKED[name] + GOOD,
    }[place]
    if place == "before a good one" and name in (
        "half a header",
        "one byte",
        "data missing",
        "data cut short",
        "image cut short",
    ):
        packed = BAD_PACKED[name]
    with db.transaction() as tx:
        tx.write(0, 0, b"kept")
        with pytest.raises(aurolog.InputError):
            tx.apply(packed)
        assert tx[0] == b"kept" + bytes(4092)
        tx.write(0, 4, b"!")
    assert db[0][:16] == b"kept!" + bytes(11)
    assert len(db) == 1
    assert tx.lsn == 2


BAD_TUPLES: dict[str, Any] = {
    "no tuple": 5,
    "empty tuple": (),
    "too short": (1, 2),
    "too long": ("write", 0, 0, b"x", 5),
    "unknown kind": ("erase", 0),
    "bytes as kind": (b"write", 0, 0, b"x"),
    "data is text": (0, 0, "text"),
    "data is None": ("write", 0, 0, None),
    "page is text": ("write", "0", 0, b"x"),
    "page negative": (-1, 0, b"x"),
    "page outside": ((1 << 47) // 4096, 0, b"x"),
    "page beyond 64 bits": (1 << 64, 0, b"x"),
    "offset negative": (0, -1, b"x"),
    "offset outside": (0, 4096, b"x"),
    "offset beyond 16 bits": (0, 65536, b"x"),
    "over the end": (0, 4095, b"xy"),
    "image too short": ("image", 0, b"short"),
    "image too long": ("image", 0, bytes(4097)),
    "move length negative": ("move", 0, 0, 1, -1),
    "move over the end": ("move", 0, 4000, 0, 97),
    "fill over the end": ("fill", 0, 4000, 97, 0),
    "fill byte 256": ("fill", 0, 0, 1, 256),
    "fill byte negative": ("fill", 0, 0, 1, -1),
    "truncate negative": ("truncate", -1),
    "truncate beyond 64 bits": ("truncate", 1 << 64),
}


@pytest.mark.parametrize("name", BAD_TUPLES)
def test_a_bad_tuple_raises_and_nothing_of_its_call_is_kept(db: aurolog.Volume, name: str) -> None:
    with db.transaction() as tx:
        tx.write(0, 0, b"kept")
        with pytest.raises(aurolog.InputError):
            tx.apply([(0, 0, b"never"), (7, 0, b"never"), BAD_TUPLES[name], (0, 0, b"never")])
        assert tx[0] == b"kept" + bytes(4092)
        assert len(tx) == 1
    assert db[0][:5] == b"kept\0"
    assert tx.lsn == 1


def test_an_iterable_that_raises_halfway_keeps_nothing(db: aurolog.Volume) -> None:
    def changes() -> Iterator[tuple[Any, ...]]:
        for page in range(5000):
            yield (page, 0, b"never")
        raise ZeroDivisionError

    with db.transaction() as tx:
        tx.write(0, 0, b"kept")
        with pytest.raises(ZeroDivisionError):
            tx.apply(changes())
        assert tx[0][:5] == b"kept\0"
    assert len(db) == 1
    assert tx.lsn == 1


# --- durability -----------------------------------------------------------------------------------


def test_a_sync_commit_is_durable_when_it_returns(path: Path) -> None:
    with aurolog.open(path) as db:
        for number in range(5):
            before = db.stats().disk_syncs
            with db.transaction() as tx:
                tx.write(0, 0, bytes([number]))
            assert db.durable_lsn == db.visible_lsn == tx.lsn
            assert db.stats().disk_syncs > before


def test_os_commits_are_visible_at_once_and_durable_after_a_sync(path: Path) -> None:
    with aurolog.open(path, durability="os") as db:
        assert db.durability == "os"
        for number in range(200):
            with db.transaction() as tx:
                tx.write(0, 0, bytes([number]))
            assert db.visible_lsn == tx.lsn
            assert db.durable_lsn <= tx.lsn
            assert db[0][0] == number
            assert db.at(tx.lsn)[0][0] == number
        assert db.stats().disk_syncs < 100, "os commits wait for no sync"
        assert db.sync() == db.durable_lsn == tx.lsn
        assert db.stats().unsynced_bytes == 0


def test_os_commits_are_synced_in_the_background(path: Path) -> None:
    with aurolog.open(path, durability="os") as db:
        with db.transaction() as tx:
            tx.write(0, 0, b"x")
        wait_until(lambda: db.durable_lsn >= tx.lsn, "the background sync")


def test_durability_is_chosen_per_transaction(path: Path) -> None:
    with aurolog.open(path, durability="os") as db:
        with db.transaction() as tx:
            tx.write(0, 0, b"os")
        with db.transaction(durability="sync") as tx:
            tx.write(1, 0, b"sync")
        assert db.durable_lsn == tx.lsn
    with aurolog.open(path) as db:
        syncs = db.stats().disk_syncs
        for _ in range(20):
            with db.transaction(durability="os") as tx:
                tx.write(0, 0, os.urandom(4))
        assert db.stats().disk_syncs <= syncs + 3
        assert db.visible_lsn == tx.lsn


def test_closing_makes_os_commits_durable(path: Path) -> None:
    with aurolog.open(path, durability="os") as db, db.transaction() as tx:
        tx.write(0, 0, b"x")
    with aurolog.open(path, read_only=True) as db:
        assert db.durable_lsn >= tx.lsn
        assert db[0][:1] == b"x"


def test_sync_with_nothing_to_sync_is_cheap(path: Path) -> None:
    with aurolog.open(path) as db:
        with db.transaction() as tx:
            tx.write(0, 0, b"x")
        before = db.stats().disk_syncs
        assert [db.sync() for _ in range(10)] == [tx.lsn] * 10
        assert db.stats().disk_syncs == before


# --- how much is logged ---------------------------------------------------------------------------


def _logged(db: aurolog.Volume, image: bytes) -> int:
    before = db.stats().log_bytes
    with db.transaction() as tx:
        tx[0] = image
    return db.stats().log_bytes - before


def test_a_page_put_whole_logs_only_what_changed(db: aurolog.Volume, rng: random.Random) -> None:
    image = bytearray(rng.randbytes(4096))
    assert 4096 < _logged(db, bytes(image)) < 4096 + 512
    image[2000] ^= 1
    one_byte = _logged(db, bytes(image))
    assert one_byte < 300
    for at in (0, 1000, 3000, 4095):
        image[at] ^= 1
    assert _logged(db, bytes(image)) < one_byte + 4 * 64
    image[:] = rng.randbytes(4096)
    assert _logged(db, bytes(image)) < 4096 + 512, "a difference is never larger than the page"
    assert db[0] == bytes(image)


def test_the_difference_is_taken_to_what_the_transaction_sees(db: aurolog.Volume) -> None:
    image = bytearray(RAMP)
    with db.transaction() as tx:
        tx[0] = image
        image[5] = 0xEE
        tx.write(0, 5, b"\xdd")
        tx[0] = image
        assert tx[0] == bytes(image)
    assert db[0] == bytes(image)


def test_a_hundred_bytes_cost_one_block_and_one_sync(path: Path) -> None:
    with aurolog.open(path) as db:
        with db.transaction() as tx:
            tx.write(0, 0, b"x")
        before = db.stats()
        for number in range(100):
            with db.transaction() as tx:
                tx.write(number, 50, os.urandom(100))
        after = db.stats()
    assert after.commits - before.commits == 100
    assert after.records - before.records == 100
    assert after.disk_syncs - before.disk_syncs <= 103
    assert (after.disk_write_bytes - before.disk_write_bytes) / 100 <= 100 + 4096 + 512
    assert (after.log_bytes - before.log_bytes) / 100 <= 100 + 256


# --- big transactions -----------------------------------------------------------------------------


def test_a_transaction_of_40_mib_spans_frames_and_segments_and_comes_back(path: Path) -> None:
    pages = 10 * 1024
    tag = struct.Struct("<QQ").pack

    def image(page: int) -> bytes:
        return tag(page, ~page & 0xFFFF) * 256

    with aurolog.open(path) as db:
        with db.transaction() as tx:
            tx.write(0, 0, b"small, before")
        before = tx.lsn
        with db.transaction() as tx:
            for start in range(0, pages, 1024):
                tx.apply(
                    aurolog.pack_changes(
                        [("image", page, image(page)) for page in range(start, start + 1024)]
                    )
                )
            assert len(db) == 1
            assert tx[pages - 1] == image(pages - 1)
        assert tx.lsn == before + pages
        with db.transaction() as after:
            after.write(pages, 0, b"small, after")
        stats = db.stats()
        assert stats.log_bytes <= 1.02 * 4096 * pages + 4096
        assert db[4711] == image(4711)
    with aurolog.open(path, cache_bytes=64 * 4096) as db:
        assert len(db) == pages + 1
        assert len(db.at(tx.lsn - 1)) == 1
        for start in range(0, pages, 2048):
            numbers = range(start, start + 2048)
            assert bytes(db.read_many(numbers)) == b"".join(map(image, numbers))
        report = db.verify()
        assert report.ok
        assert report.records >= pages + 2


def test_a_rolled_back_big_transaction_leaves_nothing(db: aurolog.Volume) -> None:
    with pytest.raises(ZeroDivisionError), db.transaction() as tx:
        tx.apply(aurolog.pack_changes([("image", page, RAMP) for page in range(1000)]))
        raise ZeroDivisionError
    assert len(db) == 0
    assert db[500] == bytes(4096)
    with db.transaction() as tx:
        tx.write(0, 0, b"x")
    assert len(db) == 1
    assert db.verify().ok


def test_a_transaction_may_touch_and_read_more_pages_than_the_cache_holds(path: Path) -> None:
    model = Model(4096)
    with aurolog.open(path, cache_bytes=16 * 4096, durability="os") as db:
        draft = model.begin()
        with db.transaction() as tx:
            for page in range(150):
                change = ("write", page, page, bytes([page]) * 20)
                tx.apply([change])
                draft.apply([change])
                assert tx[page // 2] == draft.page(page // 2)
            for page in range(150):
                assert tx[page] == draft.page(page)
        assert_same(db, model.commit(draft, tx.lsn))


# --- threads --------------------------------------------------------------------------------------


def _together(count: int, work: Callable[[int], None]) -> None:
    """Runs `work(0)` … `work(count - 1)` in threads that start together; raises what they
    raised.
    """
    barrier = threading.Barrier(count)
    failures: list[BaseException] = []

    def one(number: int) -> None:
        try:
            barrier.wait()
            work(number)
        except BaseException as failure:
            failures.append(failure)

    threads = [threading.Thread(target=one, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]


@pytest.mark.parametrize("durability", ["sync", "os"])
def test_read_modify_write_by_threads_loses_no_update(path: Path, durability: str) -> None:
    rounds, threads = 60, 4
    with aurolog.open(path, durability=durability) as db:

        def count_up(mine: int) -> None:
            for turn in range(rounds):
                page = (mine + turn) % 3
                with db.transaction() as tx:
                    value = int.from_bytes(tx[page][:8], "little") + 1
                    tx.write(page, 0, value.to_bytes(8, "little"))

        _together(threads, count_up)
        values = [int.from_bytes(db[page][:8], "little") for page in range(3)]
        assert sum(values) == rounds * threads
        for page in range(3):
            versions = db.versions(page)
            assert len(versions) == values[page]
            for value, version in enumerate(versions, 1):
                assert int.from_bytes(db.at(version.lsn)[page][:8], "little") == value


def test_committing_threads_share_syncs(path: Path) -> None:
    with aurolog.open(path) as db:
        before = db.stats()
        lsns: list[int] = []

        def commit(mine: int) -> None:
            for turn in range(40):
                with db.transaction() as tx:
                    tx.write(mine, 8 * turn, b"12345678")
                assert tx.lsn is not None
                assert db.durable_lsn >= tx.lsn, "acknowledged before it was durable"
                lsns.append(tx.lsn)

        _together(8, commit)
        after = db.stats()
        assert after.commits - before.commits == 320
        assert after.disk_syncs - before.disk_syncs < 320, "no commit shared a sync"
        assert sorted(lsns) == list(range(min(lsns), min(lsns) + 320))
        for mine in range(8):
            assert db[mine][:320] == b"12345678" * 40


def test_readers_never_see_half_a_transaction(path: Path) -> None:
    """Writers move units between pages; the sum over all pages is the same in every view and
    every crossing.
    """
    with aurolog.open(path, durability="os", cache_bytes=16 * 4096) as db:
        pages = 24
        with db.transaction() as tx:
            for page in range(pages):
                tx.write(page, 0, (1000).to_bytes(8, "little"))
        stop = threading.Event()

        def work(mine: int) -> None:
            chance = random.Random(mine)
            if mine < 2:
                for _ in range(250):
                    a, b = chance.sample(range(pages), 2)
                    with db.transaction() as tx:
                        have = int.from_bytes(tx[a][:8], "little")
                        got = int.from_bytes(tx[b][:8], "little")
                        tx.write(a, 0, (have - 1).to_bytes(8, "little"))
                        tx.write(b, 0, (got + 1).to_bytes(8, "little"))
                stop.set()
            else:
                while not stop.is_set():
                    whole = db.read_many(range(pages))
                    assert _sum(bytes(whole)) == 1000 * pages
                    with db.at(db.visible_lsn) as view:
                        parts = b"".join(view[page] for page in range(pages))
                    assert _sum(parts) == 1000 * pages

        def _sum(images: bytes) -> int:
            return sum(
                int.from_bytes(images[at : at + 8], "little") for at in range(0, len(images), 4096)
            )

        try:
            _together(4, work)
        finally:
            stop.set()


@pytest.mark.threads
def test_others_wait_for_a_thread_that_leaves_its_transaction_open(db: aurolog.Volume) -> None:
    begun, read = threading.Event(), threading.Event()
    seen: list[bytes] = []

    def other() -> None:
        begun.set()
        with db.transaction() as tx:
            seen.append(tx[0][:5])
            read.set()
            tx.write(1, 0, b"other")

    tx = db.transaction()
    assert tx[0][:5] == bytes(5)  # takes the writer's place
    thread = threading.Thread(target=other)
    thread.start()
    begun.wait()
    assert not read.wait(0.1), "two transactions were in the writer's place"
    tx.write(0, 0, b"first")
    tx.commit()
    thread.join()
    assert seen == [b"first"]
    assert db[1][:5] == b"other"


def test_waiting_for_the_writers_place_can_be_interrupted(db: aurolog.Volume) -> None:
    held, done = threading.Event(), threading.Event()

    def holder() -> None:
        with db.transaction() as tx:
            assert tx[0][:1] == b"\0"
            held.set()
            done.wait()
            tx.write(0, 0, b"held")

    strikes = 0

    def strike(_number: int, _frame: object) -> None:
        nonlocal strikes
        strikes += 1
        if (
            strikes >= 15
        ):  # by then the main thread has long been waiting; the first ones must not disturb it
            raise KeyboardInterrupt

    main = threading.main_thread().ident
    assert main is not None
    caught = threading.Event()

    def striker() -> None:
        while not caught.wait(0.02):
            signal.pthread_kill(main, signal.SIGINT)

    thread = threading.Thread(target=holder)
    thread.start()
    held.wait()
    before = signal.signal(signal.SIGINT, strike)
    pest = threading.Thread(target=striker)
    try:
        tx = db.transaction()
        tx.write(5, 0, b"waiting")
        pest.start()
        try:
            with pytest.raises(KeyboardInterrupt):
                tx.commit()
        finally:
            caught.set()
            pest.join()
    finally:
        signal.signal(signal.SIGINT, before)
        done.set()
        thread.join()
    assert tx.outcome in ("open", "rolled back"), "nothing was logged, so nothing is unknown"
    if tx.outcome == "open":
        tx.rollback()
    assert db[0][:4] == b"held"
    assert len(db) == 1
    with db.transaction() as tx:
        tx.write(5, 0, b"again")
    assert db[5][:5] == b"again"


@pytest.mark.parametrize("reading", [False, True])
@pytest.mark.parametrize("durability", ["sync", "os"])
def test_an_interrupt_at_every_point_of_a_commit_leaves_a_told_outcome(
    path: Path, durability: str, reading: bool
) -> None:
    """Python looks at signals when a function begins and when a call into C returns: strikes at
    each of them in turn.
    """
    seen = set()
    with aurolog.open(path, durability=durability) as db:
        held = 0
        for point in itertools.count(1):
            tx = db.transaction()
            if reading:
                assert int.from_bytes(tx[0][:8], "little") == held
            tx.write(0, 0, point.to_bytes(8, "little"))
            tx.write(1, 0, point.to_bytes(8, "little"))
            if not strike_at(point, tx.commit):
                assert tx.outcome == "committed"
                break
            outcome, lsn = tx.outcome, tx.lsn
            if outcome == "open":  # struck before anything was done
                assert lsn is None
                tx.rollback()
                outcome = tx.outcome
            assert db.sync() >= (lsn or 0)
            found = int.from_bytes(db[0][:8], "little")
            assert db[1][:8] == db[0][:8]
            assert (
                found
                in {
                    "committed": {point},
                    "rolled back": {held},
                    "unknown": {point, held},
                }[outcome]
            ), f"{outcome} at point {point}"
            if outcome == "unknown":
                assert tx.outcome == "committed", "it is durable now, and can be known"
            assert (tx.lsn == db.visible_lsn) == (found == point)
            seen.add(outcome)
            held = found
            with db.transaction() as tx:
                tx.write(2, 0, b"usable")
    assert point > 5
    assert {"rolled back", "committed"} <= seen | ({"committed"} if "unknown" in seen else set())


@pytest.mark.parametrize("durability", ["sync", "os"])
def test_ctrl_c_leaves_a_usable_handle_and_a_told_outcome(path: Path, durability: str) -> None:
    rounds = 25
    with Child("interrupted", path, rounds, durability) as child:
        assert child.line() == "ready"
        child.signal(signal.SIGINT)
        said = ""
        while not said.startswith("outcomes"):
            wait = child.quiet(0.01)
            if wait:
                child.signal(signal.SIGINT)
                continue
            said = child.line()
            assert said, "the child failed"
            child.signal(signal.SIGINT)
        assert child.process.wait() == 0
    assert sum(map(int, said.split()[1:])) >= rounds
    with aurolog.open(path) as db:
        assert db.recovery.clean
        assert db[0][:8] == db[1][8:16]
        assert db.verify().ok


def test_a_transaction_dropped_without_an_end_is_rolled_back(db: aurolog.Volume) -> None:
    tx = db.transaction()
    tx.write(0, 0, b"dropped")
    tx[0]
    del tx
    import gc

    gc.collect()
    with db.transaction() as tx:
        assert tx[0][:7] == bytes(7)
        tx.write(0, 0, b"next")
    assert db[0][:7] == b"next\0\0\0"


def test_closing_ends_the_waiting_for_the_writers_place(path: Path) -> None:
    db = aurolog.open(path)
    told: list[type[BaseException]] = []
    waits = threading.Event()

    def commit() -> None:
        tx = db.transaction()
        tx.write(1, 0, b"waits")
        waits.set()
        try:
            tx.commit()
        except aurolog.AurologError as error:
            told.append(type(error))

    holder = db.transaction()
    holder.write(0, 0, b"holds")
    assert holder[0][:5] == b"holds"
    thread = threading.Thread(target=commit)
    thread.start()
    assert waits.wait(60)
    thread.join(0.05)  # it is in its commit by now, or will find the volume closed
    db.close()
    thread.join(60)
    assert told == [aurolog.ClosedError]
    with aurolog.open(path) as db:
        assert db.recovery.clean
        assert db.visible_lsn == 0
