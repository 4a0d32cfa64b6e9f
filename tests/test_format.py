"""The bytes on disk, read by docs/format.md with a decoder of its own, and what a newer format gets
to hear.
"""

from __future__ import annotations

import os
import shutil
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest
from support import (
    assert_refused,
    contents,
    copy,
    crc32c,
    frames,
    overwrite,
    patch_manifest,
    segments,
)

import aurolog


@pytest.fixture
def volume(path: Path) -> Path:
    """Three commits, the last over two frames, closed: in one segment. That much logged, the
    background thread makes a spare, and where it is quick the mark of the close goes there: then
    once more.
    """
    while True:
        _commit_thrice(path)
        if len(segments(path)) == 1:
            return path
        shutil.rmtree(path)


def _commit_thrice(path: Path) -> None:
    with aurolog.open(path, page_size=512, clock=lambda: 1_700_000_000_000_000_000) as db:
        with db.transaction(note="größe") as tx:
            tx.apply(
                [
                    ("write", 1, 7, b"data"),
                    ("image", 2, bytes(range(256)) * 2),
                    ("move", 2, 30, 40, 50),
                    ("fill", 1, 100, 20, 0x7F),
                    ("truncate", 9),
                ]
            )
        with db.transaction() as tx:
            tx.write(0, 0, b"second")
        with db.transaction() as tx:
            tx.apply([("image", page, bytes([page % 256]) * 512) for page in range(600)])


def test_crc32c_is_castagnolis() -> None:
    assert crc32c(b"123456789") == 0xE3069283
    assert crc32c(bytes(32)) == 0x8A9136AA


def test_a_segments_header_is_as_documented(volume: Path) -> None:
    with aurolog.open(volume) as db:
        volume_id = db.volume_id
    (segment,) = segments(volume)
    block = segment.read_bytes()[:4096]
    assert block[:8] == b"AULSEGMT"
    assert struct.unpack_from("<I", block, 8)[0] == crc32c(block[12:512])
    version, features = struct.unpack_from("<IQ", block, 12)
    assert (version, features) == (1, 0)
    assert block[40:56] == volume_id.bytes
    assert block[56:72] == bytes(16), "no segment before it"
    first, before, epoch, _, page_size = struct.unpack_from("<QQQQI", block, 72)
    assert (first, before, page_size) == (1, 0, 512)
    assert segment.name == f"{first:016x}-{epoch:016x}.log"
    assert block[108:512] == bytes(512 - 108)
    assert block[2048:2560] == block[:512], "a copy, so that no damage to one sector hides the rest"
    assert block[512:2048] + block[2560:] == bytes(4096 - 2 * 512)


def _stream(segment: Path) -> Iterator[tuple[int, bytes]]:
    """Each batch of a segment as its last LSN and its stream, put together from checked frames."""
    data = segment.read_bytes()
    file_id = data[24:40]
    stream = b""
    for frame in frames(segment):
        header = data[frame.offset : frame.offset + 64]
        payload = data[frame.offset + 64 : frame.end]
        place = file_id + struct.pack("<Q", frame.offset)
        assert struct.unpack_from("<II", header, 4) == (crc32c(place + header[8:]), crc32c(payload))
        assert header[46:64] == bytes(18), "no key, no nonce"
        assert frame.durable_before < frame.first_lsn
        assert frame.first == (not stream)
        stream += payload
        if frame.last:
            yield frame.last_lsn, stream
            stream = b""
    assert not stream


def test_frames_batches_and_records_are_as_documented(volume: Path) -> None:
    with aurolog.open(volume) as db:
        volume_id = db.volume_id.bytes
        log = list(db.log())
    (segment,) = segments(volume)
    assert len(frames(segment)) >= 5, "a batch spans frames"
    previous = 0
    batches = list(_stream(segment))
    assert [lsn for lsn, _ in batches] == [batch.lsn for batch in log]
    for (last_lsn, stream), told in zip(batches, log, strict=True):
        size, kind, note_bytes, total, first, last, before, epoch, time, pages = struct.unpack_from(
            "<HBBQQQQQQQ", stream, 4
        )
        assert struct.unpack_from("<I", stream)[0] == crc32c(stream[4:size])
        assert size == (96 + note_bytes + 7) // 8 * 8
        assert (total, last, before) == (len(stream), last_lsn, previous)
        assert stream[64:80] == volume_id
        assert stream[80:96] == bytes(16)
        assert stream[96 : 96 + note_bytes].decode() == told.note
        assert (first, epoch, pages) == (told.first_lsn, told.epoch, told.pages)
        assert time == 1_700_000_000_000_000_000 or told.kind == "control"
        assert ["", "pages", "control"][kind] == told.kind
        at, seed = size, crc32c(volume_id)
        for record in told.records:
            data = _record(stream, at, record.lsn, seed)
            assert data[4] == {"write": 1, "move": 2, "fill": 3, "image": 4, "truncate": 5}.get(
                record.kind, data[4]
            )
            if told.kind == "pages":
                assert int.from_bytes(data[5:10], "little") == record.page
                assert data[16:] == record.data
            at += len(data)
        assert at == len(stream)
        previous = last


def _record(stream: bytes, at: int, lsn: int, seed: int) -> bytes:
    """The record at an offset of a batch's stream, its checksum checked."""
    crc, kind = struct.unpack_from("<IB", stream, at)
    length = struct.unpack_from("<H", stream, at + 12)[0]
    extra = {1: length or 65536, 4: 512}.get(kind, length if kind >= 16 else 0)
    whole = stream[at : at + 16 + extra]
    assert crc == crc32c(struct.pack("<Q", lsn) + whole[4:], seed)
    return whole


def _patched_segment(path: Path, offset: int, data: bytes) -> None:
    segment = segments(path)[-1]
    overwrite(segment, offset, data)
    overwrite(segment, 8, struct.pack("<I", crc32c(segment.read_bytes()[12:512])))
    overwrite(segment, 2048, segment.read_bytes()[:512])


def test_patching_itself_is_sound(volume: Path) -> None:
    before = contents(volume)
    patch_manifest(volume, 12, struct.pack("<IQ", 1, 0))
    _patched_segment(volume, 12, struct.pack("<IQ", 1, 0))
    assert contents(volume) == before


@pytest.mark.parametrize("read_only", [False, True])
@pytest.mark.parametrize(
    ("offset", "data", "named"),
    [
        (12, struct.pack("<I", 2), r"\b2\b"),
        (12, struct.pack("<I", 0xFFFFFFFF), "4294967295"),
        (16, struct.pack("<Q", 1 << 1), r"\(encryption\)"),
        (16, struct.pack("<Q", 1 | 1 << 63), r"\(image segments, feature 63\)"),
        (16, struct.pack("<Q", 2**64 - 1), "clones, feature 5, feature 6"),
    ],
)
def test_a_newer_format_is_refused_by_name_and_left_alone(
    volume: Path, offset: int, data: bytes, named: str, read_only: bool
) -> None:
    patch_manifest(volume, offset, data)
    before = contents(volume)
    with pytest.raises(aurolog.FormatError, match=named):
        aurolog.open(volume, read_only=read_only)
    assert contents(volume) == before


@pytest.mark.parametrize(
    ("offset", "data"), [(12, struct.pack("<I", 2)), (16, struct.pack("<Q", 1))]
)
def test_a_newer_segment_is_refused(volume: Path, offset: int, data: bytes) -> None:
    with aurolog.open(volume) as db:
        with db.transaction() as tx:
            tx.write(0, 0, b"newer")
        killed = copy(volume, volume.with_name("killed"))
    _patched_segment(killed, offset, data)
    assert_refused(killed, aurolog.FormatError)


@pytest.mark.parametrize(
    ("offset", "data"), [(12, struct.pack("<I", 2)), (16, struct.pack("<Q", 1 << 63))]
)
@pytest.mark.parametrize("read_only", [False, True])
def test_a_newer_sealed_segment_is_refused_when_it_is_first_read(
    volume: Path, offset: int, data: bytes, read_only: bool
) -> None:
    """Opening needs only what the manifest says of it."""
    _patched_segment(volume, offset, data)
    with aurolog.open(volume, read_only=read_only) as db:
        for read in (
            lambda db: db[0],
            lambda db: db.read_many(range(3)),
            lambda db: db.versions(0),
            lambda db: db.at(2),
            lambda db: list(db.log()),
        ):
            with pytest.raises(aurolog.FormatError, match="newer aurolog"):
                read(db)
        assert not db.verify().ok


def test_a_sealed_segment_without_a_header_is_read_and_told(volume: Path) -> None:
    """List and trailer vouch for what is behind it."""
    (segment,) = segments(volume)
    overwrite(segment, 0, bytes(4096))
    with aurolog.open(volume) as db:
        assert db[1][:2] == b"\x01\x01"
        assert not db.verify().ok


@pytest.mark.parametrize("limit", [0, (1 << 32) + 1, (1 << 63), (1 << 64) - 1])
@pytest.mark.parametrize("clean", [True, False])
def test_an_in_flight_limit_that_cannot_be_is_damage(volume: Path, limit: int, clean: bool) -> None:
    """LSNs go on above it after an unclean end: it must not make them begin again."""
    victim = volume
    if not clean:
        with aurolog.open(volume) as db:
            with db.transaction() as tx:
                tx.write(0, 0, b"unclean")
            victim = copy(volume, volume.with_name("killed"))
    patch_manifest(victim, 88, struct.pack("<Q", limit))
    assert_refused(victim, aurolog.CorruptionError, file="MANIFEST")


@pytest.mark.parametrize("page_size", [0, 256, 3000, 131072])
def test_a_page_size_that_cannot_be_is_damage(volume: Path, page_size: int) -> None:
    patch_manifest(volume, 48, struct.pack("<I", page_size))
    assert_refused(volume, aurolog.CorruptionError, file="MANIFEST")


def test_a_manifest_with_something_behind_it_is_damage(volume: Path) -> None:
    manifest = (volume / "MANIFEST").read_bytes()
    for size in (len(manifest) + 1, 1 << 40):
        os.truncate(volume / "MANIFEST", size)
        for read_only in (True, False):
            with pytest.raises(aurolog.CorruptionError, match="MANIFEST is damaged"):
                aurolog.open(volume, read_only=read_only)
        (volume / "MANIFEST").write_bytes(manifest)
    aurolog.open(volume).close()


def _sealed_and_not(volume: Path) -> Path:
    """A copy with its first segment listed as sealed, and a second one as appended to."""
    with aurolog.open(volume) as db:
        with db.transaction() as tx:
            tx.write(0, 0, b"unclean")
        return copy(volume, volume.with_name("killed"))


FIRST, SECOND = 256, 256 + 192  # where the manifest lists them


@pytest.mark.parametrize(
    ("offset", "form", "value"),
    [
        (52, "<I", 1),  # clean, with a segment that is not sealed
        (56, "<Q", 2**64 - 1),  # no epoch is left
        (FIRST + 48, "<Q", 0),  # first LSN
        (SECOND + 48, "<Q", 1),  # of one that is in the segment before
        (FIRST + 64, "<Q", 0),  # epoch
        (FIRST + 64, "<Q", 2),  # above that of the next
        (SECOND + 64, "<Q", 9),  # above the volume's
        (FIRST + 88, "<Q", 4095),  # end of frames
        (FIRST + 88, "<Q", 2**32),
        (FIRST + 96, "<Q", 0),  # last LSN: then the last commit is above it
        (FIRST + 176, "<Q", 2**63),  # last commit
    ],
)
def test_a_list_of_segments_that_cannot_be_is_damage(
    volume: Path, offset: int, form: str, value: int
) -> None:
    victim = _sealed_and_not(volume)
    patch_manifest(victim, offset, struct.pack(form, value))
    assert_refused(victim, aurolog.CorruptionError)


@pytest.mark.parametrize("clean", [False, True])
def test_a_log_at_the_end_of_all_lsns_takes_no_writer(volume: Path, clean: bool) -> None:
    """None may be given twice, so they must not begin again."""
    victim = volume if clean else _sealed_and_not(volume)
    for at in (96, 176):
        patch_manifest(victim, FIRST + at, struct.pack("<Q", 2**64 - 2))
    if not clean:
        patch_manifest(victim, SECOND + 48, struct.pack("<Q", 2**64 - 1))
    with pytest.raises(aurolog.CorruptionError):
        aurolog.open(victim)


def test_a_branch_point_above_the_log_is_damage(volume: Path) -> None:
    victim = _sealed_and_not(volume)
    with aurolog.open(victim):
        pass  # recovery logs one
    (resumed_at,) = struct.unpack_from("<Q", (victim / "MANIFEST").read_bytes(), 256 + 8)
    patch_manifest(victim, 256 + 8, struct.pack("<Q", resumed_at + 1000))
    with pytest.raises(aurolog.CorruptionError, match="branch point"):
        aurolog.open(victim)


def test_a_frame_that_calls_half_a_batch_durable_is_damage(volume: Path) -> None:
    with aurolog.open(volume) as db:
        with db.transaction() as tx:
            tx.apply([("write", 0, 0, b"a"), ("write", 1, 0, b"b")])
        with db.transaction(durability="os") as tx:
            tx.write(2, 0, b"c")
        db.sync()
        victim = copy(volume, volume.with_name("killed"))
    segment = segments(victim)[-1]
    last = frames(segment)[-1]
    assert last.durable_before == last.first_lsn - 1
    overwrite(segment, last.offset + 32, struct.pack("<Q", last.first_lsn - 2))
    data = segment.read_bytes()
    place = data[24:40] + struct.pack("<Q", last.offset)
    header = data[last.offset + 8 : last.offset + 64]
    overwrite(segment, last.offset + 4, struct.pack("<I", crc32c(place + header)))
    (victim / "LOCK").unlink()
    before = contents(victim)
    with pytest.raises(aurolog.CorruptionError, match="no commit"):
        aurolog.open(victim)
    assert contents(victim).keys() - before.keys() <= {"LOCK"}


def _patched_block(segment: Path, block: int, within: int, data: bytes) -> None:
    """Bytes of an index or commit block, and its checksum."""
    overwrite(segment, block + within, data)
    whole = segment.read_bytes()
    place = whole[24:40] + struct.pack("<Q", block)
    overwrite(segment, block, struct.pack("<I", crc32c(place + whole[block + 4 : block + 4096])))


def _footer(segment: Path) -> tuple[int, int]:
    """Where the index blocks begin, and the commit blocks."""
    trailer = segment.read_bytes()[-512:]
    log_end, entries = struct.unpack_from("<QQ", trailer, 32)
    start = (log_end + 4095) // 4096 * 4096
    return start, start + (entries + 169) // 170 * 4096


def test_an_index_out_of_order_is_damage_and_no_search_without_end(volume: Path) -> None:
    (segment,) = segments(volume)
    index, _ = _footer(segment)
    page, lsn, *_ = struct.unpack_from("<QQII", segment.read_bytes(), index + 16)
    assert page >> 8 == 0, "page 0 has two records, an image and then a write"
    _patched_block(segment, index, 16 + 8, struct.pack("<Q", lsn + 10_000))
    with aurolog.open(volume) as db, pytest.raises(aurolog.CorruptionError):
        db.versions(0)


@pytest.mark.parametrize("records", [0, 2**32 - 1])
@pytest.mark.parametrize("elsewhere", [False, True])
def test_a_commit_of_no_records_or_too_many_is_damage(
    volume: Path, records: int, elsewhere: bool
) -> None:
    (segment,) = segments(volume)
    _, commits = _footer(segment)
    _patched_block(segment, commits, 16 + 28, struct.pack("<I", records))
    if elsewhere:  # it began in a segment before this one
        _patched_block(segment, commits, 16 + 24, struct.pack("<I", 2**32 - 1))
    with aurolog.open(volume) as db, pytest.raises(aurolog.CorruptionError):
        list(db.log())


def test_a_record_without_a_commit_is_damage(volume: Path) -> None:
    (segment,) = segments(volume)
    _, commits = _footer(segment)
    (count,) = struct.unpack_from("<I", segment.read_bytes(), commits + 4)
    for n in range(count):
        _patched_block(segment, commits, 16 + 32 * n, struct.pack("<Q", 1))
    with aurolog.open(volume) as db, pytest.raises(aurolog.CorruptionError, match="no commit"):
        db.versions(0)


def test_a_manifest_that_lies_is_damage_and_never_a_crash(volume: Path) -> None:
    """Every number of the manifest set to extremes under a right checksum: refused, or read to
    the same pages.
    """
    with aurolog.open(volume) as db:
        pages = bytes(db.read_many(range(600)))
    size = (volume / "MANIFEST").stat().st_size
    for offset in [*range(24, 256, 4), *range(256, size, 4)]:
        for data in (b"\xff" * 4, bytes(4)):
            victim = copy(volume, volume.with_name("victim"))
            if (victim / "MANIFEST").read_bytes()[offset : offset + 4] == data:
                shutil.rmtree(victim)
                continue
            patch_manifest(victim, offset, data)
            try:
                with aurolog.open(victim, create=False, page_size=None) as db:
                    if db.page_size == 512 and db.verify().ok:
                        assert bytes(db.read_many(range(600))) == pages
            except aurolog.InternalError as error:
                raise AssertionError(f"offset {offset} {data.hex()}: {error}") from error
            except aurolog.AurologError:
                pass
            shutil.rmtree(victim)
