"""Branch points and restore points on disk, by docs/format.md: what they are, what cannot be."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
from support import (
    Frame,
    assert_refused,
    contents,
    copy,
    frames,
    overwrite,
    patch_control,
    patch_manifest,
    segments,
)

import aurolog

CLOCK = 1_700_000_000_000_000_000
RECORD = 16  # bytes of a record's header


def write(db: aurolog.Volume, data: bytes) -> int:
    with db.transaction() as tx:
        tx.write(0, 0, data)
    return tx.lsn or 0


@pytest.fixture
def open_one(path: Path, tmp_path: Path) -> Path:
    """Of a dead process: LSN 1, named in 2; 3; 4 goes on from 1; 5; 6 deletes the name; 7 names 3;
    8.
    """
    with aurolog.open(path, page_size=512, clock=lambda: CLOCK) as db:
        write(db, b"one")
        db.restore_point("one")
        write(db, b"three")
        db.backtrack(1, note="why")
        write(db, b"five")
        db.delete_restore_point("one")
        db.restore_point("two", at=3)
        write(db, b"eight")
        return copy(path, tmp_path / "dead")


@pytest.fixture
def closed(open_one: Path) -> Path:
    """The same after recovery, which logs a cut behind 8, and a rewind to 1."""
    with aurolog.open(open_one, clock=lambda: CLOCK) as db:
        db.backtrack(1)
        assert db.verify().ok
    return open_one


def frame_of(volume: Path, lsn: int) -> Frame:
    """The one with that record."""
    return next(f for s in segments(volume) for f in frames(s) if f.first_lsn == lsn)


def data_of(frame: Frame) -> tuple[int, bytes]:
    """Kind and data of a control batch's record."""
    payload = frame.segment.read_bytes()[frame.offset + 64 : frame.end]
    (at,) = struct.unpack_from("<H", payload, 4)
    (length,) = struct.unpack_from("<H", payload, at + 12)
    assert len(payload) == at + RECORD + length
    return payload[at + 4], payload[at + RECORD :]


def test_branch_points_and_restore_points_are_as_documented(closed: Path) -> None:
    manifest = (closed / "MANIFEST").read_bytes()
    features, size = struct.unpack_from("<QQ", manifest, 16)
    branches, listed, _, points = struct.unpack_from("<IIII", manifest, 112)
    assert features == 1 << 3 | 1 << 4, "rewinds and restore points"
    assert (branches, points) == (3, 1)
    assert size == len(manifest) == 256 + 3 * 64 + 48 + listed * 192
    found = [struct.unpack_from("<QQQQI28s", manifest, 256 + 64 * n) for n in range(3)]
    cut = found[1][1]
    assert found == [
        (1, 4, 1, CLOCK, 1, b"why".ljust(28, b"\0")),
        (8, cut, 2, CLOCK, 2, b"unclean end".ljust(28, b"\0")),
        (1, cut + 1, 2, CLOCK, 1, bytes(28)),
    ]
    assert cut == 8 + 2**32 + 1
    point = struct.pack("<QQQQII", 3, CLOCK, 7, CLOCK, 3, 0) + b"two".ljust(8, b"\0")
    assert manifest[256 + 3 * 64 :][:48] == point
    for n, (_, lsn, *_) in enumerate(found):
        assert data_of(frame_of(closed, lsn)) == (16, manifest[256 + 64 * n :][:64])
    assert data_of(frame_of(closed, 7)) == (17, point)
    deleted = struct.pack("<QQQQII", 1, CLOCK, 2, CLOCK, 3, 0) + b"one".ljust(8, b"\0")
    assert data_of(frame_of(closed, 6)) == (18, deleted)
    assert data_of(frame_of(closed, 2)) == (17, deleted)


def test_a_volume_without_them_asks_for_nothing(path: Path) -> None:
    """Older builds read it; a name that is gone leaves nothing either."""
    with aurolog.open(path) as db:
        write(db, b"one")
        db.restore_point("one")
        db.delete_restore_point("one")
    assert struct.unpack_from("<Q", (path / "MANIFEST").read_bytes(), 16) == (0,)


CUT = 8 + 2**32 + 1
FIRST, SECOND, THIRD, POINT = 256, 256 + 64, 256 + 128, 256 + 192


@pytest.mark.parametrize(
    ("offset", "form", "value"),
    [
        (112, "<I", 2),  # branch points: one is taken for a restore point
        (124, "<I", 0),  # restore points: one is taken for a segment
        (124, "<I", 2),
        (FIRST, "<Q", 4),  # parent: itself
        (FIRST, "<Q", 5),
        (FIRST + 16, "<Q", 0),  # epoch
        (FIRST + 16, "<Q", 3),  # above the next one's, and the volume's
        (THIRD + 16, "<Q", 1),  # below the one before
        (FIRST + 32, "<I", 0),  # kind
        (FIRST + 32, "<I", 3),
        (SECOND + 8, "<Q", 4),  # resumed at the same LSN as the one before
        (SECOND, "<Q", 3),  # cuts the one before
        (THIRD, "<Q", 9),  # goes on from what was cut
        (THIRD, "<Q", CUT - 1),
        (POINT, "<Q", 7),  # names itself
        (POINT + 32, "<I", 0),  # bytes of the name
        (POINT + 32, "<I", 9),
        (POINT + 32, "<I", 256),
        (POINT + 32, "<I", 2**32 - 1),
        (POINT + 40, "<H", 0x7400),  # begins with a zero
    ],
)
def test_a_past_that_cannot_be_is_damage(closed: Path, offset: int, form: str, value: int) -> None:
    patch_manifest(closed, offset, struct.pack(form, value))
    assert_refused(closed, aurolog.CorruptionError, file="MANIFEST")


def test_restore_points_made_at_one_lsn_are_damage(path: Path) -> None:
    with aurolog.open(path) as db:
        for name in ("one", "two"):
            db.restore_point(name)
    for made in (2, 3):
        victim = copy(path, path.with_name(f"made at {made}"))
        patch_manifest(victim, 256 + 16, struct.pack("<Q", made))
        assert_refused(victim, aurolog.CorruptionError, file="MANIFEST")


def test_a_restore_point_made_above_the_log_is_damage(closed: Path) -> None:
    patch_manifest(closed, POINT + 16, struct.pack("<Q", 2**40))
    with pytest.raises(aurolog.CorruptionError, match="last restore point"):
        aurolog.open(closed)
    with aurolog.open(closed, read_only=True) as db:
        assert db.restore_points == {}


@pytest.mark.parametrize(
    ("offset", "data", "says"),
    [
        (FIRST, struct.pack("<Q", 0), "another branch point"),
        (FIRST + 8, struct.pack("<Q", 5), "another branch point"),
        (FIRST + 24, struct.pack("<Q", 9), "another branch point"),
        (FIRST + 36, b"who", "another branch point"),
        (SECOND, struct.pack("<Q", 7), "another branch point"),
        (POINT, struct.pack("<Q", 5), "other restore points"),
        (POINT + 8, struct.pack("<Q", 5), "other restore points"),
        (POINT + 16, struct.pack("<Q", 6), "other restore points"),
        (POINT + 40, b"six", "other restore points"),
    ],
)
def test_verify_tells_a_manifest_with_another_past_than_the_log(
    closed: Path, offset: int, data: bytes, says: str
) -> None:
    """Sealed segments are not read at opening: there the manifest is believed."""
    patch_manifest(closed, offset, data)
    with aurolog.open(closed) as db:
        (problem, *_) = db.verify().problems
    assert says in problem.what


@pytest.mark.parametrize(
    ("offset", "size", "count", "says"),
    [
        (THIRD, 64, 112, "another branch point"),
        (FIRST, 64, 112, "another branch point"),
        (POINT, 48, 124, "other restore points"),
    ],
)
def test_verify_tells_what_the_manifest_has_not(
    closed: Path, offset: int, size: int, count: int, says: str
) -> None:
    manifest = closed / "MANIFEST"
    whole = manifest.read_bytes()
    manifest.write_bytes(whole[:offset] + whole[offset + size :])
    (there,) = struct.unpack_from("<I", whole, count)
    overwrite(manifest, 24, struct.pack("<Q", len(whole) - size))
    patch_manifest(closed, count, struct.pack("<I", there - 1))
    with aurolog.open(closed) as db:
        problems = db.verify().problems
    assert problems
    assert all(says in problem.what for problem in problems)


def test_verify_tells_a_branch_point_that_the_log_has_not(path: Path) -> None:
    with aurolog.open(path) as db:
        for data in (b"one", b"two", b"three"):
            write(db, data)
    manifest = path / "MANIFEST"
    whole = manifest.read_bytes()
    branch = struct.pack("<QQQQI28s", 1, 3, 1, 0, 1, b"")
    manifest.write_bytes(whole[:256] + branch + whole[256:])
    overwrite(manifest, 24, struct.pack("<Q", len(whole) + 64))
    patch_manifest(path, 112, struct.pack("<I", 1))
    with aurolog.open(path) as db:
        assert [problem.what for problem in db.verify().problems] == [
            "the MANIFEST has branch points that the log has not"
        ]


@pytest.mark.parametrize(
    ("lsn", "offset", "data"),
    [
        (4, 4, b"\x01"),  # kind: a change of a page
        (4, 4, b"\x14"),  # none there is
        (4, 4, b"\x11"),  # another of control's
        (4, 4, b"\x13"),
        (4, 12, b"\x3f"),  # length of the data
        (4, RECORD, struct.pack("<Q", 0)),  # parent: not the commit before
        (4, RECORD, struct.pack("<Q", 4)),
        (4, RECORD + 8, struct.pack("<Q", 3)),  # resumed_at: not its own LSN
        (4, RECORD + 8, struct.pack("<Q", 5)),
        (4, RECORD + 16, struct.pack("<Q", 2)),  # epoch: not the batch's
        (4, RECORD + 32, struct.pack("<I", 3)),  # kind
        (2, RECORD, struct.pack("<Q", 2)),  # names itself
        (2, RECORD + 16, struct.pack("<Q", 1)),  # made at another LSN
        (2, RECORD + 16, struct.pack("<Q", 3)),
        (2, RECORD + 32, struct.pack("<I", 9)),  # bytes of the name
        (2, RECORD + 32, struct.pack("<I", 0)),
        (2, RECORD + 41, b"\0"),  # a zero in it
        (2, 4, b"\x12"),  # a deletion of what is made by it
        (6, RECORD + 16, struct.pack("<Q", 6)),
        (6, 4, b"\x11"),
    ],
)
def test_a_control_record_that_cannot_be_is_no_frame(
    open_one: Path, tmp_path: Path, lsn: int, offset: int, data: bytes
) -> None:
    """Later frames say that it was durable. Without them it is the torn end of the log."""
    patch_control(frame_of(open_one, lsn), offset, data)
    before = contents(open_one)
    for read_only in (False, True):
        with pytest.raises(aurolog.CorruptionError, match=f"LSN {lsn}, which was durable"):
            aurolog.open(open_one, read_only=read_only)
        assert contents(open_one) == before
    torn = copy(open_one, tmp_path / "torn")
    frame = frame_of(torn, lsn)
    size = frame.segment.stat().st_size
    overwrite(frame.segment, frame.end, bytes(size - frame.end))
    (torn / "LOCK").unlink()
    with aurolog.open(torn) as db:
        assert db.recovery.last_lsn == lsn - 1
        assert db.recovery.cut_lsn == lsn
        assert len(db.history) == 2 if lsn < 5 else 3
        assert db.verify().ok


def test_a_branch_point_of_a_newer_epoch_than_its_segment_is_no_frame(open_one: Path) -> None:
    patch_control(frame_of(open_one, 4), RECORD + 16, struct.pack("<Q", 2), epoch=2)
    assert_refused(open_one, aurolog.CorruptionError)


def test_a_control_record_among_pages_is_no_frame(path: Path, tmp_path: Path) -> None:
    with aurolog.open(path, page_size=512) as db:
        write(db, b"one")
        write(db, bytes(64))
        write(db, b"three")
        dead = copy(path, tmp_path / "dead")
    branch = struct.pack("<QQQQI28s", 1, 2, 1, 0, 1, b"")
    patch_control(frame_of(dead, 2), 4, struct.pack("<BI3xHH2x", 16, 0, 64, 0)[:12] + branch)
    assert_refused(dead, aurolog.CorruptionError)


def test_a_rewind_to_what_was_cut_is_damage(open_one: Path, tmp_path: Path) -> None:
    with aurolog.open(open_one) as db:
        for turn in range(100):  # the background thread may list it in the MANIFEST meanwhile
            left = db.backtrack(1)
            write(db, b"more")
            dead = copy(open_one, tmp_path / f"again {turn}")
            listed = struct.unpack_from("<I", (dead / "MANIFEST").read_bytes(), 112)[0]
            if listed < len(db.history) - 1:
                break
    assert left.lsn is not None
    patch_control(frame_of(dead, left.lsn), RECORD, struct.pack("<Q", 10), before=10)
    for read_only in (False, True):
        with pytest.raises(aurolog.CorruptionError, match=f"LSN {left.lsn}, which was durable"):
            aurolog.open(dead, read_only=read_only)


@pytest.mark.parametrize(
    ("lsn", "offset", "data", "before", "says"),
    [
        (4, RECORD, struct.pack("<Q", 2), 2, None),  # another commit: nobody can tell
        (6, RECORD + 16, struct.pack("<Q", 3), None, "deleted that is not there"),
        (6, RECORD + 40, b"two", None, "deleted that is not there"),
        (7, RECORD + 40, b"six", None, None),
        (7, RECORD + 8, struct.pack("<Q", 1), None, "names what is no commit"),
        (6, RECORD, struct.pack("<QQ", 0, 9), None, "names what is no commit"),
    ],
)
def test_verify_tells_what_opening_takes_as_it_is(
    open_one: Path, lsn: int, offset: int, data: bytes, before: int | None, says: str | None
) -> None:
    """Under checksums that fit; what opens is read without failures."""
    patch_control(frame_of(open_one, lsn), offset, data, before)
    with aurolog.open(open_one) as db:
        problems = [problem.what for problem in db.verify().problems]
        for run in db.history:
            assert db.at(run.last_lsn).lsn == run.last_lsn
        for name in db.restore_points:
            assert db.at(name)[0]
    if says is None:
        assert problems == []
    else:
        assert any(says in problem for problem in problems), problems


def test_verify_tells_a_name_that_was_made_twice(open_one: Path) -> None:
    """It is then the newer one's."""
    patch_control(frame_of(open_one, 6), 4, b"\x11")
    frame = frame_of(open_one, 6)
    data = struct.pack("<QQQQII", 1, CLOCK, 6, CLOCK, 3, 0) + b"one".ljust(8, b"\0")
    patch_control(frame, RECORD, data)
    with aurolog.open(open_one) as db:
        assert list(db.restore_points) == ["one", "two"]
        (problem,) = db.verify().problems
        assert "whose name another one has" in problem.what
