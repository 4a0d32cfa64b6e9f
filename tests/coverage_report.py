"""Tells which branches the tests took, in C and in Python, and checks the list of those not taken.

    python tests/coverage_report.py build/coverage/c.json build/coverage/python.json [--list FILE]
        [--write] [--part] [--least 95]

Reads what gcovr and coverage.py have written (`make coverage` runs both) and prints a table by
file. Every branch that was not taken in log, recovery and manifest has to be in the list,
`docs/coverage.md`, with the reason; and nothing else may be there. An entry is found by its
function and the source text of its line, so it outlives changes around it. `--write` brings the
list up to date and keeps the reasons; new entries have none, which is an error until they do. With
`--part`, where not all tests have run, it is no error that more is not taken.

A branch is one way out of one condition: `if (a && b)` has four. `AUL_MUST`, whose conditions hold
as long as the engine has no bug, is left out.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
LISTED = re.compile(r"csrc/(log|recovery|manifest)[a-z_]*\.c")
BEGIN = "<!-- branches not taken: begin -->"
END = "<!-- branches not taken: end -->"
ROW = re.compile(
    r"\| `(?P<function>\w+)` \| `` (?P<text>.*) `` \| (?P<count>.*?) \| (?P<why>.*) \|"
)
AT_TIMES = "at times "


@dataclass(frozen=True, order=True)
class Place:
    """A line of a function, by what it says; with the line above where that alone is ambiguous."""

    file: str
    function: str
    text: str


@dataclass
class Entry:
    """What the list says of one."""

    count: int
    at_times: bool  # chance decides whether they are taken: threads, or a clock
    why: str


@dataclass
class Share:
    """How much of a file was reached."""

    lines: int = 0
    lines_hit: int = 0
    branches: int = 0
    branches_hit: int = 0

    def add(self, other: Share) -> None:
        """Counts another one in."""
        self.lines += other.lines
        self.lines_hit += other.lines_hit
        self.branches += other.branches
        self.branches_hit += other.branches_hit

    @property
    def percent(self) -> float:
        """Of the branches."""
        return 100 * self.branches_hit / self.branches if self.branches else 100.0


def counted(line: dict[str, Any]) -> list[int]:
    """How often each branch of a line was taken; without those that are left out."""
    return [b["count"] for b in line["branches"] if not b.get("gcovr/excluded")]


def c_shares(report: dict[str, Any]) -> dict[str, Share]:
    """By file, from gcovr's report."""
    shares: dict[str, Share] = {}
    for file in report["files"]:
        share = shares[file["file"]] = Share()
        for line in file["lines"]:
            counts = counted(line)
            hit = sum(count > 0 for count in counts)
            share.add(Share(1, line["count"] > 0, len(counts), hit))
    return shares


def python_shares(report: dict[str, Any]) -> dict[str, Share]:
    """By file, from coverage.py's report."""
    return {
        name: Share(
            file["summary"]["num_statements"],
            file["summary"]["covered_lines"],
            file["summary"]["num_branches"],
            file["summary"]["covered_branches"],
        )
        for name, file in report["files"].items()
    }


def missed(report: dict[str, Any]) -> dict[Place, int]:
    """How many branches were not taken at each place of the files that have a list."""
    found: dict[Place, int] = defaultdict(int)
    for file in report["files"]:
        if not LISTED.fullmatch(file["file"]):
            continue
        source = (ROOT / file["file"]).read_text(encoding="utf-8").splitlines()
        function_of = {line["line_number"]: line["function_name"] for line in file["lines"]}
        branching = [line for line in file["lines"] if line["branches"]]
        seen: dict[tuple[str, str], int] = defaultdict(int)
        for line in branching:
            seen[line["function_name"], source[line["line_number"] - 1].strip()] += 1
        for line in branching:
            number, function = line["line_number"], function_of[line["line_number"]]
            text = source[number - 1].strip()
            if seen[function, text] > 1:  # the line above tells which
                text = f"{source[number - 2].strip()} {text}"
            count = sum(count == 0 for count in counted(line))
            if count:
                found[Place(file["file"], function, text)] += count
    return dict(found)


def read_list(document: str) -> dict[Place, Entry]:
    """The entries that stand between the markers."""
    entries: dict[Place, Entry] = {}
    file = ""
    for line in document.partition(BEGIN)[2].partition(END)[0].splitlines():
        if line.startswith("### "):
            file = "csrc/" + line.removeprefix("### ").strip("`")
        elif row := ROW.fullmatch(line):
            at_times = row["count"].startswith(AT_TIMES)
            count = int(row["count"].removeprefix(AT_TIMES))
            place = Place(file, row["function"], row["text"].replace("\\|", "|"))
            entries[place] = Entry(count, at_times, row["why"].strip())
        elif line.startswith("| `"):
            sys.exit(f"a row of the list that is none: {line}")
    return entries


def write_list(document: str, entries: dict[Place, Entry]) -> str:
    """The document with these entries between the markers, in the order given."""
    lines: list[str] = []
    file = ""
    for place, entry in entries.items():
        if place.file != file:
            file = place.file
            lines += ["", f"### `{Path(file).name}`", ""]
            lines += ["| function | line | not taken | why |", "| --- | --- | ---: | --- |"]
        text = place.text.replace("|", "\\|")
        count = f"{AT_TIMES if entry.at_times else ''}{entry.count}"
        lines.append(f"| `{place.function}` | `` {text} `` | {count} | {entry.why} |")
    before, _, rest = document.partition(BEGIN)
    return "\n".join([before + BEGIN, *lines, "", END]) + rest.partition(END)[2]


def differences(
    found: dict[Place, int], entries: dict[Place, Entry], *, part: bool = False
) -> list[str]:
    """What the list lacks, has too much, and gives no reason for. `part`: where not all tests have
    run, it lacks nothing."""
    lines: list[str] = []
    for place in sorted({*found, *entries}):
        count, entry = found.get(place, 0), entries.get(place)
        at = f"{place.file}: {place.function}: {place.text}"
        if entry is None:
            if not part:
                lines.append(f"{at}: {count} branches not taken and not listed")
        elif count > entry.count and not part:
            lines.append(f"{at}: {count} branches not taken, {entry.count} listed")
        elif count < entry.count and not entry.at_times:
            lines.append(f"{at}: {entry.count} branches listed, {count} not taken: bring it down")
        elif not entry.why:
            lines.append(f"{at}: no reason is given")
    return lines


def updated(found: dict[Place, int], entries: dict[Place, Entry]) -> dict[Place, Entry]:
    """The list as it should be; reasons are kept, what chance decides stays."""
    result: dict[Place, Entry] = {}
    for place, count in found.items():
        old = entries.get(place, Entry(0, at_times=False, why=""))
        result[place] = Entry(max(count, old.count * old.at_times), old.at_times, old.why)
    result |= {p: e for p, e in entries.items() if e.at_times and p not in found}
    files = list(dict.fromkeys(place.file for place in found))
    order = sorted({*(place.file for place in result)}, key=lambda f: (f not in files, f))
    return {p: e for file in order for p, e in result.items() if p.file == file}


def table(shares: dict[str, Share]) -> tuple[list[str], Share]:
    """One line a file, and all of them."""
    whole = Share()
    lines = []
    for name, share in sorted(shares.items()):
        whole.add(share)
        lines.append(row(name, share))
    return lines, whole


def row(name: str, share: Share) -> str:
    """A line of the table."""
    return (
        f"{name:<34} {share.lines_hit:>6} / {share.lines:<6} {share.branches_hit:>6} / "
        f"{share.branches:<6} {share.percent:>6.1f} %"
    )


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("c", type=Path)
    parser.add_argument("python", type=Path)
    parser.add_argument("--list", type=Path, default=ROOT / "docs" / "coverage.md")
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--part", action="store_true")
    parser.add_argument("--least", type=float, default=0, metavar="PERCENT")
    options = parser.parse_args()
    c_report = json.loads(options.c.read_text(encoding="utf-8"))
    shares = [c_shares(c_report), python_shares(json.loads(options.python.read_text("utf-8")))]
    print(f"{'':<34} {'lines':>9}       {'branches':>11}")
    failed = False
    for name, files in zip(("C", "Python"), shares, strict=True):
        lines, whole = table(files)
        print(*lines, row(name, whole), "", sep="\n")
        if whole.percent < options.least:
            print(f"{name}: less than {options.least:g} % of the branches", file=sys.stderr)
            failed = True
    document = options.list.read_text(encoding="utf-8")
    found, entries = missed(c_report), read_list(document)
    if options.write:
        entries = updated(found, entries)
        options.list.write_text(write_list(document, entries), encoding="utf-8")
    for line in differences(found, entries, part=options.part):
        print(line, file=sys.stderr)
        failed = True
    print(f"{sum(found.values())} branches of log, recovery and manifest not taken")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
