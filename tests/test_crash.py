"""A small share of the crash campaign (docs/testing.md): nothing acknowledged is lost whenever the
power goes, the campaign repeats itself, and it finds the bugs that were put there for it.

`make crash` is the campaign itself.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import seeded_bugs
from repeating import commit
from seeded_bugs import ROOT, run

MAKE = shutil.which("make")

pytestmark = pytest.mark.skipif(
    MAKE is None or not (ROOT / "Makefile").is_file(), reason="needs make and the source tree"
)

# Found within a few programs, each in another part of the engine.
SOME_BUGS = (
    "acknowledged unsynced",
    "sync retried",
    "directory unsynced",
    "woken is durable",
    "clean mark left",
    "footer unsynced",
    "tail unsecured",
    "bound forgotten",
    "one hole only",
    "rewind unsynced",
    "rewind takes names",
    "conflict unnoticed",
    "checked in any run",
    "deletions unread",
    "follower ahead",
)


def build(name: str) -> Path:
    """The program, compiled when it is not up to date."""
    target = f"build/crash/{name}"
    done = run([str(MAKE), "--no-print-directory", target])
    assert done.returncode == 0, done.stdout + done.stderr
    return ROOT / target


@pytest.fixture(scope="module")
def crash() -> Path:
    """The campaign."""
    return build("crash")


@pytest.fixture(scope="module")
def crash_with_bugs() -> Path:
    """The campaign over an engine with bugs that can be switched on."""
    return build("crash-bugs")


def campaign(program: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """One, which names the commit where it fails."""
    return run([str(program), "--commit", commit(), *options])


def figure(output: str, name: str) -> int:
    """A figure of the report."""
    found = re.search(rf"^ *(\d+) {name}$", output, re.MULTILINE)
    assert found, f"no figure {name!r} in:\n{output}"
    return int(found[1])


def expect_well(done: subprocess.CompletedProcess[str]) -> str:
    """The report of a campaign that found nothing."""
    print(done.stdout, done.stderr)  # with the seed, where one fails
    assert done.returncode == 0, done.stderr
    assert figure(done.stdout, "violations") == 0
    return done.stdout


def test_nothing_acknowledged_is_lost_and_every_boundary_is_hit(crash: Path) -> None:
    report = expect_well(campaign(crash, "--programs", "100", "--seed", "1", "--coverage"))
    assert figure(report, "distinct images") > 20_000
    assert figure(report, "recoveries from a crash in a recovery") > 5_000
    assert figure(report, "operations in line") > 1_000
    assert figure(report, "rewinds") > 2_000
    assert figure(report, "transactions in conflict with one") > 200
    assert figure(report, "restore points made or deleted") > 2_000
    assert figure(report, "times that one was refreshed") > 5_000
    assert figure(report, "recoveries crashed at every call") > 50
    assert figure(report, "damaged images") > 500
    assert figure(report, "lives after a cut: kill") > 10_000
    assert "boundary: read-only / sync directory / directory: " in report
    # And, or it would have failed: each kind of call that it lists was hit, and no other.


def test_a_kind_of_call_before_which_the_power_is_never_cut_is_a_failure(crash: Path) -> None:
    done = campaign(crash, "--programs", "1", "--size", "1", "--least", "1")
    assert done.returncode == 1
    assert figure(done.stdout, "violations") == 0
    assert "no power cut: bulk / unlink / segment" in done.stdout.splitlines()
    assert re.search(r"no power cut before \d+ kinds of call", done.stderr)


def test_nothing_acknowledged_is_lost_from_another_seed(crash: Path, seed: int) -> None:
    expect_well(campaign(crash, "--programs", "60", "--seed", str(seed)))


def test_a_seed_says_everything_that_follows(crash: Path, seed: int) -> None:
    chosen = ["--programs", "12", "--seed", str(seed), "--jobs"]
    reports = [expect_well(campaign(crash, *chosen, str(jobs))) for jobs in (1, 1, 3)]
    traces = [re.findall(r"^trace .*$", report, re.MULTILINE) for report in reports]
    assert len(traces[0]) == 1
    assert traces[0] == traces[1] == traces[2]


@pytest.mark.parametrize("name", SOME_BUGS)
def test_a_deliberate_bug_is_found(crash_with_bugs: Path, name: str) -> None:
    bug = next(bug for bug in seeded_bugs.bugs() if bug.name == name)
    result = seeded_bugs.hunt(crash_with_bugs, bug, seconds=60, seed=1)
    assert result.found, f"not found within {result.seconds:.0f} s: {bug.what}"
    print(f"{bug.what}: after {result.seconds:.1f} s, {result.found}")


def test_there_are_bugs_enough_in_every_part_that_commits_depend_on() -> None:
    bugs = seeded_bugs.bugs()
    assert len(bugs) >= 80
    assert len({bug.name for bug in bugs}) == len(bugs)
    parts = "recovery segment frame manifest log_append log_segment log lock tx page_cache keeper"
    parts += " history rewind restore_point page_stream follow"
    assert {f"{part}.c" for part in parts.split()} <= {bug.file for bug in bugs}
    code = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "csrc").glob("*.c"))
    used = set(re.findall(r"AUL_SEEDED\((\w+)\)", code))
    assert {name.lower().replace("_", " ") for name in used} == {bug.name for bug in bugs}


def test_a_failure_says_how_to_repeat_it(crash_with_bugs: Path) -> None:
    options = ["--bug", "1", "--programs", "9", "--size", "20"]
    done = campaign(crash_with_bugs, *options)
    assert done.returncode == 1
    found = re.search(r"^seed (\d+): ", done.stderr, re.MULTILINE)
    assert found
    again = f"make crash SEED={found[1]} PROGRAMS=1 SIZE=20 BUG=1"
    assert f"    commit {commit()}; to repeat: {again}\n" in done.stderr


def test_a_sample_of_the_bugs_follows_from_the_seed() -> None:
    samples = [seeded_bugs.choose(None, 6, seed) for seed in range(20)]
    assert [len(sample) for sample in samples] == [6] * 20
    assert samples == [seeded_bugs.choose(None, 6, seed) for seed in range(20)]
    assert len({bug.number for sample in samples for bug in sample}) > 35


def test_no_bug_is_there_when_none_is_switched_on(crash_with_bugs: Path) -> None:
    expect_well(campaign(crash_with_bugs, "--programs", "20", "--seed", "1"))
