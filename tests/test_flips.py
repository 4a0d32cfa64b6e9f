"""A small share of the damage that `make flips` does (docs/testing.md): every bit of a few small
volumes flipped, sectors and files exchanged. Real volumes, through the public API, are damaged in
`test_verify.py`.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from seeded_bugs import ROOT, run

MAKE = shutil.which("make")
SHARES = 60

pytestmark = pytest.mark.skipif(
    MAKE is None or not (ROOT / "Makefile").is_file(), reason="needs make and the source tree"
)


@pytest.fixture(scope="module")
def flips() -> Path:
    """The program, compiled when it is not up to date."""
    done = run([str(MAKE), "--no-print-directory", "build/flips/flips"])
    assert done.returncode == 0, done.stdout + done.stderr
    return ROOT / "build" / "flips" / "flips"


def _report(done: subprocess.CompletedProcess[str]) -> str:
    print(done.stdout, done.stderr)  # a failure says how to repeat it
    assert done.returncode == 0, done.stderr
    return done.stdout


def _rows(report: str, volumes: str) -> dict[str, list[int]]:
    """What was damaged, and how often, with each outcome, of one of the two tables."""
    _, _, table = report.partition(f"| {volumes} |")
    lines = re.findall(r"^\| ([^|\n]+) \| ([\d |]+) \|$", table.partition("\n\n")[0], re.MULTILINE)
    return {name: [int(figure) for figure in figures.split("|")] for name, figures in lines}


def test_damage_is_told_or_hurts_nothing(flips: Path, seed: int) -> None:
    share = ["--shares", str(SHARES), "--share", str(seed % SHARES)]
    report = _report(run([str(flips), "--seed", "1", *share]))
    for volumes in ("closed cleanly", "killed"):
        rows = _rows(report, volumes)
        assert len(rows) > 20
        for name, (tried, *outcomes) in rows.items():
            assert tried == sum(outcomes) > 0, name
        assert rows["a file missing"][0] > 10, "each share has all that there is little of"
        if volumes == "closed cleanly":
            assert rows["all"][4] == 0, "after a clean close something was cut"


def test_damage_is_told_or_hurts_nothing_from_another_seed(flips: Path, seed: int) -> None:
    share = ["--shares", str(4 * SHARES), "--share", str(seed % (4 * SHARES))]
    _report(run([str(flips), "--seed", str(seed), *share]))


def test_one_damage_can_be_repeated(flips: Path) -> None:
    one = [str(flips), "--volume", "2", "--damage", "1000"]
    reports = [_report(run(one)) for _ in range(2)]
    assert re.search(r"^ *1 damages$", reports[0], re.MULTILINE)
    assert _rows(reports[0], "killed") == _rows(reports[1], "killed") != {}
