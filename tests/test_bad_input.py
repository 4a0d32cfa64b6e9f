"""Bad input: each kind has its error, and none of them loses or changes anything."""

from __future__ import annotations

import errno
import pickle
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

import aurolog

PAGES_MAX = (1 << 47) // 4096
READ_ONLY_BUFFER = bytes(4096)

VOLUME: dict[str, Callable[[Any], Any]] = {
    "page negative": lambda db: db[-1],
    "page outside": lambda db: db[PAGES_MAX],
    "page beyond 64 bits": lambda db: db[1 << 64],
    "page is text": lambda db: db["0"],
    "page is a float": lambda db: db[1.0],
    "page is None": lambda db: db[None],
    "page is a slice": lambda db: db[0:2],
    "read_into: page outside": lambda db: db.read_into(PAGES_MAX, bytearray(4096)),
    "read_into: buffer too small": lambda db: db.read_into(0, bytearray(4095)),
    "read_into: buffer too large": lambda db: db.read_into(0, bytearray(4097)),
    "read_into: buffer read-only": lambda db: db.read_into(0, READ_ONLY_BUFFER),
    "read_into: no buffer": lambda db: db.read_into(0, 4096),
    "read_into: buffer strided": lambda db: db.read_into(0, memoryview(bytearray(8192))[::2]),
    "read_many: one page outside": lambda db: db.read_many([0, PAGES_MAX]),
    "read_many: one page negative": lambda db: db.read_many([0, -1]),
    "read_many: one page is text": lambda db: db.read_many([0, "1"]),
    "read_many: a number": lambda db: db.read_many(7),
    "read_many: bytes are not page numbers": lambda db: db.read_many(b"12345"),
    "read_many: out too small": lambda db: db.read_many([0, 1], out=bytearray(4096)),
    "read_many: out too large": lambda db: db.read_many([0], out=bytearray(8192)),
    "read_many: out read-only": lambda db: db.read_many([0], out=READ_ONLY_BUFFER),
    "view_page: outside": lambda db: db.view_page(PAGES_MAX),
    "view_page: negative": lambda db: db.view_page(-1),
    "at: negative": lambda db: db.at(-1),
    "at: a name that is not there": lambda db: db.at("no such"),
    "backtrack: a name that is not there": lambda db: db.backtrack("no such"),
    "backtrack: a float": lambda db: db.backtrack(1.5),
    "backtrack: beyond": lambda db: db.backtrack(1 << 40),
    "backtrack: a note that is no text": lambda db: db.backtrack(0, note=b"bytes"),
    "backtrack: too long a note": lambda db: db.backtrack(0, note="n" * 256),
    "restore_point: a number": lambda db: db.restore_point("17"),
    "restore_point: no text": lambda db: db.restore_point(17),
    "restore_point: beyond": lambda db: db.restore_point("name", at=1 << 40),
    "delete_restore_point: none": lambda db: db.delete_restore_point("name"),
    "at: a float": lambda db: db.at(1.5),
    "at: None": lambda db: db.at(None),
    "at: beyond 64 bits": lambda db: db.at(1 << 64),
    "versions: negative": lambda db: db.versions(-1),
    "versions: outside": lambda db: db.versions(PAGES_MAX),
    "log: negative": lambda db: list(db.log(-1)),
    "log: a name that is not there": lambda db: db.log("no such"),
    "transaction: durability": lambda db: db.transaction(durability="never"),
    "transaction: durability of another type": lambda db: db.transaction(durability=1),
    "transaction: note too long": lambda db: db.transaction(note="x" * 256),
    "transaction: note too long in UTF-8": lambda db: db.transaction(note="ü" * 128),
    "transaction: note of bytes": lambda db: db.transaction(note=b"x"),
    "transaction: note not encodable": lambda db: db.transaction(note="\ud800"),
}

LSN: dict[str, Callable[[Any], Any]] = {
    "at: above the visible LSN": lambda db: db.at(db.visible_lsn + 1),
    "at: far above": lambda db: db.at((1 << 64) - 1),
}

TRANSACTION: dict[str, Callable[[Any], Any]] = {
    "write: page negative": lambda tx: tx.write(-1, 0, b"x"),
    "write: page outside": lambda tx: tx.write(PAGES_MAX, 0, b"x"),
    "write: page beyond 64 bits": lambda tx: tx.write(1 << 64, 0, b"x"),
    "write: page is text": lambda tx: tx.write("0", 0, b"x"),
    "write: offset negative": lambda tx: tx.write(0, -1, b"x"),
    "write: offset at the end": lambda tx: tx.write(0, 4096, b"x"),
    "write: offset beyond 32 bits": lambda tx: tx.write(0, 1 << 32, b"x"),
    "write: over the end": lambda tx: tx.write(0, 4090, b"1234567"),
    "write: longer than a page": lambda tx: tx.write(0, 0, bytes(4097)),
    "write: longer than 16 bits": lambda tx: tx.write(0, 0, bytes(65537)),
    "write: text": lambda tx: tx.write(0, 0, "text"),
    "write: a number": lambda tx: tx.write(0, 0, 5),
    "write: None": lambda tx: tx.write(0, 0, None),
    "write: a list": lambda tx: tx.write(0, 0, [1, 2]),
    "move: source over the end": lambda tx: tx.move(0, 4000, 0, 97),
    "move: target over the end": lambda tx: tx.move(0, 0, 4000, 97),
    "move: source negative": lambda tx: tx.move(0, -1, 0, 1),
    "move: target negative": lambda tx: tx.move(0, 0, -1, 1),
    "move: length negative": lambda tx: tx.move(0, 0, 1, -1),
    "move: length beyond 32 bits": lambda tx: tx.move(0, 0, 0, 1 << 32),
    "move: page outside": lambda tx: tx.move(PAGES_MAX, 0, 0, 1),
    "fill: over the end": lambda tx: tx.fill(0, 4000, 97, 0),
    "fill: length negative": lambda tx: tx.fill(0, 0, -1, 0),
    "fill: length beyond 32 bits": lambda tx: tx.fill(0, 0, (1 << 32) + 1, 0),
    "fill: byte 256": lambda tx: tx.fill(0, 0, 1, 256),
    "fill: byte negative": lambda tx: tx.fill(0, 0, 1, -1),
    "fill: byte is bytes": lambda tx: tx.fill(0, 0, 1, b"x"),
    "image: too short": lambda tx: tx.__setitem__(0, b"short"),
    "image: too long": lambda tx: tx.__setitem__(0, bytes(4097)),
    "image: text": lambda tx: tx.__setitem__(0, "x" * 4096),
    "image: page negative": lambda tx: tx.__setitem__(-1, bytes(4096)),
    "image: page outside": lambda tx: tx.__setitem__(PAGES_MAX, bytes(4096)),
    "image: slice": lambda tx: tx.__setitem__(slice(0, 1), bytes(4096)),
    "truncate: negative": lambda tx: tx.truncate(-1),
    "truncate: beyond 64 bits": lambda tx: tx.truncate(1 << 64),
    "truncate: text": lambda tx: tx.truncate("1"),
    "apply: a number": lambda tx: tx.apply(5),
    "apply: text": lambda tx: tx.apply("text"),
    "apply: None": lambda tx: tx.apply(None),
    "read: negative": lambda tx: tx[-1],
    "read: outside": lambda tx: tx[PAGES_MAX],
    "read: text": lambda tx: tx["0"],
}

OPEN: dict[str, dict[str, Any]] = {
    "page_size not a power of two": {"page_size": 5000},
    "durability unknown": {"durability": "maybe"},
    "durability None": {"durability": None},
    "cache negative": {"cache_bytes": -1},
    "cache text": {"cache_bytes": "64M"},
    "cache beyond 64 bits": {"cache_bytes": 1 << 70},
    "retention negative": {"retention": timedelta(seconds=-1)},
    "retention too long": {"retention": timedelta(days=35, microseconds=1)},
    "retention a number": {"retention": 24},
    "clock not callable": {"clock": 5},
}

PATHS: dict[str, Any] = {
    "None": None,
    "a number": 5,
    "bytes with a zero": b"/tmp/vol\0ume",
    "empty": "",
    "with a zero": "/tmp/vol\0ume",
}

PACK: dict[str, Any] = {
    "a number": 5,
    "no tuples": [5],
    "empty tuple": [()],
    "unknown kind": [("erase", 0)],
    "too short": [("move", 1, 2)],
    "too long": [(1, 2, b"x", 4)],
    "data is text": [(1, 2, "x")],
    "data too long": [(1, 2, bytes(65537))],
    "page negative": [(-1, 0, b"x")],
    "page beyond 64 bits": [(1 << 64, 0, b"x")],
    "offset beyond 16 bits": [(0, 65536, b"x")],
    "byte negative": [("fill", 0, 0, 1, -1)],
}


def _filled(path: Path) -> aurolog.Volume:
    db = aurolog.open(path, durability="os")
    with db.transaction() as tx:
        tx.write(0, 0, b"kept")
        tx.write(1, 4000, b"kept as well")
    return db


def _assert_kept(db: aurolog.Volume) -> None:
    assert len(db) == 2
    assert db[0] == b"kept" + bytes(4092)
    assert db[1][4000:4012] == b"kept as well"


@pytest.mark.parametrize("name", VOLUME)
def test_a_volume_refuses(path: Path, name: str) -> None:
    with _filled(path) as db:
        before = db.visible_lsn
        with pytest.raises(aurolog.InputError) as caught:
            VOLUME[name](db)
        assert str(caught.value)
        _assert_kept(db)
        assert db.visible_lsn == before
        with db.transaction() as tx:
            tx.write(5, 0, b"goes on")


@pytest.mark.parametrize("name", LSN)
def test_an_lsn_that_is_not_there_is_refused(path: Path, name: str) -> None:
    with _filled(path) as db:
        with pytest.raises(aurolog.LsnError) as caught:
            LSN[name](db)
        assert caught.value.visible_lsn == db.visible_lsn
        assert caught.value.lsn > db.visible_lsn
        assert str(db.visible_lsn) in str(caught.value)
        _assert_kept(db)


@pytest.mark.parametrize(
    "name", [name for name in VOLUME if name.startswith(("page", "read", "view"))]
)
def test_a_view_refuses(path: Path, name: str) -> None:
    with _filled(path) as db, db.at(db.visible_lsn) as view:
        with pytest.raises(aurolog.InputError):
            VOLUME[name](view)
        assert view[0][:4] == b"kept"


@pytest.mark.parametrize("name", TRANSACTION)
def test_a_transaction_refuses_and_goes_on_with_what_it_had(path: Path, name: str) -> None:
    with _filled(path) as db:
        with db.transaction() as tx:
            tx.write(0, 4, b"+")
            with pytest.raises(aurolog.InputError) as caught:
                TRANSACTION[name](tx)
            assert str(caught.value)
            assert tx[0][:6] == b"kept+\0"
            tx.write(1, 0, b"more")
        assert db[0] == b"kept+" + bytes(4091)
        assert db[1] == b"more" + bytes(3996) + b"kept as well" + bytes(84)
        assert len(db) == 2


@pytest.mark.parametrize("name", OPEN)
@pytest.mark.parametrize("there", [False, True], ids=["new", "existing"])
def test_opening_refuses(path: Path, name: str, there: bool) -> None:
    if there:
        _filled(path).close()
    with pytest.raises(aurolog.InputError) as caught:
        aurolog.open(path, **OPEN[name])
    (argument,) = OPEN[name]
    assert argument.replace("_", " ") in str(caught.value).replace("_", " "), "it is not named"
    assert path.exists() == there
    if there:
        with aurolog.open(path) as db:
            _assert_kept(db)
            assert db.recovery.clean


@pytest.mark.parametrize("cache_bytes", [0, 1, 15 * 4096])
def test_a_cache_below_16_pages_is_one_of_16(path: Path, cache_bytes: int) -> None:
    with aurolog.open(path, cache_bytes=cache_bytes) as db:
        assert db.stats().cache_capacity_pages == 16


@pytest.mark.parametrize("name", PATHS)
def test_a_path_is_refused(name: str) -> None:
    with pytest.raises(aurolog.InputError):
        aurolog.open(PATHS[name])


@pytest.mark.parametrize("name", PACK)
def test_packing_refuses(name: str) -> None:
    with pytest.raises(aurolog.InputError):
        aurolog.pack_changes(PACK[name])


def _released() -> memoryview:
    view = memoryview(b"once")
    view.release()
    return view


def test_a_buffer_that_cannot_be_read_any_more_is_refused(db: aurolog.Volume) -> None:
    with pytest.raises(aurolog.InputError, match="cannot be read"):
        db.read_many(_released())
    with db.transaction() as tx:
        with pytest.raises(aurolog.InputError, match="cannot be read"):
            tx.apply(_released())
        with pytest.raises(aurolog.InputError, match="cannot be read"):
            tx.write(0, 0, _released())
    assert tx.lsn is None
    with pytest.raises(aurolog.InputError, match="cannot be read"):
        aurolog.pack_changes([(0, 0, _released())])


def test_a_write_longer_than_any_page_cannot_be_packed() -> None:
    for change in ((0, 0, bytes(65537)), ("image", 0, bytes(65537)), ("fill", 0, 0, 65537, 0)):
        with pytest.raises(aurolog.InputError):
            aurolog.pack_changes([change])


def test_handles_are_true_and_tell_what_they_are(db: aurolog.Volume) -> None:
    with db.transaction() as tx:
        assert tx
        assert len(tx) == 0
        assert "open" in repr(tx)
        tx.write(0, 0, b"x")
    assert f"LSN {tx.lsn}" in repr(tx)
    view = db.at(tx.lsn or 0)
    assert repr(view) == f"<aurolog.View of LSN {tx.lsn}>"
    view.close()
    assert "closed" in repr(view)


def test_each_error_is_also_what_python_programs_catch() -> None:
    bases = {
        aurolog.InputError: ValueError,
        aurolog.MomentError: aurolog.InputError,
        aurolog.LsnError: aurolog.MomentError,
        aurolog.RestorePointError: aurolog.InputError,
        aurolog.ConflictError: aurolog.TransactionError,
        aurolog.AccessError: PermissionError,
        aurolog.DiskFullError: OSError,
        aurolog.StorageError: OSError,
    }
    for error, base in bases.items():
        assert issubclass(error, base)
    names = [
        "InputError",
        "LsnError",
        "MomentError",
        "RestorePointError",
        "TransactionError",
        "ConflictError",
        "CacheFullError",
        "ClosedError",
        "ReadOnlyError",
        "VolumeLockedError",
        "NotAVolumeError",
        "FormatError",
        "AccessError",
        "DiskFullError",
        "StorageError",
        "CommitOutcomeUnknown",
        "CorruptionError",
        "InternalError",
    ]
    for name in names:
        assert issubclass(getattr(aurolog, name), aurolog.AurologError)
        assert getattr(aurolog, name) is getattr(aurolog.errors, name)


@pytest.mark.parametrize("kind", [aurolog.AccessError, aurolog.DiskFullError, aurolog.StorageError])
def test_an_error_of_the_system_is_whole_after_a_pickle(kind: type[OSError]) -> None:
    error = kind(errno.EIO, "reading failed (/v); look at the disk", "/v")
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is kind
    assert (again.errno, again.strerror, again.filename) == (5, error.strerror, "/v")
    assert str(again) == str(error) == "[Errno 5] reading failed (/v); look at the disk"
    assert str(kind("of one's own")) == "of one's own"
