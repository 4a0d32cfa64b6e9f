"""What a caller may pass: any buffer and any whole number mean what they say, and where something
cannot be taken the message says what to pass instead.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import struct
from array import array
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support import copy, crc32c, flip, segments

import aurolog


class Whole:
    """A whole number that is no int, as those of numpy are."""

    def __init__(self, value: int) -> None:
        self.value = value

    def __index__(self) -> int:
        return self.value


def _mmap() -> mmap.mmap:
    memory = mmap.mmap(-1, 4096)
    memory[:6] = b"mapped"
    return memory


BUFFERS: dict[str, Callable[[], Any]] = {
    "bytes": lambda: b"some bytes",
    "bytearray": lambda: bytearray(b"some bytes"),
    "memoryview": lambda: memoryview(b"some bytes"),
    "strided": lambda: memoryview(b"some bytes")[::2],
    "backwards": lambda: memoryview(b"some bytes")[::-1],
    "16-bit integers": lambda: array("H", range(20)),
    "doubles": lambda: array("d", [1.5, 2.5]),
    "a cast view": lambda: memoryview(bytes(range(16))).cast("I"),
    "two dimensions": lambda: memoryview(bytes(range(12))).cast("B", (3, 4)),
    "strided 32-bit integers": lambda: memoryview(bytes(range(32))).cast("I")[::3],
    "a ctypes array": lambda: (ctypes.c_uint32 * 3)(1, 2, 3),
    "a ctypes number": lambda: ctypes.c_uint64(5),
    "mmap": _mmap,
}


@pytest.mark.parametrize("name", BUFFERS)
def test_every_way_to_change_a_page_takes_the_bytes_of_any_buffer(
    db: aurolog.Volume, name: str
) -> None:
    data = BUFFERS[name]()
    octets = memoryview(data).tobytes()
    image = octets.ljust(4096, b"\0")
    with db.transaction() as tx:
        tx.write(0, 0, data)
        tx.apply([(1, 0, data)])
        tx.apply([("write", 2, 0, data)])
        tx.apply(aurolog.pack_changes([(3, 0, data), (4, 0, b"behind")]))
    for page in range(4):
        assert db[page] == image
    assert db[4][:6] == b"behind"
    assert len(db) == 5


def test_data_is_never_taken_for_changes(db: aurolog.Volume) -> None:
    """A header's length counts bytes, whatever the buffer's items are."""
    truncate = struct.pack("<BBHHHQ", 5, 0, 0, 0, 0, 0)
    with db.transaction() as tx:
        tx.write(5, 0, b"important")
    with db.transaction() as tx:
        tx.apply([(6, 0, array("H", b"d" * 16 + truncate))])
    assert db[5][:9] == b"important"
    assert db[6][:32] == b"d" * 16 + truncate


@pytest.mark.parametrize("kind", [bytearray, memoryview])
def test_changes_take_the_data_as_it_is_when_it_is_given(
    db: aurolog.Volume, kind: Callable[[bytearray], Any]
) -> None:
    buffer = bytearray(1)

    def changes() -> Any:
        for page in range(3):
            buffer[0] = 65 + page
            yield (page, 0, kind(buffer))

    with db.transaction() as tx:
        tx.apply(changes())
    assert [db[page][:1] for page in range(3)] == [b"A", b"B", b"C"]


@pytest.mark.parametrize("step", [1, 2])
def test_an_image_may_be_any_buffer(db: aurolog.Volume, step: int) -> None:
    image = memoryview(os.urandom(4096 * step))[::step]
    numbers = array("Q", range(512))
    with db.transaction() as tx:
        tx[0] = image
        tx[1] = numbers
        tx.apply([("image", 2, image), ("image", 3, numbers)])
    assert db[0] == db[2] == image.tobytes()
    assert db[1] == db[3] == numbers.tobytes()


def test_packed_changes_may_be_in_any_buffer(db: aurolog.Volume) -> None:
    packed = aurolog.pack_changes([(1, 0, b"sixteen bytes...")])
    memory = mmap.mmap(-1, len(packed))
    memory[:] = packed
    apart = bytearray(2 * len(packed))
    apart[::2] = packed
    for page, buffer in enumerate((packed, array("Q", packed), memory, memoryview(apart)[::2])):
        with db.transaction() as tx:
            tx.truncate(0)
            if page % 2:
                assert len(tx) == 0
            tx.apply(buffer)
        assert db[1][:16] == b"sixteen bytes..."


def test_whole_numbers_of_any_kind_are_taken(path: Path) -> None:
    with aurolog.open(path, page_size=Whole(512), cache_bytes=Whole(1 << 20)) as db:
        with db.transaction() as tx:
            tx.write(Whole(1), Whole(2), b"bytes")
            tx.write(Whole(1), Whole(7), bytearray(b"more"))
            tx.move(Whole(1), Whole(2), Whole(100), Whole(5))
            tx.fill(Whole(1), Whole(200), Whole(3), Whole(7))
            tx[Whole(2)] = b"z" * 512
            assert tx[Whole(2)] == b"z" * 512
            tx.write(9, 0, b"cut")
            tx.truncate(Whole(3))
            tx.apply(
                [
                    (Whole(0), Whole(1), b"x"),
                    ("move", Whole(0), Whole(1), Whole(2), Whole(1)),
                    ("fill", Whole(0), Whole(3), Whole(1), Whole(120)),
                ]
            )
        assert db.page_size == 512
        assert len(db) == 3
        assert db[Whole(0)][:5] == b"\0xxx\0"
        assert db[Whole(1)][2:11] == b"bytesmore"
        assert db[1][100:105] == b"bytes"
        assert db[1][200:203] == b"\7\7\7"
        assert db.at(Whole(db.visible_lsn))[Whole(2)] == b"z" * 512
        assert len(db.versions(Whole(1))) == 1
        assert len(list(db.log(Whole(1), Whole(1)))) == 1
        assert bytes(db.read_many([Whole(2)])) == bytes(db.view_page(Whole(2))) == b"z" * 512


def test_a_clock_may_tell_any_whole_number(path: Path) -> None:
    with aurolog.open(path, clock=lambda: Whole(10**18)) as db:
        with db.transaction() as tx:
            tx.write(0, 0, b"x")
        assert db.versions(0)[0].time.year == 2001


@pytest.mark.parametrize("kind", "hHiIlLqQ")
def test_page_numbers_may_be_integers_of_any_width_and_stride(
    db: aurolog.Volume, kind: str
) -> None:
    with db.transaction() as tx:
        tx.apply([("image", page, bytes([page]) * 4096) for page in range(8)])
    numbers = array(kind, [3, 7, 1, 7, 0])
    assert bytes(db.read_many(numbers)[::4096]) == b"\3\7\1\7\0"
    assert bytes(db.read_many(memoryview(numbers)[::2])[::4096]) == b"\3\1\0"
    assert bytes(db.read_many(memoryview(numbers)[::-1])[::4096]) == b"\0\7\1\7\3"
    assert bytes(db.read_many(array(kind))) == b""
    if kind.islower():
        for negative in (array(kind, [0, -5]), memoryview(array(kind, [0, 0, -5]))[::2]):
            with pytest.raises(aurolog.InputError, match=r"-5|negative"):
                db.read_many(negative)


def test_a_path_may_be_bytes(path: Path) -> None:
    with aurolog.open(os.fsencode(path)) as db:
        assert db.path == path


# --- messages -------------------------------------------------------------------------------------

MESSAGES: dict[str, tuple[Callable[[Any, Any], Any], str]] = {
    "a slice": (lambda db, tx: db[0:3], r"slice\(0, 3, None\).*read_many\(range\(start, stop\)\)"),
    "one tuple": (lambda db, tx: tx.apply((1, 0, b"x")), "pass a list of tuples"),
    "a name that is not there": (lambda db, tx: db.log("a"), "no restore point 'a', and it is no"),
    "a last one that is not": (lambda db, tx: db.log(1, "b"), "no restore point 'b', and it is no"),
    "an LSN above": (lambda db, tx: db.at(99), "LSN 99 is above the visible LSN 1: ask for"),
    "bytes as page numbers": (lambda db, tx: db.read_many(b"12345678"), "wider than a byte.*'B'"),
    "a buffer that is released": (lambda db, tx: tx.write(0, 0, _released()), "cannot be read"),
    "doubles as page numbers": (lambda db, tx: db.read_many(array("d", [1.0])), "'d'"),
}


def _released() -> memoryview:
    view = memoryview(b"x")
    view.release()
    return view


@pytest.mark.parametrize("name", MESSAGES)
def test_a_message_says_what_to_pass_instead(db: aurolog.Volume, name: str) -> None:
    call, message = MESSAGES[name]
    with db.transaction() as tx:
        tx.write(0, 0, b"x")
    with db.transaction() as tx, pytest.raises(aurolog.InputError, match=message):
        call(db, tx)


def test_damage_is_told_with_the_whole_path(path: Path, tmp_path: Path) -> None:
    with aurolog.open(path) as db, db.transaction() as tx:
        tx.write(0, 0, b"a needle")
    (segment, *_) = segments(path)
    flip(segment, segment.read_bytes().find(b"a needle"))
    with pytest.raises(aurolog.CorruptionError) as caught, aurolog.open(path) as db:
        db[0]
    assert str(segment) in str(caught.value)
    assert caught.value.file == segment.name


def test_a_newer_format_is_told_with_the_path(path: Path, tmp_path: Path) -> None:
    aurolog.open(path).close()
    other = copy(path, tmp_path / "newer")
    manifest = other / "MANIFEST"
    data = bytearray(manifest.read_bytes())
    struct.pack_into("<I", data, 12, 99)
    struct.pack_into("<I", data, 8, crc32c(bytes(data[12:])))
    manifest.write_bytes(data)
    with pytest.raises(aurolog.FormatError, match="newer") as caught:
        aurolog.open(other)
    assert str(other) in str(caught.value)


@pytest.mark.parametrize(
    ("status", "fields", "error", "message"),
    [
        (
            "AUL_DISK_FULL",
            {"text": b"writing failed: No space left on device", "os_errno": 28},
            aurolog.DiskFullError,
            "No space left on device (/v); nothing was committed: make room and repeat",
        ),
        (
            "AUL_FAILED",
            {
                "text": b"an earlier write failed: Input/output error",
                "file": b"/v/log",
                "os_errno": 5,
            },
            aurolog.StorageError,
            "(/v/log); the volume takes no more writes: close it and open it again",
        ),
        (
            "AUL_IO",
            {"text": b"reading failed: Input/output error", "file": b"1-1.log", "os_errno": 5},
            aurolog.StorageError,
            "(/v/log/1-1.log); look at the disk and at the system's log, then repeat",
        ),
        (
            "AUL_IO",
            {"text": b"opening failed: Too many open files", "file": b"1-1.log", "os_errno": 24},
            aurolog.StorageError,
            "(/v/log/1-1.log); close files or raise the limit, then repeat",
        ),
        (
            "AUL_IO",
            {"text": b"reading failed: Input/output error", "file": b"x" * 255, "os_errno": 5},
            aurolog.StorageError,
            "(/v); look at the disk and at the system's log, then repeat",
        ),
        (
            "AUL_ACCESS",
            {
                "text": b"opening the lock file failed: Permission denied",
                "file": b"/v/LOCK",
                "os_errno": 13,
            },
            aurolog.AccessError,
            "(/v/LOCK); fix the permissions, or open with read_only=True",
        ),
        (
            "AUL_ACCESS",
            {"text": b"creating failed: Permission denied", "file": b"1-1.log", "os_errno": 13},
            aurolog.AccessError,
            "(/v/log/1-1.log); fix the permissions",
        ),
        (
            "AUL_UNKNOWN",
            {"text": b"syncing failed", "lsn": 7},
            aurolog.CommitOutcomeUnknown,
            "syncing failed: reopen the volume and look whether LSN 7 is there (/v)",
        ),
        (
            "AUL_UNKNOWN",
            {"text": b"the disk failed: reopen the volume", "lsn": 7},
            aurolog.CommitOutcomeUnknown,
            "the disk failed: reopen the volume (/v)",
        ),
        (
            "AUL_FORMAT",
            {"text": b"format 9: use a newer aurolog"},
            aurolog.FormatError,
            "/v: format 9: use a newer aurolog",
        ),
    ],
)
def test_an_error_of_the_core_says_where_and_what_to_do(
    status: str, fields: dict[str, Any], error: type[Exception], message: str
) -> None:
    from aurolog import _core

    raw = _core.ffi.new("aul_error *", fields)
    with pytest.raises(error) as caught:
        _core.raise_error(getattr(_core.lib, status), raw, "/v")
    assert str(caught.value).endswith(message)
    if isinstance(caught.value, OSError):
        assert caught.value.errno == fields["os_errno"]
        assert f"({caught.value.filename})" in message
        assert str(caught.value).count(caught.value.filename) == 1
