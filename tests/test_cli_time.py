"""The commands about time: moments as arguments, history, restore points, rewinds, differences,
followers.
"""

from __future__ import annotations

import dataclasses
import errno
import itertools
import json
import os
import re
import shlex
import signal
import subprocess
import sys
from array import array
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import typer
from command_line import MODULE, SECONDS_MAX, in_terminal

import aurolog
from aurolog.cli import backtrack, changes, points
from aurolog.cli.arguments import moment_of

TIME = datetime(2026, 11, 24, 9, 8, 5, 123456, tzinfo=UTC)


@pytest.fixture
def volume(path: Path) -> Path:
    """A closed volume: LSNs 1 to 5 on pages 0 to 4, named LSN 5, then 7 to 9 on pages 10 to 12."""
    with aurolog.open(path) as db:
        for page in range(5):
            with db.transaction(note=f"page {page}") as tx:
                tx.write(page, 0, b"before")
        db.restore_point("before the import")
        for page in range(10, 13):
            with db.transaction(note="import") as tx:
                tx.write(page, 0, b"after")
    return path


def pages(path: Path) -> dict[int, bytes]:
    """What the first pages of a volume begin with."""
    with aurolog.open(path, read_only=True) as db:
        return {page: db[page][:6] for page in range(13) if any(db[page])}


def newest(path: Path) -> int:
    with aurolog.open(path, read_only=True) as db:
        return db.visible_lsn


# --- moments as arguments ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "ago"),
    [
        ("90s", timedelta(seconds=90)),
        ("5m", timedelta(minutes=5)),
        ("2h30m", timedelta(hours=2, minutes=30)),
        ("1d", timedelta(days=1)),
        ("1d2h3m4s", timedelta(days=1, hours=2, minutes=3, seconds=4)),
        ("1.5h", timedelta(minutes=90)),
        ("0.25s", timedelta(milliseconds=250)),
        ("0s", timedelta(0)),
        ("100000h", timedelta(hours=100000)),
    ],
)
def test_a_duration_is_so_long_ago(text: str, ago: timedelta) -> None:
    assert moment_of(text).when == ago
    assert str(moment_of(text)) == text


@pytest.mark.parametrize(
    "text",
    ["", "m", "5", "5 m", "5x", "30m2h", "5m5m", "-5m", "+5m", ".5m", "5.m", "5mm", "v5m", "1e3s"],
)
def test_anything_else_is_for_the_library_to_read(text: str) -> None:
    assert moment_of(text).when == (int(text) if text.isdecimal() else text)


def test_a_name_that_reads_as_a_duration_has_its_own_spelling() -> None:
    assert moment_of("name:5m").when == "5m"
    assert moment_of("name:name:5m").when == "name:5m"


def test_a_duration_longer_than_time_is_refused() -> None:
    with pytest.raises(typer.BadParameter, match="before every time there is"):
        moment_of("99999999999999d")


@pytest.mark.parametrize("digits", ["9" * 20, "9" * 5000])
def test_a_number_that_is_no_lsn_is_refused(
    aurolog_command: Any, volume: Path, digits: str
) -> None:
    for command in (("cat", volume, 0, "--at", digits), ("log", volume, "--from", digits)):
        ran = aurolog_command(*command)
        assert (ran.status, ran.out) == (2, "")
        assert "LSN" in ran.err


def test_every_kind_of_moment_can_be_read_at(aurolog_command: Any, volume: Path) -> None:
    with aurolog.open(volume) as db:
        db.restore_point("5m", at=3)
        time = db.at(5).time
    assert time is not None
    for moment, last in (
        (3, 2),
        ("before the import", 4),
        ("name:before the import", 4),
        ("name:5m", 2),
        (time.isoformat(), 4),
        (time.astimezone(timezone_far()).isoformat(), 4),
        ("0s", 12),
        (0, None),
    ):
        found = [
            page
            for page in range(13)
            if any(json_page(aurolog_command("cat", volume, page, "--hex", "--at", moment)))
        ]
        assert (max(found) if found else None) == last, moment


def timezone_far() -> Any:
    from datetime import timezone

    return timezone(timedelta(hours=-9, minutes=-30))


def json_page(ran: Any) -> list[str]:
    """The words of a hex dump that are not zero."""
    assert ran.status == 0, ran.err
    return [word for word in ran.out.split()[1:17] if word != "00"]


@pytest.mark.parametrize(
    ("moment", "why"),
    [
        ("nothing", "no restore point 'nothing'"),
        ("2026-01-01", "no time zone"),
        ("12:30", "no whole time"),
        ("1.5", "is no LSN"),
        ("9999-01-01T00:00Z", "in the future"),
        ("1999-01-01T00:00Z", "before the first commit"),
        ("1969-01-01T00:00Z", "before the first commit"),
        ("9000d", "before the first commit"),
        ("100000", "above the visible LSN"),
    ],
)
def test_a_moment_that_there_is_not_is_bad_input(
    aurolog_command: Any, volume: Path, moment: str, why: str
) -> None:
    for command in (
        ("cat", volume, 0, "--at", moment),
        ("export", volume, volume.with_name("out"), "--at", moment),
        ("backtrack", volume, "--yes", "--to", moment),
        ("restore-point", volume, "create", "new", "--at", moment),
        ("diff", volume, moment),
        ("diff", volume, 1, moment),
        ("follow", volume, "--timeout", 0, "--since", moment),
    ):
        ran = aurolog_command(*command)
        assert (ran.status, ran.out) == (2, ""), command
        assert why in " ".join(ran.err.split()), command
    assert newest(volume) == newest(volume)
    assert pages(volume).keys() == {0, 1, 2, 3, 4, 10, 11, 12}


def test_log_takes_moments(aurolog_command: Any, volume: Path) -> None:
    def lsns(*options: object) -> list[int]:
        out = aurolog_command("log", volume, "--json", "--batches", *options).out
        return [json.loads(line)["lsn"] for line in out.splitlines()]

    with aurolog.open(volume, read_only=True) as db:
        times = [batch.time.isoformat() for batch in db.log()]
        everything = [batch.lsn for batch in db.log()]
    assert lsns("--from", "before the import") == everything[4:]
    assert lsns("--to", "before the import") == everything[:5]
    assert lsns("--from", 0, "--to", "0s") == everything
    assert lsns("--from", times[2], "--to", times[2])[0] <= 3
    ran = aurolog_command("log", volume, "--from", 6, "--to", "before the import")
    assert ran.status == 2
    assert "--to before the import, LSN 5, is below --from 6, LSN 6" in ran.err


# --- history -------------------------------------------------------------------------------------


def lines(ran: Any) -> list[str]:
    assert (ran.status, ran.err) == (0, "")
    found = (re.sub(r"\d{4}-\d\d-\d\d \S+Z", "", line) for line in ran.out.splitlines())
    return [" ".join(line.split()) for line in found]


def test_history_shows_runs_names_and_what_was_left(aurolog_command: Any, volume: Path) -> None:
    closed = newest(volume)
    assert lines(aurolog_command("history", volume)) == [
        f"{volume}: 1 run, 1 restore point",
        f"● 0 the first run: {10} commits",
        "◆ 5 before the import",
        f"▶ {closed} now",
    ]
    with aurolog.open(volume) as db:
        done = db.backtrack("before the import", note="a mistake")
        with db.transaction() as tx:
            tx.write(20, 0, b"x")
        assert lines(aurolog_command("history", volume)) == [
            f"{volume}: 2 runs, 1 restore point",
            "● 0 the first run: 10 commits",
            "◆ 5 before the import",
            f"├─╴ {closed} left behind, after LSN 5",
            f'● {done.lsn} rewind to LSN 5: 1 commit "a mistake"',
            f"▶ {tx.lsn} now",
        ]


def test_history_as_json_is_what_the_library_says(aurolog_command: Any, volume: Path) -> None:
    with aurolog.open(volume) as db:
        db.backtrack(3)
        db.restore_point("there")
    value = aurolog_command("history", volume, "--json").value
    assert value["path"] == str(volume)
    with aurolog.open(volume, read_only=True) as db:
        assert value["lsn"] == db.visible_lsn
        assert len(value["runs"]) == len(db.history) == 2
        for shown, run in zip(value["runs"], db.history, strict=True):
            expected = dataclasses.asdict(run)
            assert shown == json.loads(json.dumps(expected, default=datetime.isoformat))
        assert [one["name"] for one in value["restore_points"]] == list(db.restore_points)


def test_a_long_history_folds_unless_told_otherwise(aurolog_command: Any, volume: Path) -> None:
    with aurolog.open(volume, durability="os") as db:
        for _ in range(200):
            db.backtrack(3)
            with db.transaction() as tx:
                tx.write(1, 0, os.urandom(4))
    folded = lines(aurolog_command("history", volume))
    assert len(folded) == 11
    assert "├─╴ … 196 more rewinds to LSN 3, left behind" in folded
    everything = lines(aurolog_command("history", volume, "--all"))
    assert len(everything) == len(folded) + 195


def test_history_fits_a_narrow_terminal(volume: Path) -> None:
    with aurolog.open(volume) as db:
        db.backtrack(3, note="a note of some length for it")
        db.restore_point("a name that is long, which no terminal of this width can show" * 3)
    code, out = in_terminal([*MODULE, "history", str(volume)], columns=80)
    assert code == 0
    assert "\x1b[1m\x1b[32m▶" in out
    plain = re.sub(r"\x1b\[[0-9;]*m", "", out).splitlines()
    assert max(map(len, plain[1:])) == 80
    code, out = in_terminal(["/usr/bin/env", "NO_COLOR=1", *MODULE, "history", str(volume)])
    assert "\x1b" not in out


def test_info_knows_runs_and_restore_points(aurolog_command: Any, volume: Path) -> None:
    value = aurolog_command("info", volume, "--json").value
    assert value["runs"] == 1
    assert value["restore_points"] == ["before the import"]
    assert value["run"] == {"lsn": 0, "kind": "first", "parent_lsn": None, "time": None}
    out = aurolog_command("info", volume).out
    assert re.search(r"^runs +1; nothing was ever left behind$", out, re.MULTILINE)
    assert re.search(r"^restore points +1: before the import$", out, re.MULTILINE)
    with aurolog.open(volume) as db:
        done = db.backtrack(3)
        for number in range(6):
            db.restore_point(f"p{number}")
    value = aurolog_command("info", volume, "--json").value
    assert (value["runs"], value["run"]["lsn"], value["run"]["parent_lsn"]) == (2, done.lsn, 3)
    out = aurolog_command("info", volume).out
    assert re.search(
        rf"^runs +2; the current one began at LSN {done.lsn}, \S+ \S+: rewind to LSN 3$",
        out,
        re.MULTILINE,
    )
    assert re.search(r"^restore points +7: … p1, p2, p3, p4, p5$", out, re.MULTILINE)


def test_log_marks_what_was_left_behind(aurolog_command: Any, volume: Path) -> None:
    with aurolog.open(volume) as db:
        done = db.backtrack("before the import")
    out = aurolog_command("log", volume, "--batches").out
    left = [int(n) for n in re.findall(r"^LSN (\d+) .*\(left behind\)$", out, re.MULTILINE)]
    assert left == [n for n in range(6, (done.lsn or 0)) if n in left]
    assert 5 not in left
    assert {6, 7, 8, 9} <= set(left)
    found = aurolog_command("log", volume, "--json").out.splitlines()
    current = {one["lsn"]: one["current"] for one in map(json.loads, found)}
    assert [lsn for lsn, is_current in current.items() if not is_current] == left


# --- restore points ------------------------------------------------------------------------------


def test_restore_points_are_made_listed_and_deleted(aurolog_command: Any, volume: Path) -> None:
    ran = aurolog_command("restore-point", volume, "create", "third", "--at", 3)
    assert (ran.status, ran.err) == (0, "")
    assert re.fullmatch(r"LSN 3  \d{4}-\d\d-\d\d \d\d:\d\d:\d\dZ  third\n", ran.out)
    value = aurolog_command("restore-point", volume, "create", "now", "--json").value
    assert (value["path"], value["name"]) == (str(volume), "now")
    with aurolog.open(volume, read_only=True) as db:
        assert db.restore_points["third"].lsn == 3
        assert db.restore_points["now"].lsn == value["lsn"]
    out = aurolog_command("restore-point", volume, "list").out
    assert [line.split("Z  ")[1] for line in out.splitlines()] == [
        "third",
        "before the import",
        "now",
    ]
    assert len({line.index("Z  ") for line in out.splitlines()}) == 1
    ran = aurolog_command("restore-point", volume, "delete", "third")
    assert (ran.status, ran.out) == (0, "deleted: third\n")
    value = aurolog_command("restore-point", volume, "delete", "now", "--json").value
    assert value == {"path": str(volume), "name": "now", "deleted": True}
    value = aurolog_command("restore-point", volume, "list", "--json").value
    assert [one["name"] for one in value["restore_points"]] == ["before the import"]
    assert aurolog_command("restore-point", volume, "delete", "before the import").status == 0
    ran = aurolog_command("restore-point", volume, "list")
    assert (ran.status, ran.out) == (0, "")
    assert ran.err == "aurolog: the volume has no restore points\n"


def test_a_name_that_cannot_be_is_bad_input(aurolog_command: Any, volume: Path) -> None:
    for arguments in (
        ("create", "before the import"),
        ("create", "12"),
        ("create", "2026-01-01"),
        ("create", ""),
        ("create", "x" * 256),
        ("delete", "not there"),
        ("create",),
        ("delete",),
        ("list", "name"),
        ("list", "--at", "3"),
        ("delete", "before the import", "--at", "3"),
        ("rename", "before the import"),
        (),
    ):
        ran = aurolog_command("restore-point", volume, *arguments)
        assert (ran.status, ran.out) == (2, ""), arguments
        assert ran.err != ""
    with aurolog.open(volume, read_only=True) as db:
        assert list(db.restore_points) == ["before the import"]


def test_names_are_given_to_nobody_but_the_writer(aurolog_command: Any, volume: Path) -> None:
    with aurolog.open(volume):
        assert aurolog_command("restore-point", volume, "list").status == 0
        ran = aurolog_command("restore-point", volume, "create", "x")
    assert ran.status == 3
    assert aurolog_command("restore-point", volume.with_name("none"), "create", "x").status == 3
    assert not volume.with_name("none").exists()


def test_a_name_cannot_drive_the_terminal() -> None:
    point = aurolog.RestorePoint("a\x1b[2J", 7, None, TIME)
    assert points.point_line(point, 3) == "LSN   7                        a\\x1b[2J"


# --- backtrack -----------------------------------------------------------------------------------


def test_backtrack_goes_back_and_says_how_to_undo_it(aurolog_command: Any, volume: Path) -> None:
    before, closed = pages(volume), newest(volume)
    ran = aurolog_command("backtrack", volume, "--to", "before the import", "--yes", "--note", "oh")
    assert (ran.status, ran.err) == (0, "")
    assert re.fullmatch(
        rf"from LSN \d+ to LSN 5, \d{{4}}-\S+ \S+Z\n\d commits left behind; still readable\n"
        rf"to undo it: aurolog backtrack {volume} --to \d+ --yes\n",
        ran.out,
    )
    assert pages(volume).keys() == set(range(5))
    with aurolog.open(volume, read_only=True) as db:
        assert db.history[-1].reason == "oh"
        assert db.at(closed)[10][:5] == b"after"
    undo = shlex.split(ran.out.splitlines()[-1].removeprefix("to undo it: aurolog "))
    ran = aurolog_command(*undo)
    assert ran.status == 0
    assert re.search(r"^\d commits, left behind before, count again$", ran.out, re.MULTILINE)
    assert pages(volume) == before


def test_backtrack_as_json_is_what_the_library_says(aurolog_command: Any, volume: Path) -> None:
    plan = aurolog_command("backtrack", volume, "--to", 5, "--dry-run", "--json").value
    assert (plan["lsn"], plan["undo"], plan["dry_run"]) == (None, None, True)
    assert (plan["to_lsn"], plan["pages"]) == (5, 3)
    done = aurolog_command("backtrack", volume, "--to", 5, "--yes", "--json").value
    assert done["lsn"] > done["from_lsn"] > done["to_lsn"] == 5
    assert done["pages"] is None
    assert done["undo"] == f"aurolog backtrack {volume} --to {done['from_lsn']} --yes"
    assert set(done) == {
        "path", "dry_run", "lsn", "from_lsn", "to_lsn", "to_time", "commits", "regained", "pages",
        "undo",
    }  # fmt: skip
    assert aurolog_command(*shlex.split(done["undo"])[1:]).status == 0
    assert pages(volume).keys() == {0, 1, 2, 3, 4, 10, 11, 12}


def test_a_dry_run_changes_nothing_and_works_beside_a_writer(
    aurolog_command: Any, volume: Path
) -> None:
    with aurolog.open(volume) as db:
        lsn = db.visible_lsn
        ran = aurolog_command("backtrack", volume, "--to", "before the import", "--dry-run")
        assert (ran.status, ran.err) == (0, "")
        assert re.fullmatch(
            rf"from LSN {lsn} to LSN 5, \S+ \S+\n\d commits would be left behind\n"
            r"3 pages would change\n",
            ran.out,
        )
        assert db.visible_lsn == lsn
        assert aurolog_command("backtrack", volume, "--to", 5, "--yes").status == 3


def test_backtrack_to_what_is_there_already_does_nothing(
    aurolog_command: Any, volume: Path
) -> None:
    with aurolog.open(volume) as db:
        lsn = db.visible_lsn
        for option in ("--dry-run",):
            ran = aurolog_command("backtrack", volume, "--to", lsn, option)
            assert ran.out.startswith(f"nothing to do: the newest commit is LSN {lsn}, ")
    ran = aurolog_command("backtrack", volume, "--to", newest(volume), "--yes", "--json")
    assert ran.value["undo"] is None
    assert len(aurolog_command("history", volume, "--json").value["runs"]) == 1


def test_backtrack_to_the_empty_volume(aurolog_command: Any, volume: Path) -> None:
    ran = aurolog_command("backtrack", volume, "--to", 0, "--yes")
    assert " to LSN 0, the empty volume\n" in ran.out
    assert pages(volume) == {}


def test_backtrack_asks_only_on_a_terminal(
    aurolog_command: Any, volume: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = [*MODULE, "backtrack", str(volume), "--to", "5"]
    ran = subprocess.run(arguments, input=b"y\n", capture_output=True, check=False)
    assert (ran.returncode, ran.stdout) == (2, b"")
    assert b"no terminal to ask on: give --yes, or --dry-run" in ran.stderr
    monkeypatch.setattr(sys, "stdin", None)
    assert aurolog_command("backtrack", volume, "--to", 5).status == 2
    assert len(pages(volume)) == 8


@pytest.mark.parametrize("answer", ["n\n", "\n", "yess\n", "\x04"])
def test_anything_but_yes_changes_nothing(volume: Path, answer: str) -> None:
    arguments = [*MODULE, "backtrack", str(volume), "--to", "5"]
    code, out = in_terminal(arguments, answer=answer)
    assert code == 2
    assert "3 pages would change" in out
    assert "Go there? [y/N]" in out
    assert out.endswith("aurolog: nothing was changed\n")
    assert len(pages(volume)) == 8


@pytest.mark.parametrize("answer", ["y\n", "YES\n"])
def test_yes_goes_there(volume: Path, answer: str) -> None:
    arguments = [*MODULE, "backtrack", str(volume), "--to", "before the import", "--note", "why"]
    code, out = in_terminal(arguments, answer=answer)
    assert code == 0
    assert "would be left behind" in out
    assert "to undo it: aurolog backtrack" in out
    assert len(pages(volume)) == 5
    with aurolog.open(volume, read_only=True) as db:
        assert db.history[-1].reason == "why"


def test_nothing_is_asked_where_there_is_nothing_to_do(volume: Path) -> None:
    lsn = newest(volume)
    code, out = in_terminal([*MODULE, "backtrack", str(volume), "--to", str(lsn)], answer="")
    assert code == 0
    assert out.startswith(f"nothing to do: the newest commit is LSN {lsn}, ")
    assert newest(volume) == lsn


def test_an_undo_command_is_quoted() -> None:
    done = aurolog.Rewind(9, 8, 3, TIME, 5, 0, None)
    text = backtrack.rewind_text(Path("it's here"), done)
    assert text == (
        "from LSN 8 to LSN 3, 2026-11-24 09:08:05Z\n5 commits left behind; still readable\n"
        "to undo it: aurolog backtrack 'it'\"'\"'s here' --to 8 --yes"
    )


# --- diff ----------------------------------------------------------------------------------------


def test_diff_names_the_pages_that_changed(aurolog_command: Any, volume: Path) -> None:
    closed = newest(volume)
    ran = aurolog_command("diff", volume, 3)
    assert ran.out == f"3-4, 10-12\n5 pages differ between LSN 3 and LSN {closed}\n"
    ran = aurolog_command("diff", volume, "before the import", 2)
    assert ran.out == "2-4\n3 pages differ between LSN 5 and LSN 2\n"
    assert aurolog_command("diff", volume, 4, 5).out == (
        "4\n1 page differs between LSN 4 and LSN 5\n"
    )
    assert aurolog_command("diff", volume, 5, 5).out == ("0 pages differ between LSN 5 and LSN 5\n")
    assert aurolog_command("diff", volume, 3, "--count").out == "5\n"
    value = aurolog_command("diff", volume, 3, "--json").value
    assert value == {
        "path": str(volume), "lsns": [3, closed], "count": 5, "pages": [3, 4, 10, 11, 12],
    }  # fmt: skip
    value = aurolog_command("diff", volume, 3, 4, "--json", "--count").value
    assert value == {"path": str(volume), "lsns": [3, 4], "count": 1}


def test_many_ranges_are_wrapped(
    aurolog_command: Any, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with aurolog.open(path) as db, db.transaction() as tx:
        tx.apply([(page, 0, b"x") for page in range(0, 500, 2)])
    out = aurolog_command("diff", path, 0).out.splitlines()
    assert out[-1].startswith("250 pages differ")
    assert max(map(len, out)) <= 80
    assert ", ".join(str(page) for page in range(0, 500, 2)) == " ".join(out[:-1])
    assert list(changes.filled([], 10)) == []
    assert list(changes.filled(["x" * 20, "y"], 10)) == ["x" * 20 + ",", "y"]


# --- follow --------------------------------------------------------------------------------------


def test_follow_shows_what_was_committed_since(aurolog_command: Any, volume: Path) -> None:
    arguments = ("follow", volume, "--timeout", 0.01, "--since", "before the import")
    ran = aurolog_command(*arguments)
    assert (ran.status, ran.err) == (0, "")
    out = ran.out.splitlines()
    assert re.fullmatch(r"LSN 6  \S+\+00:00  restore-point", out[0])
    assert re.fullmatch(r'LSN 7  \S+\+00:00  1 page: 10  "import"', out[1])
    assert re.fullmatch(r"LSN \d+  \S+\+00:00  clean-close", out[-1])
    values = [json.loads(line) for line in aurolog_command(*arguments, "--json").out.splitlines()]
    assert [one["kind"] for one in values] == [
        "restore-point", "pages", "pages", "pages", "clean-close",
    ]  # fmt: skip
    assert values[1] == {
        "lsn": 7,
        "time": values[1]["time"],
        "kind": "pages",
        "note": "import",
        "pages": [10],
        "page_space": 11,
    }
    assert aurolog_command("follow", volume, "--timeout", 0).out == ""


@pytest.fixture
def following(volume: Path) -> Iterator[tuple[aurolog.Volume, subprocess.Popen[str]]]:
    """A writer, and `aurolog follow` beside it."""
    with aurolog.open(volume) as db:
        process = subprocess.Popen(
            [*MODULE, "follow", str(volume), "--since", str(db.visible_lsn)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            yield db, process
        finally:
            process.kill()
            process.communicate()


def commit(db: aurolog.Volume) -> int:
    with db.transaction(note="followed") as tx:
        tx.write(0, 0, os.urandom(8))
    assert tx.lsn is not None
    return tx.lsn


def test_follow_tells_each_commit_at_once_and_ends_with_ctrl_c(following: Any) -> None:
    db, process = following
    for _ in range(3):
        lsn = commit(db)
        assert process.stdout.readline().startswith(f"LSN {lsn}  ")
    done = db.backtrack(3)
    line = process.stdout.readline()
    assert re.fullmatch(rf"LSN {done.lsn}  \S+  rewind  \d pages: 0, 3-4, 10-12\n", line)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=SECONDS_MAX)
    assert (process.returncode, out, err) == (130, "", "aurolog: interrupted\n")


def test_follow_ends_quietly_when_its_reader_goes_away(following: Any) -> None:
    db, process = following
    commit(db)
    process.stdout.readline()
    process.stdout.close()
    for _ in range(2):
        commit(db)
    assert process.stderr.read() == ""
    assert process.wait(SECONDS_MAX) == 141


def test_the_line_of_a_commit_that_changed_much_stays_short() -> None:
    numbers = array("Q", itertools.chain(range(0, 100, 2), range(200, 300)))
    line = changes.commit_line(aurolog.Commit(7, TIME, "pages", "\x1b[2J", numbers, 300))
    assert line == (
        "LSN 7  2026-11-24T09:08:05.123456+00:00  150 pages: 0, 2, 4, 6, 8, 10, 12, 14, "
        '… 43 more ranges  "\\x1b[2J"'
    )
    nine = array("Q", range(0, 18, 2))
    assert "more" not in changes.commit_line(aurolog.Commit(7, TIME, "pages", "", nine, 300))
    assert changes.commit_value(aurolog.Commit(7, TIME, "pages", "", nine, 300))["pages"] == list(
        nine
    )


def test_a_follower_in_another_state_of_the_disk_is_told() -> None:
    """Nothing of it is swallowed: an error of the library has its status."""
    from aurolog.cli import status

    error = aurolog.StorageError(errno.EIO, "reading failed", "/v")
    assert status.status_of(error) == status.Status.UNAVAILABLE
