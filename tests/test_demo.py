"""The demonstration: it proves what it says, its proofs can fail, and it leaves nothing behind."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import aurolog
from aurolog.cli import main
from aurolog.cli.demo import command, files, loader, process, proofs, run, sources
from aurolog.cli.demo.follower import READY, Seen
from aurolog.cli.demo.loader import Loaded
from aurolog.cli.status import CommandError

SECONDS_MAX = 60


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the demonstration makes its temporary directory, so that one left behind is seen."""
    directory = tmp_path / "temporary"
    directory.mkdir()
    monkeypatch.setenv("TMPDIR", str(directory))
    monkeypatch.setattr("tempfile.tempdir", str(directory))
    return directory


def demo(*arguments: object) -> int:
    return main(["demo", "--files", "60", *map(str, arguments)])


# --- the whole of it -----------------------------------------------------------------------------


def test_the_demonstration_proves_what_it_says(
    capsys: pytest.CaptureFixture[str], temporary: Path
) -> None:
    assert demo("--json") == 0
    out, err = capsys.readouterr()
    assert err == ""
    result = json.loads(out)
    assert result["ok"] is True
    assert [proof["claim"] for proof in result["proofs"] if not proof["ok"]] == []
    claims = " / ".join(proof["claim"] for proof in result["proofs"])
    for claim in (
        "every acknowledged file is intact",
        "no transaction is there in part",
        "each file appears exactly at its commit LSN",
        "now, the edits and deletions are there",
        "nothing is edited or deleted",
        "the pages that diff names are those that changed, and no others",
        "everything reads as before the edits",
        "the edits are back",
        "what was written between is still readable",
        "another process saw every commit once, in order, rewinds too",
        "every byte of the log passes its checks",
        "closed cleanly, and all is there",
    ):
        assert claim in claims
    assert list(temporary.iterdir()) == []

    kill, change = result["kill"], result["change"]
    assert kill["acknowledged"] >= 30
    assert kill["handed_out"] < 60
    unacknowledged = kill["handed_out"] - kill["acknowledged"]
    assert kill["unacknowledged_whole"] + kill["unacknowledged_absent"] == unacknowledged
    stored_after_kill = kill["acknowledged"] + kill["unacknowledged_whole"]
    assert stored_after_kill + result["load"]["files"] == 60
    assert change["edited"] > 0
    assert change["deleted"] > 0
    assert change["bytes_changed"] <= change["edited"] * (run.EDIT_BYTES + 32)
    assert change["log_bytes"] >= change["bytes_changed"]
    assert change["log_bytes"] < change["page_bytes"]
    rewind, follow = result["rewind"], result["follow"]
    assert rewind["to_lsn"] == change["before_lsn"] < rewind["from_lsn"]
    assert rewind["commits"] == change["edited"] + change["deleted"] + 1, "and the restore point"
    assert rewind["pages"] > change["edited"]
    assert 0 < rewind["back_seconds"] < SECONDS_MAX
    assert 0 < rewind["forth_seconds"] < SECONDS_MAX
    assert follow["rewinds"] == 2
    assert follow["commits"] == rewind["commits"] + 1 + 2, "and what was written between"
    assert follow["lag_seconds_median"] <= follow["lag_seconds_p99"] < SECONDS_MAX
    assert result["recovery"]["open_seconds"] >= result["recovery"]["seconds"] > 0
    assert result["verify"]["bytes"] > result["bytes"]
    for rate in (
        result["killed_load"]["commits_per_second"],
        result["load"]["commits_per_second"],
        result["load"]["commits_per_sync"],
        change["edits_per_second"],
    ):
        assert rate > 0


def test_it_tells_people_what_happened(capsys: pytest.CaptureFixture[str], temporary: Path) -> None:
    assert demo("--threads", 1) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert "killed with SIGKILL" in out
    assert out.count("   proved  ") == 12
    assert "FAILED" not in out
    assert "bytes logged per byte changed" in out
    assert "aurolog info" not in out, "the volume is gone: there is nothing to look at"
    assert list(temporary.iterdir()) == []


def test_the_kept_volume_is_there_and_what_to_try_on_it_works(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, temporary: Path
) -> None:
    keep = tmp_path / "to look at" / "it's.aurolog"
    assert demo("--keep", keep) == 0
    out = capsys.readouterr().out
    commands = re.findall(r"^  aurolog (.*)$", out, re.MULTILINE)
    assert len(commands) == 9
    printed = []
    for line in commands:
        words = shlex.split(line)
        assert str(keep) in words
        assert main(words) == 0, line
        printed.append(capsys.readouterr().out)
    log, before, now = printed[1:4]
    assert "edit " in log
    assert before != now
    assert "# edit 0" not in before
    assert list(temporary.iterdir()) == []


def test_keep_takes_only_a_new_or_empty_directory(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    keep = tmp_path / "keep"
    keep.mkdir()
    (keep / "precious").touch()
    assert demo("--keep", keep) == 2
    assert "not an empty directory" in capsys.readouterr().err
    assert [p.name for p in keep.iterdir()] == ["precious"]
    assert demo("--keep", keep / "precious") == 2
    (keep / "precious").unlink()
    assert demo("--keep", keep) == 0


def test_the_fewest_files_are_enough(capsys: pytest.CaptureFixture[str]) -> None:
    for threads in (1, 8):
        assert main(["demo", "--files", str(sources.FILES_MIN), "--threads", str(threads)]) == 0
    capsys.readouterr()


@pytest.mark.parametrize("moment", range(4))
def test_any_moment_of_the_kill_will_do(
    moment: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Killed before the first acknowledgement, right after one, and at two moments between."""
    load = process.LoadingProcess.load

    def load_and_wait(self: process.LoadingProcess, *arguments: Any) -> None:
        names, until, *rest = arguments
        load(self, names, (1, 2, until, until)[moment], *rest)
        time.sleep((0, 0.0005, 0.002, 0.2)[moment])

    monkeypatch.setattr(process.LoadingProcess, "load", load_and_wait)
    assert demo() == 0, capsys.readouterr().out


# --- proofs that fail ----------------------------------------------------------------------------


def test_a_failed_proof_is_named_and_its_volume_kept(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, temporary: Path
) -> None:
    """A child that acknowledges what it never stored: what a lost commit looks like."""
    kill = process.LoadingProcess.kill

    def kill_and_lie(self: process.LoadingProcess) -> None:
        kill(self)
        self.acknowledged.append(Loaded("never stored.py", bytes(32), 10, 1))

    monkeypatch.setattr(process.LoadingProcess, "kill", kill_and_lie)
    assert demo() == 1
    out, err = capsys.readouterr()
    assert "FAILED  every acknowledged file is intact" in out
    assert re.fullmatch(r"aurolog: not proved: 'every acknowledged file is intact'[^\n]*\n", err)
    kept = next(temporary.iterdir()) / "demo.aurolog"
    assert str(kept) in err
    assert main(["info", str(kept)]) == 0


@pytest.fixture
def store(path: Path, tmp_path: Path) -> Iterator[tuple[aurolog.Volume, Path, list[Loaded]]]:
    """A volume with three files, the directory they came from, and what was acknowledged."""
    root = tmp_path / "root"
    (root / "sub").mkdir(parents=True)
    contents = {"a.py": b"a" * 10_000, "empty.py": b"", "sub/b.py": b"print('b')\n" * 40}
    for name, data in contents.items():
        (root / name).write_bytes(data)
    with aurolog.open(path) as db:
        yield db, root, [loader.load_file(db, root, name) for name in contents]


def failed(proof: proofs.Proof) -> str:
    assert not proof.ok
    assert proof.faults > 0
    return " / ".join(proof.told)


def test_proofs_hold_when_all_is_well(store: Any) -> None:
    db, root, loaded = store
    directory = files.read_directory(db)
    names = [one.name for one in loaded]
    expected = {one.name: one.digest for one in loaded}
    for proof in (
        proofs.acknowledged_files_are_intact(db, directory, loaded),
        proofs.nothing_is_there_in_part(db, directory, names, root),
        proofs.commits_are_points_in_time(db, directory, loaded),
        proofs.files_are("all", db, expected),
        proofs.volume_is_undamaged(db.verify()),
    ):
        assert proof.ok, proof


def test_a_proof_of_nothing_fails(store: Any) -> None:
    db, _, _ = store
    assert "nothing was there" in failed(proofs.acknowledged_files_are_intact(db, {}, []))
    assert "nothing was there" in failed(proofs.commits_are_points_in_time(db, {}, []))


def test_a_lost_file_fails_the_proof(store: Any) -> None:
    db, _, loaded = store
    directory = files.read_directory(db)
    del directory["a.py"]
    told = failed(proofs.acknowledged_files_are_intact(db, directory, loaded))
    assert told == "a.py: not in the directory"
    assert failed(proofs.commits_are_points_in_time(db, directory, loaded)) == told
    assert failed(proofs.files_are("", db, {"c.py": bytes(32)})).startswith("c.py: not in")


def test_one_wrong_byte_fails_the_proof(store: Any) -> None:
    db, root, loaded = store
    directory = files.read_directory(db)
    with db.transaction() as tx:
        tx.write(directory["a.py"].first_page + 1, 7, b"b")
    names = [one.name for one in loaded]
    assert "a.py: its bytes" in failed(proofs.acknowledged_files_are_intact(db, directory, loaded))
    assert "a.py: its bytes" in failed(proofs.nothing_is_there_in_part(db, directory, names, root))
    expected = {one.name: one.digest for one in loaded}
    assert "a.py: its bytes" in failed(proofs.files_are("", db, expected))
    with db.at(loaded[-1].lsn) as view:
        assert proofs.files_are("", view, expected).ok


def test_half_a_transaction_fails_the_proof(store: Any) -> None:
    db, root, loaded = store
    names = [one.name for one in loaded]
    _, page, number = files.HEADER.unpack_from(db[0])
    for header in ((page + 1, number), (page, number + 1)):
        with db.transaction() as tx:
            tx.write(0, 0, files.HEADER.pack(files.MAGIC, *header))
        directory = files.read_directory(db)
        assert "header" in failed(proofs.nothing_is_there_in_part(db, directory, names, root))
    assert "nobody loaded it" in failed(
        proofs.nothing_is_there_in_part(db, directory, names[:2], root)
    )


def test_a_commit_at_another_lsn_fails_the_proof(store: Any) -> None:
    db, _, loaded = store
    directory = files.read_directory(db)
    later = replace(loaded[0], lsn=loaded[1].lsn)
    told = failed(proofs.commits_are_points_in_time(db, directory, [later]))
    assert "there before LSN" in told
    earlier = replace(loaded[1], lsn=loaded[0].lsn)
    told = failed(proofs.commits_are_points_in_time(db, directory, [earlier]))
    assert "not in the directory" in told


def test_a_file_too_many_fails_the_proof(store: Any) -> None:
    db, _, loaded = store
    expected = {one.name: one.digest for one in loaded[1:]}
    assert failed(proofs.files_are("", db, expected)) == "a.py: is there, and should not be"


def test_one_page_that_is_another_one_fails_the_proof(store: Any) -> None:
    db, _, loaded = store
    page = files.read_directory(db)["a.py"].first_page
    with db.at(loaded[-1].lsn) as then:
        assert proofs.reads_the_same("", db, then).ok
        other = proofs.Proof("another", 1)
        other.fail("it does not hold")
        assert failed(proofs.reads_the_same("", db, then, other)) == "it does not hold"
        with db.transaction() as tx:
            tx.write(page, 7, b"b")
        assert failed(proofs.reads_the_same("", db, then)) == f"page {page} is another one"
        with db.transaction() as tx:
            tx.write(page, 7, b"a")
            tx.write(len(db), 0, b"x")
        told = failed(proofs.reads_the_same("", db, then))
        assert told.startswith(f"{len(db)} pages, and then {len(db) - 1} / page {len(db) - 1} ")


def test_a_page_that_diff_leaves_out_or_adds_fails_the_proof(store: Any) -> None:
    db, _, loaded = store
    first = files.read_directory(db)["a.py"].first_page
    changed = [first, first + 1]
    with db.transaction() as tx:
        for page in (*changed, first + 2):
            tx.write(page, 7, b"b" if page in changed else b"a")
    with db.at(loaded[-1].lsn) as then, db.at(tx.lsn) as now:
        written = {*changed, first + 2}
        assert proofs.diff_is_exact(changed, then, now, written).ok
        assert proofs.diff_is_exact([*changed, first + 2], then, now, written).ok
        for named, fault in (
            (changed[:1], f"page {first + 1} differs and is not named"),
            ([0, *changed], "page 0 is named, and nobody wrote to it"),
            (changed[::-1], "out of order, or twice"),
            ([*changed, changed[-1]], "out of order, or twice"),
        ):
            assert fault in failed(proofs.diff_is_exact(named, then, now, written))


@pytest.mark.parametrize(
    ("lsns", "fault"),
    [
        ([1, 2], "LSN 3 was not seen"),
        ([1, 2, 3, 4], "LSN 4 was seen and is no commit"),
        ([1, 3, 2], "out of order, or twice"),
        ([1, 2, 2, 3], "out of order, or twice"),
        ([], "LSN 1 was not seen"),
    ],
)
def test_a_follower_that_misses_a_commit_fails_the_proof(lsns: list[int], fault: str) -> None:
    seen = [Seen(lsn, "pages", 1, 0) for lsn in (1, 2, 3)]
    assert proofs.every_commit_was_seen(seen, [1, 2, 3]).ok
    seen = [Seen(lsn, "pages", 1, 0) for lsn in lsns]
    assert fault in failed(proofs.every_commit_was_seen(seen, [1, 2, 3]))


def test_damage_fails_the_proof() -> None:
    problem = aurolog.Problem("log/x", 10, 20, "checksum")
    report = aurolog.VerifyReport(False, 1, 2, 3, 4, 5, 6, (problem,))
    told = failed(proofs.volume_is_undamaged(report))
    assert told == "log/x at 10, LSN 20: checksum"
    assert failed(proofs.volume_is_undamaged(replace(report, problems=())))


def test_an_error_while_proving_is_a_fault(store: Any) -> None:
    db, _, loaded = store

    class Broken:
        def __getitem__(self, page: int) -> bytes:
            raise aurolog.NotAVolumeError("gone")

        read_many = __getitem__

    told = failed(proofs.acknowledged_files_are_intact(Broken(), files.read_directory(db), loaded))
    assert told == "NotAVolumeError: gone"


# --- the file store ------------------------------------------------------------------------------


def test_a_file_is_read_as_it_was_stored(store: Any) -> None:
    db, root, loaded = store
    directory = files.read_directory(db)
    assert list(directory) == [one.name for one in loaded]
    for name, entry in directory.items():
        assert bytes(files.read_bytes(db, entry)) == (root / name).read_bytes()
        assert files.read_entry(db, entry.number) == entry
    pages = [(e.first_page, e.pages) for e in directory.values()]
    assert pages == [(4097, 3), (4100, 0), (4100, 1)]


def test_a_file_is_overwritten_and_removed_and_the_past_keeps_it(store: Any) -> None:
    db, root, loaded = store
    before = files.read_directory(db)
    new = b"b" * 10_000
    with db.transaction() as tx:
        changed = files.overwrite(tx, before["a.py"], new)
    assert files.read_directory(db)["a.py"] == changed
    assert bytes(files.read_bytes(db, changed)) == new
    with pytest.raises(ValueError, match="in place"), db.transaction() as tx:
        files.overwrite(tx, changed, b"too short")
    with db.transaction() as tx:
        files.remove(tx, changed)
    assert list(files.read_directory(db)) == ["empty.py", "sub/b.py"]
    assert db[changed.first_page] == bytes(4096)
    with db.at(loaded[-1].lsn) as view:
        assert files.read_directory(view) == before
        assert bytes(files.read_bytes(view, before["a.py"])) == (root / "a.py").read_bytes()
    added = loader.load_file(db, root, "a.py")
    entry = files.read_directory(db)["a.py"]
    assert entry.number == 3, "a freed entry is not used again"
    assert entry.digest == added.digest


def test_an_overwritten_file_logs_only_what_changed(store: Any) -> None:
    db, root, _ = store
    entry = files.read_directory(db)["a.py"]
    data = bytearray((root / "a.py").read_bytes())
    data[5000:5010] = b"0123456789"
    with db.transaction() as tx:
        files.overwrite(tx, entry, bytes(data))
    batch = next(db.log(tx.lsn))
    assert sum(len(record.data) for record in batch.records) <= 10 + 32
    assert {record.page for record in batch.records} == {1, entry.first_page + 1}


def test_a_volume_of_something_else_is_not_taken_for_a_store(db: aurolog.Volume) -> None:
    assert files.read_directory(db) == {}
    with db.transaction() as tx:
        tx.write(0, 0, b"something else")
    with pytest.raises(ValueError, match="no file store"):
        files.read_directory(db)


def test_names_and_sizes_fit_the_entry(db: aurolog.Volume, tmp_path: Path) -> None:
    name = "ü" * (files.NAME_BYTES_MAX // 2)
    with db.transaction() as tx:
        entry = files.add(tx, name, b"x")
    assert files.read_directory(db) == {name: entry}
    assert not sources._storable(name + "xx")
    assert not sources._storable("\udc80")
    assert not sources._storable("a\nb")


# --- the loading process -------------------------------------------------------------------------


def test_several_threads_store_every_file_once(db: aurolog.Volume, tmp_path: Path) -> None:
    names = [f"{i}.py" for i in range(100)]
    for i, name in enumerate(names):
        (tmp_path / name).write_bytes(b"%d" % i * 1000)
    done: list[Loaded] = []
    loader.load(db, tmp_path, iter(names), 8, done.append)
    assert sorted(one.name for one in done) == sorted(names)
    assert len({one.lsn for one in done}) == 100
    directory = files.read_directory(db)
    assert proofs.acknowledged_files_are_intact(db, directory, done).ok
    assert proofs.nothing_is_there_in_part(db, directory, names, tmp_path).ok


def test_an_error_in_one_thread_ends_the_loading(db: aurolog.Volume, tmp_path: Path) -> None:
    (tmp_path / "there.py").write_bytes(b"x")
    names = iter(["there.py", "missing.py", *["there.py"] * 1000])
    with pytest.raises(FileNotFoundError, match=r"missing\.py"):
        loader.load(db, tmp_path, names, 4, lambda _: None)
    assert next(names, None) is not None, "the others stopped before they were through"


def test_an_acknowledgement_survives_the_pipe() -> None:
    loaded = Loaded("sub/ü.py", bytes(range(32)), 10, 12)
    assert Loaded.from_line(loaded.to_line()) == loaded
    longest = Loaded("ü" * (files.NAME_BYTES_MAX // 2), bytes(32), 1 << 40, 1 << 63)
    assert len(longest.to_line()) <= 512, "POSIX promises no more to be written at once"


def test_a_line_cut_short_acknowledges_nothing(tmp_path: Path) -> None:
    script = tmp_path / "child.py"
    line = Loaded("a.py", bytes(32), 1, 1).to_line()
    script.write_text(
        "import sys, time\n"
        f"sys.stdout.buffer.write({line!r} + {line[:-1]!r})\n"
        "sys.stdout.flush()\n"
        "time.sleep(60)\n"
    )
    with child_of(script) as child:
        child.load(["a.py", "b.py"], 1, 2, lambda _done, _total: None)
        child.kill()
        assert [loaded.name for loaded in child.acknowledged] == ["a.py"]


@contextmanager
def child_of(script: Path) -> Iterator[process.LoadingProcess]:
    """Another program in the loading process's place."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(process, "LOADER", [sys.executable, str(script)])
        with process.loading_process(script.parent / "volume", script.parent, 1) as child:
            yield child


@pytest.mark.parametrize(
    ("program", "message", "code"),
    [
        ("sys.exit('boom')", "ended with status 1 before it was killed, 0 files .*; boom", 1),
        ("sys.exit(2)", "ended with status 2 .*; it said nothing", 2),
        ("sys.exit(3)", "ended with status 3", 3),
        ("sys.exit(99)", "ended with status 99", 3),
        ("os.kill(os.getpid(), 9)", "was ended by signal 9 before it was killed", 3),
        ("sys.stdin.close(); os.write(1, b'{'); sys.exit(0)", "ended with status 0", 3),
    ],
)
def test_a_child_that_ends_early_is_reported(
    tmp_path: Path, program: str, message: str, code: int
) -> None:
    script = tmp_path / "child.py"
    script.write_text(f"import os, sys\n{program}\n")
    with child_of(script) as child, pytest.raises(CommandError, match=message) as raised:
        child.load(["a.py"] * 100, 50, 20, lambda _done, _total: None)
    assert raised.value.status == code


# --- the following process -----------------------------------------------------------------------


def test_a_follower_tells_each_commit(path: Path) -> None:
    with (
        aurolog.open(path) as db,
        process.following_process(path, db.durable_lsn) as follower,
    ):
        lsns = []
        for page in range(50):
            with db.transaction() as tx:
                tx.write(page, 0, b"x")
                tx.write(page + 1, 0, b"x")
            lsns.append(tx.lsn)
        assert follower.wait_for(lsns[-1])
        assert [seen.lsn for seen in follower.seen] == lsns
        assert {(seen.kind, seen.pages) for seen in follower.seen} == {("pages", 2)}
        pid = follower.process.pid
    assert not Path(f"/proc/{pid}").exists()


def test_what_a_follower_saw_survives_the_pipe() -> None:
    seen = Seen(1 << 63, "delete-restore-point", 1 << 40, 1 << 62)
    assert Seen.from_line(seen.to_line()) == seen
    assert len(seen.to_line()) <= 512, "POSIX promises no more to be written at once"


@contextmanager
def follower_of(script: Path) -> Iterator[process.FollowingProcess]:
    """Another program in the follower's place."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(process, "FOLLOWER", [sys.executable, str(script)])
        with process.following_process(script.parent / "volume", 0) as follower:
            yield follower


@pytest.mark.parametrize(
    ("program", "message", "code"),
    [
        ("sys.exit('boom')", "following process ended with status 1 .*0 commits seen; boom", 1),
        ("sys.exit(2)", "ended with status 2 .*; it said nothing", 2),
        (f"os.write(1, {READY!r}); sys.exit(99)", "ended with status 99", 3),
        (f"os.write(1, {READY!r}); os.kill(os.getpid(), 9)", "was ended by signal 9", 3),
    ],
)
def test_a_follower_that_ends_early_is_reported(
    tmp_path: Path, program: str, message: str, code: int
) -> None:
    script = tmp_path / "child.py"
    script.write_text(f"import os, sys\n{program}\n")
    with pytest.raises(CommandError, match=message) as raised, follower_of(script) as follower:
        follower.wait_for(1)
    assert raised.value.status == code


def test_a_follower_that_stands_still_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process, "FOLLOW_SECONDS_MAX", 0.2)
    script = tmp_path / "child.py"
    line = Seen(7, "pages", 1, 0).to_line()
    script.write_text(
        f"import os, time\nos.write(1, {READY + line + line[:-1]!r})\ntime.sleep(60)\n"
    )
    with follower_of(script) as follower:
        assert follower.wait_for(7)
        assert not follower.wait_for(8)
        follower.kill()
        assert [seen.lsn for seen in follower.seen] == [7], "a line cut short tells nothing"


def test_a_follower_of_nothing_says_so(tmp_path: Path) -> None:
    missing = tmp_path / "nowhere"
    with (
        pytest.raises(CommandError, match=r"NotAVolumeError: .*nowhere"),
        process.following_process(missing, 0),
    ):
        pass


def test_a_follower_ends_with_its_parent(path: Path) -> None:
    with (
        aurolog.open(path) as db,
        process.following_process(path, db.durable_lsn) as follower,
    ):
        assert follower.process.stdin is not None
        follower.process.stdin.close()
        assert follower.process.wait(SECONDS_MAX) == 0


# --- and what it says ----------------------------------------------------------------------------


def test_the_demonstration_ends_with_what_its_child_said(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, temporary: Path
) -> None:
    chosen = sources.standard_library(20)
    monkeypatch.setattr(
        sources, "standard_library", lambda _: replace(chosen, root=temporary / "nowhere")
    )
    assert demo() == 2
    err = capsys.readouterr().err
    assert re.fullmatch(
        r"aurolog: the loading process ended with status 2 before it was killed, 0 files "
        r"acknowledged; FileNotFoundError: .*nowhere.*\n",
        err,
    )
    assert list(temporary.iterdir()) == []


# --- interrupted ---------------------------------------------------------------------------------


def processes_with(text: str) -> list[int]:
    """Processes that name this on their command line."""
    found = []
    for directory in Path("/proc").iterdir():
        if directory.name.isdecimal():
            try:
                if text in (directory / "cmdline").read_text(errors="replace"):
                    found.append(int(directory.name))
            except OSError:
                continue  # it ended meanwhile
    return found


def wait_until(what: str, holds: Any) -> None:
    until = time.monotonic() + SECONDS_MAX
    while not holds():
        assert time.monotonic() < until, what
        time.sleep(0.01)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks for processes in /proc")
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_demonstration_that_is_ended_leaves_no_child(how: int, temporary: Path) -> None:
    demonstration = subprocess.Popen(
        [sys.executable, "-m", "aurolog", "demo"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env={**os.environ, "TMPDIR": str(temporary)},
    )
    with demonstration:
        wait_until("the child starts", lambda: processes_with(str(temporary)))
        demonstration.send_signal(how)
        assert demonstration.stderr is not None
        said = demonstration.stderr.read().decode()
        code = demonstration.wait(SECONDS_MAX)
    wait_until("the child ends", lambda: not processes_with(str(temporary)))
    if how == signal.SIGKILL:
        return  # nobody is left to clean up, but the child ended
    assert code == (130 if how == signal.SIGINT else 143)
    assert said == ("aurolog: interrupted\n" if how == signal.SIGINT else "aurolog: terminated\n")
    assert list(temporary.iterdir()) == []


# --- where the files come from -------------------------------------------------------------------


def test_a_limit_takes_files_evenly() -> None:
    everything = sources.standard_library()
    some = sources.standard_library(20)
    assert len(some.names) == 20
    assert set(some.names) <= set(everything.names)
    assert len({name.split("/")[-1][:1] for name in some.names}) > 3
    assert some.bytes == sum((some.root / name).stat().st_size for name in some.names)
    assert sources.standard_library(10**9) == everything


def make_python(
    root: Path, library: int, packages: int, monkeypatch: pytest.MonkeyPatch
) -> dict[str, Path]:
    """A Python with so many files; each directory it has, by sysconfig's name."""
    paths = {"stdlib": root / "lib", "purelib": root / "lib" / "site-packages"}
    for directory, count in zip(paths.values(), (library, packages), strict=True):
        directory.mkdir()
        for number in range(count):
            (directory / f"{number}{('.py', '.txt')[number % 2]}").write_bytes(b"x" * number)
    paths |= {"platstdlib": paths["stdlib"], "platlib": paths["purelib"]}
    monkeypatch.setattr("sysconfig.get_path", lambda name: str(paths[name]))
    return paths


def test_every_regular_file_of_the_standard_library_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sources, "FILES_ENOUGH", 20)
    lib = make_python(tmp_path, 20, 5, monkeypatch)["stdlib"]
    (lib / "__pycache__").mkdir()
    (lib / "__pycache__" / "0.pyc").write_bytes(b"x")
    (lib / "link.py").symlink_to("1.txt")
    os.mkfifo(lib / "fifo")
    (lib / "big.a").touch()
    os.truncate(lib / "big.a", sources.FILE_BYTES_MAX + 1)
    found = sources.standard_library()
    assert found.root == lib
    assert set(found.names) == {f"{n}{('.py', '.txt')[n % 2]}" for n in range(20)}
    assert found.bytes == sum(range(20))


def test_packages_add_to_a_small_standard_library(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_python(tmp_path, 20, 50, monkeypatch)
    assert len(sources.standard_library().names) == 70
    monkeypatch.setattr(sources, "FILES_ENOUGH", 40)
    found = sources.standard_library()
    assert sum("site-packages/" in name for name in found.names) == 20
    assert len(set(found.names)) == 40
    assert all((found.root / name).is_file() for name in found.names)


def test_a_python_without_sources_is_reported(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("sysconfig.get_path", lambda _: str(tmp_path / "python311.zip"))
    assert main(["demo"]) == 2
    assert "0 files of the standard library" in capsys.readouterr().err


def test_the_file_system_is_named_on_linux(tmp_path: Path) -> None:
    assert sources.filesystem_of(Path("/proc/self")) in ("proc", None)


def test_narration_stays_plain_without_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    narration = command.Narration()
    failed_proof = proofs.Proof("all is well", checked=3)
    failed_proof.fail("\x1b[2J is not printed")
    narration.proof(failed_proof)
    assert capsys.readouterr().out == (
        "   FAILED  all is well: 1 fault\n           \\x1b[2J is not printed\n"
    )
