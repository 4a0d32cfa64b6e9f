"""Recovery: what a killed writer leaves is whole; a torn tail is cut and told; damage is never
taken for a torn tail.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import random
import shutil
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from support import (
    Change,
    Child,
    Frame,
    Model,
    Oracle,
    Replay,
    assert_refused,
    assert_same,
    contents,
    copy,
    counter,
    data_end,
    flip,
    frames,
    is_sealed,
    need_strace,
    overwrite,
    run,
    segments,
    traced,
    write_and_kill,
)

import aurolog

# --- a killed process -----------------------------------------------------------------------------


def _check(db: aurolog.Volume, oracle: Oracle, replay: Replay, rng: random.Random) -> int:
    """The volume holds a prefix of the program: all that was acknowledged, nothing in part; the
    past is as it was.
    """
    number = counter(db)
    assert oracle.last_acked <= number <= oracle.issued
    assert_same(db, replay.after(number))
    acked = sorted(oracle.acked.items())
    for past, lsn in rng.sample(acked, min(5, len(acked))):
        assert_same(db.at(lsn), replay.after(past))
    return number


def _kept(db: aurolog.Volume) -> int:
    """The last commit that recovery kept: the one before the last branch point."""
    lsns = [batch.lsn for batch in db.log()]
    cut = [b.lsn for b in db.log() if b.records[0].kind == "branch-point"][-1]
    return max((lsn for lsn in lsns if lsn < cut), default=0)


@pytest.mark.parametrize("durability", ["sync", "os"])
def test_a_killed_writer_leaves_all_it_acknowledged_and_nothing_in_part(
    path: Path, seed: int, rng: random.Random, durability: str
) -> None:
    replay, lsns = Replay(seed), 0
    total = Oracle()
    for turn in range(6):
        oracle = write_and_kill(path, seed, rng.choice((1, 2, 10, 40)), durability)
        assert min(oracle.acked.values()) > lsns, "an LSN was assigned twice"
        lsns = oracle.last_lsn
        total.issued = oracle.issued
        total.acked |= oracle.acked
        if turn % 2:
            continue  # the next child recovers by itself
        with aurolog.open(path) as db:
            assert not db.recovery.clean
            assert db.recovery.last_lsn >= lsns
            _check(db, total, replay, rng)
    with aurolog.open(path) as db:
        _check(db, total, replay, rng)
        report = db.verify()
        assert report.ok, report.problems


@pytest.mark.slow
def test_twenty_kills_in_a_row_lose_nothing(path: Path, seed: int, rng: random.Random) -> None:
    replay, total = Replay(seed), Oracle()
    for _ in range(20):
        oracle = write_and_kill(path, seed, rng.randint(1, 6), "sync")
        assert min(oracle.acked) > total.last_acked
        assert min(oracle.acked.values()) > total.last_lsn
        total.issued = oracle.issued
        total.acked |= oracle.acked
    with aurolog.open(path, cache_bytes=16 * 4096) as db:
        _check(db, total, replay, rng)
        for number, lsn in total.acked.items():
            assert counter(db.at(lsn)) == number
        cuts = [r for batch in db.log() for r in batch.records if r.kind == "branch-point"]
        assert len(cuts) == 20
        assert db.verify().ok


def test_a_killed_process_of_committing_threads_leaves_each_commit_whole(path: Path) -> None:
    acked: dict[int, dict[int, int]] = {i: {} for i in range(6)}
    for _ in range(3):
        with Child("write_threads", path, 6) as child:

            def hear(line: str) -> None:
                _, thread, number, lsn = line.split()
                acked[int(thread)][int(number)] = int(lsn)

            for _ in range(120):
                hear(child.line())
            child.kill_and_keep_hearing()
            for line in child.lines():
                hear(line)
        with aurolog.open(path) as db:
            for thread, numbers in acked.items():
                pages = [db[page][:8] for page in range(thread * 8, thread * 8 + 8)]
                assert len(set(pages)) == 1, "a commit is there in part"
                assert int.from_bytes(pages[0], "little") >= max(numbers, default=0)
                for number in sorted(numbers)[-10:]:
                    view = db.at(numbers[number])
                    assert {
                        int.from_bytes(view[page][:8], "little")
                        for page in range(thread * 8, thread * 8 + 8)
                    } == {number}
    lsns = [lsn for numbers in acked.values() for lsn in numbers.values()]
    assert len(lsns) == len(set(lsns))


def test_lsns_left_unassigned_by_a_crash_are_refused_for_ever(path: Path, seed: int) -> None:
    oracle = write_and_kill(path, seed, 12)
    with aurolog.open(path) as db:
        last = _kept(db)
        assert db.recovery.last_lsn == last
        before = db[0]
        with db.transaction() as tx:
            tx.write(60, 0, b"behind the cut")
        resumed = tx.lsn
        assert resumed is not None
        branch = next(b for b in db.log(last + 1) if b.records[0].kind == "branch-point")
        assert last < branch.lsn < resumed
    for how in ({}, {"read_only": True}):
        with aurolog.open(path, **how) as db:
            for lsn in (last + 1, (last + branch.lsn) // 2, branch.lsn - 1):
                with pytest.raises(aurolog.LsnError, match=r"cut|recovery"):
                    db.at(lsn)
            assert db.at(last)[0] == before
            assert db.at(branch.lsn)[0] == before
            assert db.at(resumed)[60][:14] == b"behind the cut"
            assert db.at(oracle.last_lsn).lsn == oracle.last_lsn


def test_a_reader_of_a_killed_volume_sees_what_is_durable_and_changes_nothing(
    path: Path, seed: int, rng: random.Random
) -> None:
    oracle, replay = write_and_kill(path, seed, 20), Replay(seed)
    before = contents(path)
    for _ in range(2):
        with aurolog.open(path, read_only=True) as db:
            number = counter(db)
            assert oracle.last_acked - 1 <= number <= oracle.issued
            assert_same(db, replay.after(number))
            for past, lsn in sorted(oracle.acked.items())[: number - 1]:
                assert counter(db.at(lsn)) == past
    assert contents(path) == before
    with aurolog.open(path) as db:
        _check(db, oracle, replay, rng)


@pytest.mark.slow
def test_a_crash_at_any_call_of_recovery_is_recovered_from(path: Path, seed: int) -> None:
    need_strace()
    oracle, replay = write_and_kill(path, seed, 30), Replay(seed)
    calls = "pwrite64,pwritev,pwritev2,write,fallocate,ftruncate,fsync,fdatasync,rename,renameat"
    calls += ",renameat2,unlink,unlinkat,mkdir,openat"
    rng = random.Random(seed)
    last_lsn = 0
    for number in itertools.count(1):
        victim = copy(path, path.with_name(f"victim{number}"))
        with Child("open_and_close", victim) as child:
            assert child.line() == "ready"
            with traced(
                child.pid, "-e", f"trace={calls}", "-e", f"inject={calls}:signal=KILL:when={number}"
            ):
                child.say("go")
                said = list(child.lines())
                status = child.end()
        with aurolog.open(victim) as db:
            found = _check(db, oracle, replay, rng)
            assert db.recovery.clean or status != 0
            with db.transaction() as tx:
                tx.write(0, 0, (found + 1).to_bytes(8, "little"))
            assert tx.lsn is not None
            assert tx.lsn > max(last_lsn, oracle.last_lsn)
            again = copy(victim, path.with_name("again"))  # and once more, behind a second crash
        with aurolog.open(again) as db:
            assert counter(db) == found + 1
            assert db.verify().ok
        shutil.rmtree(again)
        shutil.rmtree(victim)
        if status == 0:
            assert said[-1] == "closed"
            break
    assert number > 5, "the kills did not hit recovery"


# --- a directory copied as it is ------------------------------------------------------------------


@dataclass
class Killed:
    """A volume as a killed process leaves it: its directory, the model of it, and the frames of
    its log.
    """

    path: Path
    model: Model
    frames: list[Frame]

    def copy(self, name: str) -> Path:
        """Another copy, to be damaged."""
        return copy(self.path, self.path.with_name(name))

    def told_durable(self) -> int:
        """What the manifest says was durable."""
        return int.from_bytes((self.path / "MANIFEST").read_bytes()[104:112], "little")


def _killed(tmp_path: Path, rng: random.Random, how: Callable[[int], str]) -> Killed:
    """Thirty commits, the last over several frames; `how(n)` is the durability of the n-th. So few
    bytes before the last that all are in one segment."""
    live = tmp_path / "live"
    model = Model(4096)
    with aurolog.open(live) as db:
        for number in range(30):
            pages, size = (75, 4000) if number == 29 else (rng.randint(1, 3), 1000)
            changes: list[Change] = [("write", 0, 0, number.to_bytes(8, "little"))]
            changes += [
                ("write", 1 + rng.randrange(200), 8, rng.randbytes(size)) for _ in range(pages)
            ]
            run(db, model, changes, durability=how(number))
        path = copy(live, tmp_path / "killed")
    found = [frame for segment in segments(path) for frame in frames(segment)]
    assert found[-1].last_lsn == model.newest.lsn
    return Killed(path, model, found)


@pytest.fixture(params=["sync", "os", "mixed"])
def killed(request: pytest.FixtureRequest, tmp_path: Path, rng: random.Random) -> Killed:
    """Killed volumes with evidence of durability everywhere, (almost) nowhere, and here and
    there.
    """
    kinds: dict[str, Callable[[int], str]] = {
        "sync": lambda _: "sync",
        "os": lambda _: "os",
        "mixed": lambda number: "sync" if number in (5, 14, 20) else "os",
    }
    return _killed(tmp_path, rng, kinds[request.param])


def test_an_undamaged_killed_volume_has_everything(killed: Killed) -> None:
    with aurolog.open(killed.path) as db:
        assert not db.recovery.clean
        assert db.recovery.last_lsn == killed.model.newest.lsn
        assert db.recovery.cut_lsn is None
        assert db.recovery.cut_bytes == 0
        assert db.recovery.scanned_bytes > 0
        assert db.recovery.seconds > 0
        for state in killed.model.states[::5]:
            assert_same(db.at(state.lsn), state)
        assert_same(db, killed.model.newest)
        assert db.verify().ok


def _flip_header(segment: Path, frame: Frame, rng: random.Random) -> None:
    flip(segment, frame.offset + rng.randrange(64), 1 << rng.randrange(8))


def _flip_payload(segment: Path, frame: Frame, rng: random.Random) -> None:
    flip(segment, frame.offset + 64 + rng.randrange(frame.payload_bytes), 1 << rng.randrange(8))


def _zero_sector(segment: Path, frame: Frame, rng: random.Random) -> None:
    """A whole sector that never reached the disk, beginning in the frame: at most to the
    frame's end.
    """
    start = frame.offset + rng.choice((0, 64))
    overwrite(segment, start, bytes(min(512, frame.end - start)))


def _zero_the_rest(segment: Path, frame: Frame, rng: random.Random) -> None:
    """Everything from a place in the frame on was never written."""
    start = frame.offset + rng.randrange(8, 64 + frame.payload_bytes - 8)
    overwrite(segment, start, bytes(data_end(segment) - start))


def _cut_the_file(segment: Path, frame: Frame, rng: random.Random) -> None:
    os.truncate(segment, frame.offset + rng.randrange(8, 64 + frame.payload_bytes))


def _garbage_to_the_end(segment: Path, frame: Frame, rng: random.Random) -> None:
    start = frame.offset + rng.randrange(64 + frame.payload_bytes - 8)
    overwrite(segment, start, rng.randbytes(data_end(segment) - start))


KEEPS_LATER_FRAMES = [_flip_header, _flip_payload, _zero_sector]
DROPS_LATER_FRAMES = [_zero_the_rest, _cut_the_file, _garbage_to_the_end]


@pytest.mark.parametrize("damage", KEEPS_LATER_FRAMES + DROPS_LATER_FRAMES)
def test_torn_tail_and_damage_are_told_apart_by_what_was_durable(
    killed: Killed, damage: Callable[[Path, Frame, random.Random], None], rng: random.Random
) -> None:
    """The rule of the format, computed here from the frames alone: a bad frame is damage when
    something good behind it says that it was durable; else everything from it on is cut, good-
    looking frames included.
    """
    unsealed = [i for i, frame in enumerate(killed.frames) if not is_sealed(frame.segment)]
    assert len(unsealed) > 5
    for number in sorted({*rng.sample(unsealed, 5), unsealed[-1]}):
        frame = killed.frames[number]
        later = [
            other
            for other in killed.frames[number + 1 :]
            if other.segment != frame.segment or damage in KEEPS_LATER_FRAMES
        ]
        durable = max([killed.told_durable(), *(other.durable_before for other in later)])
        victim = killed.copy("victim")
        damage(victim / "log" / frame.segment.name, frame, rng)
        before = contents(victim)
        if before == contents(killed.path):
            continue  # zeros over zeros
        where = f"frame {number} at {frame.offset}, LSN {frame.first_lsn}, durable {durable}"
        if durable >= frame.first_lsn:
            with pytest.raises(aurolog.CorruptionError) as caught:
                aurolog.open(victim)
            assert frame.segment.name in str(caught.value.file), where
            assert caught.value.offset == frame.offset, where
            assert contents(victim) == before, f"damage was touched: {where}"
        else:
            wanted = killed.model.at(frame.first_lsn - 1)
            with aurolog.open(victim) as db:
                assert _kept(db) == wanted.lsn, where
                assert db.recovery.cut_lsn is not None, where
                assert wanted.lsn < db.recovery.cut_lsn <= frame.first_lsn, where
                assert db.recovery.cut_bytes > 0, where
                assert_same(db, wanted)
                past = killed.model.at(wanted.lsn // 2)
                assert_same(db.at(past.lsn), past)
                assert db.verify().ok, where
        shutil.rmtree(victim)


def _listed_as_sealed(path: Path) -> int:
    """How many segments the manifest lists as sealed."""
    manifest = (path / "MANIFEST").read_bytes()
    branches, segments = struct.unpack_from("<II", manifest, 112)
    start = 256 + 64 * branches
    states = [struct.unpack_from("<I", manifest, start + 192 * i + 80) for i in range(segments)]
    return states.count((1,))


@pytest.mark.slow
@pytest.mark.parametrize("listed", [True, False])
def test_damage_in_a_sealed_segment_of_a_killed_volume_is_found(
    tmp_path: Path, listed: bool
) -> None:
    """Whether the manifest lists it as sealed, or the process was killed between the two."""
    rng = random.Random(3)
    live, model = tmp_path / "live", Model(65536)
    with aurolog.open(live, page_size=65536) as db:
        for text in (b"begin", b"middle", b"end"):
            run(db, model, [("write", 0, 0, text)])
            if text == b"begin":
                manifest = (live / "MANIFEST").read_bytes()
            # More than what fits a segment of small commits.
            run(db, model, [("image", page, rng.randbytes(65536)) for page in range(270)])
        run(db, model, [("write", 0, 0, b"behind")])
        while _listed_as_sealed(live) < 2:  # a segment ends when the next one is prepared, or full
            run(db, model, [("image", 1, rng.randbytes(65536))])
        path = copy(live, tmp_path / "killed")
    if not listed:
        (path / "MANIFEST").write_bytes(manifest)
    sealed = [segment for segment in segments(path) if is_sealed(segment)]
    assert len(sealed) > 1
    for segment in sealed:
        first, last = frames(segment)[0].offset + 70, frames(segment)[-1].offset + 70
        for offset in (first, last, segment.stat().st_size - 100):
            victim = copy(path, tmp_path / "victim")
            flip(victim / "log" / segment.name, offset)
            what = f"{segment.name} {offset}"
            if listed or offset < frames(segment)[-1].end:
                _assert_found(victim, model, what, cleanly=False)
            else:  # a footer that nobody has listed yet can be made again from the frames
                with contextlib.suppress(aurolog.CorruptionError), aurolog.open(victim) as db:
                    for state in model.states:
                        assert_same(db.at(state.lsn), state)
            shutil.rmtree(victim)


def test_garbage_behind_the_last_frame_is_no_log(killed: Killed, rng: random.Random) -> None:
    last = killed.frames[-1]
    end = (last.end + 7) // 8 * 8
    small = min(
        (frame for frame in killed.frames if frame.segment == last.segment),
        key=lambda frame: frame.payload_bytes,
    )
    stale = last.segment.read_bytes()[small.offset : small.end]
    for garbage in (rng.randbytes(700), b"AULF" + rng.randbytes(100), b"\1", stale, stale * 3):
        victim = killed.copy("victim")
        overwrite(victim / "log" / last.segment.name, end, garbage)
        with aurolog.open(victim) as db:
            assert_same(db, killed.model.newest)
            assert _kept(db) == killed.model.newest.lsn
            with db.transaction() as tx:
                tx.write(0, 0, b"goes on")
        with aurolog.open(victim) as db:
            assert db[0][:7] == b"goes on"
            assert db.verify().ok
        shutil.rmtree(victim)


def test_what_was_cut_stays_cut_when_the_disk_finds_it_again(
    tmp_path: Path, rng: random.Random
) -> None:
    """The lost frame turns up whole after recovery, with good ones behind it: nothing of it
    comes back.
    """
    killed = _killed(tmp_path, rng, lambda number: "os")
    durable = max(frame.durable_before for frame in killed.frames)
    frame = next(
        f
        for f in killed.frames[4:]
        if f.first_lsn > durable and f.first and not is_sealed(f.segment)
    )
    wanted = killed.model.at(frame.first_lsn - 1)
    flip(frame.segment, frame.offset + 70)
    with aurolog.open(killed.path) as db:
        assert_same(db, wanted)
        with db.transaction() as tx:
            tx.write(250, 0, b"new")
        crashed = copy(killed.path, tmp_path / "crashed")
    for path in (killed.path, crashed):
        for segment in segments(path):
            if segment.name == frame.segment.name:
                flip(segment, frame.offset + 70)
        with aurolog.open(path) as db:
            assert db[250][:3] == b"new"
            assert_same(db.at(wanted.lsn), wanted)
            assert [b.lsn for b in db.log(wanted.lsn + 1) if b.kind == "pages"] == [tx.lsn]
            for state in killed.model.states:
                if state.lsn > wanted.lsn:
                    with pytest.raises(aurolog.LsnError):
                        db.at(state.lsn)


def test_a_second_crash_before_the_first_commit_changes_nothing(killed: Killed) -> None:
    seen = set()
    path = killed.path
    for turn in range(5):
        with aurolog.open(path) as db:
            assert_same(db, killed.model.newest)
            assert not db.recovery.clean or turn == 0
            seen.add(db.volume_id)
            path = copy(path, killed.path.with_name(f"crash{turn}"))
    with aurolog.open(path) as db:
        for state in killed.model.states[::7]:
            assert_same(db.at(state.lsn), state)
        assert db.verify().ok
    assert len(seen) == 1


def test_a_live_volume_copied_between_commits_opens_elsewhere(
    tmp_path: Path, rng: random.Random
) -> None:
    model = Model(4096)
    with aurolog.open(tmp_path / "live", durability="os") as db:
        for number in range(6):
            for _ in range(5):
                run(db, model, [("write", rng.randrange(20), 0, rng.randbytes(2000))])
            with aurolog.open(copy(tmp_path / "live", tmp_path / f"copy{number}")) as other:
                assert not other.recovery.clean
                assert_same(other, model.newest)
                for state in model.states:
                    assert_same(other.at(state.lsn), state)
        run(db, model, [("write", 0, 0, b"undisturbed")])
        assert_same(db, model.newest)


# --- after a clean close --------------------------------------------------------------------------


@pytest.fixture
def closed(path: Path, rng: random.Random) -> tuple[Path, Model]:
    """A volume with twenty commits, cleanly closed."""
    model = Model(4096)
    with aurolog.open(path, durability="os") as db:
        for _ in range(20):
            run(db, model, [("write", rng.randrange(9), 0, rng.randbytes(500)) for _ in range(3)])
    return path, model


def test_after_a_clean_close_nothing_is_ever_cut(
    closed: tuple[Path, Model], rng: random.Random
) -> None:
    path, model = closed
    (segment,) = segments(path)
    found = frames(segment)
    assert found[-1].last_lsn > model.newest.lsn, "the clean close is in the log"
    damages = [_flip_header, _flip_payload, _zero_sector, _zero_the_rest, _cut_the_file]
    for damage in damages:
        for frame in (found[0], found[len(found) // 2], found[-2], found[-1]):
            victim = copy(path, path.with_name("victim"))
            damage(victim / "log" / segment.name, frame, rng)
            if contents(victim) != contents(path):
                _assert_found(victim, model, f"{damage.__name__} at {frame.offset}")
            shutil.rmtree(victim)


def _assert_found(path: Path, model: Model, what: str, cleanly: bool = True) -> None:
    """Damage shows at opening, or in the report; no read is wrong."""
    before = contents(path)
    try:
        db = aurolog.open(path, create=False)
    except aurolog.CorruptionError as error:
        assert error.file, what  # noqa: PT017
        assert contents(path) == before, what
        return
    with db:
        assert db.recovery.clean == cleanly, what
        report = db.verify()
        assert not report.ok, f"not found: {what}"
        assert report.problems
        for state in [*model.states[::3], model.newest]:
            try:
                assert_same(db.at(state.lsn), state)
            except aurolog.CorruptionError as error:
                assert error.file, what  # noqa: PT017


def test_a_missing_log_segment_is_damage(closed: tuple[Path, Model]) -> None:
    path, model = closed
    for segment in segments(path):
        victim = copy(path, path.with_name("victim"))
        (victim / "log" / segment.name).unlink()
        _assert_found(victim, model, "segment missing")
        shutil.rmtree(victim)


def test_a_missing_or_empty_manifest_never_makes_an_empty_volume(
    closed: tuple[Path, Model],
) -> None:
    path, _ = closed
    for spoil in (lambda file: file.unlink(), lambda file: os.truncate(file, 0)):
        victim = copy(path, path.with_name("victim"))
        (manifest,) = victim.glob("MANIFEST")
        spoil(manifest)
        before = contents(victim)
        for how in ({}, {"create": False}, {"read_only": True}):
            with pytest.raises((aurolog.CorruptionError, aurolog.NotAVolumeError)):
                aurolog.open(victim, **how)
        assert contents(victim) == before
        shutil.rmtree(victim)


def test_a_killed_volume_without_one_of_its_segments_is_damage(tmp_path: Path) -> None:
    """As long as a later one, or the manifest, says that it was durable."""
    with aurolog.open(tmp_path / "live") as db:
        for number in range(3):
            with db.transaction() as tx:
                tx.apply([("image", page, os.urandom(4096)) for page in range(4200)])
            with db.transaction() as tx:
                tx.write(0, 0, bytes([number]))
        killed = copy(tmp_path / "live", tmp_path / "killed")
    names = [segment.name for segment in segments(killed)]
    assert len(names) > 2
    for name in names[:-1]:
        victim = tmp_path / "victim"
        shutil.copytree(killed, victim, copy_function=os.link)
        (victim / "log" / name).unlink()
        with pytest.raises(aurolog.CorruptionError) as caught:
            aurolog.open(victim)
        assert caught.value.file in names
        assert [segment.name for segment in segments(victim)] == [n for n in names if n != name]
        shutil.rmtree(victim)


@pytest.mark.parametrize("copies", [1, 2])
def test_a_killed_volume_with_a_damaged_segment_header_is_read_by_its_copy_or_is_damage(
    tmp_path: Path, rng: random.Random, copies: int
) -> None:
    killed = _killed(tmp_path, rng, lambda _: "sync")
    for offset in (0, 8, 12, 16, 24, 40, 56, 72, 80, 88, 104, 300):
        for first in (0, 2048):
            victim = killed.copy("victim")
            flip(victim / "log" / killed.frames[0].segment.name, first + offset)
            if copies == 2:
                flip(victim / "log" / killed.frames[0].segment.name, 2048 - first + offset)
                with pytest.raises(aurolog.CorruptionError):
                    aurolog.open(victim)
            else:
                with aurolog.open(victim) as db:
                    assert_same(db, killed.model.newest)
                    assert _kept(db) == killed.model.newest.lsn
                with aurolog.open(victim) as db:
                    assert_same(db, killed.model.newest)
            shutil.rmtree(victim)
            if copies == 2:
                break


# --- more than one segment ------------------------------------------------------------------------


def test_opening_reads_the_tail_and_not_the_volume(tmp_path: Path) -> None:
    live = tmp_path / "live"
    with aurolog.open(live, durability="os") as db:
        for round_ in range(6):
            with db.transaction() as tx:
                tx.apply([("image", page, os.urandom(4096)) for page in range(4096)])
            with db.transaction() as small:
                small.write(0, 0, bytes([round_]))
        db.sync()
        written = db.stats().log_bytes
        killed = copy(live, tmp_path / "killed")
    with aurolog.open(killed) as db:
        assert not db.recovery.clean
        assert _kept(db) == small.lsn
        assert db[0][0] == 5
        assert db.recovery.scanned_bytes < written - (16 << 20)
    with aurolog.open(live) as db:
        assert db.recovery.clean
        assert db.recovery.scanned_bytes < 1 << 20


def test_small_commits_over_many_segments_survive_a_kill(
    tmp_path: Path, rng: random.Random
) -> None:
    """Some 20 MiB in small commits: segments fill, are sealed in the background and their index
    parts are dropped.
    """
    live, marks = tmp_path / "live", []
    page_bytes = {page: bytearray(4096) for page in range(64)}
    with aurolog.open(live, durability="os", cache_bytes=64 * 4096) as db:
        for number in range(5000):
            page, data = rng.randrange(64), rng.randbytes(4000)
            with db.transaction() as tx:
                tx.write(page, 10, data)
            page_bytes[page][10:4010] = data
            if number % 500 == 250:
                marks.append((tx.lsn, page, bytes(page_bytes[page])))
        stats = db.stats()
        assert stats.segments > 1
        killed = copy(live, tmp_path / "killed")
    for path in (killed, live):
        with aurolog.open(path, cache_bytes=16 * 4096) as db:
            for page, wanted in page_bytes.items():
                assert db[page] == bytes(wanted)
            for lsn, page, image in marks:
                assert lsn is not None
                assert db.at(lsn)[page] == image
            versions = db.versions(7)
            assert [v.lsn for v in versions] == sorted(v.lsn for v in versions)
            assert sum(len(db.versions(page)) for page in range(64)) == 5000
            report = db.verify()
            assert report.ok, report.problems
            assert report.records >= 5000


def test_a_damaged_word_in_the_lock_file_hurts_nothing(path: Path) -> None:
    """It may say any number, the middle of a transaction too."""
    with aurolog.open(path) as db:
        for page in range(4):
            with db.transaction() as tx:
                tx.apply([(page, place, b"whole") for place in range(0, 50, 10)])
        killed = copy(path, path.with_name("killed"))
    for word in (*range(25), (1 << 64) - 1):
        victim = copy(killed, path.with_name("victim"))
        overwrite(victim / "LOCK", 112, struct.pack("<Q", word))
        for read_only in (True, False):
            with aurolog.open(victim, read_only=read_only) as db:
                for page in range(4):
                    whole = (b"whole" + bytes(5)) * 5
                    assert db[page][:50] in ((whole,) if page < 3 else (whole, bytes(50))), word
                assert read_only or db[3][:5] == b"whole"
                assert db.verify().ok
        shutil.rmtree(victim)


def _word(lsn: int, complement_of: int) -> bytes:
    return struct.pack("<QQ", lsn, complement_of ^ (1 << 64) - 1)


def test_a_word_that_is_written_by_half_is_not_believed(path: Path) -> None:
    """Of the last commit only the word says that it was durable."""
    with aurolog.open(path) as db:
        for page in (0, 1):
            with db.transaction() as tx:
                tx.apply([(page, place, b"x") for place in range(4)])
        last, before = db.durable_lsn, db.durable_lsn - 4
        killed = copy(path, path.with_name("killed"))
    for word, believed in (
        (_word(last, last), True),
        (_word(last, before), False),
        (_word(before, last), False),
    ):
        victim = copy(killed, path.with_name("victim"))
        overwrite(victim / "LOCK", 112, word)
        with aurolog.open(victim, read_only=True) as db:
            assert db.visible_lsn == (last if believed else before)
        with aurolog.open(victim) as db:
            assert db.recovery.resecured_records == (0 if believed else 4)
            assert db[1][:4] == b"xxxx"
        shutil.rmtree(victim)


def test_a_word_that_is_written_by_half_beside_its_writer_is_not_believed(path: Path) -> None:
    with aurolog.open(path) as db:
        commits = []
        for page in range(3):
            with db.transaction() as tx:
                tx.write(page, 0, b"x")
            commits.append(db.durable_lsn)
        for word in (_word(commits[2], commits[1]), _word(commits[1], commits[2])):
            overwrite(path / "LOCK", 112, word)
            with aurolog.open(path, read_only=True) as reader:
                assert reader.visible_lsn not in commits[1:]
        with db.transaction() as tx:
            tx.write(3, 0, b"x")
        with aurolog.open(path, read_only=True) as reader:
            assert reader.visible_lsn == db.durable_lsn


# --- an older manifest ----------------------------------------------------------------------------


@pytest.mark.parametrize("killed", [False, True])
@pytest.mark.parametrize("sessions", [0, 1, 2])
def test_a_manifest_older_than_the_log_is_refused(path: Path, killed: bool, sessions: int) -> None:
    """It knows nothing of the newest session's segments: they are no leftovers to be removed."""
    aurolog.open(path).close()
    for number in range(sessions):
        with aurolog.open(path) as db, db.transaction() as tx:
            tx.write(number, 0, b"known")
    manifest = (path / "MANIFEST").read_bytes()
    with aurolog.open(path) as db:
        for _ in range(2):  # the second says that the first was durable
            with db.transaction() as tx:
                tx.write(9, 0, b"not known")
        if killed:
            path = copy(path, path.with_name("killed"))
    (path / "MANIFEST").write_bytes(manifest)
    assert_refused(path, aurolog.CorruptionError, "older than the log", file="MANIFEST")


def test_recovery_needs_no_index_of_a_sealed_segment(path: Path) -> None:
    """Damage there is told by the reads that come upon it: as of a volume that was closed."""
    with aurolog.open(path) as db:
        for page in range(5):
            with db.transaction() as tx:
                tx.write(page, 0, b"sealed")
    (sealed,) = segments(path)
    with aurolog.open(path) as db:
        with db.transaction() as tx:
            tx.write(9, 0, b"unclean")
        killed = copy(path, path.with_name("killed"))
    (killed / "LOCK").unlink()  # then only the manifest says what was durable
    flip(killed / "log" / sealed.name, sealed.stat().st_size - 512 - 20)  # the fences
    for read_only in (True, False):
        with aurolog.open(killed, read_only=read_only) as db:
            if not read_only:
                assert db[9][:7] == b"unclean"
            with pytest.raises(aurolog.CorruptionError, match="fences"):
                db.at(tx.lsn - 1 if tx.lsn else 0)[0]
            assert not db.verify().ok


def test_a_manifest_of_the_same_session_finds_the_whole_log(path: Path) -> None:
    with aurolog.open(path) as db:
        with db.transaction() as tx:
            tx.write(0, 0, b"first")
        manifest = (path / "MANIFEST").read_bytes()
        for page in range(1, 300):
            with db.transaction(durability="os") as tx:
                tx[page] = bytes([page % 256]) * 4096
    (path / "MANIFEST").write_bytes(manifest)
    with aurolog.open(path) as db:
        assert not db.recovery.clean
        assert db.recovery.cut_lsn is None
        assert db[0][:5] == b"first"
        for page in range(1, 300):
            assert db[page] == bytes([page % 256]) * 4096
        assert db.verify().ok
