"""The history as it is drawn: every run and every name has its place, and a long one is folded.

Histories are made up here, by what a volume would do; no volume is needed to draw one.
"""

from __future__ import annotations

import random
import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from aurolog.cli import history, terminal, tree
from aurolog.cli.tree import Count, CurrentRanges, Kind, Line
from aurolog.values import RestorePoint, Run

BEGAN = datetime(2026, 11, 24, 9, tzinfo=UTC)
STEP = timedelta(seconds=97)


class MadeUp:
    """The runs and restore points of a volume that commits, rewinds and is cut."""

    def __init__(self) -> None:
        self.runs = [Run(0, "first", None, None, 1, "", 0, None, 0, True)]
        self.points: list[RestorePoint] = []
        self.lsn = 0
        self.time = BEGAN

    def _now(self) -> datetime:
        self.time += STEP
        return self.time

    def write(self, commits: int = 1, records: int = 2) -> int:
        for _ in range(commits):
            self.lsn += records
            newest = self.runs[-1]
            self.runs[-1] = replace(
                newest, last_lsn=self.lsn, last_time=self._now(), commits=newest.commits + 1
            )
        return self.lsn

    def point(self, name: str) -> None:
        self.points.append(RestorePoint(name, self.lsn, self.time, self.time))
        self.write(1, records=1)

    def rewind(self, to: int, note: str = "") -> int:
        return self._branch("rewind", to, note, 1)

    def cut(self) -> int:
        return self._branch("cut", self.lsn, "unclean end", 1 << 32)

    def _branch(self, kind: str, to: int, reason: str, step: int) -> int:
        self.lsn += step
        time = self._now()
        self.runs.append(Run(self.lsn, kind, to, time, 1, reason, self.lsn, time, 1, True))
        return self.lsn

    def lines(self, **how: Any) -> list[str]:
        """As text, without the times."""
        lines = [replace(line, time=None) for line in tree.draw(self.runs, self.points, **how)]
        return [" ".join(text.split()) for _, text in history.columned(lines)]


@pytest.fixture
def made_up() -> MadeUp:
    return MadeUp()


def test_an_empty_volume_is_one_run(made_up: MadeUp) -> None:
    assert made_up.lines() == ["● 0 the first run: 0 commits", "▶ 0 now"]


def test_restore_points_stand_at_their_places(made_up: MadeUp) -> None:
    made_up.write(3)
    made_up.point("before the import")
    made_up.write(3)
    made_up.point("after it")
    made_up.point("the same")
    assert made_up.lines() == [
        "● 0 the first run: 9 commits",
        "◆ 6 before the import",
        "◆ 13 after it",
        "◆ 14 the same",
        "▶ 15 now",
    ]


def test_what_a_rewind_left_hangs_where_it_was_left(made_up: MadeUp) -> None:
    left = made_up.write(6)
    made_up.rewind(6, "a mistake")
    made_up.write(2)
    assert made_up.lines() == [
        "● 0 the first run: 6 commits",
        f"├─╴ {left} left behind, after LSN 6",
        '● 13 rewind to LSN 6: 2 commits "a mistake"',
        "▶ 17 now",
    ]


def test_times_are_those_of_the_lsns_beside_them(made_up: MadeUp) -> None:
    made_up.write(6)
    made_up.point("named")
    made_up.rewind(6)
    made_up.write(2)
    lines = [text for _, text in history.columned(tree.draw(made_up.runs, made_up.points))]
    assert lines == [
        "●    0                        the first run: 7 commits",
        "├─╮                           left behind, after LSN 6",
        "│ ◆ 12  2026-11-24 09:09:42Z  named",
        "│ ○ 13  2026-11-24 09:11:19Z  its end",
        "●   14  2026-11-24 09:12:56Z  rewind to LSN 6: 2 commits",
        "▶   18  2026-11-24 09:16:10Z  now",
    ]


def test_going_forth_again_leaves_the_way_back_behind(made_up: MadeUp) -> None:
    left = made_up.write(6)
    made_up.rewind(6)
    made_up.rewind(left)
    assert made_up.lines() == [
        "● 0 the first run: 6 commits",
        "├─╴ 13 left behind, rewind to LSN 6: 0 commits",
        "● 14 rewind to LSN 12: 0 commits",
        "▶ 14 now",
    ]


def test_what_hangs_may_have_something_hanging(made_up: MadeUp) -> None:
    made_up.write(5)
    made_up.rewind(4)
    made_up.write(3)
    made_up.point("inner")
    made_up.rewind(13)
    made_up.write()
    made_up.rewind(2)
    assert made_up.lines() == [
        "● 0 the first run: 5 commits",
        "├─╮ left behind, after LSN 2",
        "│ ├─╴ 10 left behind, after LSN 4",
        "│ ● 11 rewind to LSN 4: 4 commits",
        "│ ├─╮ left behind, after LSN 13",
        "│ │ ◆ 17 inner",
        "│ │ ○ 18 its end",
        "│ ● 19 rewind to LSN 13: 1 commit",
        "│ ○ 21 its end",
        "● 22 rewind to LSN 2: 0 commits",
        "▶ 22 now",
    ]


def test_a_run_that_branches_has_its_beginning_on_the_line_where_it_hangs(made_up: MadeUp) -> None:
    made_up.write(2)
    made_up.rewind(2)
    made_up.write()
    made_up.point("x")
    made_up.rewind(2)
    assert made_up.lines()[2:5] == [
        "├─● 5 left behind, rewind to LSN 2: 2 commits",
        "│ ◆ 7 x",
        "│ ○ 8 its end",
    ]


def test_a_cut_is_no_rewind_and_leaves_nothing_to_be_read(made_up: MadeUp) -> None:
    durable = made_up.write(2)
    made_up.cut()
    made_up.write()
    assert made_up.lines() == [
        "● 0 the first run: 2 commits",
        f"● 4294967300 cut after LSN {durable} (unclean end): 1 commit",
        "▶ 4294967302 now",
    ]
    torn = [replace(made_up.runs[0], last_lsn=durable + 7), made_up.runs[1]]
    assert len(tree.draw(torn, [])) == 3, "what was cut is nowhere"


def test_notes_and_names_cannot_drive_a_terminal(made_up: MadeUp) -> None:
    made_up.write(1)
    made_up.points.append(RestorePoint("a\x1b[2Jb", 2, BEGAN, BEGAN))
    made_up.rewind(2, "c\nd\x07")
    assert not [line for line in made_up.lines() if not line.isprintable()]


# --- folding -------------------------------------------------------------------------------------


def test_ten_thousand_rewinds_to_one_point_fold(made_up: MadeUp) -> None:
    made_up.write(20)
    for _ in range(10_000):
        made_up.rewind(12)
        made_up.write()
    lines = made_up.lines()
    assert lines == [
        "● 0 the first run: 20 commits",
        "├─╴ 40 left behind, after LSN 12",
        "├─╴ … 9,996 more rewinds to LSN 12, left behind",
        "├─╴ 30031 left behind, rewind to LSN 12: 1 commit",
        "├─╴ 30034 left behind, rewind to LSN 12: 1 commit",
        "├─╴ 30037 left behind, rewind to LSN 12: 1 commit",
        "● 30038 rewind to LSN 12: 1 commit",
        "▶ 30040 now",
    ]
    assert len(made_up.lines(fold=False)) == 10_003


def test_going_forth_and_back_ten_thousand_times_folds(made_up: MadeUp) -> None:
    there, here = made_up.write(20), 12
    for _ in range(10_000):
        left = made_up.lsn
        made_up.rewind(here)
        there, here = left, there
    assert len(made_up.lines()) <= tree.LINES_MAX
    assert len(made_up.lines(fold=False)) >= 10_000


def test_going_back_a_little_further_each_time_folds(made_up: MadeUp) -> None:
    made_up.write(10_000)
    for step in range(1, 10_000):
        made_up.rewind(20_000 - 2 * step)
    assert len(made_up.lines()) <= tree.LINES_MAX
    whole = tree.draw(made_up.runs, made_up.points, fold=False)
    assert max(len(line.graph) for line in whole) < 20
    assert counted(whole).runs == 10_000


def test_ten_thousand_restore_points_fold(made_up: MadeUp) -> None:
    made_up.write(1)
    for number in range(10_000):
        made_up.point(f"p{number}")
    lines = made_up.lines()
    assert len(lines) <= tree.LINES_MAX
    assert lines[-2].endswith("p9999")
    assert any(re.fullmatch(r"┊ … and 9,\d{3} restore points", line) for line in lines)


def anything(seed: int, runs: int) -> MadeUp:
    """A history in which anything happened."""
    made_up, rng = MadeUp(), random.Random(seed)
    commits = [made_up.write()]
    for number in range(runs - 1):
        if rng.random() < 0.05:
            commits.append(made_up.cut())
        else:
            commits.append(made_up.rewind(rng.choice(commits[-rng.choice((3, 30, runs)) :])))
        commits += [made_up.write() for _ in range(rng.randrange(4))]
        if rng.random() < 0.2:
            made_up.point(f"p{number}")
    return made_up


def counted(lines: list[Line]) -> Count:
    """What the lines show and count together."""
    return sum((line.count for line in lines), Count())


@pytest.mark.parametrize("seed", range(20))
def test_every_run_and_name_is_shown_or_counted(seed: int) -> None:
    made_up = anything(seed, random.Random(seed).choice((3, 10, 30, 100, 1000, 3000)))
    commits = sum(run.commits - (run.kind != "first") for run in made_up.runs)
    everything = Count(len(made_up.runs), commits, len(made_up.points))
    whole = tree.draw(made_up.runs, made_up.points, fold=False)
    assert counted(whole) == everything
    assert not [line for line in whole if "…" in line.text]
    names = [line.text for line in whole if line.graph.endswith("◆")]
    assert sorted(names) == sorted(point.name for point in made_up.points)
    folded = tree.draw(made_up.runs, made_up.points)
    assert counted(folded) == everything
    assert len(folded) <= tree.LINES_MAX
    assert folded[0] == whole[0]
    assert folded[-1] == whole[-1]


def test_thirty_runs_are_shown_one_by_one() -> None:
    lines = anything(1, 30).lines()
    assert not [line for line in lines if "…" in line]
    assert len(lines) < 80


@pytest.mark.parametrize("seed", range(10))
def test_the_path_of_now_is_the_one_that_the_branch_points_make(seed: int) -> None:
    made_up = anything(seed, 200)
    path = set()
    run, last = len(made_up.runs) - 1, made_up.lsn
    while True:
        path |= set(range(made_up.runs[run].lsn, min(last, made_up.runs[run].lsn + 100) + 1))
        parent = made_up.runs[run].parent_lsn
        if parent is None:
            break
        last = parent
        run = max(i for i, one in enumerate(made_up.runs) if one.lsn <= parent)
    ranges = CurrentRanges(made_up.runs)
    for one in made_up.runs:
        for lsn in range(one.lsn, one.last_lsn + 1):
            assert (lsn in ranges) == (lsn in path)
    assert made_up.lsn + 1000 in ranges
    assert 0 in ranges


# --- on a terminal -------------------------------------------------------------------------------


LINES = [
    Line("●", 0, None, "the first run: 日本語" + "語" * 40, Kind.CURRENT),
    Line("│ ├─╴", 4294967296, BEGAN, "left behind " + "x" * 100, Kind.LEFT),
    Line("▶", 5, BEGAN, "now", Kind.NOW),
]


def test_a_line_is_no_wider_than_the_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from rich.cells import cell_len

    monkeypatch.setattr(terminal, "width", lambda: 60)
    history.print_lines(LINES)
    out = capsys.readouterr().out.splitlines()
    assert [cell_len(line) <= 60 for line in out] == [True] * 3
    assert [line.endswith("…") for line in out] == [True, True, False]
    monkeypatch.setattr(terminal, "width", lambda: None)
    history.print_lines(LINES)
    assert "x" * 100 in capsys.readouterr().out, "a pipe has no width"


def test_an_encoding_without_lines_gets_plain_ones(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import io
    import sys

    plain = io.TextIOWrapper(io.BytesIO(), encoding="ascii", errors="backslashreplace")
    monkeypatch.setattr(sys, "stdout", plain)
    history.print_lines(LINES)
    plain.flush()
    assert isinstance(plain.buffer, io.BytesIO)
    out = plain.buffer.getvalue().decode("ascii")
    assert "| |--" in out
    assert "\\u25" not in out


def test_the_style_says_what_is_current(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(terminal, "styled", lambda: True)
    history.print_lines(LINES)
    first, left, now = capsys.readouterr().out.splitlines()
    assert not first.startswith("\x1b")
    assert left.startswith(history.DIM)
    assert now.startswith(history.BOLD)
    assert left.endswith(history.OFF)


@pytest.mark.parametrize(
    ("numbers", "text"),
    [
        ([], ""),
        ([7], "7"),
        ([0, 1, 2], "0-2"),
        ([12, 13, 14, 15, 40], "12-15, 40"),
        ([1, 3, 5, 6], "1, 3, 5-6"),
    ],
)
def test_numbers_are_told_in_ranges(numbers: list[int], text: str) -> None:
    assert ", ".join(terminal.ranges_text(terminal.ranges_of(iter(numbers)))) == text


class Terminal:
    """A terminal of so many columns, or one that does not say."""

    def __init__(self, columns: int | None) -> None:
        self.columns = columns

    def isatty(self) -> bool:
        return True

    def fileno(self) -> int:
        return -1


@pytest.mark.parametrize(
    ("variable", "said", "width"),
    [
        ("40", 120, 40),
        ("", 120, 120),
        ("0", 120, 120),
        ("wide", 120, 120),
        ("", 0, 80),
        ("", None, 80),
    ],
)
def test_a_terminal_has_the_width_that_it_says(
    monkeypatch: pytest.MonkeyPatch, variable: str, said: int | None, width: int
) -> None:
    import os

    def size(_: int) -> os.terminal_size:
        if said is None:
            raise OSError("no terminal")
        return os.terminal_size((said, 25))

    monkeypatch.setenv("COLUMNS", variable)
    monkeypatch.setattr(os, "get_terminal_size", size)
    assert terminal.width(Terminal(said)) == width
