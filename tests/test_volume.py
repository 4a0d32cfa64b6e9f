"""Opening, closing, locking, forking: the life of a volume as a whole."""

from __future__ import annotations

import gc
import itertools
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import uuid
import warnings
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from support import (
    CHILD,
    Child,
    Oracle,
    Replay,
    assert_same,
    contents,
    copy,
    counter,
    need_strace,
    traced,
    wait_until,
)

import aurolog

# --- making and opening ---------------------------------------------------------------------------


def test_a_new_volume_is_empty_and_has_the_defaults(path: Path) -> None:
    with aurolog.open(path) as db:
        assert db.path == path
        assert db.page_size == 4096
        assert db.durability == "sync"
        assert db.retention == timedelta(hours=24)
        assert isinstance(db.volume_id, uuid.UUID)
        assert not db.read_only
        assert not db.closed
        assert len(db) == 0
        assert db.visible_lsn == db.durable_lsn == 0
        assert db[0] == bytes(4096)
        assert db.recovery.clean
        assert db.recovery.cut_bytes == 0
        assert db.recovery.cut_lsn is None


def test_a_volume_reads_the_same_after_reopening(path: Path) -> None:
    with aurolog.open(path) as db:
        with db.transaction() as tx:
            tx.write(7, 100, b"hello")
        first = tx.lsn
        with db.transaction() as tx:
            tx.write(7, 102, b"LL")
        volume_id = db.volume_id
    with aurolog.open(path) as db:
        assert db[7][100:105] == b"heLLo"
        assert db.at(first)[7][100:105] == b"hello"
        assert len(db) == 8
        assert db.visible_lsn >= tx.lsn
        assert db.volume_id == volume_id
        assert db.recovery.clean
        assert db.recovery.cut_lsn is None


@pytest.mark.parametrize("page_size", [512 << i for i in range(8)])
def test_every_page_size_round_trips(path: Path, page_size: int) -> None:
    with aurolog.open(path, page_size=page_size) as db, db.transaction() as tx:
        tx.write(0, 0, b"first")
        tx.write(3, page_size - 4, b"last")
        tx[5] = bytes(range(256)) * (page_size // 256)
        tx.fill(6, 0, page_size, 0xAB)
        tx.apply([("move", 0, 0, page_size - 5, 5)])
    with aurolog.open(path) as db:
        assert db.page_size == page_size
        assert db[0] == b"first" + bytes(page_size - 10) + b"first"
        assert db[3] == bytes(page_size - 4) + b"last"
        assert db[5] == bytes(range(256)) * (page_size // 256)
        assert db[6] == b"\xab" * page_size
        assert db.verify().ok


@pytest.mark.parametrize(
    "page_size", [0, 1, 256, 511, 1000, 4095, 131072, -4096, 1 << 40, "4096", 4096.0]
)
def test_an_impossible_page_size_is_refused_and_nothing_is_made(path: Path, page_size: Any) -> None:
    with pytest.raises(aurolog.InputError, match=r"page.size"):
        aurolog.open(path, page_size=page_size)
    assert not path.exists()


def test_another_page_size_than_the_volumes_is_refused(path: Path) -> None:
    aurolog.open(path, page_size=8192).close()
    with pytest.raises(aurolog.InputError, match=r"8192|8,192"):
        aurolog.open(path, page_size=4096)
    with pytest.raises(aurolog.InputError):
        aurolog.open(path, page_size=4096, read_only=True)
    with aurolog.open(path, page_size=8192) as db:
        assert db.page_size == 8192


@pytest.mark.parametrize("kind", [str, Path, pathlib.PurePath])
def test_a_path_may_be_str_or_pathlike(path: Path, kind: Callable[[Path], Any]) -> None:
    with aurolog.open(kind(path)) as db:
        assert db.path == path


def test_a_path_may_hold_any_character_a_file_name_may(tmp_path: Path) -> None:
    path = tmp_path / "größe 数据 🗄 %s\n'quoted'"
    with aurolog.open(path) as db, db.transaction() as tx:
        tx.write(0, 0, b"x")
    with aurolog.open(str(path)) as db:
        assert db[0][:1] == b"x"


def test_a_relative_path_goes_on_working_when_the_process_changes_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    with aurolog.open("relative") as db:
        monkeypatch.chdir(tmp_path / "elsewhere")
        with db.transaction() as tx:
            tx.write(0, 0, b"here")
        assert db.verify().ok
    monkeypatch.chdir(tmp_path)
    with aurolog.open("relative") as db:
        assert db[0][:4] == b"here"
    assert not list((tmp_path / "elsewhere").iterdir())


def test_an_empty_directory_becomes_a_volume_only_when_asked(path: Path) -> None:
    path.mkdir()
    with pytest.raises(aurolog.NotAVolumeError):
        aurolog.open(path, create=False)
    assert not list(path.iterdir())
    aurolog.open(path).close()
    aurolog.open(path, create=False).close()


def _nothing(path: Path) -> None:
    pass


def _a_file(path: Path) -> None:
    path.write_bytes(b"not a volume")


def _a_directory_of_something_else(path: Path) -> None:
    path.mkdir()
    (path / "letter.txt").write_bytes(b"dear reader")


@pytest.mark.parametrize(
    ("make", "how"),
    [
        (_nothing, {"create": False}),
        (_nothing, {"read_only": True}),
        (_a_file, {}),
        (_a_file, {"read_only": True}),
        (_a_directory_of_something_else, {}),
        (_a_directory_of_something_else, {"read_only": True}),
    ],
)
def test_what_is_no_volume_is_refused_and_left_alone(
    path: Path, make: Callable[[Path], None], how: dict[str, Any]
) -> None:
    make(path)
    before = contents(path) if path.is_dir() else path.exists() and path.read_bytes()
    with pytest.raises(aurolog.NotAVolumeError, match=r"volume\.aurolog") as caught:
        aurolog.open(path, **how)
    assert re.search("[Cc]heck the path$|Choose another path$", str(caught.value))
    assert before == (contents(path) if path.is_dir() else path.exists() and path.read_bytes())


def test_a_path_below_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(aurolog.AurologError):
        aurolog.open(tmp_path / "file" / "volume")


def test_opening_and_closing_writes_nothing_to_a_clean_volume(path: Path) -> None:
    with aurolog.open(path) as db, db.transaction() as tx:
        tx.write(0, 0, b"x")
    before = contents(path)
    with aurolog.open(path) as db:
        assert db[0][:1] == b"x"
        assert db.verify().ok
        assert contents(path) == before
    assert contents(path) == before
    with aurolog.open(path) as db:
        assert db.recovery.clean


def test_a_read_only_open_writes_nothing(path: Path) -> None:
    with aurolog.open(path) as db, db.transaction() as tx:
        tx.write(0, 0, b"x")
    before = contents(path)
    names = sorted(path.rglob("*"))
    with aurolog.open(path, read_only=True) as db:
        assert db[0][:1] == b"x"
        assert db.verify().ok
    assert contents(path) == before
    assert sorted(path.rglob("*")) == names


def test_every_writable_open_that_commits_has_a_higher_epoch(path: Path) -> None:
    epochs = []
    for _ in range(4):
        with aurolog.open(path) as db, db.transaction() as tx:
            tx.write(0, 0, b"x")
        with aurolog.open(path) as db:
            epochs.append(next(b for b in db.log(tx.lsn, tx.lsn)).epoch)
    assert epochs == sorted(set(epochs))


def test_retention_is_recorded_and_kept(path: Path) -> None:
    with aurolog.open(path, retention=timedelta(days=3)) as db:
        assert db.retention == timedelta(days=3)
    with aurolog.open(path) as db:
        assert db.retention == timedelta(days=3)
    with aurolog.open(path, retention=timedelta(days=35)) as db:
        assert db.retention == timedelta(days=35)
    with aurolog.open(path, read_only=True) as db:
        assert db.retention == timedelta(days=35)


def test_two_volumes_are_open_at_once_without_mixing(tmp_path: Path) -> None:
    with aurolog.open(tmp_path / "a") as a, aurolog.open(tmp_path / "b", page_size=512) as b:
        assert a.volume_id != b.volume_id
        with a.transaction() as one, b.transaction() as two:
            one.write(0, 0, b"into a")
            two.write(0, 0, b"into b")
            assert one[0][:6] == b"into a"
            assert two[0][:6] == b"into b"
        assert (a[0][:6], b[0][:6]) == (b"into a", b"into b")


@pytest.mark.parametrize("skeleton", [["log"], ["images"], ["log", "images"]])
def test_a_creation_that_stopped_early_is_taken_up_again(path: Path, skeleton: list[str]) -> None:
    """Directories without a manifest hold nothing; whether they count as empty, they never
    block the path for good.
    """
    path.mkdir()
    for name in skeleton:
        (path / name).mkdir()
    with pytest.raises(aurolog.NotAVolumeError):
        aurolog.open(path, read_only=True)
    with aurolog.open(path) as db:
        with db.transaction() as tx:
            tx.write(0, 0, b"x")
        assert db.verify().ok


@pytest.mark.slow
def test_a_volume_that_was_killed_while_it_was_made_can_be_made_again(tmp_path: Path) -> None:
    need_strace()
    calls = "mkdir,mkdirat,pwrite64,pwritev,pwritev2,write,fallocate,ftruncate,fsync,fdatasync"
    calls += ",rename,renameat,renameat2,link,linkat"
    states = set()
    for number in itertools.count(1):
        path = tmp_path / str(number)
        inject = f"inject={calls}:signal=KILL:when={number}"
        with Child("create_one", path) as child:
            assert child.line() == "ready"
            with traced(child.pid, "-e", f"trace={calls}", "-e", inject):
                child.say("go")
                made = any(line.startswith("made") for line in child.lines())
                status = child.end()
        states.add(tuple(sorted(str(p.relative_to(tmp_path)) for p in path.rglob("*"))))
        with aurolog.open(path) as db:
            assert len(db) in ((4,) if made else (0, 4)), f"killed at call {number}"
            with db.transaction() as tx:
                tx.write(0, 0, b"works")
            assert db.verify().ok
        if status == 0:
            break
    assert len(states) >= 3, "the kills did not hit the making of the volume"


# --- closing --------------------------------------------------------------------------------------


def test_the_block_closes_and_closing_again_is_nothing(path: Path) -> None:
    with aurolog.open(path) as db:
        assert not db.closed
    assert db.closed
    db.close()
    db.close()
    assert db.closed


def test_an_exception_in_the_block_closes_too_and_keeps_what_was_committed(path: Path) -> None:
    with pytest.raises(ZeroDivisionError), aurolog.open(path) as db:
        with db.transaction() as tx:
            tx.write(0, 0, b"kept")
        raise ZeroDivisionError
    assert db.closed
    with aurolog.open(path) as db:
        assert db[0][:4] == b"kept"
        assert db.recovery.clean


VOLUME_CALLS: dict[str, Callable[[aurolog.Volume], Any]] = {
    "transaction": lambda db: db.transaction(),
    "sync": lambda db: db.sync(),
    "getitem": lambda db: db[0],
    "read_into": lambda db: db.read_into(0, bytearray(4096)),
    "read_many": lambda db: db.read_many([0]),
    "view_page": lambda db: db.view_page(0),
    "len": lambda db: len(db),
    "at": lambda db: db.at(1),
    "versions": lambda db: db.versions(0),
    "log": lambda db: list(db.log()),
    "verify": lambda db: db.verify(),
    "stats": lambda db: db.stats(),
    "enter": lambda db: db.__enter__(),
}


@pytest.mark.parametrize("name", VOLUME_CALLS)
def test_a_late_call_on_a_closed_volume_says_closed(path: Path, name: str) -> None:
    with aurolog.open(path) as db, db.transaction() as tx:
        tx.write(0, 0, b"x")
    with pytest.raises(aurolog.ClosedError):
        VOLUME_CALLS[name](db)


def test_what_was_opened_can_still_be_told_after_closing(path: Path) -> None:
    with aurolog.open(path) as db:
        volume_id = db.volume_id
    assert (db.path, db.page_size, db.volume_id, db.closed) == (path, 4096, volume_id, True)


def test_views_and_transactions_die_with_their_volume(path: Path) -> None:
    with aurolog.open(path) as db:
        with db.transaction() as tx:
            tx.write(0, 0, b"x")
        view = db.at(tx.lsn)
        log = db.log()
        next(log)
        tx = db.transaction()
        tx.write(0, 0, b"never committed")
    calls: list[Callable[[], Any]] = [
        lambda: view[0],
        lambda: view.read_many([0]),
        lambda: view.read_into(0, bytearray(4096)),
        lambda: view.view_page(0),
        lambda: tx[0],
        lambda: tx.commit(),
        lambda: next(log),
    ]
    for call in calls:
        with pytest.raises(aurolog.ClosedError):
            call()
    view.close()
    with aurolog.open(path) as db:
        assert db[0][:2] == b"x\0"


def test_a_closed_view_says_closed_and_closing_it_again_is_nothing(db: aurolog.Volume) -> None:
    with db.transaction() as tx:
        tx.write(0, 0, b"x")
    with db.at(tx.lsn) as view:
        assert view[0][:1] == b"x"
    view.close()
    for call in (lambda: view[0], lambda: len(view), lambda: view.read_many([0])):
        with pytest.raises(aurolog.ClosedError):
            call()
    assert db[0][:1] == b"x"


@pytest.mark.threads
def test_closing_under_threads_at_work_ends_them_with_closed_and_loses_nothing(
    path: Path,
) -> None:
    db = aurolog.open(path, cache_bytes=16 * 4096)
    acked: list[int] = [0] * 6
    started = threading.Barrier(7)
    ends: list[str] = []

    def work(mine: int) -> None:
        started.wait()
        try:
            while True:
                if mine < 3:
                    with db.transaction() as tx:
                        tx.write(mine, 0, (acked[mine] + 1).to_bytes(8, "little"))
                    acked[mine] += 1
                elif mine == 3:
                    db.read_many(range(40))
                elif mine == 4:
                    list(db.log())
                else:
                    db.verify()
        except aurolog.ClosedError:
            ends.append("closed")
        except BaseException as error:
            ends.append(repr(error))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    started.wait()
    wait_until(lambda: min(acked[:3]) >= 5, "five commits of each thread")
    db.close()
    for thread in threads:
        thread.join()
    assert ends == ["closed"] * 6
    with aurolog.open(path) as db:
        assert db.recovery.clean
        for mine in range(3):
            assert int.from_bytes(db[mine][:8], "little") in (acked[mine], acked[mine] + 1)
        assert db.verify().ok


def test_a_volume_that_is_dropped_frees_its_lock_and_keeps_its_commits(path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        db = aurolog.open(path)
        with db.transaction() as tx:
            tx.write(0, 0, b"kept")
        del db, tx
        gc.collect()
    with aurolog.open(path) as again:
        assert again[0][:4] == b"kept"


def test_opening_and_closing_leaks_no_file_and_no_thread(path: Path) -> None:
    def in_use() -> tuple[int, int]:
        gc.collect()
        return len(os.listdir("/proc/self/fd")), len(os.listdir("/proc/self/task"))

    def once() -> None:
        with aurolog.open(path) as db:
            with db.transaction() as tx:
                tx.write(0, 0, os.urandom(8))
            with pytest.raises(aurolog.VolumeLockedError):
                aurolog.open(path)
            with aurolog.open(path, read_only=True) as reader:
                reader.verify()
            next(db.log())
        with pytest.raises(aurolog.InputError):
            aurolog.open(path, page_size=512)

    once()
    before = in_use()
    for _ in range(20):
        once()
    wait_until(lambda: in_use() == before, f"back to {before} files and threads")


def test_a_volume_is_true_and_not_iterable(db: aurolog.Volume) -> None:
    assert len(db) == 0
    assert bool(db) is True
    with pytest.raises(TypeError):
        iter(db)  # type: ignore[call-overload]
    with pytest.raises(TypeError):
        0 in db  # type: ignore[operator]  # noqa: B015


# --- one writer -----------------------------------------------------------------------------------


def test_a_second_writer_in_the_same_process_is_refused(path: Path) -> None:
    with aurolog.open(path) as db:
        with pytest.raises(aurolog.VolumeLockedError) as caught:
            aurolog.open(path)
        assert caught.value.pid == os.getpid()
        assert caught.value.host == socket.gethostname()
        assert caught.value.since <= datetime.now(UTC)
        with db.transaction() as tx:
            tx.write(0, 0, b"goes on")
    aurolog.open(path).close()


def test_a_second_writer_by_another_name_of_the_directory_is_refused(path: Path) -> None:
    link = path.with_name("link")
    link.symlink_to(path)
    with aurolog.open(path), pytest.raises(aurolog.VolumeLockedError):
        aurolog.open(link)


def test_a_second_writer_in_another_process_is_told_who_writes(path: Path) -> None:
    before = datetime.now(UTC)
    with Child("hold", path) as holder:
        assert holder.line() == "open"
        with pytest.raises(aurolog.VolumeLockedError) as caught:
            aurolog.open(path)
        assert caught.value.pid == holder.pid
        assert caught.value.host == socket.gethostname()
        assert before - timedelta(seconds=2) <= caught.value.since <= datetime.now(UTC)
        assert str(holder.pid) in str(caught.value)
        assert socket.gethostname() in str(caught.value)
        assert holder.end() == 0
    aurolog.open(path).close()


def test_the_lock_dies_with_a_killed_writer(path: Path) -> None:
    with Child("hold", path) as holder:
        assert holder.line() == "open"
        holder.signal(signal.SIGKILL)
        holder.process.wait()
        aurolog.open(path).close()


def test_a_volume_without_its_manifest_is_damage_however_it_is_opened(path: Path) -> None:
    with aurolog.open(path) as db, db.transaction() as tx:
        tx.write(0, 0, b"x")
    (path / "MANIFEST").unlink()
    for how in ({}, {"create": False}, {"read_only": True}):
        with pytest.raises(aurolog.CorruptionError, match="MANIFEST is missing"):
            aurolog.open(path, **how)


def test_a_volume_is_not_made_where_its_parent_is_missing(tmp_path: Path) -> None:
    with pytest.raises(aurolog.NotAVolumeError, match="make it first"):
        aurolog.open(tmp_path / "no" / "such" / "place")
    (tmp_path / "dangling").symlink_to(tmp_path / "nothing")
    with pytest.raises(aurolog.NotAVolumeError):
        aurolog.open(tmp_path / "dangling")
    with pytest.raises(aurolog.InputError, match="too long"):
        aurolog.open(tmp_path / ("x" * 300))
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["dangling"]


def test_copying_the_directory_in_the_writing_process_does_not_drop_its_lock(
    path: Path, tmp_path: Path
) -> None:
    with aurolog.open(path) as db:
        with db.transaction() as tx:
            tx.write(0, 0, b"x")
        shutil.copytree(path, tmp_path / "copy")
        with Child("try_open", path) as other:
            assert other.line().split()[0] == "VolumeLockedError"
    with Child("try_open", path) as other:
        assert other.line() == "none"


def test_of_two_processes_that_make_a_volume_at_once_one_is_told_of_the_other(
    tmp_path: Path,
) -> None:
    with Child("open_by_name") as one, Child("open_by_name") as other:
        for turn in range(40):
            for child in (one, other):
                child.say(str(tmp_path / str(turn)))
            answers = sorted([one.line(), other.line()])
            assert answers in (["VolumeLockedError", "open"], ["open", "open"])
            for child in (one, other):
                child.say("close")
            assert {one.line(), other.line()} == {"closed"}


def test_a_refused_second_writer_and_readers_do_not_drop_the_writers_lock(path: Path) -> None:
    """POSIX drops a process's record locks when it closes any descriptor of the file: the trap
    must be avoided.
    """
    with aurolog.open(path) as db:
        with db.transaction() as tx:
            tx.write(0, 0, b"x")
        aurolog.open(path, read_only=True).close()
        with pytest.raises(aurolog.VolumeLockedError):
            aurolog.open(path)
        with Child("try_open", path) as other:
            word, pid, host, since = other.line().split()
        assert (word, int(pid), host) == ("VolumeLockedError", os.getpid(), socket.gethostname())
        assert datetime.fromisoformat(since) <= datetime.now(UTC)


def test_readers_beside_a_writer_stay_at_the_moment_of_their_opening(path: Path) -> None:
    with aurolog.open(path) as db:
        with db.transaction() as tx:
            tx.write(0, 0, b"one")
        with aurolog.open(path, read_only=True) as reader:
            assert reader.read_only
            with db.transaction() as tx:
                tx.write(0, 0, b"two")
                tx.write(9, 0, b"new page")
            assert reader[0][:3] == b"one"
            assert len(reader) == 1
            assert reader.visible_lsn == reader.durable_lsn < tx.lsn
            with pytest.raises(aurolog.LsnError):
                reader.at(tx.lsn)
            with aurolog.open(path, read_only=True) as later:
                assert later[0][:3] == b"two"
                assert len(later) == 10
        with db.transaction() as tx:
            tx.write(0, 0, b"three")
        assert db[0][:5] == b"three"


def test_a_reader_sees_only_what_is_durable(path: Path) -> None:
    """What is only visible to the writer may be gone after a power cut: it does not leave the
    process.
    """
    with aurolog.open(path) as db:
        with db.transaction() as tx:
            tx.write(0, 0, b"durable")
        for number in range(20):
            with db.transaction(durability="os") as tx:
                tx.write(0, 0, b"visible")
                tx.write(1, 0, bytes([number]))
            with aurolog.open(path, read_only=True) as reader:
                shown = reader.visible_lsn
                assert shown <= db.durable_lsn
                assert reader[0] == db.at(shown)[0]
                assert len(reader) == len(db.at(shown))
        db.sync()
        with aurolog.open(path, read_only=True) as reader:
            assert reader.visible_lsn == tx.lsn
            assert reader[0][:7] == b"visible"


@pytest.mark.parametrize("durability", ["sync", "os"])
def test_readers_beside_a_writing_process_see_whole_commits(
    path: Path, seed: int, durability: str
) -> None:
    """However the writer rolls, seals and lists its segments meanwhile."""
    replay, oracle, last = Replay(seed), Oracle(), 0
    with Child("write_program", path, seed, durability) as child:
        for _ in range(8):
            for _ in range(25):
                oracle.hear(child.line())
            with aurolog.open(path, read_only=True, cache_bytes=16 * 4096) as reader:
                number = counter(reader)
                assert number >= last
                if durability == "sync":
                    assert number >= oracle.last_acked
                assert_same(reader, replay.after(number))
                for past, lsn in list(oracle.acked.items())[: number // 2 : 20]:
                    assert_same(reader.at(lsn), replay.after(past))
                last = number


def test_a_read_only_volume_is_not_written_to(path: Path) -> None:
    with aurolog.open(path) as db, db.transaction() as tx:
        tx.write(0, 0, b"x")
    with aurolog.open(path, read_only=True) as db:
        with pytest.raises(aurolog.ReadOnlyError):
            db.transaction().write(0, 0, b"y")
        assert db[0][:1] == b"x"


def _missing(lock: Path) -> None:
    lock.unlink()


def _empty(lock: Path) -> None:
    os.truncate(lock, 0)


def _short(lock: Path) -> None:
    os.truncate(lock, 100)


def _ones(lock: Path) -> None:
    lock.write_bytes(b"\xff" * 4096)


def _zeros(lock: Path) -> None:
    lock.write_bytes(bytes(4096))


@pytest.mark.parametrize("spoil", [_missing, _empty, _short, _ones, _zeros])
@pytest.mark.parametrize("clean", [True, False])
def test_the_lock_file_holds_nothing_that_could_be_lost(
    tmp_path: Path, spoil: Callable[[Path], None], clean: bool
) -> None:
    with aurolog.open(tmp_path / "live") as db:
        for number in range(5):
            with db.transaction() as tx:
                tx.write(0, 0, bytes([number]))
        if not clean:
            copy(tmp_path / "live", tmp_path / "killed")
    path = tmp_path / ("live" if clean else "killed")
    for lock in [file for file in path.iterdir() if "lock" in file.name.lower()]:
        spoil(lock)
    with aurolog.open(path, read_only=True) as db:
        assert db[0][0] in ((4,) if clean else (3, 4))
        assert db.visible_lsn >= (tx.lsn or 0) - 1
    with aurolog.open(path) as db:
        assert db[0][0] == 4
        assert db.recovery.clean == clean
        with pytest.raises(aurolog.VolumeLockedError):
            aurolog.open(path)


# --- processes ------------------------------------------------------------------------------------


def test_handles_are_dead_in_a_forked_child_and_alive_in_the_parent(path: Path) -> None:
    with Child("fork_and_go_on", path) as child:
        assert child.line() == "child ClosedError"
        assert child.line() == "memory before"
        assert child.line() == "status 0"
        assert child.line() == "parent parent after 1"
        assert child.line() == "open"
        with pytest.raises(aurolog.VolumeLockedError):  # the forked child's end did not drop it
            aurolog.open(path)
        child.say("close")
        assert child.line() == "closed"
        assert child.end() == 0
    with aurolog.open(path) as db:
        assert db.recovery.clean
        assert db[1][:6] == b"parent"
        assert db[2][:5] == b"after"


def test_a_forked_child_may_open_for_itself_what_the_parent_closed(path: Path) -> None:
    with aurolog.open(path) as db, db.transaction() as tx:
        tx.write(0, 0, b"x")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        pid = os.fork()
    if pid == 0:
        status = 1
        try:
            with aurolog.open(path) as mine, mine.transaction() as tx:
                tx.write(0, 0, b"child")
            status = 0
        finally:
            os._exit(status)
    assert os.waitpid(pid, 0)[1] == 0
    with aurolog.open(path) as db:
        assert db[0][:5] == b"child"
        assert db.recovery.clean


def test_a_child_that_outlives_its_killed_parent_does_not_keep_the_lock(path: Path) -> None:
    with Child("fork_and_linger", path) as parent:
        word, pid = parent.line().split()
        assert word == "lingers"
        try:
            with pytest.raises(aurolog.VolumeLockedError):
                aurolog.open(path)
            parent.signal(signal.SIGKILL)
            parent.process.wait()
            os.kill(int(pid), 0)  # it is still there
            aurolog.open(path).close()
        finally:
            os.kill(int(pid), signal.SIGKILL)


def test_a_started_program_inherits_no_file_of_the_volume(path: Path) -> None:
    with aurolog.open(path) as db:
        with db.transaction() as tx:
            tx.write(0, 0, b"x")
        done = subprocess.run(
            [sys.executable, str(CHILD), "inherited_files", str(path)],
            capture_output=True,
            close_fds=False,
            check=True,
        )
    assert done.stdout == b"files\n"


# --- rights ---------------------------------------------------------------------------------------


@pytest.fixture
def open_path() -> Iterator[Path]:
    """A volume with one commit where any user may go."""
    with tempfile.TemporaryDirectory() as directory:
        os.chmod(directory, 0o755)
        path = Path(directory) / "volume"
        with aurolog.open(path) as db, db.transaction() as tx:
            tx.write(0, 0, b"hello")
        yield path
        for entry in [path, *path.rglob("*")]:
            entry.chmod(0o755)


def test_without_the_right_to_write_only_reading_works(open_path: Path, tmp_path: Path) -> None:
    for entry in [*open_path.rglob("*"), open_path, open_path.parent]:
        entry.chmod(0o555 if entry.is_dir() else 0o444)
    with Child("without_rights", open_path, tmp_path) as child:
        said = list(child.lines())
    open_path.parent.chmod(0o755)
    assert said == ["AccessError", "none", "AccessError"]


def test_without_the_right_to_read_nothing_works(open_path: Path, tmp_path: Path) -> None:
    open_path.chmod(0o000)
    with Child("denied", open_path, tmp_path) as child:
        said = list(child.lines())
    open_path.chmod(0o755)
    assert said == ["AccessError", "AccessError"]
    with aurolog.open(open_path) as db:
        assert db[0][:5] == b"hello"


# --- time -----------------------------------------------------------------------------------------


def test_the_clock_is_asked_once_per_commit_and_its_time_is_recorded(path: Path) -> None:
    now = [1_700_000_000_123_456_000]
    asked = []

    def clock() -> int:
        asked.append(now[0])
        return now[0]

    with aurolog.open(path, clock=clock) as db:
        before = len(asked)
        with db.transaction() as tx:
            tx.write(0, 0, b"x")
        assert len(asked) == before + 1
        at = datetime(2023, 11, 14, 22, 13, 20, 123456, tzinfo=UTC)
        assert db.at(tx.lsn).time == at
        assert [version.time for version in db.versions(0)] == [at]
        assert next(db.log(tx.lsn, tx.lsn)).time == at
        assert db.at(0).time is None


def test_commit_times_never_fall_when_the_clock_jumps_back(path: Path) -> None:
    hour = 3_600_000_000_000
    start = 1_700_000_000_000_000_000
    times = iter([start, start - hour, start + 5, start + 4, start - 30 * hour, start + hour])
    last = [start]

    def clock() -> int:
        last[0] = next(times, start)
        return last[0]

    for _ in range(2):
        with aurolog.open(path, clock=clock) as db:
            for _ in range(3):
                with db.transaction() as tx:
                    tx.write(0, 0, os.urandom(8))
    with aurolog.open(path, clock=lambda: 0) as db:
        with db.transaction() as tx:
            tx.write(0, 0, os.urandom(8))
        found = [version.time for version in db.versions(0)]
    assert len(found) == 7
    assert found == sorted(found)
    assert found[0] == datetime.fromtimestamp(start // 10**9, UTC)


def test_a_clock_that_says_1970_is_believed(path: Path) -> None:
    with aurolog.open(path, clock=lambda: 0) as db:
        with db.transaction() as tx:
            tx.write(0, 0, b"first")
        assert db.at(tx.lsn or 0).time == datetime.fromtimestamp(0, UTC)


def test_a_clock_of_ones_own_goes_on_where_it_was_after_a_close_and_after_a_crash(
    path: Path,
) -> None:
    """What the engine logs for itself must not carry the system's time into a history that has
    another.
    """
    second = 1_000_000_000
    now = [1_700_000_000 * second]
    wanted = []
    for turn in range(3):
        with aurolog.open(path, clock=lambda: now[0]) as db:
            now[0] += second
            with db.transaction() as tx:
                tx.write(0, 0, bytes([turn]))
            wanted.append(datetime.fromtimestamp(now[0] // second, UTC))
            if turn == 1:
                killed = copy(path, path.with_name("killed"))
        path = killed if turn == 1 else path
    with aurolog.open(path) as db:
        assert [version.time for version in db.versions(0)] == wanted


def test_a_clock_that_fails_commits_nothing_and_loses_nothing(path: Path) -> None:
    broken = [False]

    def clock() -> int:
        if broken[0]:
            raise ZeroDivisionError
        return 1_700_000_000_000_000_000

    with aurolog.open(path, clock=clock) as db:
        with db.transaction() as tx:
            tx.write(0, 0, b"one")
        broken[0] = True
        with pytest.raises(ZeroDivisionError), db.transaction() as tx:
            tx.write(0, 0, b"two")
        assert tx.outcome == "rolled back"
        assert db[0][:3] == b"one"
        broken[0] = False
        with db.transaction() as tx:
            tx.write(0, 0, b"six")
        assert db[0][:3] == b"six"


# --- copies ---------------------------------------------------------------------------------------


def test_a_copied_directory_is_a_volume_of_its_own(path: Path) -> None:
    with aurolog.open(path) as db, db.transaction() as tx:
        tx.write(0, 0, b"x")
    other = copy(path, path.with_name("copy"))
    with aurolog.open(path) as a, aurolog.open(other) as b:
        with a.transaction() as tx:
            tx.write(0, 0, b"a")
        with b.transaction() as tx:
            tx.write(0, 0, b"b")
        assert (a[0][:1], b[0][:1]) == (b"a", b"b")


def test_to_sync_a_read_only_volume_only_tells_what_is_durable(path: Path) -> None:
    with aurolog.open(path, durability="os") as db:
        with db.transaction() as tx:
            tx.write(0, 0, b"first")
        lsn = db.sync()
        with db.transaction() as tx:
            tx.write(0, 0, b"second")
        with aurolog.open(path, read_only=True) as reader:
            assert reader.sync() == reader.durable_lsn == reader.visible_lsn >= lsn
            assert reader.stats().disk_syncs == 0
