"""A disk that is full or that fails: what was acknowledged stays, what was refused is not there,
nothing is retried.
"""

from __future__ import annotations

import contextlib
import gc
import os
import shutil
import signal
import subprocess
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
from support import Child, counter, need_strace, segments, traced, wait_until

import aurolog
from aurolog import _core

# --- a full disk ----------------------------------------------------------------------------------


@pytest.fixture(params=["tmpfs", "ext4"])
def small_disk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """A file system with some 8 MiB of room."""
    if os.geteuid() != 0:
        pytest.skip("not root: a full file system is NOT tested here, only a limit of file size")
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=8m", "aurolog-test", str(place)]
    if request.param == "ext4":
        image = tmp_path / "image"
        image.touch()
        os.truncate(image, 10 << 20)
        mount = ["mount", "-o", "loop", str(image), str(place)]
        make = ["mkfs.ext4", "-q", "-O", "^has_journal", "-m", "0", str(image)]
        if shutil.which("mkfs.ext4") is None or subprocess.run(make, check=False).returncode != 0:
            pytest.skip("no mkfs.ext4: a full ext4 is NOT tested here")
    if subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip(f"mounting is not allowed: a full {request.param} is NOT tested here")
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


def _heard(child: Child) -> tuple[dict[int, int], list[str]]:
    acked: dict[int, int] = {}
    while (line := child.line()).startswith("a "):
        _, number, lsn = line.split()
        acked[int(number)] = int(lsn)
    return acked, line.split()


def test_a_full_disk_refuses_the_commit_and_keeps_the_rest(small_disk: Path) -> None:
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(2 << 20))
    path = small_disk / "volume"
    with Child("fill_up", path, 0, 5000) as child:
        acked, full = _heard(child)
        assert full == ["full", "DiskFullError", "rolled-back", str(len(acked))]
        assert len(acked) > 50
        ballast.unlink()
        child.say("there is room again")
        assert child.line() == "again none", "a full disk is not final"
        assert child.line() == "close none"
        assert child.end() == 0
    with aurolog.open(path) as db:
        assert db.recovery.clean
        assert counter(db) == len(acked)
        assert db[60][:4] == b"room"
        for number, lsn in list(acked.items())[::9]:
            assert counter(db.at(lsn)) == number
        assert db.verify().ok


def test_a_refused_reservation_leaves_the_room_to_others(small_disk: Path) -> None:
    """The first segment wants far more than there is: what it got of that, it gives back."""
    with aurolog.open(small_disk / "volume") as db:
        free = os.statvfs(small_disk).f_bavail * os.statvfs(small_disk).f_frsize
        assert free > 5 << 20
        for _ in range(2):
            with db.transaction() as tx:
                tx.apply([("image", page, os.urandom(4096)) for page in range(350)])
        left = os.statvfs(small_disk).f_bavail * os.statvfs(small_disk).f_frsize
        assert left > free - (4 << 20), "two times 1.4 MB of pages took more than 4 MiB"
        with db.transaction() as tx:
            tx.write(0, 0, b"small")
        (small_disk / "other").write_bytes(bytes(1 << 20))


def test_a_volume_on_a_full_disk_closes_and_opens_and_reads(small_disk: Path) -> None:
    path = small_disk / "volume"
    with Child("fill_up", path, 0, 5000) as child:
        acked, full = _heard(child)
        assert full[1] == "DiskFullError"
        child.say("no room was made")
        assert child.line() in ("again DiskFullError", "again none")
        assert child.line() == "close none"
        assert child.end() == 0
    for _ in range(2):
        with aurolog.open(path) as db:
            assert counter(db) == len(acked)
            assert db.verify().ok
    with aurolog.open(path, read_only=True) as db:
        assert counter(db) == len(acked)


def test_a_volume_killed_on_a_full_disk_recovers_when_there_is_room(small_disk: Path) -> None:
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(2 << 20))
    path = small_disk / "volume"
    with Child("fill_up", path, 0, 5000) as child:
        acked, full = _heard(child)
        assert full[1] == "DiskFullError"
        child.kill()
    try:
        with aurolog.open(path) as db:
            assert counter(db) == len(acked)
    except aurolog.DiskFullError:
        pass  # recovery may need room; it says so, and loses nothing
    ballast.unlink()
    with aurolog.open(path) as db:
        assert counter(db) == len(acked)
        with db.transaction() as tx:
            tx.write(60, 0, b"room")
        assert db.verify().ok


@pytest.mark.parametrize("free", range(6))
def test_too_many_open_files_at_the_first_commit_end_nothing(path: Path, free: int) -> None:
    aurolog.open(path).close()
    with Child("few_files", path, free) as child:
        first, second, closing = child.line().split()
        assert child.end() == 0
    assert first in ("none", "StorageError")
    assert (second, closing) == ("none", "none")
    with aurolog.open(path) as db:
        assert db.verify().ok
        assert db[60][:4] == b"room"


def test_a_full_disk_at_the_close_is_told_without_alarm(path: Path) -> None:
    with Child("full_at_the_end", path) as child:
        said = child.line()
        assert child.end() == 0
    assert "all that was committed is safe" in said
    assert "nothing was committed" not in said
    with aurolog.open(path) as db:
        assert db[60][:4] == b"room"


def test_a_handle_that_is_dropped_leaves_nothing_unsynced(path: Path) -> None:
    with aurolog.open(path) as db, db.transaction() as tx:
        tx.write(0, 0, b"first")

    def durable_word() -> int:
        return int.from_bytes((path / "LOCK").read_bytes()[112:120], "little")

    db = aurolog.open(path, durability="os")
    lsn = 0
    for number in range(20):  # the background thread may have just synced the last of them
        with db.transaction() as tx:
            tx.write(1, 0, bytes([number]))
        lsn = tx.lsn or 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        del db, tx
        gc.collect()
    assert durable_word() == lsn


def test_a_disk_without_room_for_a_volume_says_so(small_disk: Path) -> None:
    with (small_disk / "ballast").open("wb", buffering=0) as ballast:
        with contextlib.suppress(OSError):
            while ballast.write(bytes(4096)):
                pass
        os.truncate(ballast.fileno(), ballast.tell() - 8192)
    path = small_disk / "volume"
    with pytest.raises(aurolog.DiskFullError), aurolog.open(path) as db, db.transaction() as tx:
        tx.apply([("image", page, os.urandom(4096)) for page in range(100)])
    (small_disk / "ballast").unlink()
    with aurolog.open(path) as db:
        assert len(db) == 0
        with db.transaction() as tx:
            tx.write(0, 0, b"x")
        assert db.verify().ok


def test_a_full_disk_is_told_with_the_whole_path_of_what_did_not_fit(small_disk: Path) -> None:
    path, ballast = small_disk / "volume", small_disk / "ballast"
    ballast.write_bytes(bytes(1 << 20))
    with aurolog.open(path) as db:
        with pytest.raises(aurolog.DiskFullError) as caught:
            for _ in range(400):
                with db.transaction() as tx:
                    tx.apply([("image", page, os.urandom(4096)) for page in range(20)])
        assert Path(caught.value.filename).parent == path / "log"
        assert f"({caught.value.filename}); nothing was committed" in str(caught.value)
        ballast.unlink()


def test_on_a_read_only_disk_reading_works_and_writing_says_so(small_disk: Path) -> None:
    path, empty = small_disk / "volume", small_disk / "empty"
    with aurolog.open(path) as db, db.transaction() as tx:
        tx.write(0, 0, b"there")
    empty.mkdir()
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    for place, file, begin, way_out in (
        (path, path / "LOCK", "opening the lock file", "open with read_only=True"),
        (small_disk / "new", small_disk / "new", "making the volume's directory", "choose another"),
        (empty, empty / "LOCK", "making a volume", "choose another path"),
    ):
        with pytest.raises(aurolog.AccessError, match=f"{begin} failed: Read-only") as caught:
            aurolog.open(place)
        assert caught.value.filename == str(file)
        assert f"({file}); mount the file system for writing, or {way_out}" in str(caught.value)
    with aurolog.open(path, read_only=True) as db:
        assert db[0][:5] == b"there"


def test_a_big_transaction_that_does_not_fit_is_refused_whole(small_disk: Path) -> None:
    path = small_disk / "volume"
    with aurolog.open(path) as db:
        with db.transaction() as tx:
            tx.write(0, 0, b"before")
        lsn = tx.lsn
        with pytest.raises(aurolog.DiskFullError), db.transaction() as tx:
            tx.apply([("image", page, os.urandom(4096)) for page in range(3000)])
        assert tx.outcome == "rolled back"
        assert tx.lsn is None
        assert len(db) == 1
        assert db.visible_lsn == lsn
        with db.transaction() as tx:
            tx.write(1, 0, b"after")
        assert db.verify().ok
    with aurolog.open(path) as db:
        assert (db[0][:6], db[1][:5], len(db)) == (b"before", b"after", 2)


@pytest.mark.parametrize("kibibytes", [16, 128, 1024, 18 * 1024])
def test_the_limit_of_a_files_size_is_a_full_disk(path: Path, kibibytes: int) -> None:
    """Or the log goes on in the next, smaller file."""
    with Child("fill_up", path, kibibytes << 10, 300) as child:
        acked, full = _heard(child)
        if full[0] == "opening":
            assert full[1] == "DiskFullError"
        else:
            if full[1] != "none":
                assert full == ["full", "DiskFullError", "rolled-back", str(len(acked))]
            child.say("go on")
            assert child.line() in ("again DiskFullError", "again none")
            assert child.line() in ("close DiskFullError", "close none")
        assert child.end() == 0
    with aurolog.open(path) as db:
        assert counter(db) == len(acked)
        assert db.verify().ok
        with db.transaction() as tx:
            tx.write(60, 0, b"room")


# --- a disk that fails ----------------------------------------------------------------------------


SYNCS = "fsync,fdatasync,sync_file_range,syncfs,msync"


def test_a_failed_sync_ends_writing_is_not_retried_and_hides_what_it_covered(path: Path) -> None:
    need_strace()
    with Child("failing_syncs", path) as child:
        acked = {}
        while (line := child.line()).startswith("a "):
            _, number, lsn = line.split()
            acked[int(number)] = int(lsn)
        assert line == "ready"
        with traced(child.pid, "-e", f"trace={SYNCS}", "-e", f"inject={SYNCS}:error=EIO"):
            child.say("syncs fail from now on")
            word, error, *outcome, lsn = child.line().split()
            assert (word, error, *outcome) == ("commit", "CommitOutcomeUnknown", "unknown")
            assert int(lsn) > acked[5]
            assert child.line() == "visible True True 5"
            assert child.line() == "view 5"
            assert child.line() == "again StorageError"
            assert child.line() in ("sync StorageError", "sync CommitOutcomeUnknown")
            assert child.line() == "read 5 True"
        child.say("syncs work again")
        assert child.line() == "again StorageError", "a failed sync is final"
        assert child.line() in ("sync StorageError", "sync CommitOutcomeUnknown")
        assert child.line().startswith("close ")
        assert child.end() == 0
    with aurolog.open(path) as db:
        assert not db.recovery.clean, "the open after a failure is an unclean one"
        assert counter(db) in (5, 6)
        assert (db[1][:4] == b"lost") == (counter(db) == 6), (
            "the unknown commit is there whole or not at all"
        )
        for number, lsn_ in acked.items():
            assert counter(db.at(lsn_)) == number
        with db.transaction() as tx:
            tx.write(0, 0, (7).to_bytes(8, "little"))
        assert tx.lsn is not None
        assert tx.lsn > int(lsn)
        assert db.verify().ok


def test_a_failed_sync_takes_back_what_was_only_visible(tmp_path: Path) -> None:
    """Reads fall back to what is durable, and views above it raise: nobody goes on with what
    may be gone.
    """
    need_strace()
    for turn in range(10):
        path = tmp_path / str(turn)
        with Child("failing_after_os", path) as child:
            assert child.line() == "ready"
            with traced(child.pid, "-e", f"trace={SYNCS}", "-e", f"inject={SYNCS}:error=EIO"):
                child.say("syncs fail from now on")
                if (seen := child.line()) == "late":
                    continue
                assert seen == "seen True"
                assert child.line() in ("sync CommitOutcomeUnknown", "sync StorageError")
                assert child.line() == "fallen True durable 1"
                views, old, new, below, pages, *changed = child.line().split()
                assert (views, new, below) == ("views", "LsnError", "durable")
                assert (pages, changed) == ("CommitOutcomeUnknown", ["0"])
                assert old in ("CommitOutcomeUnknown", "StorageError", "LsnError")
                assert child.line() == "many durable True"
                assert child.line().startswith("memory True")
            assert child.line().startswith("close ")
            assert child.end() == 0
            break
    with aurolog.open(path) as db:
        assert db[0][:7] in (b"durable", b"os only")
        assert (db[9][:7] == b"os only") == (db[0][:7] == b"os only")


def test_a_failed_write_ends_writing_and_loses_nothing_acknowledged(path: Path) -> None:
    need_strace()
    with Child("failing_syncs", path) as child:
        while (line := child.line()).startswith("a "):
            pass
        assert line == "ready"
        # The child speaks by write(2): only calls that carry an offset are the disk's.
        calls = "pwrite64,pwritev,pwritev2"
        with traced(child.pid, "-e", f"trace={calls}", "-e", f"inject={calls}:error=EIO"):
            child.say("writes fail from now on")
            word, error, *_ = child.line().split()
            assert (word, error) in (("commit", "CommitOutcomeUnknown"), ("commit", "StorageError"))
            assert child.line() == "visible True True 5"
            assert child.line() == "view 5"
            assert child.line() == "again StorageError"
            assert child.line() in ("sync StorageError", "sync CommitOutcomeUnknown")
            assert child.line() == "read 5 True"
        child.say("writes work again")
        assert child.line() == "again StorageError", "a failed write is final"
        assert child.line() in ("sync StorageError", "sync CommitOutcomeUnknown")
        assert child.line().startswith("close ")
        assert child.end() == 0
    with aurolog.open(path) as db:
        assert counter(db) == 5, "what was never written is not there"
        assert db.verify().ok


def test_a_failed_sync_is_told_to_all_who_wait_for_it(path: Path) -> None:
    need_strace()
    with Child("failing_threads", path) as child:
        assert child.line() == "ready"
        with traced(child.pid, "-e", f"trace={SYNCS}", "-e", f"inject={SYNCS}:error=EIO"):
            told = child.line().split()[1:]
            acked = [int(word) for word in child.line().split()[1:]]
            assert child.line().startswith("close ")
        assert child.end() == 0
    assert len(told) == 8
    assert set(told) <= {"CommitOutcomeUnknown:unknown", "StorageError:rolled-back"}
    assert "CommitOutcomeUnknown:unknown" in told
    with aurolog.open(path) as db:
        for page, (how, number) in enumerate(zip(told, acked, strict=True)):
            found = int.from_bytes(db[page][:8], "little")
            assert found in {number, number + how.startswith("CommitOutcomeUnknown")}
        assert db.verify().ok


def test_a_transaction_under_way_is_refused_when_an_earlier_sync_fails(path: Path) -> None:
    need_strace()
    with Child("failing_under_a_transaction", path) as child:
        assert child.line() == "ready"
        with traced(child.pid, "-e", f"trace={SYNCS}", "-e", f"inject={SYNCS}:error=EIO"):
            child.say("syncs fail from now on")
            assert child.line() == "page logged"
            assert child.line() in ("sync CommitOutcomeUnknown", "sync StorageError")
            assert child.line() == "commit StorageError rolled back None"
            assert child.line().startswith("close ")
        assert child.end() == 0
    with aurolog.open(path) as db:
        assert db[0][:5] == b"first"
        assert db[2] == bytes(4096)


def test_no_file_of_a_volume_is_mapped(path: Path) -> None:
    """A store into a mapping of a file whose disk has failed ends the process, and says nothing."""
    if not os.path.exists("/proc/self/maps"):
        pytest.skip("no /proc/self/maps: what a process has mapped is NOT looked at here")
    with aurolog.open(path) as db:
        for _ in range(3):
            with db.transaction() as tx:
                tx.write(0, 0, b"x")
        with aurolog.open(path, read_only=True) as other:
            assert other[0][:1] == b"x"
            assert str(path) not in Path("/proc/self/maps").read_text(encoding="utf-8")


def test_an_interrupted_or_short_write_is_finished(path: Path) -> None:
    """EINTR and short results are no failures: the call goes on where it stopped."""
    need_strace()
    calls = "pwrite64,pwritev,pwritev2,fdatasync,fsync"
    with Child("failing_syncs", path) as child:
        while (line := child.line()).startswith("a "):
            pass
        assert line == "ready"
        with traced(
            child.pid, "-e", f"trace={calls}", "-e", f"inject={calls}:error=EINTR:when=1+2"
        ):
            child.say("every other call is interrupted")
            assert child.line().startswith("commit none committed")
            assert child.line().startswith("visible False")
            assert child.line() == "view 5"
            assert child.line() == "again none"
            assert child.line() == "sync none"
            child.line()
        child.say("no more")
        assert list(child.lines()) == ["again none", "sync none", "close none"]
        assert child.end() == 0
    with aurolog.open(path) as db:
        assert db.recovery.clean
        assert db[1][:4] == b"lost"
        assert db[0][:5] == b"again"


def test_interruptions_are_no_failures_in_the_background_either(path: Path) -> None:
    """Segments are prepared, filled and sealed while every other call is interrupted."""
    need_strace()
    calls = "pwrite64,fdatasync,fsync,fallocate,ftruncate"
    with Child("roll_segments", path, 700) as child:
        assert child.line() == "ready"
        with traced(
            child.pid, "-e", f"trace={calls}", "-e", f"inject={calls}:error=EINTR:when=1+2"
        ):
            child.say("every other call is interrupted")
            assert child.line().startswith("through")
            assert child.line() == "checked"
            assert child.end() == 0
    with aurolog.open(path) as db:
        assert db.recovery.clean
        for page in range(800):
            newest = max(range(page // 4, 700, 200))
            assert db[page][8:16] == newest.to_bytes(8, "little")


def test_a_slow_disk_never_mixes_a_spare_with_the_log(path: Path) -> None:
    """While a writer takes the prepared segment, the background thread must keep its hands off
    it.
    """
    need_strace()
    calls = "rename,renameat,renameat2"
    with Child("roll_segments", path, 3000) as child:
        assert child.line() == "ready"
        slow = f"inject={calls}:delay_enter=300000"
        with traced(child.pid, "-e", f"trace={calls}", "-e", slow):
            child.say("every rename takes 0.3 s")
            through = child.line().split()
            assert through[:1] == ["through"]
            assert int(through[1]) > 2
        assert child.line() == "checked"
        assert child.end() == 0
    with aurolog.open(path) as db:
        assert db.recovery.clean
        for page in range(800):
            assert db[page][8:16] == (2800 + page // 4).to_bytes(8, "little")


def test_a_read_that_fails_says_so_and_is_no_zeros(path: Path) -> None:
    """And verifying goes on with the other segments."""
    need_strace()
    with aurolog.open(path) as db, db.transaction() as tx:
        tx.apply([("image", page, bytes([page + 1]) * 4096) for page in range(64)])
    with aurolog.open(path) as db, db.transaction() as tx:
        tx.write(0, 0, b"another segment")
        tx.write(0, 0, bytes([1]) * 15)
    with Child("failing_reads", path) as child:
        assert child.line() == "ready"
        calls = "pread64,preadv,preadv2,read"
        with traced(
            child.pid,
            "-P",
            str(_biggest(path)),
            "-e",
            f"trace={calls}",
            "-e",
            f"inject={calls}:error=EIO",
        ):
            child.say("reads fail from now on")
            assert child.line() == "reads StorageError"
            assert child.line() == f"verified 2 {_biggest(path).name}"
        child.say("reads work again")
        assert child.line() == "reads none"
        assert child.line() == "verified 2"
        assert child.line() == "close none"
        assert child.end() == 0


def _biggest(path: Path) -> Path:
    return max((path / "log").iterdir(), key=lambda file: file.stat().st_size)


def test_a_kill_in_the_middle_of_the_very_sync_loses_nothing(path: Path) -> None:
    need_strace()
    for turn in range(3):
        with Child("failing_syncs", path) as child:
            acked = 0
            while (line := child.line()).startswith("a "):
                acked = int(line.split()[1])
            assert line == "ready"
            with traced(
                child.pid, "-e", f"trace={SYNCS}", "-e", f"inject={SYNCS}:signal=KILL:when=1"
            ):
                child.say("die at the next sync")
                assert list(child.lines()) == []
                assert child.end() == -signal.SIGKILL
        with aurolog.open(path) as db:
            assert counter(db) in (acked, 6), turn
            assert (db[1][:4] == b"lost") >= (counter(db) == 6)
            assert db.verify().ok


def test_a_commit_that_is_durable_is_awaited_without_reading(path: Path) -> None:
    """Its segment may be sealed when somebody asks: to look there could fail, for a safe commit."""
    with aurolog.open(path) as db:
        outcome = _core.new_outcome()
        changes = aurolog.pack_changes([("write", 0, 0, b"first")])
        assert db._store.log_changes(changes, db._store.run, b"", 0, outcome, 0)
        db.sync()
        for _ in range(2):
            with db.transaction() as tx:
                tx.apply([("image", page, os.urandom(4096)) for page in range(300)])
        wait_until(lambda: db.stats().sealed_segments > 0, "a segment is sealed")
        os.truncate(segments(path)[0], 0)
        with pytest.raises(aurolog.CorruptionError):
            db.at(outcome.lsn)
        for durability in (_core.SYNC, _core.OS):
            db._store.wait(outcome.lsn, durability)


def test_a_read_that_fails_once_is_made_again(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second time is there to say why; where it succeeds, there is nothing to say."""
    with aurolog.open(path) as db:
        with db.transaction() as tx:
            tx.write(0, 0, b"there")
        read, failures = _core._read, [_core.lib.AUL_IO]

        def fail_first(*arguments: object) -> int:
            return failures.pop() if failures else int(read(*arguments))

        monkeypatch.setattr(_core, "_read", fail_first)
        assert db[0][:5] == b"there"
        failures.append(_core.lib.AUL_IO)
        buffer = bytearray(4096)
        db.read_into(0, buffer)
        assert buffer[:5] == b"there"
