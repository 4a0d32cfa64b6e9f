"""What an opening takes for evidence that lost log was durable, and what it must not: later
segments, also without a header, trailers, files that cannot be read.
"""

from __future__ import annotations

import random
import resource
import shutil
import struct
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest
from support import (
    Child,
    Frame,
    Model,
    assert_same,
    contents,
    copy,
    crc32c,
    data_end,
    files_of,
    flip,
    frames,
    is_sealed,
    need_strace,
    overwrite,
    run,
    segments,
    traced,
    wait_until,
)

import aurolog


@dataclass
class Chain:
    """A killed volume of two segments: the first is full, the second has some commits. The manifest
    was written when there was only the first."""

    path: Path
    model: Model

    @property
    def first(self) -> Path:
        """The full segment."""
        return segments(self.path)[0]

    @property
    def second(self) -> Path:
        """The one behind it."""
        return segments(self.path)[1]

    def copy(self, name: str) -> Chain:
        """Another copy, to be damaged."""
        return Chain(copy(self.path, self.path.with_name(name)), self.model)

    def keep_in_second(self, count: int) -> None:
        """Nothing of the second segment reached the disk behind its first `count` frames."""
        end = frames(self.second)[count - 1].end
        overwrite(self.second, end, bytes(self.second.stat().st_size - end))

    def refused(self, kind: type[aurolog.AurologError] = aurolog.CorruptionError) -> str:
        """Opening fails and nothing is touched; the file that is named."""
        before = contents(self.path)
        for how in ({}, {"read_only": True}):
            with pytest.raises(kind) as caught:
                aurolog.open(self.path, **how)
        assert contents(self.path) == before
        return Path(str(getattr(caught.value, "file", ""))).name

    def assert_cut(self, lsn: int) -> aurolog.Recovery:
        """Opening keeps the log up to `lsn` and goes on; what it reports."""
        with aurolog.open(self.path) as db:
            assert not db.recovery.clean
            assert db.recovery.last_lsn == lsn
            assert_same(db, self.model.at(lsn))
            with db.transaction() as tx:
                tx.write(0, 0, b"goes on")
            assert db.verify().ok
            return db.recovery


def _has_sealed(db: aurolog.Volume) -> bool:
    return db.stats().sealed_segments > 0


def _chain(path: Path, rng: random.Random, durability: str = "sync", footer: bool = False) -> Chain:
    """Each commit is one frame; of the second segment there are six, whatever came behind them. How
    long a segment is used depends on when the next one is prepared, so it may take some attempts.
    """
    live, model = path.with_name(f"{path.name}-live"), Model(4096)
    with aurolog.open(live) as db:
        run(db, model, [("write", 0, 0, b"first")])
        manifest = (live / "MANIFEST").read_bytes()
        while db.stats().segments < 2:
            page = rng.randrange(50)
            run(db, model, [("image", page, rng.randbytes(4096))], durability=durability)
        for _ in range(8):
            run(db, model, [("write", 7, 8, rng.randbytes(80))], durability=durability)
        wait_until(partial(_has_sealed, db), "the first segment is sealed")
        chain = Chain(copy(live, path), model)
    shutil.rmtree(live)
    if len(frames(chain.second)) < 6:
        shutil.rmtree(path)
        return _chain(path, rng, durability, footer)
    (path / "MANIFEST").write_bytes(manifest)
    for later in segments(path)[2:]:
        later.unlink()
    chain.keep_in_second(6)
    model.states = [s for s in model.states if s.lsn <= frames(chain.second)[-1].last_lsn]
    assert is_sealed(chain.first)
    if not footer:
        end = frames(chain.first)[-1].end
        overwrite(chain.first, end, bytes(chain.first.stat().st_size - end))
    return chain


@pytest.fixture
def chain(tmp_path: Path, rng: random.Random) -> Chain:
    """All of it acknowledged as durable."""
    return _chain(tmp_path / "chain", rng)


def test_the_chain_itself_is_sound(chain: Chain) -> None:
    assert chain.assert_cut(chain.model.newest.lsn).cut_lsn is None


# --- evidence that cannot be read -----------------------------------------------------------------


@pytest.mark.parametrize("own", [True, False])
@pytest.mark.parametrize(
    ("calls", "error"),
    [("pread64,preadv,preadv2", "EIO"), ("openat", "EMFILE"), ("fstat,newfstatat", "EIO")],
)
def test_evidence_that_cannot_be_read_is_never_taken_for_none(
    tmp_path: Path, rng: random.Random, own: bool, calls: str, error: str
) -> None:
    """The end of the first segment is damaged. That it was durable only its own trailer says, or
    only the second segment; every single look at that file fails once."""
    need_strace()
    chain = _chain(tmp_path / "chain", rng, footer=own)
    flip(chain.first, frames(chain.first)[-1].offset + 200)
    witness = chain.first if own else chain.second
    if own:
        chain.second.unlink()
    said = []
    for number in range(1, 20):
        victim = chain.copy("victim")
        before = contents(victim.path)
        place = victim.path / "log" / witness.name
        with Child("open_by_name") as child:
            fault = f"inject={calls}:error={error}:when={number}"
            with traced(child.pid, "-P", str(place), "-e", f"trace={calls}", "-e", fault):
                child.say(str(victim.path))
                said.append(child.line())
        assert said[-1] in ("StorageError", "CorruptionError"), said
        assert contents(victim.path) == before, "a file was lost for an error that passes"
        shutil.rmtree(victim.path)
        if said[-1] == "CorruptionError":
            break
    assert said[-1] == "CorruptionError", "the evidence is there when it can be read"
    assert len(said) > 1, "no fault hit"


def _forge_header(segment: Path, offset: int, data: bytes) -> None:
    """Another header, and whole: its checksum is right."""
    header = bytearray(segment.read_bytes()[:512])
    header[offset : offset + len(data)] = data
    header[8:12] = struct.pack("<I", crc32c(bytes(header[12:])))
    for at in (0, 2048):
        overwrite(segment, at, bytes(header))


@pytest.mark.parametrize(
    ("offset", "data"), [(12, struct.pack("<I", 2)), (16, struct.pack("<Q", 1 << 40))]
)
def test_a_later_segment_of_a_newer_format_is_not_dropped(
    chain: Chain, offset: int, data: bytes
) -> None:
    flip(chain.first, frames(chain.first)[-1].offset + 200)
    _forge_header(chain.second, offset, data)
    chain.refused(aurolog.FormatError)


#: what a header says of its segment: volume, the segment before it, first LSN, epoch, page size
SAYINGS = {
    "volume": (40, bytes(16)),
    "previous": (56, bytes(16)),
    "first LSN": (72, struct.pack("<Q", 1 << 30)),
    "epoch": (88, struct.pack("<Q", 1 << 30)),
    "page size": (104, struct.pack("<I", 512)),
}


@pytest.mark.parametrize("saying", [name for name in SAYINGS if name != "previous"])
def test_a_header_that_is_another_segments_is_damage(chain: Chain, saying: str) -> None:
    _forge_header(chain.first, *SAYINGS[saying])
    assert chain.refused() == chain.first.name


@pytest.mark.parametrize("saying", [name for name in SAYINGS if name != "volume"])
def test_a_segment_that_does_not_follow_is_still_evidence(chain: Chain, saying: str) -> None:
    _forge_header(chain.second, *SAYINGS[saying])
    assert chain.refused() == chain.second.name


def test_another_volumes_segment_is_no_evidence(chain: Chain) -> None:
    _forge_header(chain.second, *SAYINGS["volume"])
    chain.assert_cut(frames(chain.first)[-1].last_lsn)


# --- a segment without a header -------------------------------------------------------------------


def _zeros(chain: Chain, _: random.Random) -> None:
    overwrite(chain.second, 0, bytes(4096))


def _garbage(chain: Chain, rng: random.Random) -> None:
    overwrite(chain.second, 0, rng.randbytes(4096))


def _another_header(chain: Chain, _: random.Random) -> None:
    overwrite(chain.second, 0, chain.first.read_bytes()[:4096])


def _and_the_first_frame(chain: Chain, rng: random.Random) -> None:
    """The next frame has to do as anchor."""
    overwrite(chain.second, 0, rng.randbytes(4096 + 100))


def _and_the_first_frames_header(chain: Chain, _: random.Random) -> None:
    """The first frame passes for an anchor, and misleads."""
    overwrite(chain.second, 0, bytes(4096))
    flip(chain.second, 4096 + 4)


LOSSES = [_zeros, _garbage, _another_header, _and_the_first_frame, _and_the_first_frames_header]


@pytest.mark.parametrize("lose", LOSSES)
@pytest.mark.parametrize("count", [2, 3, 6])
def test_a_lost_header_does_not_hide_that_the_segment_was_durable(
    chain: Chain, lose: Callable[[Chain, random.Random], None], count: int, rng: random.Random
) -> None:
    chain.keep_in_second(count)
    lose(chain, rng)
    # Of two frames with the first one lost, the other is anchor and evidence by itself.
    assert chain.refused() == chain.second.name


def test_a_trailer_is_evidence_without_a_header(tmp_path: Path, rng: random.Random) -> None:
    """Of the second segment only its first frame is left, which says nothing, and the trailer."""
    live = tmp_path / "live"
    chain = Chain(live, Model(4096))
    with aurolog.open(live) as db:
        run(db, chain.model, [("write", 0, 0, b"x")])
        manifest = (live / "MANIFEST").read_bytes()
        while db.stats().segments < 2:
            run(db, chain.model, [("image", 1, rng.randbytes(4096))])
        run(db, chain.model, [("write", 0, 0, b"y")])
    for later in segments(live)[2:]:
        later.unlink()
    (live / "MANIFEST").write_bytes(manifest)
    end = frames(chain.first)[-1].end
    overwrite(chain.first, end, bytes(chain.first.stat().st_size - end))
    found = frames(chain.second)
    overwrite(chain.second, found[1].offset, bytes(found[-1].end - found[1].offset))
    overwrite(chain.second, 0, bytes(4096))
    assert found[0].durable_before < found[0].first_lsn
    assert is_sealed(chain.second)
    assert chain.refused() == chain.second.name


def test_a_segment_without_header_and_evidence_is_a_torn_tail(
    chain: Chain, rng: random.Random
) -> None:
    """Its only frame says that all before it was durable, and that is there."""
    end = chain.model.at(frames(chain.second)[0].first_lsn - 1).lsn
    for lose in LOSSES[:3]:
        victim = chain.copy("victim")
        victim.keep_in_second(1)
        frame = frames(victim.second)[0]
        lose(victim, rng)
        recovery = victim.assert_cut(end)
        assert recovery.cut_lsn == frame.first_lsn
        assert recovery.cut_bytes == (frame.end - frame.offset + 7) // 8 * 8
        assert not (victim.path / "log" / chain.second.name).exists()
        shutil.rmtree(victim.path)


def test_what_only_looks_like_a_frame_is_no_evidence(tmp_path: Path, rng: random.Random) -> None:
    """A segment without a header, with frames of another volume, or of another epoch, in it."""
    chain = _chain(tmp_path / "chain", rng)
    seen = chain.model.at(frames(chain.second)[0].first_lsn - 1).lsn
    other = _chain(tmp_path / "other", random.Random(rng.random()))
    frame = frames(chain.second)[1]
    assert frame.durable_before > seen
    other_bytes = other.second.read_bytes()[4096 : data_end(other.second)]
    own = bytearray(chain.second.read_bytes()[frame.offset : frame.end + -frame.end % 8])
    assert other_bytes[:4] == own[:4] == b"AULF"
    struct.pack_into("<Q", own, 24, 77)
    for strange in (other_bytes, bytes(own) * 3):
        victim = chain.copy("victim")
        victim.keep_in_second(1)
        overwrite(victim.second, 0, bytes(4096))
        start = (data_end(victim.second) + 7) // 8 * 8
        overwrite(victim.second, start, strange)
        victim.assert_cut(seen)
        shutil.rmtree(victim.path)
    (chain.path / "log" / chain.second.name).write_bytes(bytes(4096) + other_bytes)
    chain.assert_cut(seen)


def _forge_durable_before(frame: Frame, lsn: int) -> None:
    """Another one, as on a slower disk; the header's checksum is right."""
    data = frame.segment.read_bytes()
    header = bytearray(data[frame.offset : frame.offset + 64])
    struct.pack_into("<Q", header, 32, lsn)
    place = data[24:40] + struct.pack("<Q", frame.offset)
    struct.pack_into("<I", header, 4, crc32c(place + bytes(header[8:])))
    overwrite(frame.segment, frame.offset, bytes(header))


# --- what was cut ---------------------------------------------------------------------------------


def test_what_is_cut_includes_later_segments(tmp_path: Path, rng: random.Random) -> None:
    """The end of the first segment never reached the disk, the second did, and nothing says that
    either was durable."""
    chain = _chain(tmp_path / "chain", rng, durability="os")
    chain.keep_in_second(1)
    last, behind = frames(chain.first)[-1], frames(chain.second)[0]
    _forge_durable_before(behind, last.first_lsn - 1)
    used = (data_end(chain.first) + 7) // 8 * 8 - last.offset
    flip(chain.first, last.offset + 200)
    recovery = chain.assert_cut(last.first_lsn - 1)
    assert recovery.cut_lsn == last.first_lsn
    assert recovery.cut_bytes == used + (behind.end - behind.offset + 7) // 8 * 8


def test_an_unfinished_footer_is_not_cut_log(path: Path, rng: random.Random) -> None:
    """Killed in closing, after the footer was written and before the file got its length."""
    model = Model(4096)
    with aurolog.open(path) as db:
        for _ in range(300):
            run(db, model, [("write", rng.randrange(20), 0, rng.randbytes(50))], durability="os")
        manifest = (path / "MANIFEST").read_bytes()
    (path / "MANIFEST").write_bytes(manifest)
    (segment,) = segments(path)
    start, end = frames(segment)[-1].end, segment.stat().st_size
    for lost in (range(0), range(start, start + 6000), range(end - 5000, end), range(start, end)):
        victim = copy(path, path.with_name("victim"))
        overwrite(victim / "log" / segment.name, end, bytes(1 << 16))
        overwrite(victim / "log" / segment.name, lost.start, bytes(len(lost)))
        with aurolog.open(victim) as db:
            assert (db.recovery.cut_bytes, db.recovery.cut_lsn) == (0, None), lost
            assert_same(db, model.newest)
        shutil.rmtree(victim)


# --- what recovery asks of the disk ---------------------------------------------------------------


def _unsynced(tmp_path: Path, records: int) -> Path:
    """A killed volume with one transaction of so many records, of which nothing says that it was
    durable: the lock file, which may, is no part of the volume."""
    live = tmp_path / "live"
    with aurolog.open(live) as db:
        with db.transaction() as tx:
            tx.write(0, 0, b"durable")
        with db.transaction(durability="os") as tx:
            tx.apply([("fill", 1 + i % 200, i % 4000, 8, i % 256) for i in range(records)])
        killed = copy(live, tmp_path / "killed")
    (killed / "LOCK").unlink()
    return killed


def test_securing_the_tail_asks_for_no_more_space_than_it_needs(tmp_path: Path) -> None:
    """20,000 fills: 320 KB of log and 480 of index, in files of at most 1.25 MB."""
    killed = _unsynced(tmp_path, 20_000)
    with aurolog.open(copy(killed, tmp_path / "copy")) as db:
        assert db.recovery.resecured_records == 20_000
    with Child("open_by_name") as child:
        resource.prlimit(child.pid, resource.RLIMIT_FSIZE, (1_250_000, 1_250_000))
        child.say(str(killed))
        assert child.line() == "open"
        child.say("close")
        assert child.line() == "closed"
    with aurolog.open(killed) as db:
        assert db.recovery.clean
        assert len(db) == 201
        assert db.verify().ok


def test_the_secured_segments_name_is_synced_once(tmp_path: Path) -> None:
    """No later manifest has a reason to sync the log's directory again: when that fails, nobody
    notices."""
    need_strace()
    killed = _unsynced(tmp_path, 10)
    with Child("open_by_name") as child:
        child.say(str(killed))
        assert child.line() == "open"
        log = killed / "log"
        wait_until(
            lambda: [is_sealed(file) for file in segments(killed)] == [True, True, False],
            "the bounded segments are sealed",
        )
        calls = "fsync,fdatasync"
        fault = f"inject={calls}:error=EIO"
        with traced(child.pid, "-P", str(log), "-e", f"trace={calls}", "-e", fault):
            child.say("close")
            assert child.line() == "closed"
    with aurolog.open(killed) as db:
        assert db.recovery.clean


@pytest.mark.parametrize("clean", [True, False])
def test_what_is_not_ours_in_the_logs_directory_stays(
    tmp_path: Path, chain: Chain, clean: bool
) -> None:
    path = chain.path
    if clean:
        with aurolog.open(path) as db:
            assert db.recovery.cut_lsn is None
    log = path / "log"
    (log / "notes.txt").write_bytes(b"mine")
    (log / "spare.old").write_bytes(b"mine, too")
    (log / "lost+found").mkdir()
    next_lsn, far = f"{chain.model.newest.lsn + 1:016x}", "f" * 16
    for name in (f"{next_lsn}-{1:016x}.log", f"{far}-{1:016x}.log", f"{1:016x}-{far}.log"):
        (log / name).mkdir()
    (log / "spare").write_bytes(bytes(100))
    (log / f"{far}-{far}.log").write_bytes(bytes(100))
    with aurolog.open(path) as db:
        assert db.recovery.clean == clean
        assert_same(db, chain.model.newest)
    assert not (log / f"{far}-{far}.log").exists()
    assert not (log / "spare").exists()
    assert (log / "notes.txt").read_bytes() == b"mine"
    assert (log / "spare.old").read_bytes() == b"mine, too"
    assert sum(file.is_dir() for file in log.iterdir()) == 4
    assert files_of(path)
