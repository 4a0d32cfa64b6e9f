"""Followers: read-only volumes that move on behind a writer, and iteration over its commits."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import random
import shutil
import signal
import threading
import time
import weakref
from array import array
from collections.abc import Iterator
from pathlib import Path

import pytest
from support import (
    Child,
    Replay,
    assert_same,
    copy,
    counter,
    need_strace,
    perform,
    program,
    strike_at,
    traced,
    wait_until,
    write_and_kill,
)

import aurolog


def commit(db: aurolog.Volume, page: int, data: bytes, **how: str) -> int:
    """One small commit; its LSN."""
    with db.transaction(**how) as tx:  # type: ignore[arg-type]
        tx.write(page, 0, data)
    assert tx.lsn is not None
    return tx.lsn


# --- refresh --------------------------------------------------------------------------------------


def test_a_refresh_shows_what_became_durable_since(path: Path) -> None:
    with aurolog.open(path) as db, aurolog.open(path, read_only=True) as reader:
        assert reader.refresh() == 0
        for number in range(1, 20):
            lsn = commit(db, number % 3, bytes([number]))
            assert reader.visible_lsn < lsn
            assert reader.refresh() == reader.visible_lsn == reader.durable_lsn == lsn
            assert reader[number % 3][0] == number
            assert len(reader) == len(db)
            assert reader.at(lsn).lsn == lsn
        assert reader.refresh() == lsn, "nothing new"


def test_what_is_not_durable_is_not_shown(path: Path) -> None:
    with aurolog.open(path) as db, aurolog.open(path, read_only=True) as reader:
        first = commit(db, 0, b"durable")
        shown = []
        for number in range(200):
            lsn = commit(db, 1, number.to_bytes(2, "little"), durability="os")
            durable = reader.refresh()
            assert durable <= db.durable_lsn <= lsn
            assert int.from_bytes(reader[1][:2], "little") == max(durable - first - 1, 0)
            shown.append(durable)
        assert shown == sorted(shown)
        assert shown[0] == first, "an unsynced commit was shown"
        assert db.sync() == reader.refresh() == lsn
        assert int.from_bytes(reader[1][:2], "little") == number


def test_a_writer_is_always_up_to_date(db: aurolog.Volume) -> None:
    lsn = commit(db, 0, b"x")
    db.sync()
    assert db.refresh() == lsn


# --- follow ---------------------------------------------------------------------------------------


def test_a_follower_gives_every_commit_once_in_order(path: Path) -> None:
    with aurolog.open(path) as db, aurolog.open(path, read_only=True) as reader:
        lsns = [commit(db, n, bytes([n]), note=f"number {n}") for n in range(10)]
        with db.transaction() as tx:
            tx.apply([(7, 0, b"a"), (3, 0, b"b"), (7, 9, b"c")])
        for volume in (db, reader):
            found = list(volume.follow(0, timeout=0))
            assert [c.lsn for c in found] == [*lsns, tx.lsn]
            assert [c.note for c in found] == [*(f"number {n}" for n in range(10)), ""]
            assert {c.kind for c in found} == {"pages"}
            assert [list(c.pages) for c in found] == [*([n] for n in range(10)), [3, 7]]
            assert [c.page_space for c in found] == [*range(1, 11), 10]
            assert [c.time for c in found] == sorted(c.time for c in found)
            assert isinstance(found[0].pages, array)
            assert list(volume.follow(lsns[7], timeout=0)) == found[8:]


def test_a_follower_waits_for_commits_to_come(path: Path) -> None:
    with aurolog.open(path) as db, aurolog.open(path, read_only=True) as reader:
        for volume in (db, reader):
            seen: list[int] = []
            volume.refresh()
            follower = volume.follow()

            def follow(follower: aurolog.Follower = follower, seen: list[int] = seen) -> None:
                seen.extend(c.lsn for c in follower)

            thread = threading.Thread(target=follow)
            thread.start()
            lsns = [commit(db, 0, bytes([n])) for n in range(5)]
            wait_until(lambda seen=seen: len(seen) == 5, "all were seen")  # type: ignore[misc]
            follower.close()
            thread.join()
            assert seen == lsns
            assert volume.visible_lsn == lsns[-1], "it refreshes as it goes"


def test_a_loop_follows_without_standing_still(path: Path) -> None:
    async def main(db: aurolog.Volume, volume: aurolog.Volume) -> None:
        async def follow() -> list[int]:
            return [c.lsn async for c in volume.follow()]

        async def follow_twenty() -> list[int]:
            found: list[int] = []
            async for c in volume.follow():
                found.append(c.lsn)
                if len(found) == 20:
                    break
            return found

        endless = asyncio.create_task(follow())
        task = asyncio.create_task(follow_twenty())
        await asyncio.sleep(0)
        ticks = 0
        while ticks < 100:  # nothing comes, and the loop goes on
            await asyncio.sleep(0)
            ticks += 1
        lsns = [await asyncio.to_thread(commit, db, 0, b"x") for _ in range(20)]
        assert await task == lsns
        endless.cancel()
        with pytest.raises(asyncio.CancelledError):
            await endless

    with aurolog.open(path) as db, aurolog.open(path, read_only=True) as reader:
        asyncio.run(asyncio.wait_for(main(db, db), 30))
        reader.refresh()
        asyncio.run(asyncio.wait_for(main(db, reader), 30))


def test_a_follower_begins_at_any_moment(path: Path) -> None:
    with aurolog.open(path) as db, aurolog.open(path, read_only=True) as reader:
        lsns = [commit(db, n, b"x") for n in range(5)]
        db.restore_point("here", at=lsns[1])
        moment = db.at(lsns[2]).time
        for volume in (reader, db):
            since: dict[aurolog.When, int] = {lsns[0]: 1, "here": 2, str(lsns[3]): 4}
            if moment is not None:
                since[moment] = 3
            for when, first in since.items():
                found = [c.lsn for c in volume.follow(when, timeout=0) if c.kind == "pages"]
                assert found == lsns[first:]
            with pytest.raises(aurolog.LsnError) as caught:
                volume.follow(1 << 40)
            assert caught.value.visible_lsn == db.visible_lsn
            with pytest.raises(aurolog.MomentError):
                volume.follow("nowhere")


def test_a_timeout_ends_a_follower(db: aurolog.Volume) -> None:
    assert list(db.follow(timeout=0.01)) == []
    follower = db.follow(timeout=0)
    assert list(follower) == []
    commit(db, 0, b"x")
    db.sync()
    assert list(follower) == [], "over is over"
    for bad in (-1, "soon", float("nan")):
        with pytest.raises(aurolog.InputError):
            db.follow(timeout=bad)  # type: ignore[arg-type]


@pytest.mark.parametrize("read_only", [False, True])
def test_closing_the_volume_wakes_who_waits(path: Path, read_only: bool) -> None:
    aurolog.open(path).close()
    volume = aurolog.open(path, read_only=read_only)
    follower = volume.follow()
    errors: list[str] = []

    def follow() -> None:
        try:
            next(follower)
        except aurolog.AurologError as error:
            errors.append(type(error).__name__)

    thread = threading.Thread(target=follow)
    thread.start()
    volume.close()
    thread.join(10)
    assert errors == ["ClosedError"]


# --- over the lives of writers --------------------------------------------------------------------


def write_on(path: Path, seed: object, transactions: int, durability: str = "sync") -> int:
    """Runs a seeded program on from where it is, and closes; how far it is then."""
    with aurolog.open(path, durability=durability) as db:  # type: ignore[arg-type]
        number = counter(db)
        for number in range(number + 1, number + 1 + transactions):  # noqa: B020
            with db.transaction() as tx:
                for change in program(seed, number, db.page_size):
                    perform(tx, change)
    return number


def end_it(path: Path) -> list[tuple[int, str]]:
    """The last commit, which ends `child.follow`; LSN and kind of every commit there is."""
    with aurolog.open(path) as db:
        with db.transaction(note="end") as tx:
            tx.write(4095, 0, b"end")
        assert tx.lsn is not None
        return [(c.lsn, c.kind) for c in db.follow(0, timeout=0)]


def heard(follower: Child) -> Iterator[tuple[int, str]]:
    """What `child.follow` says until it ends, whose last word is that all was the same."""
    for line in follower.lines():
        word, *rest = line.split()
        if word == "c":
            yield int(rest[0]), rest[1]
    assert word == "same", line


@pytest.mark.parametrize("durability", ["sync", "os"])
def test_a_follower_lives_through_killed_and_closed_writers(
    path: Path, seed: int, rng: random.Random, durability: str
) -> None:
    write_on(path, seed, 3)
    with Child("follow", path, seed) as follower:
        assert follower.line().startswith("open")
        for _ in range(6):
            if rng.random() < 0.7:
                write_and_kill(path, seed, rng.randint(1, 30), durability)
            else:
                write_on(path, seed, rng.randint(1, 10), durability)
        everything = end_it(path)
        assert list(heard(follower)) == everything
        assert follower.end() == 0
    assert "cut" in {kind for _, kind in everything}


def test_a_follower_that_was_stopped_goes_on_where_it_was(path: Path, seed: int) -> None:
    write_on(path, seed, 5)
    with Child("follow", path, seed) as follower:
        assert follower.line().startswith("open")
        said = [follower.line() for _ in range(3)]
        follower.signal(signal.SIGSTOP)
        write_on(path, seed, 60)  # several segments are sealed meanwhile
        write_and_kill(path, seed, 20)
        write_and_kill(path, seed, 7)
        write_on(path, seed, 3)
        everything = end_it(path)
        follower.signal(signal.SIGCONT)
        found = [(int(line.split()[1]), line.split()[2]) for line in said]
        assert found + list(heard(follower)) == everything


def test_several_followers_beside_one_writer(path: Path, seed: int) -> None:
    write_on(path, seed, 1)
    with contextlib.ExitStack() as stack:
        followers = [stack.enter_context(Child("follow", path, seed)) for _ in range(3)]
        write_on(path, seed, 50)
        everything = end_it(path)
        for follower in followers:
            assert list(heard(follower)) == everything


def test_a_killed_follower_leaves_nothing_behind(path: Path, seed: int) -> None:
    write_on(path, seed, 5)
    before = {file: file.stat().st_mtime_ns for file in sorted(path.rglob("*"))}
    with Child("follow", path, seed) as follower:
        assert follower.line().startswith("open")
        follower.line()
        follower.kill()
    assert {file: file.stat().st_mtime_ns for file in sorted(path.rglob("*"))} == before
    aurolog.open(path).close()


def test_a_dead_writers_word_is_still_true(path: Path) -> None:
    with Child("write_small", path, "sync", 0) as writer:
        writer.line()
        with aurolog.open(path, read_only=True) as reader:
            said = [int(writer.line()) for _ in range(20)]
            writer.kill_and_keep_hearing()
            said += [int(line) for line in writer.lines()]
            assert reader.refresh() >= said[-1]


def test_a_follower_shows_nothing_that_a_crash_takes_back(path: Path, rng: random.Random) -> None:
    """Beside a writer that syncs now and then: what was shown is there after its recovery."""
    for first in (0, 1000, 2000):
        with Child("write_small", path, "os", first) as writer:
            writer.line()
            with aurolog.open(path, read_only=True) as reader:
                shown = {}
                for _ in range(rng.randint(50, 2000)):
                    lsn = reader.refresh()
                    shown[lsn] = max(int.from_bytes(reader[n][:8], "little") for n in range(16))
                writer.kill()
                with aurolog.open(path) as db:
                    for lsn, number in shown.items():
                        view = db.at(lsn)
                        assert view.lsn == lsn
                        pages = [int.from_bytes(view[n][:8], "little") for n in range(16)]
                        assert max(pages) == number
                    assert reader.refresh() == db.durable_lsn
                    assert_pages_equal(reader, db)


def assert_pages_equal(a: aurolog.Volume, b: aurolog.Volume) -> None:
    """All pages, and how many there are."""
    assert len(a) == len(b)
    assert bytes(a.read_many(range(len(b)))) == bytes(b.read_many(range(len(b))))


def test_views_are_held_while_the_reader_moves_on(path: Path, seed: int) -> None:
    replay = Replay(seed)
    write_on(path, seed, 3)
    with aurolog.open(path, read_only=True) as reader:
        held = []
        for turn in range(8):
            if turn % 2:
                write_on(path, seed, 20)
            else:
                write_and_kill(path, seed, 5)
            reader.refresh()
            held.append((reader.at(reader.visible_lsn), counter(reader), len(reader)))
            assert_same(reader, replay.after(counter(reader)))
            for view, number, length in held:
                assert len(view) == length
                assert_same(view, replay.after(number))
        with aurolog.open(path) as db:
            commit(db, 0, bytes(8))
            lsn = reader.refresh()
            assert lsn == db.durable_lsn
            assert [c.lsn for c in reader.log()] == [c.lsn for c in db.log()]
            assert reader.history == db.history
            assert reader.verify().ok


def test_a_batch_over_several_segments_arrives_whole(path: Path) -> None:
    pages = 40_000  # of 4 KiB: three segments of 64 MiB
    with aurolog.open(path) as db, aurolog.open(path, read_only=True) as reader:
        commit(db, 0, b"first")
        reader.refresh()
        stop = threading.Event()
        lengths = set()

        def look() -> None:
            while not stop.is_set():
                reader.refresh()
                lengths.add(len(reader))

        thread = threading.Thread(target=look)
        thread.start()
        with db.transaction() as tx:
            for number in range(0, pages, 1000):
                tx.apply(
                    [
                        ("image", n, n.to_bytes(4, "little") * 1024)
                        for n in range(number, number + 1000)
                    ]
                )
        wait_until(lambda: reader.durable_lsn == tx.lsn, "it was seen")
        stop.set()
        thread.join()
        assert lengths <= {1, pages}, "a batch was seen in part"
        for number in range(0, pages, 997):
            assert reader[number] == number.to_bytes(4, "little") * 1024
        (found,) = reader.follow(tx.lsn and tx.lsn - 1, timeout=0)
        assert list(found.pages) == list(range(pages))


def test_what_is_sealed_leaves_the_followers_memory(path: Path) -> None:
    with aurolog.open(path, durability="os") as db, aurolog.open(path, read_only=True) as reader:
        image = os.urandom(4096)
        for number in range(12_000):  # 50 MB of log
            commit(db, number % 3000, image)
            if number % 100 == 0:
                reader.refresh()
        db.sync()

        def unsealed(volume: aurolog.Volume) -> int:
            volume.refresh()
            stats = volume.stats()
            return stats.segments - stats.sealed_segments

        wait_until(lambda: unsealed(db) == 1, "all but the active segment are sealed")
        wait_until(lambda: unsealed(reader) == 1, "and the reader knows it")
        assert reader.stats().segments >= 4
        assert_pages_equal(reader, db)


def test_readers_go_on_while_another_thread_refreshes(path: Path) -> None:
    with aurolog.open(path) as db, aurolog.open(path, read_only=True) as reader:
        stop = threading.Event()
        errors: list[BaseException] = []

        def guarded(work: object) -> threading.Thread:
            def run() -> None:
                try:
                    while not stop.is_set():
                        work()  # type: ignore[operator]
                except BaseException as error:
                    errors.append(error)

            thread = threading.Thread(target=run)
            thread.start()
            return thread

        def read() -> None:
            both = bytes(reader.read_many([1, 2]))
            assert both[:8] == both[4096:4104], "a commit was seen in part"

        def read_view() -> None:
            with reader.at(reader.visible_lsn) as view:
                assert view[1][:8] == view[2][:8] == view[1][:8]

        threads = [guarded(work) for work in (read, read_view, reader.refresh, reader.refresh)]
        for number in range(600):
            with db.transaction() as tx:
                for page in (1, 2):
                    tx.write(page, 0, number.to_bytes(8, "little"))
        stop.set()
        for thread in threads:
            thread.join()
        assert not errors, errors
        reader.refresh()
        assert counter_at(reader, 1) == number


def counter_at(reader: aurolog.Volume, page: int) -> int:
    """The number in the page's first 8 bytes."""
    return int.from_bytes(reader[page][:8], "little")


# --- rewinds and names ----------------------------------------------------------------------------


def test_a_follower_sees_rewinds_and_names_in_order(path: Path) -> None:
    with aurolog.open(path) as db, aurolog.open(path, read_only=True) as reader:
        first = commit(db, 1, b"kept")
        db.restore_point("kept")
        reader.refresh()
        assert reader[1][:4] == b"kept"
        assert reader.restore_points.keys() == {"kept"}
        commit(db, 1, b"left")
        commit(db, 2, b"left")
        reader.refresh()
        left = reader.at(reader.visible_lsn)
        assert reader[2][:4] == b"left"
        db.backtrack(first, note="back")
        assert reader[1][:4] == b"left", "it has not moved yet"
        reader.refresh()
        assert reader[1][:4] == b"kept"
        assert reader[2] == bytes(4096)
        assert left[2][:4] == b"left"
        db.restore_point("second")
        db.delete_restore_point("kept")
        reader.refresh()
        assert reader.restore_points == db.restore_points
        assert reader.restore_points.keys() == {"second"}
        assert reader.history == db.history
        found = list(reader.follow(0, timeout=0))
        assert [c.kind for c in found] == [
            "pages",
            "restore-point",
            "pages",
            "pages",
            "rewind",
            "restore-point",
            "delete-restore-point",
        ]
        assert [list(c.pages) for c in found] == [[1], [], [1], [2], [1, 2], [], []]
        assert found[4].note == "back"


def test_names_and_runs_in_segments_that_are_passed_over(path: Path) -> None:
    """A reader that is far behind takes them from the manifest."""
    with aurolog.open(path) as db:
        db.restore_point("early", at=commit(db, 1, b"early"))
        db.restore_point("late")
        reader = aurolog.open(path, read_only=True)
        lsn = commit(db, 1, b"left")
        db.backtrack("early")
        db.delete_restore_point("early")
        db.restore_point("middle")
        for _ in range(400):  # 25 MiB: the segments before are sealed
            with db.transaction(durability="os") as tx:
                tx.apply([("image", 100 + n, os.urandom(4096)) for n in range(16)])
        db.backtrack(lsn)
    with reader:
        aurolog.open(path).close()
        with aurolog.open(path) as db:
            commit(db, 9, b"another epoch")
            reader.refresh()
            assert reader.restore_points == db.restore_points
            assert reader.history == db.history
            assert reader.stats().sealed_segments >= 2
            assert_pages_equal(reader, db)


# --- what else may happen -------------------------------------------------------------------------


def test_another_volume_in_its_place_is_told(path: Path, tmp_path: Path) -> None:
    with aurolog.open(path) as db:
        commit(db, 0, b"ours")
    with aurolog.open(path, read_only=True) as reader:
        assert reader[0][:4] == b"ours"
        shutil.move(path, tmp_path / "away")
        with pytest.raises(aurolog.NotAVolumeError):
            aurolog.open(path, read_only=True)
        with aurolog.open(path) as db:
            commit(db, 0, b"other")
            with pytest.raises(aurolog.NotAVolumeError, match="another volume"):
                reader.refresh()
            with pytest.raises(aurolog.NotAVolumeError, match="another volume"):
                next(reader.follow())
        assert reader[0][:4] == b"ours"


def test_an_older_copy_in_its_place_is_told(path: Path, tmp_path: Path) -> None:
    with aurolog.open(path) as db:
        commit(db, 0, b"old")
        older = copy(path, tmp_path / "older")
        lsn = commit(db, 0, b"new")
        reader = aurolog.open(path, read_only=True)
        assert reader.visible_lsn == lsn
    with reader:
        shutil.rmtree(path)
        shutil.move(older, path)
        with aurolog.open(path) as db:
            commit(db, 0, b"other")
            with pytest.raises(aurolog.CorruptionError, match="older"):
                reader.refresh()
            assert reader.visible_lsn == lsn


def test_damage_in_the_tail_is_told(path: Path) -> None:
    with aurolog.open(path) as db, aurolog.open(path, read_only=True) as reader:
        first = commit(db, 0, b"first")
        assert reader.refresh() == first
        lsn = commit(db, 0, b"second")
        (segment,) = (path / "log").glob("*.log")
        data = segment.read_bytes()
        at = data.index(b"second")
        with open(segment, "r+b") as file:
            file.seek(at)
            file.write(b"sEcond")
        with pytest.raises(aurolog.CorruptionError, match="durable"):
            reader.refresh()
        assert reader.visible_lsn == first
        assert reader[0][:5] == b"first"
        with open(segment, "r+b") as file:
            file.seek(at)
            file.write(b"second")
        assert reader.refresh() == lsn, "nothing wrong was kept"
        assert reader[0][:6] == b"second"


def test_where_nothing_tells_of_changes_they_are_looked_for(path: Path) -> None:
    with aurolog.open(path) as db:
        commit(db, 0, b"x")
        with Child("few_files_to_follow", path) as follower:
            assert follower.line() == "ready"
            lsns = [commit(db, n, b"x") for n in range(5)]
            assert list(map(int, follower.lines())) == lsns
            assert follower.end() == 0


def test_a_lock_file_that_comes_later_is_found(path: Path) -> None:
    with aurolog.open(path) as db:
        commit(db, 0, b"x")
    (path / "LOCK").unlink()  # as in a copy without it
    with aurolog.open(path, read_only=True) as reader:
        follower = reader.follow()
        found: list[int] = []
        thread = threading.Thread(target=lambda: found.append(next(follower).lsn))
        thread.start()
        with aurolog.open(path) as db:
            lsn = commit(db, 0, b"y")
            thread.join(20)
            assert found == [lsn]
            (path / "LOCK").rename(path / "away")
            shutil.copy(path / "away", path / "LOCK")
            thread = threading.Thread(target=lambda: found.append(next(follower).lsn))
            thread.start()
            lsn = commit(db, 0, b"z")  # told in a file that is not the volume's any more
            (path / "LOCK").write_bytes((path / "away").read_bytes())
            thread.join(20)
            assert found[1:] == [lsn]


def test_a_failed_log_is_told_to_who_waits(path: Path) -> None:
    """Nothing more will be durable: a follower that waited on would wait for ever."""
    need_strace()
    with Child("failing_follower", path) as child:
        assert child.line() == "ready"
        with traced(child.pid, "-e", "inject=fdatasync:error=EIO"):
            child.say("go on")
            assert child.line() == "CommitOutcomeUnknown"
            assert child.line() == "StorageError"


def test_fork_while_following(path: Path) -> None:
    with aurolog.open(path) as db:
        commit(db, 0, b"x")
        with Child("fork_while_following", path) as child:
            assert child.line() == "child ClosedError ClosedError ClosedError"
            assert child.line() == "status 0"
            lsn = commit(db, 0, b"y")
            child.say("go on")
            assert child.line() == f"parent {lsn} {lsn}"
            assert child.end() == 0


def test_ctrl_c_comes_through(path: Path) -> None:
    with aurolog.open(path) as db:
        commit(db, 0, b"x")
        with Child("follow_until_interrupted", path) as child:
            assert child.line() == "ready"
            child.signal(signal.SIGINT)
            assert child.line() == "interrupted"
            lsn = commit(db, 0, b"y")
            assert child.line() == str(lsn)


def test_an_interrupt_loses_no_commit(path: Path) -> None:
    """What was not given when the interrupt came is given next."""
    with aurolog.open(path) as db:
        lsns = [commit(db, n % 5, b"x", note=str(n)) for n in range(100)]
        follower = db.follow(0, timeout=0)
        found: list[int] = []

        def take() -> None:
            c = next(follower)
            found.append(c.lsn)

        point = 0
        while len(found) < len(lsns):
            point = point % 60 + 1
            before = list(found)
            strike_at(point, take)
            if found == before and follower.lsn != (found[-1] if found else 0):
                found.append(follower.lsn)  # struck between the call and the list
        assert found == lsns


# --- in event loops -------------------------------------------------------------------------------


def threads_named(name: str) -> int:
    """How many threads with that name there are."""
    return sum(thread.name == name for thread in threading.enumerate())


def test_a_slow_consumer_costs_no_memory(path: Path) -> None:
    with aurolog.open(path, durability="os") as db:
        lsns = [commit(db, n % 7, b"x") for n in range(3)]
        db.sync()
        with Child("follow_later", path) as child:
            assert child.line() == f"first {lsns[0]}"
            lsns += [commit(db, n % 7, b"x") for n in range(997)]
            db.sync()
            child.say("go on")
            assert child.line() == "lsns " + " ".join(map(str, lsns))

    async def main(follower: aurolog.Follower) -> None:
        await anext(follower)
        worker = follower._worker
        assert worker is not None
        wait_until(lambda: len(worker.found) >= 256, "it runs ahead")
        await asyncio.sleep(0.05)
        assert len(worker.found) <= 256

    with aurolog.open(path) as db:
        asyncio.run(main(db.follow(0)))


def test_closing_ends_the_thread_and_the_iteration(db: aurolog.Volume) -> None:
    async def main() -> None:
        follower = db.follow()
        task = asyncio.ensure_future(anext(follower, None))
        await asyncio.sleep(0.01)
        assert threads_named("aurolog follower") == 1
        began = time.monotonic()
        follower.close()
        assert await asyncio.wait_for(task, 10) is None
        assert time.monotonic() - began < 5
        assert [c async for c in follower] == []

    asyncio.run(main())
    wait_until(lambda: threads_named("aurolog follower") == 0, "the thread has ended")


def test_a_dropped_follower_ends_its_thread(db: aurolog.Volume) -> None:
    async def main() -> None:
        async for _ in db.follow(timeout=0):
            pass
        follower = db.follow(0)
        commit(db, 0, b"x", durability="sync")
        await anext(follower)
        gone = weakref.ref(follower)
        del follower
        gc.collect()
        assert gone() is None

    asyncio.run(main())
    wait_until(lambda: threads_named("aurolog follower") == 0, "the thread has ended")


def test_a_cancelled_wait_loses_no_commit(db: aurolog.Volume) -> None:
    async def main() -> None:
        follower = db.follow()
        found = []
        for number in range(50):
            task = asyncio.ensure_future(anext(follower))
            await asyncio.sleep(0)
            lsn = await asyncio.to_thread(commit, db, 0, b"x", durability="sync")
            if number % 2:
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await task
            found += [(await task).lsn] if not task.cancelled() else []
        async with follower:
            while found[-1] < lsn:
                found.append((await anext(follower)).lsn)
        assert found == list(range(1, lsn + 1))

    asyncio.run(asyncio.wait_for(main(), 60))


def test_closing_the_volume_ends_followers_in_loops(path: Path) -> None:
    async def main() -> None:
        db = aurolog.open(path)
        waits, full = db.follow(), db.follow(0)
        for number in range(300):
            commit(db, number % 3, b"x", durability="os")
        db.sync()
        await anext(full)
        while (await anext(waits)).lsn < db.durable_lsn:
            pass
        tasks = [asyncio.ensure_future(anext(waits)) for _ in range(2)]
        await asyncio.sleep(0.01)
        await asyncio.to_thread(db.close)
        results = await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 10)
        assert aurolog.ClosedError in {type(result) for result in results}
        with pytest.raises(aurolog.ClosedError):
            while True:
                await anext(full)

    asyncio.run(main())
    wait_until(lambda: threads_named("aurolog follower") == 0, "the threads have ended")


def test_one_follower_is_iterated_one_way(db: aurolog.Volume) -> None:
    commit(db, 0, b"x")
    db.sync()

    async def main() -> None:
        follower = db.follow(0)
        await anext(follower)
        with pytest.raises(aurolog.InputError):
            next(follower)
        follower.close()

    asyncio.run(main())


def test_threads_and_tasks_may_share_a_follower(path: Path) -> None:
    async def main(follower: aurolog.Follower) -> list[list[int]]:
        async def take() -> list[int]:
            return [c.lsn async for c in follower]

        return await asyncio.gather(*(take() for _ in range(4)))

    with aurolog.open(path) as db:
        follower = db.follow()
        found: list[list[int]] = [[] for _ in range(4)]
        threads = [
            threading.Thread(target=lambda mine=mine: mine.extend(c.lsn for c in follower))
            for mine in found
        ]
        for thread in threads:
            thread.start()
        lsns = [commit(db, 0, b"x") for _ in range(100)]
        wait_until(lambda: sum(map(len, found)) == len(lsns), "all were given")
        follower.close()
        for thread in threads:
            thread.join()
        assert sorted(lsn for mine in found for lsn in mine) == lsns
        assert all(mine == sorted(mine) for mine in found)
        shared = asyncio.run(main(db.follow(0, timeout=0)))
        assert sorted(lsn for mine in shared for lsn in mine) == lsns


def test_many_followers_in_one_loop(path: Path) -> None:
    async def follow(volume: aurolog.Volume, last: int) -> list[int]:
        found = []
        async for c in volume.follow(0):
            found.append(c.lsn)
            if c.lsn == last:
                break
        return found

    async def main() -> None:
        with aurolog.open(path) as db, aurolog.open(path, read_only=True) as reader:
            tasks = [asyncio.ensure_future(follow(v, 100)) for v in (db, reader) * 4]
            for number in range(100):
                await asyncio.to_thread(commit, db, number % 3, b"x")
            for found in await asyncio.gather(*tasks):
                assert found == list(range(1, 101))

    asyncio.run(asyncio.wait_for(main(), 60))


def test_a_differing_page_of_a_passed_session_is_told(path: Path) -> None:
    """A follower takes over as sealed what it has not read."""
    with aurolog.open(path) as db:
        with db.transaction() as tx:
            tx.write(1, 0, b"a")
        base = db.durable_lsn
        reader = aurolog.open(path, read_only=True)
        with db.transaction() as tx:
            tx.write(2, 0, b"b")
    with reader, aurolog.open(path) as db:
        with db.transaction() as tx:
            tx.write(3, 0, b"c")
        reader.refresh()
        assert list(reader.diff(base)) == list(db.diff(base)) == [2, 3]
        dry = reader.backtrack(base, dry_run=True)
        assert dry == db.backtrack(base, dry_run=True)
        assert dry.pages == 2


def test_no_time_is_a_look(path: Path) -> None:
    with aurolog.open(path) as db, aurolog.open(path, read_only=True) as reader:
        with db.transaction() as tx:
            tx.write(1, 0, b"a")
        assert [commit.lsn for commit in reader.follow(timeout=0)] == [tx.lsn]


def test_what_recovery_cut_is_nowhere_to_begin(path: Path) -> None:
    with Child("write_program", path, 1, "os") as child:
        while child.line().split()[:2] != ["a", "5"]:
            pass
    with aurolog.open(path) as db:
        cut = db.history[-1]
        assert cut.parent_lsn is not None
        with pytest.raises(aurolog.LsnError, match="recovery cut"):
            db.follow(cut.parent_lsn + 1)
        assert db.follow(cut.parent_lsn, timeout=0).__next__().kind == "cut"


def test_the_time_of_async_iteration_counts_while_somebody_waits(path: Path) -> None:
    """Not while the consumer does something else."""

    async def main(db: aurolog.Volume) -> list[int]:
        seen = []
        async for commit in db.follow(0, timeout=0.2):
            seen.append(commit.lsn)
            if len(seen) < 4:
                await asyncio.sleep(0.3)  # the consumer's own time
                async with db.transaction() as tx:
                    tx.write(0, 0, b"%d" % len(seen))
        return seen

    with aurolog.open(path, durability="sync") as db:
        with db.transaction() as tx:
            tx.write(0, 0, b"0")
        assert asyncio.run(main(db)) == [1, 2, 3, 4]
