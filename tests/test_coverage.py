"""The list of branches that no test takes (docs/coverage.md) is of this source, and the check that
holds it up to date finds what it should. `make coverage` does the measuring.
"""

from __future__ import annotations

import itertools

import coverage_report
from coverage_report import ROOT, Entry, Place, differences, read_list, updated, write_list

LIST = ROOT / "docs" / "coverage.md"
A = Place("csrc/log.c", "f", "if (a || b) return;")
B = Place("csrc/log.c", "g", "while (c)")
SOURCE = f"above\n{coverage_report.BEGIN}\n{coverage_report.END}\nbelow\n"


def test_what_is_listed_is_in_the_source() -> None:
    entries = read_list(LIST.read_text(encoding="utf-8"))
    assert entries
    for place, entry in entries.items():
        source = (ROOT / place.file).read_text(encoding="utf-8")
        lines = [line.strip() for line in source.splitlines()]
        both = {f"{above} {line}" for above, line in itertools.pairwise(lines)}
        assert place.text in lines or place.text in both, f"{place} is gone"
        assert f"{place.function}(" in source, f"{place} is gone"
        assert entry.why, f"{place}: no reason is given"


def test_the_list_is_read_as_it_was_written() -> None:
    entries = {A: Entry(2, at_times=False, why="no"), B: Entry(1, at_times=True, why="luck")}
    written = write_list(SOURCE, entries)
    assert written.startswith("above\n")
    assert written.endswith("\nbelow\n")
    assert read_list(written) == entries
    assert write_list(written, entries) == written


def test_a_list_that_fits_has_no_differences() -> None:
    listed = {A: Entry(2, at_times=False, why="no"), B: Entry(3, at_times=True, why="luck")}
    assert differences({A: 2}, listed) == []
    assert differences({A: 2, B: 1}, listed) == []


def test_differences_are_found() -> None:
    one = {A: Entry(2, at_times=False, why="no")}
    assert differences({}, {}) == []
    assert "not listed" in differences({A: 1}, {})[0]
    assert "2 listed" in differences({A: 3}, one)[0]
    assert "bring it down" in differences({A: 1}, one)[0]
    assert "bring it down" in differences({}, one)[0]
    assert "no reason" in differences({A: 2}, {A: Entry(2, at_times=False, why="")})[0]
    assert differences({A: 3, B: 1}, one, part=True) == []
    assert "bring it down" in differences({A: 1}, one, part=True)[0]
    assert "1 listed" in differences({B: 2}, {B: Entry(1, at_times=True, why="luck")})[0]


def test_bringing_it_up_to_date_keeps_the_reasons() -> None:
    old = {A: Entry(2, at_times=False, why="no"), B: Entry(3, at_times=True, why="luck")}
    new = updated({A: 1, Place("csrc/log.c", "h", "if (d)"): 1}, old)
    assert new[A] == Entry(1, at_times=False, why="no")
    assert new[B] == old[B]
    assert [entry.why for entry in new.values()].count("") == 1
