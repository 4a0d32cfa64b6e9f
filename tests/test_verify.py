"""Verifying: a report with figures for what is whole, and no byte of damage that goes unseen."""

from __future__ import annotations

import contextlib
import random
import shutil
import struct
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support import (
    Frame,
    Model,
    assert_same,
    contents,
    copy,
    crc32c,
    files_of,
    flip,
    frames,
    overwrite,
    random_change,
    run,
    segments,
)

import aurolog


def _volume(path: Path, rng: random.Random, sessions: int = 3, commits: int = 8) -> Model:
    """A small volume of several sessions, every kind of change in it."""
    model = Model(512)
    for _ in range(sessions):
        with aurolog.open(path, page_size=512, durability="os") as db:
            for _ in range(commits):
                changes = [random_change(rng, 512, 12) for _ in range(rng.randint(1, 6))]
                run(db, model, changes, note="note" if rng.random() < 0.3 else None)
    return model


def test_a_whole_volume_is_reported_with_its_figures(path: Path) -> None:
    with aurolog.open(path) as db:
        for number in range(10):
            with db.transaction() as tx:
                tx.apply([(page, number, b"x") for page in range(number + 1)])
        live = db.verify()
        assert live.ok
        assert live.problems == ()
        assert (live.batches, live.records) == (10, 55)
        assert live.frames >= 10
        assert live.segments >= 1
        assert live.bytes >= db.stats().log_bytes
    with aurolog.open(path) as db:
        again = db.verify()
        assert again.ok
        assert again.records == sum(len(batch.records) for batch in db.log())
        assert again.batches == len(list(db.log()))
        assert again.index_entries >= 55
    with aurolog.open(path, read_only=True) as db:
        assert db.verify() == again


def test_progress_rises_to_the_end(path: Path) -> None:
    with aurolog.open(path, durability="os") as db:
        for _ in range(3):
            with db.transaction() as tx:
                tx.apply([("image", page, bytes([page % 251]) * 4096) for page in range(1200)])
        steps: list[tuple[int, int]] = []
        report = db.verify(progress=lambda done, total: steps.append((done, total)))
        assert report.ok
        assert steps
        assert [done for done, _ in steps] == sorted(done for done, _ in steps)
        assert steps[-1][0] == steps[-1][1] > 3 * 1200 * 4096
        assert len({total for _, total in steps}) == 1


def test_an_exception_in_progress_ends_the_verification_only(path: Path) -> None:
    with aurolog.open(path) as db:
        with db.transaction() as tx:
            tx.write(0, 0, b"x")

        def stop(_done: int, _total: int) -> None:
            raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            db.verify(progress=stop)
        with db.transaction() as tx:
            tx.write(0, 0, b"y")
        assert db.verify().ok
        assert db[0][:1] == b"y"


def test_a_volume_larger_than_the_cache_is_verified(path: Path) -> None:
    with aurolog.open(path, cache_bytes=16 * 4096, durability="os") as db:
        for _ in range(2):
            with db.transaction() as tx:
                tx.apply([("image", page, bytes([page % 251]) * 4096) for page in range(3000)])
        report = db.verify()
        assert report.ok
        assert report.records == 6000
        assert report.bytes > 6000 * 4096
        assert db.stats().cached_pages <= 16


@pytest.mark.threads
def test_the_writer_goes_on_while_the_volume_is_verified(path: Path) -> None:
    import threading

    with aurolog.open(path, durability="os") as db:
        with db.transaction() as tx:
            tx.apply([("image", page, bytes([page % 251]) * 4096) for page in range(1000)])
        stop = threading.Event()

        def write() -> None:
            number = 0
            while not stop.is_set():
                number += 1
                with db.transaction() as tx:
                    tx.write(number % 50, 8, number.to_bytes(8, "little"))

        writer = threading.Thread(target=write)
        writer.start()
        try:
            for _ in range(5):
                report = db.verify()
                assert report.ok, report.problems
        finally:
            stop.set()
            writer.join()


def _samples(path: Path, rng: random.Random, count: int) -> Iterator[tuple[Path, int]]:
    """Places in every file, most of them where there is something; the first bytes of each
    always.
    """
    for file in files_of(path):
        data = file.read_bytes()
        used = [i for i in range(len(data)) if data[i]]
        places = {*range(min(16, len(data)))}
        places |= set(rng.sample(used, min(count, len(used))))
        places |= {rng.randrange(len(data)) for _ in range(count // 10) if data}
        for place in sorted(places):
            yield file.relative_to(path), place


def test_no_flipped_bit_goes_unseen_or_is_read(path: Path, rng: random.Random) -> None:
    model = _volume(path, rng)
    found = 0
    for name, offset in _samples(path, rng, 150):
        victim = copy(path, path.with_name("victim"))
        byte = (victim / name).read_bytes()[offset]
        mask = 1 << rng.randrange(8)
        flip(victim / name, offset, mask)
        what = f"{name} byte {offset} ({byte:#x} ^ {mask:#x})"
        if _is_found(victim, model, what):
            found += 1
        else:
            assert name.name == "RESERVE", f"not found: {what}"
        shutil.rmtree(victim)
    assert found > 300


def _is_found(path: Path, model: Model, what: str) -> bool:
    """Whether damage is told, by opening or by verifying; asserts that it is never read."""
    try:
        db = aurolog.open(path, create=False)
    except (aurolog.CorruptionError, aurolog.FormatError, aurolog.NotAVolumeError):
        return True
    except aurolog.AurologError as error:
        raise AssertionError(f"{what}: {error!r}") from error
    raised = False
    with db:
        report = db.verify()
        assert report.ok == (not report.problems), what
        for problem in report.problems:
            assert problem.file, what
            assert problem.what, what
        for state in [*model.states[::5], model.newest]:
            try:
                assert_same(db.at(state.lsn), state)
            except aurolog.CorruptionError:
                raised = True
            except aurolog.AurologError as error:
                raise AssertionError(f"{what}: {error!r}") from error
            except AssertionError as error:
                raise AssertionError(f"silently wrong after {what}: {error}") from error
        assert not (raised and report.ok), f"a read met damage that verify did not see: {what}"
    return not report.ok


def test_no_flipped_bit_of_a_killed_volume_is_read(path: Path, rng: random.Random) -> None:
    """A commit says that those before it were durable: one flip takes at most the last."""
    model = _volume(path, rng, sessions=2)
    with aurolog.open(path) as db:
        for _ in range(12):
            run(db, model, [random_change(rng, 512, 12) for _ in range(rng.randint(1, 6))])
        killed = copy(path, path.with_name("killed"))
    refused = lost = 0
    for name, offset in _samples(killed, rng, 100):
        victim = copy(killed, path.with_name("victim"))
        flip(victim / name, offset, 1 << rng.randrange(8))
        what = f"{name} byte {offset}"
        try:
            db = aurolog.open(victim, create=False)
        except aurolog.CorruptionError:
            refused += 1
        else:
            with db:
                last = max(s.lsn for s in model.states if s.lsn <= db.recovery.last_lsn)
                assert last >= model.states[-2].lsn, f"{what} cut the log at {last}"
                lost += last < model.newest.lsn
                for state in (s for s in model.states if s.lsn <= last):
                    with contextlib.suppress(aurolog.CorruptionError):
                        assert_same(db.at(state.lsn), state)
        shutil.rmtree(victim)
    assert refused > 50
    assert lost


def test_a_sector_lost_or_exchanged_is_seen(path: Path, rng: random.Random) -> None:
    model = _volume(path, rng, sessions=2, commits=20)
    for file in files_of(path):
        data = file.read_bytes()
        used = [at for at in range(0, len(data), 512) if data[at : at + 512].strip(b"\0")]
        for at in rng.sample(used, min(8, len(used))):
            other = rng.choice(used)
            for sector in (bytes(512), data[other : other + 512]):
                if data[at : at + 512] == sector[: len(data) - at]:
                    continue
                victim = copy(path, path.with_name("victim"))
                with open(victim / file.relative_to(path), "r+b") as target:
                    target.seek(at)
                    target.write(sector[: len(data) - at])
                assert _is_found(victim, model, f"{file.name} sector {at}"), f"{file.name} {at}"
                shutil.rmtree(victim)


def _forge_batch(segment: Path, number: int, forge: Callable[[bytearray], None]) -> Frame:
    """Has a frame's payload, one whole batch, changed, and makes every checksum above it fit."""
    frame = frames(segment)[number]
    data = bytearray(segment.read_bytes()[: frame.end])
    header, payload = frame.offset, frame.offset + 64
    batch = data[payload:]
    forge(batch)
    struct.pack_into("<I", batch, 0, crc32c(bytes(batch[4:96])))
    data[payload:] = batch
    struct.pack_into("<I", data, header + 8, crc32c(bytes(batch)))
    place = bytes(data[24:40]) + struct.pack("<Q", header)
    struct.pack_into("<I", data, header + 4, crc32c(place + bytes(data[header + 8 : payload])))
    overwrite(segment, 0, bytes(data))
    return frame


@pytest.mark.parametrize(
    ("offset", "what"),
    [(32, "follows another commit"), (40, "epoch"), (48, "older"), (56, "end of page space")],
)
def test_a_batch_that_is_whole_and_says_something_wrong_is_told(
    tmp_path: Path, offset: int, what: str
) -> None:
    """Every checksum fits: only a writer's fault can make such a batch."""
    with aurolog.open(tmp_path / "live") as db:
        for number in range(5):
            with db.transaction() as tx:
                tx.write(number, 0, b"x")
        killed = copy(tmp_path / "live", tmp_path / "killed")
    (segment,) = segments(killed)

    def forge(batch: bytearray) -> None:
        (value,) = struct.unpack_from("<Q", batch, offset)
        struct.pack_into("<Q", batch, offset, value // 2 if offset == 48 else value + 2)

    frame = _forge_batch(segment, 2, forge)
    with aurolog.open(killed) as db:
        report = db.verify()
    assert not report.ok
    assert what in report.problems[0].what
    assert report.problems[0].offset == frame.offset


def test_a_truncation_that_is_another_in_memory_is_told(path: Path) -> None:
    """Nothing else differs: what is written behind it makes the same end of page space."""
    with aurolog.open(path) as db:
        with db.transaction() as tx:
            tx.apply([(page, 0, b"x") for page in range(9)])
        with db.transaction() as tx:
            tx.truncate(3)
            tx.write(9, 0, b"x")
        assert db.verify().ok
        (segment,) = segments(path)
        lsn = frames(segment)[1].first_lsn

        def forge(batch: bytearray) -> None:
            assert batch[100] == 5, "the truncation"
            batch[101] = 4
            volume = segment.read_bytes()[40:56]
            summed = volume + struct.pack("<Q", lsn) + bytes(batch[100:112])
            struct.pack_into("<I", batch, 96, crc32c(summed))

        _forge_batch(segment, 1, forge)
        (problem,) = db.verify().problems
        assert "in memory" in problem.what
        assert problem.file == segment.name


@pytest.mark.parametrize(("field", "change"), [(88, -1), (96, 1), (104, -1)])
def test_a_last_commit_that_trailer_and_manifest_agree_on_is_compared_with_the_log(
    path: Path, field: int, change: int
) -> None:
    """Its time, the end of page space after it, its LSN; every checksum fits."""
    for _ in range(2):
        with aurolog.open(path) as db, db.transaction() as tx:
            tx.write(1, 0, b"x")
            tx.write(2, 0, b"x")
    segment, _ = segments(path)
    data = bytearray(segment.read_bytes())
    trailer = len(data) - 512
    value = struct.unpack_from("<Q", data, trailer + field)[0] + change
    struct.pack_into("<Q", data, trailer + field, value)
    place = bytes(data[24:40]) + struct.pack("<Q", trailer)
    struct.pack_into("<I", data, trailer + 8, crc32c(place + bytes(data[trailer + 12 :])))
    segment.write_bytes(data)
    manifest = bytearray((path / "MANIFEST").read_bytes())
    entry = manifest.index(bytes(data[24:40]))
    struct.pack_into("<Q", manifest, entry + 72 + field, value)
    struct.pack_into("<I", manifest, 8, crc32c(bytes(manifest[12:])))
    (path / "MANIFEST").write_bytes(manifest)
    with aurolog.open(path) as db:
        (problem,) = db.verify().problems
    assert "last commit" in problem.what
    assert problem.file == segment.name


def test_files_of_another_volume_are_not_taken(tmp_path: Path) -> None:
    """Two volumes with the same program: names and sizes agree, only the identities differ."""
    for name in ("a", "b"):
        with aurolog.open(tmp_path / name) as db:
            for number in range(5):
                with db.transaction() as tx:
                    tx.write(number, 0, name.encode() * 50)
    names = [file.relative_to(tmp_path / "a") for file in files_of(tmp_path / "a")]
    assert names == [file.relative_to(tmp_path / "b") for file in files_of(tmp_path / "b")]
    for name in names:
        if (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes():
            continue  # a reserve of space looks the same everywhere
        victim = copy(tmp_path / "a", tmp_path / "victim")
        shutil.copyfile(tmp_path / "b" / name, victim / name)
        before = contents(victim)
        with pytest.raises(aurolog.CorruptionError):
            with aurolog.open(victim) as db:
                report = db.verify()
            assert not report.ok, f"{name} was taken"
            raise aurolog.CorruptionError("told by the report")
        assert before
        shutil.rmtree(victim)


def test_a_damaged_page_is_refused_and_the_others_are_read(path: Path, rng: random.Random) -> None:
    images = [rng.randbytes(4096) for _ in range(20)]
    with aurolog.open(path) as db:
        for page in range(20):
            with db.transaction() as tx:
                tx[page] = images[page]
    log = max(files_of(path / "log"), key=lambda file: file.stat().st_size)
    offset = log.read_bytes().index(images[7][:100]) + 50
    flip(log, offset)
    try:
        db = aurolog.open(path)
    except aurolog.CorruptionError as error:
        assert log.name in str(error.file)  # noqa: PT017
        return
    with db:
        with pytest.raises(aurolog.CorruptionError) as caught:
            db[7]
        assert log.name in str(caught.value.file)
        assert caught.value.offset is not None
        assert caught.value.lsn
        with pytest.raises(aurolog.CorruptionError):
            db.read_many(range(20))
        with pytest.raises(aurolog.CorruptionError):
            db.view_page(7)
        for page in (*range(7), *range(8, 20)):
            assert db[page] == images[page]
        (problem, *_) = db.verify().problems
        assert log.name in problem.file


def test_damage_to_the_manifest_of_an_empty_volume_is_told(path: Path) -> None:
    with aurolog.open(path) as db:
        flip(path / "MANIFEST", 40)
        report = db.verify()
        assert not report.ok
        assert [problem.file for problem in report.problems] == ["MANIFEST"]
        flip(path / "MANIFEST", 40)
        assert db.verify().ok


def test_a_missing_file_that_is_listed_keeps_everybody_out_until_it_is_back(
    path: Path, tmp_path: Path
) -> None:
    with aurolog.open(path) as db, db.transaction() as tx:
        tx.write(0, 0, b"there")
    (segment,) = segments(path)
    segment.rename(tmp_path / "elsewhere")
    for how in ({}, {"read_only": True}):
        with pytest.raises(aurolog.CorruptionError, match="is missing: restore it") as caught:
            aurolog.open(path, **how)
        assert str(segment) in str(caught.value)
    (tmp_path / "elsewhere").rename(segment)
    with aurolog.open(path) as db:
        assert db[0][:5] == b"there"
        assert db.verify().ok
